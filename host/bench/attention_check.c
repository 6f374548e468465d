/* The error of an attention implementation at the very shape that is timed, at a bounded cost.
 *
 * The reference takes head_dim * context operations a row, so that large problems are checked in part: of at most three heads
 * (first, middle, last of batch * heads) some query rows, spread over the context with a random jitter, so many that the work
 * stays within BUDGET. Forward, these rows of out are compared. Backward, the gradients are linear in dout: the
 * implementation is run with a dout that is 0 in all other rows, and then all of dq, dk and dv of those heads are what the
 * reference gets from these rows alone. Both run the code that is timed, on the same shape.
 *
 * error_ratio = |tested - float64| / max(|plain - float64|, unit roundoff * |terms before cancellation|), DESIGN.md 1.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "base/half.h"
#include "kernels/mechanism.h"
#include "kernels/reference/attention.h"
#include "tasks/philox.h"

enum { MAX_HEADS_CHECKED = 3, LEAST_ROWS = 8, MOST_ROWS = 4096 };
static const double BUDGET = 2e7; /* rows * context * head_dim, of all heads together: under a second */

/* One head of the problem on the host, contiguous: [context][head_dim] each. */
enum { Q, K, V, DOUT, OUT, DQ, DK, DV, TENSORS };
typedef struct {
    int64_t first, count; /* in the problem's tensors */
    int32_t head;         /* for its slope */
    int32_t rows;
    int32_t times[MOST_ROWS];
    double *exact[TENSORS]; /* inputs, and the reference's results */
    double *terms[3];
    float *plain[TENSORS];
    double *tested;
} checked_head;

typedef struct {
    double error, plain_error, terms; /* sums of squares */
} squares;

static void choose_rows(checked_head *head, int32_t context, int32_t wanted) {
    head->rows = wanted < context ? wanted : context;
    eab_random random = eab_random_at(20240718, 2, (uint32_t)head->first, (uint32_t)context, 0);
    for (int32_t i = 0; i < head->rows; i++) {
        /* Row i of each stretch of context / rows: the first and the last row always, any row of those between. */
        const int64_t begin = (int64_t)i * context / head->rows, end = (int64_t)(i + 1) * context / head->rows;
        int64_t time = begin + eab_random_below(&random, (int32_t)(end - begin));
        if (i == 0) time = 0;
        if (i == head->rows - 1) time = context - 1;
        head->times[i] = (int32_t)time;
    }
}

static void free_head(checked_head *head) {
    for (int i = 0; i < TENSORS; i++) {
        free(head->exact[i]);
        free(head->plain[i]);
    }
    for (int i = 0; i < 3; i++) free(head->terms[i]);
    free(head->tested);
    free(head);
}

static checked_head *new_head(int64_t count) {
    checked_head *head = calloc(1, sizeof *head);
    if (!head) return NULL;
    bool all = (head->tested = calloc((size_t)count, sizeof *head->tested)) != NULL;
    for (int i = 0; i < TENSORS && all; i++)
        all = (head->exact[i] = calloc((size_t)count, sizeof **head->exact)) &&
              (head->plain[i] = calloc((size_t)count, sizeof **head->plain));
    for (int i = 0; i < 3 && all; i++) all = (head->terms[i] = calloc((size_t)count, sizeof **head->terms)) != NULL;
    if (all) return head;
    free_head(head);
    return NULL;
}

static int read_inputs(checked_head *head, const eab_bench_attention_problem *p) {
    static const int32_t tensors[] = {EAB_BENCH_Q, EAB_BENCH_K, EAB_BENCH_V, EAB_BENCH_DOUT};
    for (int i = 0; i < (p->backward ? 4 : 3); i++) {
        EAB_TRY(eab_bench_read(&p->buffers, 0, tensors[i], head->first, head->count, head->exact[i]));
        for (int64_t j = 0; j < head->count; j++) head->plain[i][j] = (float)head->exact[i][j];
    }
    return EAB_OK;
}

