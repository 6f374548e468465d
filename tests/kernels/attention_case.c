#include "attention_case.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/mechanism.h"
#include "kernels/reference/attention.h"

const char *attention_case_name(const attention_case *spec) {
    static char text[200];
    snprintf(text, sizeof text, "%s batch %d heads %d context %d head_dim %d%s%s%s size %g",
             eab_mechanism_name(spec->mechanism), spec->batch, spec->heads, spec->context, spec->head_dim,
             spec->causal ? " causal" : "", spec->sloped ? " sloped" : "", spec->interleaved ? " interleaved" : "",
             spec->size);
    return text;
}

static int64_t offset(const eab_attention_args *args, bool in, int64_t batch, int64_t head, int64_t time) {
    return in ? batch * args->in_batch + head * args->in_head + time * args->in_time
              : batch * args->out_batch + head * args->out_head + time * args->out_time;
}

/* ---- plain float32, unfused: whole rows of scores ------------------------------- */

/* Weight (bounded) or log-weight of a pair, and its derivative; both are normalised at the end. The rest is what
 * changes where each score of the row is off by `size`, its largest partial sum, whose roundings make the score's
 * error: where keys are few, one score that nearly vanishes decides the weights of its row. */
typedef struct {
    float weight, derivative;
    float z, size, change, shift; /* change: of the weight; shift: of the derivative, relative */
} pair;

static pair plain_mix(float t, float z, float weight, float derivative) {
    const float top = fmaxf(z, 0), of_dpa = (1 - t) * expf(z - top), of_ea = t * expf(-top);
    const float sum = of_dpa + of_ea * weight;
    return (pair){.weight = top + logf(sum), .derivative = (of_dpa + of_ea * derivative) / sum};
}

static pair plain_pair(int32_t mechanism, float z, float mix) {
    const float square = fminf(z * z, 0x1p100f), narrow = fminf(square, 0x1p50f), quartic = narrow * narrow;
    const float e = expf(fminf(-z, 64)), s = 1 / (1 + e), eps = 0x1p-24f;
    const float ea = square / (1 + square) + eps, ea_slope = 2 * z / (1 + square) / (1 + square);
    switch (mechanism) {
        case EAB_MECHANISM_mix: return plain_mix(mix, z, ea, ea_slope);
        case EAB_MECHANISM_dpa: return (pair){.weight = z, .derivative = 1};
        case EAB_MECHANISM_ea_softmax: return (pair){.weight = square, .derivative = 2 * z};
        case EAB_MECHANISM_square: return (pair){.weight = fminf(square, 0x1p64f) + eps, .derivative = 2 * z};
        case EAB_MECHANISM_ea_quartic:
            return (pair){.weight = quartic / (1 + quartic) + eps,
                          .derivative = 4 * z * z * z / (1 + quartic) / (1 + quartic)};
        case EAB_MECHANISM_sigmoid: return (pair){.weight = s + eps, .derivative = e * s * s};
        case EAB_MECHANISM_ea_parallel:
            if (z <= 0) return (pair){.weight = eps, .derivative = 0};
    }
    return (pair){.weight = ea, .derivative = ea_slope};
}

static void plain_row(const attention_problem *problem, int32_t head, int32_t time, const float *query,
                      const float *keys, pair *row, int32_t count) {
    const eab_attention_args *args = &problem->args;
    const bool bounded = eab_mechanism_class_of(problem->spec.mechanism) == EAB_CLASS_BOUNDED;
    float top = -INFINITY, sum = 0;
    for (int32_t j = 0; j < count; j++) {
        float z = 0, size = 0;
        for (int32_t i = 0; i < args->head_dim; i++) {
            z += query[i] * keys[j * args->in_time + i];
            size = fmaxf(size, fabsf(z));
        }
        const float log_bias = args->slopes ? -args->slopes[head] * fabsf((float)(time - j)) : 0;
        row[j] = plain_pair(problem->spec.mechanism, z * problem->scale, problem->spec.mix);
        row[j].z = z;
        row[j].size = size;
        if (bounded) {
            row[j].weight *= expf(log_bias);
            row[j].derivative *= expf(log_bias);
        } else {
            row[j].weight += log_bias;
            top = fmaxf(top, row[j].weight);
        }
    }
    for (int32_t j = 0; j < count; j++) {
        if (!bounded) {
            row[j].weight = expf(row[j].weight - top);
            row[j].derivative *= row[j].weight;
        }
        sum += row[j].weight;
    }
    float of_sum = 0;
    for (int32_t j = 0; j < count; j++) {
        row[j].weight /= sum;
        row[j].derivative /= sum;
        row[j].change = fabsf(row[j].derivative) * row[j].size * problem->scale;
        of_sum += row[j].change;
    }
    for (int32_t j = 0; j < count; j++) {
        row[j].change += row[j].weight * of_sum;
        row[j].shift = of_sum + (row[j].z != 0 ? row[j].size / fabsf(row[j].z) : 0);
    }
}

