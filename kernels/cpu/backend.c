/* The processor as a backend: float32, the kernels of the SIMD level in use, on the caller's thread. */
#include "../bench.h"
#include "../generic/host_device.h"
#include "elementwise.h"
#include "kernels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Measured on a model of 2 layers, d_model 64 and context 64, whose sequences have 0.6 MiB each: micro-batches of 1,
 * which stay in a second-level cache of 1 MiB, take 2.0 times as long as those of 8; of 2, 1.25 times; of 4, 1.04
 * times. In small ones a vector of attention problems is not full, and each product packs its weights for 64 rows
 * only. Small models are as fast with the whole batch. With 4 layers, d_model 128 and context 64 (2.1 MiB a sequence)
 * micro-batches of 4 take 0.97 times as long as those of 2, and with both cores busy the same as those of 12, which
 * exceed the third-level cache. No bit depends on it: sums continue from micro-batch to micro-batch. */
enum { MICRO_BATCH_BYTES = 12 * 1024 * 1024 };

typedef struct {
    const eab_cpu_kernels *kernels;
    eab_cpu_workspace workspace;
} cpu_device;

static cpu_device *own(const eab_device *device) { return device->own; }

/* The workspace is kept between calls. It counts in the peak, but not as allocated: nobody releases it. */
static int with_workspace(eab_device *device) {
    const size_t bytes = device->bytes + own(device)->workspace.bytes;
    if (bytes > device->peak_bytes) device->peak_bytes = bytes;
    return EAB_OK;
}

static int open_device(int index, eab_device *device) {
    (void)index;
    const eab_cpu_kernels *kernels = eab_cpu_kernels_get();
    if (!kernels) return EAB_BAD_INPUT; /* EAB_ISA; eab_last_error is set */
    cpu_device *cpu = calloc(1, sizeof *cpu);
    if (!cpu) return eab_fail(EAB_NO_MEMORY, "no memory for a device");
    cpu->kernels = kernels;
    device->own = cpu;
    return EAB_OK;
}

static void close_device(eab_device *device) {
    eab_cpu_workspace_free(&own(device)->workspace);
    free(device->own);
}

/* The processor's name from /proc/cpuinfo; "processor" if there is none. */
static void describe(const eab_device *device, char *text, size_t size) {
    char line[256], name[200] = "processor";
    FILE *file = fopen("/proc/cpuinfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            snprintf(name, sizeof name, "%s", strchr(line, ':') + 2);
            name[strcspn(name, "\n")] = '\0';
            break;
        }
    if (file) fclose(file);
    snprintf(text, size, "%s, %s", name, own(device)->kernels->isa);
}

static int write_reals(eab_device *device, void *to, const double *host, int64_t count) {
    (void)device;
    for (int64_t i = 0; i < count; i++) ((float *)to)[i] = (float)host[i];
    return EAB_OK;
}

static int read_reals(eab_device *device, double *host, const void *from, int64_t count) {
    (void)device;
    for (int64_t i = 0; i < count; i++) host[i] = ((const float *)from)[i];
    return EAB_OK;
}

static int gemm(eab_device *device, const eab_gemm *args) {
    for (int32_t member = 0; member < args->members; member++)
        EAB_TRY(own(device)->kernels->gemm(&own(device)->workspace, args, member));
    return with_workspace(device);
}

static int attention_forward(eab_device *device, const eab_attention_args *args, eab_const_tensor q, eab_const_tensor k,
                             eab_const_tensor v, eab_tensor out, eab_tensor row_stat) {
    for (int32_t p = 0; p < args->members; p++)
        EAB_TRY(own(device)->kernels->attention_forward(&own(device)->workspace, args, p, eab_cpu_read(q, p),
                                                        eab_cpu_read(k, p), eab_cpu_read(v, p), eab_cpu_member(out, p),
                                                        eab_cpu_member(row_stat, p)));
    return with_workspace(device);
}

