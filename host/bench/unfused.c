/* Attention the unfused way: products by OpenBLAS where the processor has it, else by the backend (cuBLAS on a GPU),
 * and the scores between them in memory. */
#include "attention.h"
#include "kernels/bench.h"
#include "kernels/mechanism.h"
#include "library.h"

const char *eab_bench_unfused_unsupported(const eab_device *device, const eab_bench_point *point) {
    if (!device->backend->bench) return "this backend has no unfused attention";
    if (point->dtype != EAB_F32) return "unfused attention is measured in float32 only";
    return NULL;
}

/* An operand of a product: a tensor of the set, transposed or not. */
typedef struct {
    int32_t tensor;
    bool transposed;
} operand;

/* c = op(a) op(b) for batch * heads problems; op(a) is [m][k], op(b) is [k][n]. */
static int product(eab_bench_task *task, int32_t set, operand a, operand b, int32_t c, int32_t m, int32_t n,
                   int32_t k) {
    const eab_bench_attention_problem *p = task->own;
    const eab_bench_library *library = eab_bench_library_at(EAB_BENCH_OPENBLAS);
    const eab_backend *backend = task->device->backend;
    const eab_gemm gemm = {.members = p->attention.batch * p->attention.heads,
                           .m = m,
                           .n = n,
                           .k = k,
                           .lda = a.transposed ? m : k,
                           .ldb = b.transposed ? k : n,
                           .ldc = n,
                           .transpose_a = a.transposed,
                           .transpose_b = b.transposed,
                           .a = {eab_bench_buffer(&task->operands, set, a.tensor), (int64_t)m * k},
                           .b = {eab_bench_buffer(&task->operands, set, b.tensor), (int64_t)k * n},
                           .c = {eab_bench_buffer(&task->operands, set, c), (int64_t)m * n}};
    if (backend->capacity || library->unavailable()) return backend->gemm(task->device, &gemm);
    library->product(NULL, &gemm);
    return EAB_OK;
}

int eab_bench_unfused_run(eab_bench_task *task, int32_t set, bool backward) {
    const eab_bench_attention_problem *p = task->own;
    const eab_bench_table *table = task->device->backend->bench;
    const eab_bench_buffers *operands = &task->operands;
    const int32_t context = p->attention.context, width = p->attention.head_dim;
    const float scale = eab_mechanism_default_scale(p->attention.mechanism, width);
    const eab_attention_args args = eab_attention_args_of(&p->attention, &scale);
    const int32_t scores = operands->tensors[EAB_BENCH_SCORES].count ? EAB_BENCH_SCORES : EAB_BENCH_WEIGHTS;
    const eab_tensor weights = eab_bench_operand(operands, set, EAB_BENCH_WEIGHTS);
    const operand q = {EAB_BENCH_Q, false}, k = {EAB_BENCH_K, false}, k_transposed = {EAB_BENCH_K, true};
    const operand v = {EAB_BENCH_V, false}, v_transposed = {EAB_BENCH_V, true}, dout = {EAB_BENCH_DOUT, false};
    const operand a = {EAB_BENCH_WEIGHTS, false}, a_transposed = {EAB_BENCH_WEIGHTS, true};
    const operand dscores = {EAB_BENCH_DWEIGHTS, false}, dscores_transposed = {EAB_BENCH_DWEIGHTS, true};
    if (!backward) {
        EAB_TRY(product(task, set, q, k_transposed, scores, context, context, width));
        EAB_TRY(table->scores_forward(task->device, &args, eab_bench_operand(operands, set, scores), weights));
        return product(task, set, a, v, EAB_BENCH_OUT, context, width, context);
    }
    EAB_TRY(product(task, set, a_transposed, dout, EAB_BENCH_DV, context, width, context));
    EAB_TRY(product(task, set, dout, v_transposed, EAB_BENCH_DWEIGHTS, context, context, width));
    EAB_TRY(table->scores_backward(task->device, &args, eab_bench_operand(operands, set, EAB_BENCH_SCORES), weights,
                                   eab_bench_operand(operands, set, EAB_BENCH_DWEIGHTS)));
    EAB_TRY(product(task, set, dscores, k, EAB_BENCH_DQ, context, width, context));
    return product(task, set, dscores_transposed, q, EAB_BENCH_DK, context, width, context);
}