/* Adds what changes to the terms. */
static void plain_compute(const attention_problem *problem, float *const results[RESULT_COUNT]) {
    const eab_attention_args *args = &problem->args;
    const int32_t head_dim = args->head_dim;
    pair *row = calloc((size_t)args->context, sizeof *row);
    float *dp = calloc((size_t)args->context, sizeof *dp);
    for (int32_t batch = 0; batch < args->batch; batch++)
        for (int32_t head = 0; head < args->heads; head++)
            for (int32_t time = 0; time < args->context; time++) {
                const int64_t start = offset(args, true, batch, head, 0);
                const int64_t result = (((int64_t)batch * args->heads + head) * args->context) * head_dim;
                const float *q = problem->qkv.data + problem->part[0] + offset(args, true, batch, head, time);
                const float *k = problem->qkv.data + problem->part[1] + start;
                const float *v = problem->qkv.data + problem->part[2] + start;
                const float *dout = problem->dout.data + offset(args, false, batch, head, time);
                const int32_t count = args->causal ? time + 1 : args->context;
                plain_row(problem, head, time, q, k, row, count);
                float *out = results[RESULT_OUT] + result + (int64_t)time * head_dim, mean = 0;
                for (int32_t i = 0; i < head_dim; i++) {
                    for (int32_t j = 0; j < count; j++) {
                        const float value = v[j * args->in_time + i];
                        out[i] += row[j].weight * value;
                        problem->terms[RESULT_OUT][out - results[RESULT_OUT] + i] +=
                            (double)(row[j].change * fabsf(value));
                    }
                    mean += out[i] * dout[i];
                }
                for (int32_t j = 0; j < count; j++) {
                    dp[j] = 0;
                    for (int32_t i = 0; i < head_dim; i++) dp[j] += dout[i] * v[j * args->in_time + i];
                    const float dz = row[j].derivative * (dp[j] - mean) * problem->scale;
                    const double shift = fabs((double)(row[j].shift * dz));
                    for (int32_t i = 0; i < head_dim; i++) {
                        const int64_t here = result + (int64_t)time * head_dim + i,
                                      there = result + (int64_t)j * head_dim + i;
                        results[RESULT_DQ][here] += dz * k[j * args->in_time + i];
                        results[RESULT_DK][there] += dz * q[i];
                        results[RESULT_DV][there] += row[j].weight * dout[i];
                        problem->terms[RESULT_DQ][here] += shift * fabs((double)k[j * args->in_time + i]);
                        problem->terms[RESULT_DK][there] += shift * fabs((double)q[i]);
                        problem->terms[RESULT_DV][there] += fabs((double)(row[j].change * dout[i]));
                    }
                }
            }
    free(row);
    free(dp);
}

/* ---- references -------------------------------------------------------------------------------------------------- */

static double *widen(const guarded *buffer, bool absolute) {
    double *wide = malloc((size_t)buffer->count * sizeof *wide);
    for (int64_t i = 0; i < buffer->count; i++)
        wide[i] = absolute ? fabs((double)buffer->data[i]) : (double)buffer->data[i];
    return wide;
}