static int attention_backward(eab_device *device, const eab_attention_args *args, eab_const_tensor q,
                              eab_const_tensor k, eab_const_tensor v, eab_const_tensor out, eab_const_tensor row_stat,
                              eab_const_tensor dout, eab_tensor dq, eab_tensor dk, eab_tensor dv) {
    for (int32_t p = 0; p < args->members; p++)
        EAB_TRY(own(device)->kernels->attention_backward(
            &own(device)->workspace, args, p, eab_cpu_read(q, p), eab_cpu_read(k, p), eab_cpu_read(v, p),
            eab_cpu_read(out, p), eab_cpu_read(row_stat, p), eab_cpu_read(dout, p), eab_cpu_member(dq, p),
            eab_cpu_member(dk, p), eab_cpu_member(dv, p)));
    return with_workspace(device);
}

static int norm_forward(eab_device *device, const eab_norm_args *args, eab_tensor x, eab_tensor y) {
    for (int32_t p = 0; p < args->members; p++)
        own(device)->kernels->elementwise->norm_forward(args, p, eab_cpu_member(x, p), eab_cpu_member(y, p));
    return EAB_OK;
}

static int norm_backward(eab_device *device, const eab_norm_args *args, eab_tensor dy, eab_tensor dx, eab_tensor dgain,
                         eab_tensor dbias) {
    for (int32_t p = 0; p < args->members; p++)
        own(device)->kernels->elementwise->norm_backward(args, p, eab_cpu_member(dy, p), eab_cpu_member(dx, p),
                                                         eab_cpu_member(dgain, p), eab_cpu_member(dbias, p));
    return EAB_OK;
}

static int qk_norm_forward(eab_device *device, const eab_qk_norm_args *args, eab_tensor qkv) {
    for (int32_t p = 0; p < args->members; p++)
        own(device)->kernels->elementwise->qk_norm_forward(args, p, eab_cpu_member(qkv, p));
    return EAB_OK;
}

static int qk_norm_backward(eab_device *device, const eab_qk_norm_args *args, eab_tensor dqkv, eab_tensor dq_gain,
                            eab_tensor dk_gain) {
    for (int32_t p = 0; p < args->members; p++)
        own(device)->kernels->elementwise->qk_norm_backward(args, p, eab_cpu_member(dqkv, p),
                                                            eab_cpu_member(dq_gain, p), eab_cpu_member(dk_gain, p));
    return EAB_OK;
}

static int activation_forward(eab_device *device, eab_activation activation, int32_t members, int64_t count,
                              eab_tensor x, eab_tensor y) {
    const eab_cpu_elementwise *f = own(device)->kernels->elementwise;
    for (int32_t p = 0; p < members; p++)
        (activation == EAB_ACTIVATION_RELU ? f->relu_forward : f->gelu_forward)(count, eab_cpu_member(x, p),
                                                                                eab_cpu_member(y, p));
    return EAB_OK;
}

static int activation_backward(eab_device *device, eab_activation activation, int32_t members, int64_t count,
                               eab_tensor x, eab_tensor dy) {
    const eab_cpu_elementwise *f = own(device)->kernels->elementwise;
    for (int32_t p = 0; p < members; p++)
        (activation == EAB_ACTIVATION_RELU ? f->relu_backward : f->gelu_backward)(count, eab_cpu_member(x, p),
                                                                                  eab_cpu_member(dy, p));
    return EAB_OK;
}

static int add(eab_device *device, int32_t members, int64_t count, eab_tensor x, eab_tensor y) {
    for (int32_t p = 0; p < members; p++)
        own(device)->kernels->elementwise->add(count, eab_cpu_member(x, p), eab_cpu_member(y, p));
    return EAB_OK;
}

static int dropout(eab_device *device, const eab_shape *shape, eab_tensor x, eab_tensor y, bool add) {
    for (int32_t p = 0; p < shape->members; p++)
        own(device)->kernels->elementwise->dropout(shape, p, eab_cpu_member(x, p), eab_cpu_member(y, p), add);
    return EAB_OK;
}

static int column_sum(eab_device *device, int32_t members, int32_t rows, int32_t width, eab_tensor x, eab_tensor sums) {
    for (int32_t p = 0; p < members; p++)
        own(device)->kernels->elementwise->column_sum(rows, width, eab_cpu_member(x, p), eab_cpu_member(sums, p));
    return EAB_OK;
}

static int rotate(eab_device *device, const eab_shape *shape, eab_tensor qkv, bool inverse) {
    for (int32_t p = 0; p < shape->members; p++)
        own(device)->kernels->elementwise->rotate(shape, shape->rope.data, eab_cpu_member(qkv, p), inverse);
    return EAB_OK;
}