static eab_attention_args args_of(const eab_attention *a, const int32_t *mechanism, const float *scale) {
    const int64_t size = (int64_t)a->context * a->head_dim;
    return (eab_attention_args){.members = 1,
                                .batch = 1,
                                .heads = 1,
                                .context = a->context,
                                .head_dim = a->head_dim,
                                .causal = a->causal,
                                .scores = {mechanism, scale},
                                .slopes = a->slopes,
                                .in_batch = size,
                                .in_head = size,
                                .in_time = a->head_dim,
                                .out_batch = size,
                                .out_head = size,
                                .out_time = a->head_dim};
}

static int compute(checked_head *head, const eab_bench_attention_problem *p) {
    const float scale = eab_mechanism_default_scale(p->attention.mechanism, p->attention.head_dim);
    const eab_attention_args args = args_of(&p->attention, &p->attention.mechanism, &scale);
    double **x = head->exact, **t = head->terms;
    float **y = head->plain;
    if (!p->backward) {
        EAB_TRY(eab_reference_attention_rows(&args, head->head, head->times, head->rows, x[Q], x[K], x[V], NULL, x[OUT],
                                             NULL, NULL, NULL, false));
        return eab_plain_attention_rows(&args, head->head, head->times, head->rows, y[Q], y[K], y[V], NULL, y[OUT],
                                        NULL, NULL, NULL, false);
    }
    EAB_TRY(eab_reference_attention_rows(&args, head->head, head->times, head->rows, x[Q], x[K], x[V], x[DOUT], NULL,
                                         x[DQ], x[DK], x[DV], false));
    EAB_TRY(eab_reference_attention_rows(&args, head->head, head->times, head->rows, x[Q], x[K], x[V], x[DOUT], NULL,
                                         t[0], t[1], t[2], true));
    return eab_plain_attention_rows(&args, head->head, head->times, head->rows, y[Q], y[K], y[V], y[DOUT], NULL, y[DQ],
                                    y[DK], y[DV], false);
}

static void add_square(squares *sum, double tested, double plain, double exact, double terms, int32_t dtype) {
    if (dtype != EAB_F32) plain = eab_half_round(plain, dtype);
    sum->error += (tested - exact) * (tested - exact);
    sum->plain_error += (plain - exact) * (plain - exact);
    sum->terms += fmax(exact * exact, terms * terms);
}

/* Forward: the chosen rows; backward: all of the three gradients. */
static int compare(checked_head *head, const eab_bench_attention_problem *p, squares *sum) {
    const int32_t width = p->attention.head_dim, dtype = p->attention.dtype;
    if (!p->backward) {
        EAB_TRY(eab_bench_read(&p->buffers, 0, EAB_BENCH_OUT, head->first, head->count, head->tested));
        for (int32_t row = 0; row < head->rows; row++)
            for (int64_t i = (int64_t)head->times[row] * width; i < ((int64_t)head->times[row] + 1) * width; i++)
                add_square(sum, head->tested[i], (double)head->plain[OUT][i], head->exact[OUT][i], 0, dtype);
        return EAB_OK;
    }
    for (int gradient = 0; gradient < 3; gradient++) {
        EAB_TRY(eab_bench_read(&p->buffers, 0, EAB_BENCH_DQ + gradient, head->first, head->count, head->tested));
        for (int64_t i = 0; i < head->count; i++)
            add_square(sum, head->tested[i], (double)head->plain[DQ + gradient][i], head->exact[DQ + gradient][i],
                       head->terms[gradient][i], dtype);
    }
    return EAB_OK;
}