/* A strided result as [batch][heads][context][head_dim]. */
static double *compact(const eab_attention_args *args, bool in, const double *from) {
    const int64_t head_dim = args->head_dim;
    double *to = malloc((size_t)((int64_t)args->batch * args->heads * args->context * head_dim) * sizeof *to),
           *row = to;
    for (int32_t batch = 0; batch < args->batch; batch++)
        for (int32_t head = 0; head < args->heads; head++)
            for (int32_t time = 0; time < args->context; time++, row += head_dim)
                memcpy(row, from + offset(args, in, batch, head, time), (size_t)head_dim * sizeof *row);
    return to;
}

static void compute_references(attention_problem *problem) {
    const eab_attention_args *args = &problem->args;
    const int64_t *part = problem->part;
    const size_t in_count = (size_t)problem->qkv_count, out_count = (size_t)problem->out_count;
    double *qkv = widen(&problem->qkv, false), *sizes = widen(&problem->qkv, true),
           *dout = widen(&problem->dout, false);
    double *out = calloc(out_count, sizeof *out), *dqkv = calloc(in_count, sizeof *dqkv);
    problem->row_stat = calloc((size_t)problem->rows, sizeof *problem->row_stat);
    const double *q = qkv + part[0], *k = qkv + part[1], *v = qkv + part[2];
    double *dq = dqkv + part[0], *dk = dqkv + part[1], *dv = dqkv + part[2];
    cr_assert(!eab_reference_attention_forward(args, 0, q, k, sizes + part[2], out, NULL));
    problem->terms[RESULT_OUT] = compact(args, false, out);
    cr_assert(!eab_reference_attention_forward(args, 0, q, k, v, out, problem->row_stat));
    problem->exact[RESULT_OUT] = compact(args, false, out);
    cr_assert(!eab_reference_attention_backward(args, 0, q, k, v, dout, dq, dk, dv));
    for (int i = 0; i < 3; i++) problem->exact[RESULT_DQ + i] = compact(args, true, dqkv + part[i]);
    cr_assert(!eab_reference_attention_terms(args, 0, q, k, v, dout, dq, dk, dv, false));
    for (int i = 0; i < 3; i++) problem->terms[RESULT_DQ + i] = compact(args, true, dqkv + part[i]);

    float *plain[RESULT_COUNT];
    for (int which = 0; which < RESULT_COUNT; which++) plain[which] = calloc(out_count, sizeof *plain[which]);
    plain_compute(problem, plain);
    for (int which = 0; which < RESULT_COUNT; which++) {
        double error = 0, terms = 0;
        for (int64_t i = 0; i < problem->out_count; i++) {
            const double difference = (double)plain[which][i] - problem->exact[which][i];
            error += difference * difference;
            terms += problem->terms[which][i] * problem->terms[which][i];
        }
        problem->plain_error[which] = sqrt(error);
        problem->term_norm[which] = sqrt(terms);
        cr_assert(isfinite(terms), "the terms of result %d have no size", which);
        free(plain[which]);
    }
    free(qkv);
    free(sizes);
    free(dout);
    free(out);
    free(dqkv);
}

attention_problem attention_problem_new(attention_case spec, uint32_t seed, bool with_references) {
    attention_problem problem = {.spec = spec};
    const int64_t width = (int64_t)spec.heads * spec.head_dim, block = (int64_t)spec.context * spec.head_dim;
    eab_attention_args *args = &problem.args;
    *args = (eab_attention_args){.members = 1,
                                 .batch = spec.batch,
                                 .heads = spec.heads,
                                 .context = spec.context,
                                 .head_dim = spec.head_dim,
                                 .causal = spec.causal,
                                 .standalone = spec.standalone};
    problem.rows = (int64_t)spec.batch * spec.heads * spec.context;
    problem.out_count = problem.rows * spec.head_dim;
    problem.qkv_count = 3 * problem.out_count;
    if (spec.interleaved) {
        args->in_time = 3 * width;
        args->out_time = width;
        args->in_head = args->out_head = spec.head_dim;
        args->in_batch = spec.context * args->in_time;
        args->out_batch = spec.context * args->out_time;
    } else {
        args->in_time = args->out_time = spec.head_dim;
        args->in_head = args->out_head = block;
        args->in_batch = args->out_batch = spec.heads * block;
    }
    for (int i = 0; i < 3; i++) problem.part[i] = i * (spec.interleaved ? width : problem.out_count);
    problem.scale = eab_mechanism_default_scale(spec.mechanism, spec.head_dim);
    for (int i = 0; i < 16; i++) problem.slopes[i] = ldexpf(1, -2 * (i + 1) + 1);
    problem.qkv = guarded_new(problem.qkv_count);
    problem.dout = guarded_new(problem.out_count);
    guarded_normal(&problem.qkv, seed, spec.size);
    guarded_normal(&problem.dout, seed + 1000000, spec.size);
    /* For the references. attention_run sets these pointers again, since the problem is returned by value. */
    args->slopes = spec.sloped ? problem.slopes : NULL;
    args->scores = (eab_scores){&problem.spec.mechanism, &problem.scale, &problem.spec.mix};
    if (with_references) compute_references(&problem);
    return problem;
}

