/* The error of an attention implementation at the same shape as the measurement, at a bounded cost.
 *
 * The reference takes head_dim * context operations a row, so a large problem is checked in part: in at most three
 * heads (the first, middle and last of batch * heads) some query rows, spread over the context with a random jitter,
 * as many as BUDGET allows. Forward, these rows of out are compared. Backward, the gradients are linear in dout:
 * with a dout that is 0 in all other rows, all of dq, dk and dv of the head are the gradients of these rows alone,
 * which the reference computes. Both passes run the same code on the same shape as the measurement. */
#include <math.h>
#include <stdlib.h>

#include "attention.h"
#include "base/half.h"
#include "check/error_ratio.h"
#include "kernels/mechanism.h"
#include "kernels/reference/attention.h"
#include "tasks/philox.h"

enum { MAX_HEADS_CHECKED = 3, LEAST_ROWS = 8, MOST_ROWS = 4096 };
static const double BUDGET = 2e7; /* rows * context * head_dim, of all heads together: below a second */

/* One head of the problem on the host: [context][head_dim] each. */
enum { Q, K, V, DOUT, OUT, DQ, DK, DV, TENSORS };
typedef struct {
    int64_t first, count; /* elements in the problem's tensors */
    int32_t head;         /* which slope */
    int32_t rows, times[MOST_ROWS];
    double *exact[TENSORS]; /* inputs, and the reference's results */
    double *terms[3];       /* of dq, dk, dv, before they cancel */
    double *tested;
    float *plain[TENSORS];
    double *memory; /* of all of them */
} checked_head;

static int head_open(checked_head *head, const eab_attention *a, int64_t number) {
    enum { DOUBLES = TENSORS + 3 + 1 };
    const int64_t count = (int64_t)a->context * a->head_dim;
    *head = (checked_head){.first = number * count, .count = count, .head = (int32_t)(number % a->heads)};
    head->memory = calloc((size_t)count, DOUBLES * sizeof(double) + TENSORS * sizeof(float));
    if (!head->memory) return eab_fail(EAB_NO_MEMORY, "no memory for a check");
    for (int i = 0; i < TENSORS; i++) {
        head->exact[i] = head->memory + i * count;
        head->plain[i] = (float *)(head->memory + DOUBLES * count) + i * count;
    }
    for (int i = 0; i < 3; i++) head->terms[i] = head->memory + (TENSORS + i) * count;
    head->tested = head->memory + (TENSORS + 3) * count;
    return EAB_OK;
}

/* One row of each of `wanted` stretches of the context: always the first and the last row, any row of the others. */
static void choose_rows(checked_head *head, int32_t context, int32_t wanted) {
    head->rows = wanted < context ? wanted : context;
    eab_random random = eab_random_at(20240718, 2, (uint32_t)head->first, (uint32_t)context, 0);
    for (int32_t i = 0; i < head->rows; i++) {
        const int64_t begin = (int64_t)i * context / head->rows, end = (int64_t)(i + 1) * context / head->rows;
        int64_t time = begin + eab_random_below(&random, (int32_t)(end - begin));
        if (i == 0) time = 0;
        if (i == head->rows - 1) time = context - 1;
        head->times[i] = (int32_t)time;
    }
}

/* ---- on the device ---------------------------------------------------------------------------------------------- */

/* Zeroes dout of set 0, except for the rows that are checked. */
static int thin_out(const eab_bench_attention_problem *p, const checked_head *head) {
    eab_device *device = p->buffers.device;
    const size_t element = eab_dtype_bytes(p->attention.dtype), row_bytes = (size_t)p->attention.head_dim * element;
    char *dout = eab_bench_buffer(&p->buffers, 0, EAB_BENCH_DOUT), *rows = dout + (size_t)head->first * element;
    char *kept = g_malloc((size_t)head->rows * row_bytes);
    int status = EAB_OK;
    for (int32_t i = 0; i < head->rows && !status; i++)
        status = device->backend->download(device, kept + (size_t)i * row_bytes,
                                           rows + (size_t)head->times[i] * row_bytes, row_bytes);
    if (!status) status = device->backend->zero(device, dout, (size_t)p->count * element);
    for (int32_t i = 0; i < head->rows && !status; i++)
        status = device->backend->upload(device, rows + (size_t)head->times[i] * row_bytes,
                                         kept + (size_t)i * row_bytes, row_bytes);
    g_free(kept);
    return status;
}

static int zero_outputs(const eab_bench_attention_problem *p) {
    const size_t bytes = (size_t)p->count * eab_dtype_bytes(p->attention.dtype);
    for (int32_t i = p->backward ? EAB_BENCH_DQ : EAB_BENCH_OUT; i <= (p->backward ? EAB_BENCH_DV : EAB_BENCH_OUT); i++)
        EAB_TRY(p->buffers.device->backend->zero(p->buffers.device, eab_bench_buffer(&p->buffers, 0, i), bytes));
    return EAB_OK;
}

static int read_inputs(checked_head *head, const eab_bench_attention_problem *p) {
    static const int32_t tensors[] = {EAB_BENCH_Q, EAB_BENCH_K, EAB_BENCH_V, EAB_BENCH_DOUT};
    for (int i = 0; i < (p->backward ? 4 : 3); i++) {
        EAB_TRY(eab_bench_read(&p->buffers, tensors[i], head->first, head->count, head->exact[i]));
        for (int64_t j = 0; j < head->count; j++) head->plain[i][j] = (float)head->exact[i][j];
    }
    return EAB_OK;
}

