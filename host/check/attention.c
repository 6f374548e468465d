/* Attention, forward and backward: in the backend's own type as a model calls it, and in bf16 and fp16 as the public
 * API does. Of the two 16-bit types the inputs are rounded first, for all backends alike; the plain implementation
 * computes in float32 and rounds its results. "masked": causal, with NaN and infinity in some inputs; only results that
 * do not depend on these are checked. */
#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "buffers.h"
#include "kernels/mechanism.h"
#include "kernels/reference/attention.h"

enum { MAX_HEADS = 64, MAX_HALF_HEAD_DIM = 128 };
enum { Q, K, V, DOUT, INPUTS, OUT = INPUTS, DQ, DK, DV, ROW_STAT, TENSORS };

typedef struct {
    eab_attention_args args;
    int32_t mechanism[EAB_CHECK_MAX_MEMBERS];
    float scale[EAB_CHECK_MAX_MEMBERS], mix[EAB_CHECK_MAX_MEMBERS], slopes[MAX_HEADS];
    eab_tensor tensors[TENSORS];
    eab_attention half; /* in bf16 and fp16: the public API's problem */
    bool masked;        /* NaN and infinity in masked pairs */
} attention_problem;

static void problem_init(attention_problem *problem, const eab_check_shape *shape) {
    const int32_t head_dim = shape->d_model / shape->heads;
    for (int32_t member = 0; member < shape->members; member++) {
        problem->mechanism[member] = shape->mechanism;
        problem->scale[member] = eab_mechanism_default_scale(shape->mechanism, head_dim);
        problem->mix[member] = 0.25f * (float)(1 + member % 3);
    }
    for (int32_t head = 0; head < shape->heads; head++) problem->slopes[head] = exp2f(-(float)(head + 1));
    problem->args = (eab_attention_args){.members = shape->members,
                                         .batch = shape->batch,
                                         .heads = shape->heads,
                                         .context = shape->context,
                                         .head_dim = head_dim,
                                         .causal = true,
                                         .scores = {problem->mechanism, problem->scale, problem->mix},
                                         .slopes = shape->slopes ? problem->slopes : NULL,
                                         .in_batch = (int64_t)shape->context * 3 * shape->d_model,
                                         .in_head = head_dim,
                                         .in_time = 3 * (int64_t)shape->d_model,
                                         .out_batch = (int64_t)shape->context * shape->d_model,
                                         .out_head = head_dim,
                                         .out_time = shape->d_model};
}

/* Both passes, or the forward pass only. */
static void run_passes(eab_check_run *run, const attention_problem *problem) {
    const eab_tensor *t = problem->tensors;
    const eab_const_tensor q = eab_const(t[Q]), k = eab_const(t[K]), v = eab_const(t[V]);
    EAB_CHECK_CALL(attention_forward, &problem->args, q, k, v, t[OUT], t[ROW_STAT]);
    if (run->operation->gradient)
        EAB_CHECK_CALL(attention_backward, &problem->args, q, k, v, eab_const(t[OUT]), eab_const(t[ROW_STAT]),
                       eab_const(t[DOUT]), t[DQ], t[DK], t[DV]);
}

static bool is_reference(const eab_check_run *run) { return run->device->backend->real_bytes == sizeof(double); }

static double *member_of(eab_tensor tensor, int32_t member) { return (double *)tensor.data + member * tensor.stride; }

/* On the reference: the size of the gradients' terms before they cancel, added to terms[3], laid out as dq, dk, dv.
 * run->roundoff is set for 16-bit types only. */
static void add_terms(eab_check_run *run, const attention_problem *problem, const eab_tensor *terms) {
    const eab_tensor *t = problem->tensors;
    for (int32_t m = 0; m < problem->args.members && !run->status; m++)
        run->status = eab_reference_attention_terms(&problem->args, m, member_of(t[Q], m), member_of(t[K], m),
                                                    member_of(t[V], m), member_of(t[DOUT], m), member_of(terms[0], m),
                                                    member_of(terms[1], m), member_of(terms[2], m), run->roundoff > 0);
}

static void add_squares(eab_check_run *run, eab_tensor terms, int64_t count) {
    for (int32_t member = 0; member < run->members && !run->status; member++)
        for (int64_t i = 0; i < count; i++)
            run->terms_squared += member_of(terms, member)[i] * member_of(terms, member)[i];
}

/* ---- as a model calls it: q, k and v are columns of one matrix -------------------------------------------------- */

static void split(const eab_check_run *run, eab_tensor qkv, int64_t d_model, eab_tensor *parts) {
    const int64_t bytes = d_model * (int64_t)run->device->backend->real_bytes;
    for (int i = 0; i < 3; i++) {
        parts[i] = qkv;
        if (qkv.data) parts[i].data = (char *)qkv.data + i * bytes;
    }
}

