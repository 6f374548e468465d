/* The error of an attention implementation at the same shape as the measurement, at a bounded cost.
 *
 * The reference takes head_dim * context operations a row, so a large problem is checked in part: in at most three
 * heads (the first, middle and last of batch * heads) some query rows, spread over the context with a random jitter,
 * as many as BUDGET allows. Forward, these rows of out are compared. Backward, the gradients are linear in dout:
 * with a dout that is 0 in all other rows, all of dq, dk and dv of the head are the gradients of these rows alone,
 * which the reference computes. Both passes run the same code on the same shape as the measurement. */
#include <math.h>

#include "attention.h"
#include "base/half.h"
#include "check/error_ratio.h"
#include "kernels/mechanism.h"
#include "kernels/reference/attention.h"
#include "tasks/philox.h"

enum { MAX_HEADS_CHECKED = 3, LEAST_ROWS = 8, MOST_ROWS = 4096 };
static const double BUDGET = 2e7; /* rows * context * head_dim, of all heads together: below a second */

/* One head of the problem on the host. */
typedef struct {
    int64_t first, count; /* elements in the problem's tensors */
    int32_t head;         /* which slope */
    int32_t rows, times[MOST_ROWS];
    /* [context][head_dim] each; NULL: not used by the pass */
    double *exact[EAB_BENCH_ATTENTION_TENSORS]; /* inputs and results */
    double *terms[EAB_BENCH_ATTENTION_TENSORS]; /* of dq, dk, dv, before they cancel */
    float *plain[EAB_BENCH_ATTENTION_TENSORS];
    double *tested;
} checked_head;

/* The tensors that are compared: out, or dq, dk and dv. */
static int32_t first_result(const eab_bench_attention_problem *p) { return p->backward ? EAB_BENCH_DQ : EAB_BENCH_OUT; }
static int32_t last_result(const eab_bench_attention_problem *p) { return p->backward ? EAB_BENCH_DV : EAB_BENCH_OUT; }

static bool is_input(const eab_bench_attention_problem *p, int32_t tensor) {
    return tensor <= EAB_BENCH_V || (p->backward && tensor == EAB_BENCH_DOUT);
}

static int head_open(checked_head *head, const eab_bench_attention_problem *p, int64_t number) {
    const int64_t count = (int64_t)p->attention.context * p->attention.head_dim;
    *head = (checked_head){.first = number * count, .count = count, .head = (int32_t)(number % p->attention.heads)};
    head->tested = g_try_new0(double, (gsize)count);
    bool allocated = head->tested;
    for (int32_t i = 0; i <= last_result(p); i++) {
        if (!is_input(p, i) && i < first_result(p)) continue;
        head->exact[i] = g_try_new0(double, (gsize)count);
        head->terms[i] = g_try_new0(double, (gsize)count);
        head->plain[i] = g_try_new0(float, (gsize)count);
        allocated = allocated && head->exact[i] && head->terms[i] && head->plain[i];
    }
    return allocated ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory for a check");
}

static void head_close(checked_head *head) {
    for (int i = 0; i < EAB_BENCH_ATTENTION_TENSORS; i++) {
        g_free(head->exact[i]);
        g_free(head->terms[i]);
        g_free(head->plain[i]);
    }
    g_free(head->tested);
}

/* One row of each of `wanted` stretches of the context: always the first and the last row, any row of the others. */
static void choose_rows(checked_head *head, int32_t context, int32_t wanted) {
    head->rows = MIN(wanted, context);
    eab_random random = eab_random_at(20240718, 2, (uint32_t)head->first, (uint32_t)context, 0);
    for (int32_t i = 0; i < head->rows; i++) {
        const int64_t begin = (int64_t)i * context / head->rows, end = (int64_t)(i + 1) * context / head->rows;
        head->times[i] = (int32_t)begin + eab_random_below(&random, (int32_t)(end - begin));
    }
    head->times[0] = 0;
    head->times[head->rows - 1] = context - 1;
}

/* ---- on the device ---------------------------------------------------------------------------------------------- */

/* Zeroes dout of set 0, except for the rows that are checked. */
static int thin_out(const eab_bench_task *task, const checked_head *head) {
    const eab_bench_attention_problem *p = task->own;
    const eab_backend *backend = task->device->backend;
    const size_t element = eab_dtype_bytes(p->attention.dtype), row_bytes = (size_t)p->attention.head_dim * element;
    char *dout = eab_bench_buffer(&task->operands, 0, EAB_BENCH_DOUT), *rows = dout + (size_t)head->first * element;
    char *kept = g_malloc((size_t)head->rows * row_bytes);
    int status = EAB_OK;
    for (int32_t i = 0; i < head->rows && !status; i++)
        status = backend->download(task->device, kept + (size_t)i * row_bytes,
                                   rows + (size_t)head->times[i] * row_bytes, row_bytes);
    if (!status) status = backend->zero(task->device, dout, (size_t)p->count * element);
    for (int32_t i = 0; i < head->rows && !status; i++)
        status = backend->upload(task->device, rows + (size_t)head->times[i] * row_bytes, kept + (size_t)i * row_bytes,
                                 row_bytes);
    g_free(kept);
    return status;
}