static int embed_forward(eab_device *device, const eab_shape *shape, const eab_embedding *weights,
                         const int32_t *tokens, int64_t tokens_stride, eab_tensor x) {
    for (int32_t p = 0; p < shape->members; p++)
        own(device)->kernels->elementwise->embed_forward(shape, eab_cpu_member(weights->token, p),
                                                         eab_cpu_member(weights->position, p),
                                                         tokens + p * tokens_stride, eab_cpu_member(x, p));
    return EAB_OK;
}

static int embed_backward(eab_device *device, const eab_shape *shape, const eab_embedding *gradients,
                          const int32_t *tokens, int64_t tokens_stride, eab_tensor dx) {
    for (int32_t p = 0; p < shape->members; p++)
        own(device)->kernels->elementwise->embed_backward(shape, tokens + p * tokens_stride, eab_cpu_member(dx, p),
                                                          eab_cpu_member(gradients->token, p),
                                                          eab_cpu_member(gradients->position, p));
    return EAB_OK;
}

static int loss(eab_device *device, const eab_loss_args *args) {
    for (int32_t p = 0; p < args->members; p++) own(device)->kernels->elementwise->loss(args, p);
    return EAB_OK;
}

static int optimizer_step(eab_device *device, const eab_optimizer_args *args) {
    for (int32_t p = 0; p < args->members; p++) own(device)->kernels->elementwise->optimizer_step(args, p);
    return EAB_OK;
}

static int scores_forward(eab_device *device, const eab_attention_args *args, eab_tensor scores, eab_tensor weights) {
    for (int32_t p = 0; p < args->members; p++)
        own(device)->kernels->scores_forward(args, p, eab_cpu_member(scores, p), eab_cpu_member(weights, p));
    return EAB_OK;
}

static int scores_backward(eab_device *device, const eab_attention_args *args, eab_tensor scores, eab_tensor weights,
                           eab_tensor dweights) {
    for (int32_t p = 0; p < args->members; p++)
        own(device)->kernels->scores_backward(args, p, eab_cpu_member(scores, p), eab_cpu_member(weights, p),
                                              eab_cpu_member(dweights, p));
    return EAB_OK;
}

static int burn(eab_device *device, int32_t dtype, double flop, double *done) {
    *done = 0;
    if (dtype != EAB_F32) return eab_fail(EAB_UNSUPPORTED, "the cpu backend takes float32 only");
    *done = own(device)->kernels->peak_loop(flop);
    return EAB_OK;
}

static const char *supports(const eab_device *device, const eab_attention *attention) {
    (void)device;
    return attention->dtype == EAB_F32 ? NULL : "the cpu backend takes float32 only";
}

static const eab_bench_table bench = {
    .burn = burn, .scores_forward = scores_forward, .scores_backward = scores_backward};

extern const eab_backend eab_backend_cpu;
const eab_backend eab_backend_cpu = {
    .name = "cpu",
    .dtype = "float32",
    .real_bytes = sizeof(float),
    .micro_batch_bytes = MICRO_BATCH_BYTES,
    EAB_HOST_DEVICE_OPERATIONS,
    .open = open_device,
    .close = close_device,
    .describe = describe,
    .write_reals = write_reals,
    .read_reals = read_reals,
    .gemm = gemm,
    .norm_forward = norm_forward,
    .norm_backward = norm_backward,
    .qk_norm_forward = qk_norm_forward,
    .qk_norm_backward = qk_norm_backward,
    .activation_forward = activation_forward,
    .activation_backward = activation_backward,
    .gemm_finishes = true,
    .add = add,
    .dropout = dropout,
    .column_sum = column_sum,
    .rotate = rotate,
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
    .embed_forward = embed_forward,
    .embed_backward = embed_backward,
    .loss = loss,
    .optimizer_step = optimizer_step,
    .attention_block_forward = eab_generic_attention_block_forward,
    .attention_block_backward = eab_generic_attention_block_backward,
    .mlp_block_forward = eab_generic_mlp_block_forward,
    .mlp_block_backward = eab_generic_mlp_block_backward,
    .head_forward = eab_generic_head_forward,
    .head_backward = eab_generic_head_backward,
    .supports = supports,
    .bench = &bench,
};
