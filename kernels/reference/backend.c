/* The reference as a backend: slow and plain; everything else is checked against it. Compiled twice (real.h): as
 * "reference" in float64, and as "plain" in float32, which is not listed. */
#include "../generic/host_device.h"
#include "attention.h"
#include "primitives.h"

#include <stdio.h>

static int open_device(int index, eab_device *device) {
    (void)index;
    (void)device;
    return EAB_OK;
}

static void close_device(eab_device *device) { (void)device; }

static void describe(const eab_device *device, char *text, size_t size) {
    (void)device;
    snprintf(text, size, sizeof(eab_real) == sizeof(double) ? "float64 reference" : "float32, plain");
}

static int write_reals(eab_device *device, void *to, const double *host, int64_t count) {
    (void)device;
    for (int64_t i = 0; i < count; i++) ((eab_real *)to)[i] = (eab_real)host[i];
    return EAB_OK;
}

static int read_reals(eab_device *device, double *host, const void *from, int64_t count) {
    (void)device;
    for (int64_t i = 0; i < count; i++) host[i] = (double)((const eab_real *)from)[i];
    return EAB_OK;
}

static int attention_forward(eab_device *device, const eab_attention_args *args, eab_const_tensor q, eab_const_tensor k,
                             eab_const_tensor v, eab_tensor out, eab_tensor row_stat) {
    (void)device;
    for (int32_t member = 0; member < args->members; member++)
        EAB_TRY(EAB_REFERENCE(attention_forward)(args, member, EAB_REFERENCE(read)(q, member),
                                                 EAB_REFERENCE(read)(k, member), EAB_REFERENCE(read)(v, member),
                                                 EAB_REFERENCE(member)(out, member),
                                                 EAB_REFERENCE(member)(row_stat, member)));
    return EAB_OK;
}

/* Reads neither out nor row_stat: rows are computed again, in full precision. */
static int attention_backward(eab_device *device, const eab_attention_args *args, eab_const_tensor q,
                              eab_const_tensor k, eab_const_tensor v, eab_const_tensor out, eab_const_tensor row_stat,
                              eab_const_tensor dout, eab_tensor dq, eab_tensor dk, eab_tensor dv) {
    (void)device;
    (void)out;
    (void)row_stat;
    for (int32_t member = 0; member < args->members; member++)
        EAB_TRY(EAB_REFERENCE(attention_backward)(
            args, member, EAB_REFERENCE(read)(q, member), EAB_REFERENCE(read)(k, member),
            EAB_REFERENCE(read)(v, member), EAB_REFERENCE(read)(dout, member), EAB_REFERENCE(member)(dq, member),
            EAB_REFERENCE(member)(dk, member), EAB_REFERENCE(member)(dv, member)));
    return EAB_OK;
}

static const char *supports(const eab_device *device, const eab_attention *attention) {
    (void)device;
    return attention->dtype == EAB_F32 ? NULL : "the reference takes float32 only";
}

#ifdef EAB_REFERENCE_FLOAT32
const eab_backend eab_backend_plain = {
    .name = "plain",
    .dtype = "float32",
#else
extern const eab_backend eab_backend_reference;
const eab_backend eab_backend_reference = {
    .name = "reference",
    .dtype = "float64",
#endif
    .real_bytes = sizeof(eab_real),
    .precisions = 1u << EAB_PRECISION_TF32 | 1u << EAB_PRECISION_BF16,
    EAB_HOST_DEVICE_OPERATIONS,
    .open = open_device,
    .close = close_device,
    .describe = describe,
    .write_reals = write_reals,
    .read_reals = read_reals,
    .gemm = EAB_REFERENCE(gemm),
    .norm_forward = EAB_REFERENCE(norm_forward),
    .norm_backward = EAB_REFERENCE(norm_backward),
    .qk_norm_forward = EAB_REFERENCE(qk_norm_forward),
    .qk_norm_backward = EAB_REFERENCE(qk_norm_backward),
    .activation_forward = EAB_REFERENCE(activation_forward),
    .activation_backward = EAB_REFERENCE(activation_backward),
    .add = EAB_REFERENCE(add),
    .dropout = EAB_REFERENCE(dropout),
    .column_sum = EAB_REFERENCE(column_sum),
    .rotate = EAB_REFERENCE(rotate),
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
    .embed_forward = EAB_REFERENCE(embed_forward),
    .embed_backward = EAB_REFERENCE(embed_backward),
    .loss = EAB_REFERENCE(loss),
    .optimizer_step = EAB_REFERENCE(optimizer_step),
    .attention_block_forward = eab_generic_attention_block_forward,
    .attention_block_backward = eab_generic_attention_block_backward,
    .mlp_block_forward = eab_generic_mlp_block_forward,
    .mlp_block_backward = eab_generic_mlp_block_backward,
    .head_forward = eab_generic_head_forward,
    .head_backward = eab_generic_head_backward,
    .supports = supports,
};
