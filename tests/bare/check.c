/* Tests the processor's kernels with the C library alone, so that a cross compiler and an emulator are enough: every
 * operation against the float64 reference, unaligned operands, and a short training of either backend. Prints a
 * summary; exit code 1 if a check failed. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/check/suite.h"
#include "host/model/network.h"
#include "kernels/cpu/kernels.h"
#include "kernels/mechanism.h"

static int checks, wrong;

static void expect(bool right, const char *what) {
    checks++;
    wrong += !right;
    if (!right) printf("wrong: %s\n", what);
}

static void must(int status) {
    if (!status) return;
    printf("cannot run: %s\n", eab_last_error());
    exit(1);
}

static void report(void *context, const eab_check_operation *operation, const eab_check_shape *shape,
                   const eab_check_result *result) {
    char line[300];
    snprintf(line, sizeof line, "%s, context %d, d_model %d, heads %d: error ratio %g of %g %s", operation->name,
             shape->context, shape->d_model, shape->heads, result->error_ratio, result->bound, result->reason);
    expect(result->passed, line);
    (void)context;
}

/* A product of operands that start `shift` floats past an aligned address has the same bits as the aligned product. */
static void check_unaligned(void) {
    enum { M = 19, N = 37, K = 23, ROOM = 2048 };
    static _Alignas(64) float a[ROOM], b[ROOM], c[ROOM], aligned[M * N];
    for (int shift = 0; shift < 16; shift++) {
        for (int i = 0; i < M * K; i++) a[shift + i] = sinf((float)i);
        for (int i = 0; i < K * N; i++) b[shift + i] = cosf((float)i);
        const eab_gemm product = {.members = 1,
                                  .m = M,
                                  .n = N,
                                  .k = K,
                                  .lda = K,
                                  .ldb = N,
                                  .ldc = N,
                                  .a = {a + shift, 0},
                                  .b = {b + shift, 0},
                                  .c = {c + shift, 0}};
        eab_cpu_workspace workspace = {0};
        must(eab_cpu_kernels_get()->gemm(&workspace, &product, 0));
        eab_cpu_workspace_free(&workspace);
        if (shift == 0) memcpy(aligned, c, sizeof aligned);
        expect(!memcmp((void *)(c + shift), (void *)aligned, sizeof aligned), "a product of unaligned operands");
    }
}

typedef struct {
    double first, early, last; /* mean loss of a step in nats: the first, the eighth and the last */
} losses;

static losses train(const char *backend, const eab_config *config, int64_t steps) {
    eab_device *device;
    eab_model model;
    int32_t *inputs, *targets;
    int64_t *counts;
    eab_tally *tally;
    losses result = {0};
    const uint32_t seed = 1;
    const uint8_t held_out = 0;
    eab_generate_args generate = {.members = 1,
                                  .batch = config->batch,
                                  .context = config->context,
                                  .levels = &config->level,
                                  .held_out = &held_out,
                                  .seeds = &seed,
                                  .stream = EAB_STREAM_TRAINING};
    const size_t tokens = (size_t)(config->batch * config->context) * sizeof(int32_t);
    must(eab_device_open_backend(eab_backend_from_name(backend), 0, &device));
    must(eab_model_create(device, 1, config, &model));
    must(device->backend->allocate(device, tokens, (void **)&inputs));
    must(device->backend->allocate(device, tokens, (void **)&targets));
    must(device->backend->allocate(device, sizeof *counts, (void **)&counts));
    must(device->backend->allocate(device, sizeof *tally, (void **)&tally));
    for (int64_t step = 0; step < steps; step++) {
        generate.first_index = (uint64_t)step * (uint64_t)config->batch;
        must(device->backend->generate(device, &generate, inputs, targets, counts));
        must(device->backend->zero(device, tally, sizeof *tally));
        must(eab_model_pass(&model, inputs, targets, counts, tally, NULL));
        must(eab_model_step(&model, step));
        result.last = tally->loss_nats / (double)tally->tokens; /* both backends compute in host memory */
        if (step == 0) result.first = result.last;
        if (step == 7) result.early = result.last;
    }
    device->backend->release(device, inputs);
    device->backend->release(device, targets);
    device->backend->release(device, counts);
    device->backend->release(device, tally);
    eab_model_destroy(&model);
    eab_device_close(device);
    return result;
}

static void check_training(int32_t mechanism, eab_activation activation, int32_t width, eab_position position) {
    const eab_config config = {
        .level.option =
            {[EAB_RECURRENCE_BASIS] = 5, [EAB_RECURRENCE_DELAY] = 2, [EAB_RECURRENCE_A] = 1, [EAB_RECURRENCE_B] = 1},
        .layers = 2,
        .d_model = width,
        .heads = 2,
        .mlp_ratio = 3,
        .context = 13,
        .position = (int32_t)position,
        .alibi_span = 8,
        .norm = EAB_NORM_LAYER,
        .activation = (int32_t)activation,
        .bias = 1,
        .init_scale = 1,
        .embedding_scale = 0.5,
        .qk_init = 1,
        .mechanism = mechanism,
        .optimizer = EAB_OPTIMIZER_ADAMW,
        .lr = 0.01,
        .beta1 = 0.9,
        .beta2 = 0.98,
        .weight_decay = 0.01,
        .clip = 1,
        .steps = 40,
        .batch = 9,
        .warmup = 10,
        .seed = 1};
    const losses reference = train("reference", &config, config.steps), here = train("cpu", &config, config.steps);
    char line[200];
    snprintf(line, sizeof line,
             "training, mechanism %d, activation %d, d_model %d: loss %.6f, %.6f, %.6f, reference %.6f, %.6f, %.6f",
             mechanism, (int)activation, width, here.first, here.early, here.last, reference.first, reference.early,
             reference.last);
    puts(line);
    /* Later losses differ more: rounding differences grow from step to step, fastest with ea. */
    expect(fabs(here.first - reference.first) < 1e-5 * reference.first &&
               fabs(here.early - reference.early) < 1e-3 * reference.early && here.last < 0.75 * here.first,
           line);
}

int main(void) {
    eab_device *device;
    int failed;
    char description[256];
    must(eab_device_open("cpu", 0, &device));
    device->backend->describe(device, description, sizeof description);
    printf("%s: vectors of %d floats\n", description, eab_cpu_kernels_get()->lanes);
    must(eab_check_all(&device, NULL, report, NULL, &failed));
    eab_device_close(device);
    check_unaligned();
    check_training(EAB_MECHANISM_dpa, EAB_ACTIVATION_RELU, 24, EAB_POSITION_ALIBI);
    check_training(EAB_MECHANISM_dpa, EAB_ACTIVATION_GELU, 20, EAB_POSITION_ROPE);
    check_training(EAB_MECHANISM_ea, EAB_ACTIVATION_RELU, 20, EAB_POSITION_LEARNED);
    check_training(EAB_MECHANISM_ea, EAB_ACTIVATION_GELU, 24, EAB_POSITION_ALIBI);
    printf("%d checks, %d wrong\n", checks, wrong);
    return wrong > 0;
}