/* ---- on the host ------------------------------------------------------------------------------------------------ */

/* Exact and plain results of the chosen rows. */
static int compute(checked_head *h, const eab_bench_attention_problem *p) {
    const float scale = eab_mechanism_default_scale(p->attention.mechanism, p->attention.head_dim);
    const eab_attention_args args = eab_attention_args_of(&p->attention, &scale);
    double **x = h->exact, **t = h->terms;
    float **y = h->plain;
    if (!p->backward) {
        EAB_TRY(eab_reference_attention_rows(&args, h->head, h->times, h->rows, x[Q], x[K], x[V], NULL, x[OUT], NULL,
                                             NULL, NULL, false));
        return eab_plain_attention_rows(&args, h->head, h->times, h->rows, y[Q], y[K], y[V], NULL, y[OUT], NULL, NULL,
                                        NULL, false);
    }
    EAB_TRY(eab_reference_attention_rows(&args, h->head, h->times, h->rows, x[Q], x[K], x[V], x[DOUT], NULL, x[DQ],
                                         x[DK], x[DV], false));
    EAB_TRY(eab_reference_attention_rows(&args, h->head, h->times, h->rows, x[Q], x[K], x[V], x[DOUT], NULL, t[0], t[1],
                                         t[2], true));
    return eab_plain_attention_rows(&args, h->head, h->times, h->rows, y[Q], y[K], y[V], y[DOUT], NULL, y[DQ], y[DK],
                                    y[DV], false);
}

/* Element i of head->tested with the exact and plain results of `tensor`. */
static void add_element(eab_error_sums *sums, const checked_head *head, int tensor, int64_t i, double terms,
                        int32_t dtype) {
    double plain = head->plain[tensor][i];
    if (dtype != EAB_F32) plain = eab_half_round(plain, dtype);
    eab_error_add(sums, head->tested[i], plain, head->exact[tensor][i], terms);
}

/* Forward: the chosen rows; backward: all of the three gradients. */
static int compare(checked_head *head, const eab_bench_attention_problem *p, eab_error_sums *sums) {
    const int32_t width = p->attention.head_dim, dtype = p->attention.dtype;
    if (!p->backward) {
        EAB_TRY(eab_bench_read(&p->buffers, EAB_BENCH_OUT, head->first, head->count, head->tested));
        for (int32_t row = 0; row < head->rows; row++)
            for (int64_t i = 0; i < width; i++)
                add_element(sums, head, OUT, (int64_t)head->times[row] * width + i, 0, dtype);
        return EAB_OK;
    }
    for (int gradient = 0; gradient < 3; gradient++) {
        EAB_TRY(eab_bench_read(&p->buffers, EAB_BENCH_DQ + gradient, head->first, head->count, head->tested));
        for (int64_t i = 0; i < head->count; i++)
            add_element(sums, head, DQ + gradient, i, head->terms[gradient][i], dtype);
    }
    return EAB_OK;
}

/* ---- all -------------------------------------------------------------------------------------------------------- */

static int check_head(eab_bench_task *task, const eab_bench_attention_problem *p,
                      int (*run)(eab_bench_task *task, int32_t set), checked_head *head, eab_error_sums *sums) {
    if (p->backward) EAB_TRY(thin_out(p, head));
    EAB_TRY(zero_outputs(p));
    EAB_TRY(run(task, 0));
    EAB_TRY(task->device->backend->synchronize(task->device));
    EAB_TRY(read_inputs(head, p));
    EAB_TRY(compute(head, p));
    EAB_TRY(compare(head, p, sums));
    return p->backward ? eab_bench_refill(&p->buffers, 0, EAB_BENCH_DOUT) : EAB_OK;
}

int eab_bench_attention_check(eab_bench_task *task, const eab_bench_attention_problem *p,
                              int (*run)(eab_bench_task *task, int32_t set), double *ratio, double *bound) {
    const eab_attention *a = &p->attention;
    const int64_t all = (int64_t)a->batch * a->heads, count = MIN(all, (int64_t)MAX_HEADS_CHECKED);
    const double affordable = BUDGET / ((double)a->context * a->head_dim * (double)count);
    const int32_t rows = (int32_t)fmin(MOST_ROWS, fmax(LEAST_ROWS, affordable));
    eab_error_sums sums = {0};
    int status = EAB_OK;
    for (int64_t i = 0; i < count && !status; i++) {
        checked_head *head = g_new(checked_head, 1);
        status = head_open(head, a, count == 1 ? 0 : (all - 1) * i / (count - 1));
        choose_rows(head, a->context, rows);
        if (!status) status = check_head(task, p, run, head, &sums);
        free(head->memory);
        g_free(head);
    }
    *bound = p->backward ? EAB_BOUND_GRADIENT : EAB_BOUND_FORWARD;
    *ratio = eab_error_ratio(&sums, a->dtype == EAB_F32 ? 0x1p-24 : eab_half_roundoff(a->dtype));
    return status;
}
