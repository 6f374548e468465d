/* Attention in bf16 and fp16, the public API's other types, against float64: for backends that have them. Inputs are rounded to
 * the type before anyone sees them; the plain implementation computes in float32 and rounds what it hands back. */
#include <math.h>
#include <stdlib.h>

#include "base/half.h"
#include "buffers.h"
#include "kernels/mechanism.h"
#include "kernels/reference/attention.h"

enum { MAX_HEADS = 64, MAX_HEAD_DIM = 128, TENSORS = 4 /* q, k, v, dout */ };

typedef struct {
    eab_attention attention;
    eab_attention_args args;
    float slopes[MAX_HEADS], scale;
    int64_t count, rows;
    double *values[TENSORS];
} half_problem;

static int problem_init(half_problem *problem, const eab_check_shape *shape, int32_t dtype) {
    const int32_t head_dim = shape->d_model / shape->heads;
    eab_attention *attention = &problem->attention;
    *attention = (eab_attention){.batch = shape->members * shape->batch,
                                 .heads = shape->heads,
                                 .context = shape->context,
                                 .head_dim = head_dim,
                                 .mechanism = shape->mechanism,
                                 .dtype = dtype,
                                 .causal = shape->slopes,
                                 .slopes = shape->slopes ? problem->slopes : NULL};
    for (int32_t head = 0; head < shape->heads; head++) problem->slopes[head] = exp2f(-(float)(head + 1));
    problem->scale = eab_mechanism_default_scale(shape->mechanism, head_dim);
    problem->rows = (int64_t)attention->batch * attention->heads * attention->context;
    problem->count = problem->rows * head_dim;
    const int64_t in_head = (int64_t)attention->context * head_dim, in_batch = in_head * attention->heads;
    problem->args = (eab_attention_args){.members = 1,
                                         .batch = attention->batch,
                                         .heads = attention->heads,
                                         .context = attention->context,
                                         .head_dim = head_dim,
                                         .causal = attention->causal,
                                         .scores = {&attention->mechanism, &problem->scale},
                                         .slopes = attention->slopes,
                                         .in_batch = in_batch,
                                         .in_head = in_head,
                                         .in_time = head_dim,
                                         .out_batch = in_batch,
                                         .out_head = in_head,
                                         .out_time = head_dim};
    for (uint32_t i = 0; i < TENSORS; i++) {
        eab_random random = eab_random_at(7, 12, i, 0, 0);
        problem->values[i] = malloc((size_t)problem->count * sizeof(double));
        if (!problem->values[i]) return eab_fail(EAB_NO_MEMORY, "no memory for a check");
        for (int64_t j = 0; j < problem->count; j++) {
            double sum = 0; /* of four uniforms: near enough to normal, standard deviation 1 */
            for (int n = 0; n < 4; n++) sum += eab_random_word(&random) / 4294967296.0 - 0.5;
            problem->values[i][j] = fabs(sum) < 1e-3 ? 0 : eab_half_round(sum * sqrt(3.0), dtype);
        }
    }
    return EAB_OK;
}

static void problem_free(half_problem *problem) {
    for (int i = 0; i < TENSORS; i++) free(problem->values[i]);
}

static void output_half(eab_check_run *run, const half_problem *problem, const void *from, uint16_t *room) {
    if (run->status) return;
    run->status = run->device->backend->download(run->device, room, from, (size_t)problem->count * sizeof *room);
    for (int64_t i = 0; i < problem->count && !run->status; i++)
        eab_check_output_number(run, eab_half_decode(room[i], problem->attention.dtype));
}

/* On the backend under test. What is written starts as NaN. */
static int run_half(eab_check_run *run, const half_problem *problem, bool backward) {
    enum { OUT = TENSORS, DQ, DK, DV, ALL };
    const eab_backend *backend = run->device->backend;
    const size_t bytes = (size_t)problem->count * sizeof(uint16_t);
    uint16_t *room = malloc(bytes);
    void *on_device[ALL];
    if (!room) return eab_fail(EAB_NO_MEMORY, "no memory for a check");
    for (int i = 0; i < ALL; i++) {
        for (int64_t j = 0; j < problem->count; j++)
            room[j] = i < TENSORS ? eab_half_encode(problem->values[i][j], problem->attention.dtype) : 0x7FFF;
        on_device[i] = eab_check_upload(run, room, bytes);
    }
    float *stat = eab_check_upload(run, NULL, (size_t)problem->rows * sizeof *stat);
    if (!run->status)
        run->status = backend->attention_half_forward(run->device, &problem->attention, on_device[0], on_device[1],
                                                      on_device[2], on_device[OUT], stat);
    if (!run->status && backward)
        run->status = backend->attention_half_backward(run->device, &problem->attention, on_device[0], on_device[1],
                                                       on_device[2], on_device[OUT], stat, on_device[3], on_device[DQ],
                                                       on_device[DK], on_device[DV]);
    for (int i = backward ? DQ : OUT; i < (backward ? ALL : DQ); i++) output_half(run, problem, on_device[i], room);
    free(room);
    return run->status;
}