static void check_attention(eab_check_run *run, const eab_check_shape *shape) {
    attention_problem problem;
    problem_init(&problem, shape);
    const int32_t d_model = shape->d_model;
    const int64_t rows = eab_check_rows(shape), in_count = rows * 3 * d_model;
    eab_tensor *t = problem.tensors, terms[3];
    split(run, eab_check_tensor(run, in_count, 1), d_model, &t[Q]);
    t[OUT] = eab_check_tensor(run, rows * d_model, NAN);
    t[ROW_STAT] = eab_check_tensor(run, rows * shape->heads, NAN);
    if (run->operation->gradient) {
        t[DOUT] = eab_check_tensor(run, rows * d_model, 1);
        split(run, eab_check_tensor(run, in_count, NAN), d_model, &t[DQ]);
    }
    run_passes(run, &problem);
    if (!run->operation->gradient) {
        eab_check_output(run, t[OUT]);
        eab_check_output(run, t[ROW_STAT]);
        return;
    }
    eab_check_output(run, t[DQ]); /* and dk, dv */
    if (is_reference(run)) {
        split(run, eab_check_tensor(run, in_count, 0), d_model, terms);
        add_terms(run, &problem, terms);
        add_squares(run, terms[0], in_count);
    }
}

/* ---- in bf16 and fp16: contiguous tensors ----------------------------------------------------------------------- */

/* Rounds to the dtype. */
static double round_to(double value, int32_t dtype) {
    return dtype == EAB_F32 ? (double)(float)value : eab_half_round(value, dtype);
}

/* Members are sequences of a larger batch. Shapes without slopes are checked without the causal mask. */
static void half_problem_init(attention_problem *problem, const eab_check_shape *shape, int32_t dtype, bool masked) {
    problem_init(problem, shape);
    problem->half = (eab_attention){.batch = shape->members * shape->batch,
                                    .heads = shape->heads,
                                    .context = shape->context,
                                    .head_dim = problem->args.head_dim,
                                    .mechanism = shape->mechanism,
                                    .dtype = dtype,
                                    .causal = shape->slopes || masked,
                                    .slopes = problem->args.slopes};
    problem->args = eab_attention_args_of(&problem->half, problem->scale);
    problem->masked = masked;
}

/* In heads 1, 3, ... (over all sequences) the first query and dout are not finite; in heads 0, 2, ... the last key and
 * value. */
static bool is_early(const attention_problem *problem, int64_t element) {
    return element / ((int64_t)problem->half.context * problem->half.head_dim) % 2 == 1;
}

static bool is_nonfinite(const attention_problem *problem, int tensor, int64_t element) {
    const int64_t time = element / problem->half.head_dim % problem->half.context;
    if (!problem->masked) return false;
    return is_early(problem, element) ? (tensor == Q || tensor == DOUT) && time == 0
                                      : (tensor == K || tensor == V) && time == problem->half.context - 1;
}

/* Whether the result's element depends on a number that is not finite. In heads 1, 3, ...: all results at time 0. In
 * heads 0, 2, ...: those of the last query, and dk and dv of all keys, to which the last query contributes. */
static bool is_dependent(const attention_problem *problem, int tensor, int64_t element) {
    const int64_t time = element / problem->half.head_dim % problem->half.context;
    if (!problem->masked) return false;
    if (is_early(problem, element)) return time == 0;
    return tensor == DK || tensor == DV || time == problem->half.context - 1;
}

static void draw(const attention_problem *problem, double *values, int64_t count, int tensor) {
    const int32_t dtype = problem->half.dtype;
    eab_random random = eab_random_at(7, 12, (uint32_t)tensor, 0, 0);
    for (int64_t i = 0; i < count; i++) {
        const double value = eab_check_normal(&random);
        values[i] = fabs(value) < 2e-3 ? 0 : round_to(value, dtype); /* rounding takes no subnormals */
        if (is_nonfinite(problem, tensor, i)) values[i] = tensor == Q || tensor == K ? NAN : INFINITY;
    }
}

/* Results that depend on numbers that are not finite are not compared: they become 0. */
static void skip_dependent(eab_check_run *run, const attention_problem *problem, int64_t count) {
    const int first = run->operation->gradient ? DQ : OUT;
    for (int64_t i = 0; i < run->output_count; i++)
        if (is_dependent(problem, first + (int)(i / count), i % count)) run->outputs[i] = 0;
}

static void output_half(eab_check_run *run, const void *from, uint16_t *scratch, int64_t count, int32_t dtype) {
    EAB_CHECK_CALL(download, scratch, from, (size_t)count * sizeof *scratch);
    for (int64_t i = 0; i < count && !run->status; i++)
        eab_check_output_number(run, eab_half_decode(scratch[i], dtype));
}