/* Runs the operation on set 0, whose results are zeroed before. */
static int run_once(eab_bench_task *task, const eab_bench_attention_problem *p) {
    const eab_backend *backend = task->device->backend;
    const size_t bytes = (size_t)p->count * eab_dtype_bytes(p->attention.dtype);
    for (int32_t i = first_result(p); i <= last_result(p); i++)
        EAB_TRY(backend->zero(task->device, eab_bench_buffer(&task->operands, 0, i), bytes));
    EAB_TRY(task->operation->run(task, 0));
    return backend->synchronize(task->device);
}

/* ---- on the host ------------------------------------------------------------------------------------------------ */

static int read_inputs(checked_head *head, const eab_bench_task *task) {
    for (int32_t i = 0; i <= EAB_BENCH_DOUT; i++) {
        if (!is_input(task->own, i)) continue;
        EAB_TRY(eab_bench_read(&task->operands, i, head->first, head->count, head->exact[i]));
        for (int64_t j = 0; j < head->count; j++) head->plain[i][j] = (float)head->exact[i][j];
    }
    return EAB_OK;
}

/* Exact and plain results of the chosen rows. */
static int compute(checked_head *h, const eab_bench_attention_problem *p) {
    const float scale = eab_mechanism_default_scale(p->attention.mechanism, p->attention.head_dim);
    const eab_attention_args args = eab_attention_args_of(&p->attention, &scale);
    double **x = h->exact, **t = h->terms;
    float **y = h->plain;
    EAB_TRY(eab_reference_attention_rows(&args, h->head, h->times, h->rows, x[EAB_BENCH_Q], x[EAB_BENCH_K],
                                         x[EAB_BENCH_V], x[EAB_BENCH_DOUT], x[EAB_BENCH_OUT], x[EAB_BENCH_DQ],
                                         x[EAB_BENCH_DK], x[EAB_BENCH_DV], false));
    EAB_TRY(eab_plain_attention_rows(&args, h->head, h->times, h->rows, y[EAB_BENCH_Q], y[EAB_BENCH_K], y[EAB_BENCH_V],
                                     y[EAB_BENCH_DOUT], y[EAB_BENCH_OUT], y[EAB_BENCH_DQ], y[EAB_BENCH_DK],
                                     y[EAB_BENCH_DV], false));
    if (!p->backward) return EAB_OK;
    return eab_reference_attention_rows(&args, h->head, h->times, h->rows, x[EAB_BENCH_Q], x[EAB_BENCH_K],
                                        x[EAB_BENCH_V], x[EAB_BENCH_DOUT], NULL, t[EAB_BENCH_DQ], t[EAB_BENCH_DK],
                                        t[EAB_BENCH_DV], true);
}

/* Forward: the chosen rows; backward: all of the three gradients. */
static int compare(checked_head *head, const eab_bench_task *task, eab_error_sums *sums) {
    const eab_bench_attention_problem *p = task->own;
    const int32_t width = p->attention.head_dim, dtype = p->attention.dtype;
    const int32_t rows = p->backward ? p->attention.context : head->rows;
    for (int32_t tensor = first_result(p); tensor <= last_result(p); tensor++) {
        EAB_TRY(eab_bench_read(&task->operands, tensor, head->first, head->count, head->tested));
        for (int64_t i = 0; i < (int64_t)rows * width; i++) {
            const int64_t at = p->backward ? i : (int64_t)head->times[i / width] * width + i % width;
            double plain = head->plain[tensor][at];
            if (dtype != EAB_F32) plain = eab_half_round(plain, dtype);
            eab_error_add(sums, head->tested[at], plain, head->exact[tensor][at], head->terms[tensor][at]);
        }
    }
    return EAB_OK;
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

static int check_head(eab_bench_task *task, checked_head *head, eab_error_sums *sums) {
    const eab_bench_attention_problem *p = task->own;
    if (p->backward) EAB_TRY(thin_out(task, head));
    EAB_TRY(run_once(task, p));
    EAB_TRY(read_inputs(head, task));
    EAB_TRY(compute(head, p));
    EAB_TRY(compare(head, task, sums));
    return p->backward ? eab_bench_refill(&task->operands, 0, EAB_BENCH_DOUT) : EAB_OK;
}

int eab_bench_attention_check(eab_bench_task *task, eab_check_result *result) {
    const eab_bench_attention_problem *p = task->own;
    const eab_attention *a = &p->attention;
    const int64_t all = (int64_t)a->batch * a->heads, count = MIN(all, (int64_t)MAX_HEADS_CHECKED);
    const double affordable = BUDGET / ((double)a->context * a->head_dim * (double)count);
    const int32_t rows = (int32_t)fmin(MOST_ROWS, fmax(LEAST_ROWS, affordable));
    eab_error_sums sums = {0};
    int status = EAB_OK;
    for (int64_t i = 0; i < count && !status; i++) {
        checked_head *head = g_new(checked_head, 1);
        status = head_open(head, p, count == 1 ? 0 : (all - 1) * i / (count - 1));
        choose_rows(head, a->context, rows);
        if (!status) status = check_head(task, head, &sums);
        head_close(head);
        g_free(head);
    }
    result->bound = p->backward ? EAB_BOUND_GRADIENT : EAB_BOUND_FORWARD;
    result->error_ratio = eab_error_ratio(&sums, a->dtype == EAB_F32 ? 0x1p-24 : eab_half_roundoff(a->dtype));
    result->reason[0] = '\0';
    return status;
}
