#include "unfused.h"

#include "kernels/bench.h"
#include "kernels/mechanism.h"
#include "library.h"

const char *eab_bench_unfused_unsupported(const eab_device *device, const eab_bench_point *point) {
    if (!device->backend->bench) return "this backend has no unfused attention";
    if (point->dtype != EAB_F32) return "unfused attention is measured in float32 only";
    return NULL;
}

/* Of batch * heads problems at once; heights and widths as in c = op(a) op(b). */
static int product(eab_device *device, const eab_bench_attention_problem *p, int32_t set, int32_t a, bool transpose_a,
                   int32_t b, bool transpose_b, int32_t c, int32_t m, int32_t n, int32_t k) {
    static const char *unavailable = "";
    const eab_bench_library *library = eab_bench_library_from_name("openblas");
    if (unavailable && !*unavailable) unavailable = library->unavailable();
    const eab_gemm gemm = {.members = p->attention.batch * p->attention.heads,
                           .m = m,
                           .n = n,
                           .k = k,
                           .lda = transpose_a ? m : k,
                           .ldb = transpose_b ? k : n,
                           .ldc = n,
                           .transpose_a = transpose_a,
                           .transpose_b = transpose_b,
                           .a = {eab_bench_buffer(&p->buffers, set, a), (int64_t)m * k},
                           .b = {eab_bench_buffer(&p->buffers, set, b), (int64_t)k * n},
                           .c = {eab_bench_buffer(&p->buffers, set, c), (int64_t)m * n}};
    if (device->backend->capacity || unavailable) return device->backend->gemm(device, &gemm);
    library->product(NULL, &gemm);
    return EAB_OK;
}

static eab_attention_args args_of(const eab_attention *a, const float *scale) {
    return (eab_attention_args){.members = 1,
                                .batch = a->batch,
                                .heads = a->heads,
                                .context = a->context,
                                .head_dim = a->head_dim,
                                .causal = a->causal,
                                .scores = {&a->mechanism, scale},
                                .slopes = a->slopes};
}

static eab_tensor tensor(const eab_bench_attention_problem *p, int32_t set, int32_t which) {
    return (eab_tensor){eab_bench_buffer(&p->buffers, set, which), 0};
}

int eab_bench_unfused_forward(eab_device *device, const eab_bench_attention_problem *p, int32_t set) {
    const int32_t context = p->attention.context, width = p->attention.head_dim;
    const float scale = eab_mechanism_default_scale(p->attention.mechanism, width);
    const eab_attention_args args = args_of(&p->attention, &scale);
    const int32_t scores = p->buffers.tensors[EAB_BENCH_SCORES].count ? EAB_BENCH_SCORES : EAB_BENCH_WEIGHTS;
    EAB_TRY(product(device, p, set, EAB_BENCH_Q, false, EAB_BENCH_K, true, scores, context, context, width));
    EAB_TRY(device->backend->bench->scores_forward(device, &args, tensor(p, set, scores),
                                                   tensor(p, set, EAB_BENCH_WEIGHTS)));
    return product(device, p, set, EAB_BENCH_WEIGHTS, false, EAB_BENCH_V, false, EAB_BENCH_OUT, context, width,
                   context);
}

int eab_bench_unfused_backward(eab_device *device, const eab_bench_attention_problem *p, int32_t set) {
    const int32_t context = p->attention.context, width = p->attention.head_dim;
    const float scale = eab_mechanism_default_scale(p->attention.mechanism, width);
    const eab_attention_args args = args_of(&p->attention, &scale);
    EAB_TRY(
        product(device, p, set, EAB_BENCH_WEIGHTS, true, EAB_BENCH_DOUT, false, EAB_BENCH_DV, context, width, context));
    EAB_TRY(
        product(device, p, set, EAB_BENCH_DOUT, false, EAB_BENCH_V, true, EAB_BENCH_DWEIGHTS, context, context, width));
    EAB_TRY(device->backend->bench->scores_backward(device, &args, tensor(p, set, EAB_BENCH_SCORES),
                                                    tensor(p, set, EAB_BENCH_WEIGHTS),
                                                    tensor(p, set, EAB_BENCH_DWEIGHTS)));
    EAB_TRY(
        product(device, p, set, EAB_BENCH_DWEIGHTS, false, EAB_BENCH_K, false, EAB_BENCH_DQ, context, width, context));
    return product(device, p, set, EAB_BENCH_DWEIGHTS, true, EAB_BENCH_Q, false, EAB_BENCH_DK, context, width, context);
}