static eab_tensor wide_tensor(eab_check_run *run, const half_problem *problem, const double *values) {
    const eab_tensor tensor = eab_check_tensor(run, 1, problem->count, NAN);
    if (!run->status && values)
        run->status = run->device->backend->write_reals(run->device, tensor.data, values, problem->count);
    return tensor;
}

/* In the reference's type, or in float32 with results rounded. */
static int run_wide(eab_check_run *run, const half_problem *problem, bool backward) {
    const eab_backend *backend = run->device->backend;
    eab_tensor in[TENSORS], out, gradients[3];
    for (int i = 0; i < TENSORS; i++) in[i] = wide_tensor(run, problem, problem->values[i]);
    out = wide_tensor(run, problem, NULL);
    for (int i = 0; i < 3; i++) gradients[i] = wide_tensor(run, problem, NULL);
    const eab_tensor stat = eab_check_tensor(run, 1, problem->rows, NAN);
    if (!run->status)
        run->status = backend->attention_forward(run->device, &problem->args, in[0], in[1], in[2], out, stat);
    if (!run->status && backward)
        run->status = backend->attention_backward(run->device, &problem->args, in[0], in[1], in[2], out, stat, in[3],
                                                  gradients[0], gradients[1], gradients[2]);
    if (!backward) eab_check_output(run, out, 1, problem->count);
    for (int i = 0; i < 3 && backward; i++) eab_check_output(run, gradients[i], 1, problem->count);
    if (run->status) return run->status;
    if (backend->real_bytes != sizeof(double)) {
        for (int64_t i = 0; i < run->output_count; i++)
            run->outputs[i] = eab_half_round(run->outputs[i], problem->attention.dtype);
    } else if (backward) { /* DESIGN.md 1, "Conditioning" */
        eab_tensor sums[3];
        for (int i = 0; i < 3; i++) sums[i] = eab_check_tensor(run, 1, problem->count, 0);
        if (!run->status)
            run->status = eab_reference_attention_terms(&problem->args, 0, in[0].data, in[1].data, in[2].data,
                                                        in[3].data, sums[0].data, sums[1].data, sums[2].data);
        for (int i = 0; i < 3 && !run->status; i++)
            for (int64_t j = 0; j < problem->count; j++)
                run->terms_squared += ((double *)sums[i].data)[j] * ((double *)sums[i].data)[j];
    }
    return run->status;
}

static int check_half(eab_check_run *run, const eab_check_shape *shape, int32_t dtype, bool backward) {
    half_problem problem = {.values = {NULL}};
    run->roundoff = eab_half_roundoff(dtype);
    if (shape->d_model / shape->heads > MAX_HEAD_DIM) return EAB_OK;
    run->status = problem_init(&problem, shape, dtype);
    if (!run->status) {
        if (run->device->backend->attention_half_forward) run_half(run, &problem, backward);
        else run_wide(run, &problem, backward);
    }
    problem_free(&problem);
    return run->status;
}

static int check_bf16(eab_check_run *run, const eab_check_shape *shape) {
    return check_half(run, shape, EAB_BF16, false);
}
static int check_bf16_backward(eab_check_run *run, const eab_check_shape *shape) {
    return check_half(run, shape, EAB_BF16, true);
}
static int check_f16(eab_check_run *run, const eab_check_shape *shape) {
    return check_half(run, shape, EAB_F16, false);
}
static int check_f16_backward(eab_check_run *run, const eab_check_shape *shape) {
    return check_half(run, shape, EAB_F16, true);
}

static const eab_check_operation operations[] = {
    {"attention_bf16", false, true, check_bf16, EAB_PRECISION_FLOAT32},
    {"attention_bf16_back", true, true, check_bf16_backward, EAB_PRECISION_FLOAT32},
    {"attention_f16", false, true, check_f16, EAB_PRECISION_FLOAT32},
    {"attention_f16_back", true, true, check_f16_backward, EAB_PRECISION_FLOAT32},
};

const eab_check_operation *eab_check_half_operation_at(int index) {
    return index >= 0 && index < (int)(sizeof operations / sizeof *operations) ? &operations[index] : NULL;
}
