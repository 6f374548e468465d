/* attention: forward and backward; `fused` through the public API, as a user of the library calls it, and `unfused`
 * (unfused.c).
 *
 * FLOP of a call: 4 head_dim for each allowed pair of query and key forward, 10 head_dim backward (docs/design.md
 * 5). Compulsory traffic: forward reads q, k, v and writes out and row_stat once; backward reads q, k, v, out, dout
 * and row_stat and writes dq, dk and dv once. */
#include "attention.h"

#include <math.h>

#include "kernels/mechanism.h"

static eab_attention attention_of(const eab_bench_point *point) {
    return (eab_attention){.batch = point->batch,
                           .heads = point->heads,
                           .context = point->context,
                           .head_dim = point->head_dim,
                           .mechanism = point->mechanism,
                           .dtype = point->dtype,
                           .causal = point->causal,
                           .mix = 0.5f};
}

static const char *unsupported(const eab_device *device, const eab_bench_point *point) {
    const eab_attention attention = attention_of(point);
    const bool unfused = point->implementation == EAB_BENCH_UNFUSED;
    const char *reason = unfused ? eab_bench_unfused_unsupported(device, point) : NULL;
    return reason ? reason : device->backend->supports(device, &attention);
}

/* ---- opening and closing ---------------------------------------------------------------------------------------- */

static void list_tensors(const eab_bench_attention_problem *p, eab_bench_tensor *tensors) {
    for (int i = 0; i < EAB_BENCH_ATTENTION_TENSORS; i++)
        tensors[i] = (eab_bench_tensor){.count = i < EAB_BENCH_DOUT || p->backward ? p->count : 0,
                                        .dtype = p->attention.dtype,
                                        .input = i < EAB_BENCH_OUT || i == EAB_BENCH_DOUT,
                                        .magnitude = 1};
    const int64_t matrix = p->unfused ? p->rows * p->attention.context : 0;
    tensors[EAB_BENCH_ROW_STAT].dtype = EAB_F32;
    tensors[EAB_BENCH_ROW_STAT].count = p->unfused ? 0 : p->rows;
    tensors[EAB_BENCH_WEIGHTS].count = matrix;
    tensors[EAB_BENCH_DWEIGHTS].count = p->backward ? matrix : 0;
    /* dpa's backward pass needs no scores; without a backward pass the weights overwrite the scores. */
    tensors[EAB_BENCH_SCORES].count = p->backward && p->attention.mechanism != EAB_MECHANISM_dpa ? matrix : 0;
}

static int set_problem(eab_bench_attention_problem *problem, const eab_bench_point *point) {
    problem->unfused = point->implementation == EAB_BENCH_UNFUSED;
    problem->backward = point->pass == EAB_BENCH_BACKWARD;
    problem->attention = attention_of(point);
    const double rows = (double)point->batch * point->heads * point->context;
    const double largest = rows * (problem->unfused ? fmax(point->head_dim, point->context) : point->head_dim);
    if (largest > 0x1p50) return eab_fail(EAB_NO_MEMORY, "a tensor of %.3g elements is past any memory", largest);
    problem->rows = (int64_t)rows;
    problem->count = problem->rows * point->head_dim;
    if (point->position != EAB_BENCH_ALIBI) return EAB_OK;
    problem->attention.slopes = problem->slopes = g_new(float, point->heads);
    for (int32_t head = 0; head < point->heads; head++)
        problem->slopes[head] = exp2f(-8 * (float)(head + 1) / (float)point->heads);
    return EAB_OK;
}

static void count_work(eab_bench_task *task, const eab_bench_attention_problem *problem) {
    const eab_attention *a = &problem->attention;
    const double context = a->context, pairs = a->causal ? context * (context + 1) / 2 : context * context;
    const double tensor = (double)problem->count * (double)eab_dtype_bytes(a->dtype);
    const double stat = (double)problem->rows * sizeof(float);
    task->flop = (problem->backward ? 10.0 : 4.0) * a->head_dim * pairs * a->batch * a->heads;
    task->bytes = (problem->backward ? 8 : 4) * tensor + stat;
}

static int run_pass(eab_bench_task *task, int32_t set, bool backward) {
    const eab_bench_attention_problem *p = task->own;
    void *x[EAB_BENCH_ATTENTION_TENSORS];
    if (p->unfused) return eab_bench_unfused_run(task, set, backward);
    eab_bench_set_of(&task->operands, set, x);
    if (!backward)
        return eab_attention_forward(task->device, &p->attention, x[EAB_BENCH_Q], x[EAB_BENCH_K], x[EAB_BENCH_V],
                                     x[EAB_BENCH_OUT], x[EAB_BENCH_ROW_STAT]);
    return eab_attention_backward(task->device, &p->attention, x[EAB_BENCH_Q], x[EAB_BENCH_K], x[EAB_BENCH_V],
                                  x[EAB_BENCH_OUT], x[EAB_BENCH_ROW_STAT], x[EAB_BENCH_DOUT], x[EAB_BENCH_DQ],
                                  x[EAB_BENCH_DK], x[EAB_BENCH_DV]);
}

static int run(eab_bench_task *task, int32_t set) {
    const eab_bench_attention_problem *p = task->own;
    return run_pass(task, set, p->backward);
}

static int open_problem(eab_bench_task *task) {
    eab_bench_attention_problem *problem = task->own;
    eab_bench_tensor tensors[EAB_BENCH_ATTENTION_TENSORS];
    EAB_TRY(set_problem(problem, task->point));
    list_tensors(problem, tensors);
    EAB_TRY(eab_bench_buffers_open(&task->operands, task->device, tensors, EAB_BENCH_ATTENTION_TENSORS,
                                   task->rotate_bytes));
    count_work(task, problem);
    for (int32_t set = 0; set < task->operands.sets && problem->backward; set++)
        EAB_TRY(run_pass(task, set, false)); /* writes the backward pass's inputs */
    return task->device->backend->synchronize(task->device);
}

static void close_problem(eab_bench_task *task) {
    const eab_bench_attention_problem *problem = task->own;
    g_free(problem->slopes);
}

const eab_bench_operation eab_bench_attention = {
    .name = "attention",
    .summary = "fused attention, and the unfused way: products with a context x context matrix between them",
    .axes = EAB_AXIS_BIT(MECHANISM) | EAB_AXIS_BIT(POSITION) | EAB_AXIS_BIT(CAUSAL) | EAB_AXIS_BIT(HEAD_DIM) |
            EAB_AXIS_BIT(BATCH) | EAB_AXIS_BIT(HEADS) | EAB_AXIS_BIT(CONTEXT) | EAB_AXIS_BIT(PASS) |
            EAB_AXIS_BIT(DTYPE),
    .implementations = 1 << EAB_BENCH_FUSED | 1 << EAB_BENCH_UNFUSED,
    .own_bytes = sizeof(eab_bench_attention_problem),
    .unsupported = unsupported,
    .open = open_problem,
    .run = run,
    .check = eab_bench_attention_check,
    .close = close_problem,
};
