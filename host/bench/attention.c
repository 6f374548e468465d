/* attention: forward and backward, `fused` through the public API, as a user of the library calls it, and `unfused`
 * (bench_unfused.h).
 *
 * FLOP of a call: 4 head_dim for each allowed pair forward, 10 head_dim backward (DESIGN.md 5); a pair is a query and a key,
 * allowed if not masked. Compulsory traffic: forward reads q, k, v and writes out and row_stat once; backward reads q, k, v,
 * out, dout and row_stat and writes dq, dk and dv once.
 */
#include "attention.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/mechanism.h"
#include "unfused.h"

static bool is_unfused(const eab_bench_point *point) {
    return strcmp(eab_bench_axes[EAB_AXIS_IMPLEMENTATION].choices[point->implementation], "unfused") == 0;
}

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
    /* dpa's backward pass needs no scores, and forward they become the weights where they are. */
    tensors[EAB_BENCH_SCORES].count = p->backward && p->attention.mechanism != EAB_MECHANISM_dpa ? matrix : 0;
}

static int set_problem(eab_bench_attention_problem *problem, const eab_bench_point *point) {
    problem->unfused = is_unfused(point);
    problem->backward = point->pass == EAB_BENCH_BACKWARD;
    problem->attention = (eab_attention){.batch = point->batch,
                                         .heads = point->heads,
                                         .context = point->context,
                                         .head_dim = point->head_dim,
                                         .mechanism = point->mechanism,
                                         .dtype = point->dtype,
                                         .causal = point->causal};
    const double rows = (double)point->batch * point->heads * point->context;
    const double largest = rows * (problem->unfused ? fmax(point->head_dim, point->context) : point->head_dim);
    if (largest > 0x1p50) return eab_fail(EAB_NO_MEMORY, "a tensor of %.3g elements is past any memory", largest);
    problem->rows = (int64_t)rows;
    problem->count = problem->rows * point->head_dim;
    if (point->position != EAB_BENCH_ALIBI) return EAB_OK;
    problem->slopes = malloc((size_t)point->heads * sizeof *problem->slopes);
    if (!problem->slopes) return eab_fail(EAB_NO_MEMORY, "no memory for %d slopes", point->heads);
    for (int32_t head = 0; head < point->heads; head++)
        problem->slopes[head] = exp2f(-8 * (float)(head + 1) / (float)point->heads);
    problem->attention.slopes = problem->slopes;
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

static void *at(const eab_bench_attention_problem *problem, int32_t set, int32_t tensor) {
    return eab_bench_buffer(&problem->buffers, set, tensor);
}

static int forward(eab_device *device, const eab_bench_attention_problem *p, int32_t set) {
    if (p->unfused) return eab_bench_unfused_forward(device, p, set);
    return eab_attention_forward(device, &p->attention, at(p, set, EAB_BENCH_Q), at(p, set, EAB_BENCH_K),
                                 at(p, set, EAB_BENCH_V), at(p, set, EAB_BENCH_OUT), at(p, set, EAB_BENCH_ROW_STAT));
}

static int run(eab_bench_task *task, int32_t set) {
    const eab_bench_attention_problem *p = task->own;
    if (!p->backward) return forward(task->device, p, set);
    if (p->unfused) return eab_bench_unfused_backward(task->device, p, set);
    return eab_attention_backward(task->device, &p->attention, at(p, set, EAB_BENCH_Q), at(p, set, EAB_BENCH_K),
                                  at(p, set, EAB_BENCH_V), at(p, set, EAB_BENCH_OUT), at(p, set, EAB_BENCH_ROW_STAT),
                                  at(p, set, EAB_BENCH_DOUT), at(p, set, EAB_BENCH_DQ), at(p, set, EAB_BENCH_DK),
                                  at(p, set, EAB_BENCH_DV));
}

static void close_problem(eab_bench_task *task) {
    eab_bench_attention_problem *problem = task->own;
    if (!problem) return;
    eab_bench_buffers_close(&problem->buffers);
    free(problem->slopes);
    free(problem);
    task->own = NULL;
}

static int prepare(eab_bench_task *task, eab_bench_attention_problem *problem) {
    eab_bench_tensor tensors[EAB_BENCH_ATTENTION_TENSORS];
    EAB_TRY(set_problem(problem, task->point));
    list_tensors(problem, tensors);
    EAB_TRY(eab_bench_buffers_open(&problem->buffers, task->device, tensors, EAB_BENCH_ATTENTION_TENSORS,
                                   task->rotate_bytes, 0));
    task->sets = problem->buffers.sets;
    task->set_bytes = problem->buffers.set_bytes;
    count_work(task, problem);
    for (int32_t set = 0; set < task->sets && problem->backward; set++)
        EAB_TRY(forward(task->device, problem, set)); /* leaves out and row_stat */
    return task->device->backend->synchronize(task->device);
}

static int open_problem(eab_bench_task *task) {
    task->own = calloc(1, sizeof(eab_bench_attention_problem));
    if (!task->own) return eab_fail(EAB_NO_MEMORY, "no memory for a problem of attention");
    const int status = prepare(task, task->own);
    if (status) close_problem(task);
    return status;
}

static int check(eab_bench_task *task, double *ratio, double *bound) {
    return eab_bench_attention_check(task, task->own, ratio, bound);
}

static const char *unsupported(const eab_device *device, const eab_bench_point *point) {
    const eab_attention attention = {.batch = point->batch,
                                     .heads = point->heads,
                                     .context = point->context,
                                     .head_dim = point->head_dim,
                                     .mechanism = point->mechanism,
                                     .dtype = point->dtype,
                                     .causal = point->causal};
    const char *reason = is_unfused(point) ? eab_bench_unfused_unsupported(device, point) : NULL;
    return reason ? reason : device->backend->supports(device, &attention);
}

static const char *const implementations[] = {"fused", "unfused", NULL};

extern const eab_bench_operation eab_bench_attention;
const eab_bench_operation eab_bench_attention = {
    .name = "attention",
    .summary = "fused attention, and the unfused way: products with a context x context matrix between them",
    .axes = EAB_AXIS_BIT(MECHANISM) | EAB_AXIS_BIT(POSITION) | EAB_AXIS_BIT(CAUSAL) | EAB_AXIS_BIT(HEAD_DIM) |
            EAB_AXIS_BIT(BATCH) | EAB_AXIS_BIT(HEADS) | EAB_AXIS_BIT(CONTEXT) | EAB_AXIS_BIT(PASS) |
            EAB_AXIS_BIT(DTYPE),
    .implementations = implementations,
    .unsupported = unsupported,
    .open = open_problem,
    .run = run,
    .check = check,
    .close = close_problem,
};