/* On a backend with these types. values: scratch of `count`, and half: of as many 16-bit numbers. */
static void run_half(eab_check_run *run, const attention_problem *problem, double *values, uint16_t *half,
                     int64_t count) {
    enum { HALF_NAN = 0x7FFF };
    const eab_attention *attention = &problem->half;
    const bool backward = run->operation->gradient;
    const size_t bytes = (size_t)count * sizeof(uint16_t);
    void *t[ROW_STAT];
    for (int i = 0; i < ROW_STAT; i++) {
        if (i < INPUTS) draw(problem, values, count, i);
        for (int64_t j = 0; j < count; j++)
            half[j] = i < INPUTS ? eab_half_encode(values[j], attention->dtype) : HALF_NAN;
        t[i] = eab_check_upload(run, half, bytes);
    }
    float *row_stat = eab_check_upload(run, NULL, (size_t)(count / attention->head_dim) * sizeof *row_stat);
    EAB_CHECK_CALL(attention_half_forward, attention, t[Q], t[K], t[V], t[OUT], row_stat);
    if (backward)
        EAB_CHECK_CALL(attention_half_backward, attention, t[Q], t[K], t[V], t[OUT], row_stat, t[DOUT], t[DQ], t[DK],
                       t[DV]);
    for (int i = backward ? DQ : OUT; i <= (backward ? DV : OUT); i++)
        output_half(run, t[i], half, count, attention->dtype);
}

/* In the reference's type, or in float32 with rounded results. values: scratch of `count`. */
static void run_wide(eab_check_run *run, attention_problem *problem, double *values, int64_t count) {
    const bool backward = run->operation->gradient;
    const int32_t dtype = problem->half.dtype;
    eab_tensor *t = problem->tensors, terms[3];
    for (int i = 0; i < TENSORS; i++) {
        t[i] = eab_check_tensor(run, i == ROW_STAT ? count / problem->args.head_dim : count, NAN);
        if (i >= INPUTS) continue;
        draw(problem, values, count, i);
        EAB_CHECK_CALL(write_reals, t[i].data, values, count);
    }
    run_passes(run, problem);
    for (int i = backward ? DQ : OUT; i <= (backward ? DV : OUT); i++) eab_check_output(run, t[i]);
    if (!is_reference(run))
        for (int64_t i = 0; i < run->output_count; i++) run->outputs[i] = round_to(run->outputs[i], dtype);
    else if (backward) {
        for (int i = 0; i < 3; i++) terms[i] = eab_check_tensor(run, count, 0);
        add_terms(run, problem, terms);
        for (int i = 0; i < 3; i++) {
            for (int64_t j = 0; j < count && !run->status; j++)
                if (is_dependent(problem, DQ + i, j)) ((double *)terms[i].data)[j] = 0;
            add_squares(run, terms[i], count);
        }
    }
}

static void check_contiguous(eab_check_run *run, const eab_check_shape *shape, bool masked) {
    const int32_t dtype = run->operation->form;
    const int64_t count = shape->members * eab_check_rows(shape) * shape->d_model;
    attention_problem problem;
    half_problem_init(&problem, shape, dtype, masked);
    double *values = malloc((size_t)count * (sizeof *values + sizeof(uint16_t)));
    run->members = 1;
    if (dtype != EAB_F32) run->roundoff = eab_half_roundoff(dtype);
    if (!values) run->status = eab_fail(EAB_NO_MEMORY, "no memory for a check");
    else if (dtype == EAB_F32 || !run->device->backend->attention_half_forward) run_wide(run, &problem, values, count);
    else run_half(run, &problem, values, (uint16_t *)(values + count), count);
    if (!run->status) skip_dependent(run, &problem, count);
    free(values);
}

static void check_half(eab_check_run *run, const eab_check_shape *shape) { check_contiguous(run, shape, false); }

static bool is_half_shape(const eab_check_shape *shape) { return shape->d_model / shape->heads <= MAX_HALF_HEAD_DIM; }

static void check_masked(eab_check_run *run, const eab_check_shape *shape) { check_contiguous(run, shape, true); }

/* Contexts above 65 add no new kind of pair on the diagonal. */
static bool is_masked_shape(const eab_check_shape *shape) { return shape->context > 1 && shape->context <= 65; }

#define HALF .run = check_half, .by_mechanism = true, .half = true, .applies = is_half_shape
#define MASKED .run = check_masked, .by_mechanism = true, .applies = is_masked_shape
const eab_check_operation eab_check_attention[] = {
    {.name = "attention", .run = check_attention, .by_mechanism = true},
    {.name = "attention_backward", .run = check_attention, .gradient = true, .by_mechanism = true},
    {.name = "attention_bf16", .form = EAB_BF16, HALF},
    {.name = "attention_bf16_back", .form = EAB_BF16, .gradient = true, HALF},
    {.name = "attention_f16", .form = EAB_F16, HALF},
    {.name = "attention_f16_back", .form = EAB_F16, .gradient = true, HALF},
    {.name = "masked", .form = EAB_F32, MASKED},
    {.name = "masked_backward", .form = EAB_F32, .gradient = true, MASKED},
    {.name = "masked_bf16", .form = EAB_BF16, .half = true, MASKED},
    {.name = "masked_bf16_back", .form = EAB_BF16, .gradient = true, .half = true, MASKED},
    {.name = "masked_f16", .form = EAB_F16, .half = true, MASKED},
    {.name = "masked_f16_back", .form = EAB_F16, .gradient = true, .half = true, MASKED},
    {.name = NULL},
};