void attention_problem_free(attention_problem *problem) {
    guarded_free(&problem->qkv);
    guarded_free(&problem->dout);
    for (int i = 0; i < RESULT_COUNT; i++) {
        free(problem->exact[i]);
        free(problem->terms[i]);
    }
    free(problem->row_stat);
}

/* ---- fused ------------------------------------------------------------------------------------------------------- */

attention_results attention_run(const attention_problem *problem, const eab_cpu_kernels *kernels) {
    eab_attention_args args = problem->args;
    args.slopes = problem->spec.sloped ? problem->slopes : NULL;
    args.scores = (eab_scores){&problem->spec.mechanism, &problem->scale, &problem->spec.mix};
    const int64_t *part = problem->part;
    const float *q = problem->qkv.data + part[0], *k = problem->qkv.data + part[1], *v = problem->qkv.data + part[2];
    attention_results results = {guarded_new(problem->out_count), guarded_new(problem->qkv_count),
                                 guarded_new(problem->rows)};
    float *dq = results.dqkv.data + part[0], *dk = results.dqkv.data + part[1], *dv = results.dqkv.data + part[2];
    eab_cpu_workspace workspace = {0};
    cr_assert(!kernels->attention_forward(&workspace, &args, 0, q, k, v, results.out.data, results.row_stat.data));
    cr_assert(!kernels->attention_backward(&workspace, &args, 0, q, k, v, results.out.data, results.row_stat.data,
                                           problem->dout.data, dq, dk, dv));
    cr_assert(guarded_intact(&results.out) && guarded_intact(&results.dqkv) && guarded_intact(&results.row_stat),
              "%s %s: wrote past a result", kernels->isa, attention_case_name(&problem->spec));
    eab_cpu_workspace_free(&workspace);
    return results;
}

void attention_results_free(attention_results *results) {
    guarded_free(&results->out);
    guarded_free(&results->dqkv);
    guarded_free(&results->row_stat);
}

float *attention_at(const attention_problem *problem, const attention_results *results, int which, int32_t batch,
                    int32_t head, int32_t time, int32_t i) {
    const int64_t at = offset(&problem->args, which != RESULT_OUT, batch, head, time) + i;
    return which == RESULT_OUT ? results->out.data + at : results->dqkv.data + problem->part[which - RESULT_DQ] + at;
}

double attention_error_ratio(const attention_problem *problem, const attention_results *results, int which) {
    const attention_case *spec = &problem->spec;
    const double *exact = problem->exact[which];
    double error = 0;
    for (int32_t batch = 0; batch < spec->batch; batch++)
        for (int32_t head = 0; head < spec->heads; head++)
            for (int32_t time = 0; time < spec->context; time++)
                for (int32_t i = 0; i < spec->head_dim; i++) {
                    const double value = (double)*attention_at(problem, results, which, batch, head, time, i);
                    if (!isfinite(value)) return INFINITY;
                    error += (value - *exact) * (value - *exact);
                    exact++;
                }
    return sqrt(error) / fmax(fmax(problem->plain_error[which], 0x1p-24 * problem->term_norm[which]), 1e-300);
}