/* dout of set 0 becomes 0 but for the rows that are checked. */
static int thin_out(const eab_bench_attention_problem *p, checked_head *const *heads, int32_t count) {
    const eab_backend *backend = p->buffers.device->backend;
    const size_t element = eab_dtype_bytes(p->attention.dtype);
    const size_t row_bytes = (size_t)p->attention.head_dim * element;
    char *dout = eab_bench_buffer(&p->buffers, 0, EAB_BENCH_DOUT);
    char *kept = malloc((size_t)MOST_ROWS * row_bytes * (size_t)count);
    if (!kept) return eab_fail(EAB_NO_MEMORY, "no memory for a check");
    int status = EAB_OK;
    for (int pass = 0; pass < 2 && !status; pass++) {
        for (int32_t i = 0; i < count; i++)
            for (int32_t row = 0; row < heads[i]->rows && !status; row++) {
                char *there = dout + (size_t)heads[i]->first * element + (size_t)heads[i]->times[row] * row_bytes;
                char *here = kept + ((size_t)i * MOST_ROWS + (size_t)row) * row_bytes;
                status = pass ? backend->upload(p->buffers.device, there, here, row_bytes)
                              : backend->download(p->buffers.device, here, there, row_bytes);
            }
        if (!pass && !status) status = backend->zero(p->buffers.device, dout, (size_t)p->count * element);
    }
    free(kept);
    return status;
}

static int zero_outputs(const eab_bench_attention_problem *p) {
    const size_t bytes = (size_t)p->count * eab_dtype_bytes(p->attention.dtype);
    for (int32_t i = p->backward ? EAB_BENCH_DQ : EAB_BENCH_OUT; i <= (p->backward ? EAB_BENCH_DV : EAB_BENCH_OUT); i++)
        EAB_TRY(p->buffers.device->backend->zero(p->buffers.device, eab_bench_buffer(&p->buffers, 0, i), bytes));
    return EAB_OK;
}

static int check_heads(eab_bench_task *task, const eab_bench_attention_problem *p, checked_head **heads, int32_t count,
                       int32_t rows, squares *sum) {
    const eab_attention *a = &p->attention;
    const int64_t all = (int64_t)a->batch * a->heads, size = (int64_t)a->context * a->head_dim;
    for (int32_t i = 0; i < count; i++) {
        const int64_t number = count == 1 ? 0 : (all - 1) * i / (count - 1);
        heads[i] = new_head(size);
        if (!heads[i]) return eab_fail(EAB_NO_MEMORY, "no memory for a check");
        heads[i]->first = number * size;
        heads[i]->count = size;
        heads[i]->head = (int32_t)(number % a->heads);
        choose_rows(heads[i], a->context, rows);
    }
    if (p->backward) EAB_TRY(thin_out(p, heads, count));
    EAB_TRY(zero_outputs(p));
    EAB_TRY(eab_bench_operation_at(task->point->op)->run(task, 0));
    EAB_TRY(task->device->backend->synchronize(task->device));
    for (int32_t i = 0; i < count; i++) {
        EAB_TRY(read_inputs(heads[i], p));
        EAB_TRY(compute(heads[i], p));
        EAB_TRY(compare(heads[i], p, sum));
    }
    return p->backward ? eab_bench_refill(&p->buffers, 0, EAB_BENCH_DOUT) : EAB_OK;
}

int eab_bench_attention_check(eab_bench_task *task, const eab_bench_attention_problem *p, double *ratio,
                              double *bound) {
    const eab_attention *a = &p->attention;
    const double heads_of_all = (double)a->batch * a->heads;
    const int32_t count = (int32_t)fmin(MAX_HEADS_CHECKED, heads_of_all);
    const double affordable = BUDGET / ((double)a->context * a->head_dim * count);
    const int32_t rows = (int32_t)fmin(MOST_ROWS, fmax(LEAST_ROWS, affordable));
    checked_head *heads[MAX_HEADS_CHECKED] = {NULL};
    squares sum = {0, 0, 0};
    const int status = check_heads(task, p, heads, count, rows, &sum);
    for (int32_t i = 0; i < count; i++)
        if (heads[i]) free_head(heads[i]);
    const double roundoff = a->dtype == EAB_F32 ? 0x1p-24 : eab_half_roundoff(a->dtype);
    *bound = p->backward ? 3 : 2;
    *ratio = sum.error == 0 ? 0 : sqrt(sum.error) / fmax(sqrt(sum.plain_error), roundoff * sqrt(sum.terms));
    return status;
}
