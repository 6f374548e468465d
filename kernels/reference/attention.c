/* Attention in float64, straight from docs/design.md 1: row by row, every weight written out.
 *
 *   z_ij = scale (q_i . k_j);  a_ij = w(z_ij) exp(-slope |i - j|) / L_i;  out_i = sum_j a_ij v_j
 *   dz_ij = (w'(z_ij) b_ij / L_i) (dp_ij - D_i)
 *
 * The backward pass computes each row again from q, k and v, with D_i = sum_j a_ij dp_ij: a row_stat and an out that
 * were rounded to float would make it less exact. Cost: batch * heads * context^2 * head_dim. For checks only.
 */
#include "attention.h"

#include <stdlib.h>
#include <tgmath.h>

#ifdef EAB_REFERENCE_FLOAT32
#pragma GCC diagnostic ignored "-Wconversion" /* this compilation rounds every result to float */
#pragma GCC diagnostic ignored "-Wfloat-conversion"
#endif

static const eab_real weight_floor = 1.0 / 16777216;                    /* eps = 2^-24 */
static const eab_real square_limit = 1267650600228229401496703205376.0; /* 2^100 */
static const eab_real unsaturated_limit = 18446744073709551616.0;       /* 2^64: z^2 of square */
static const eab_real quartic_limit = 1125899906842624.0;               /* 2^50: z^2 of ea-quartic */
static const eab_real sigmoid_limit = 64;

/* Of one score: the weight if bounded, else the log-weight, and its derivative. */
typedef struct {
    eab_real value, derivative;
} weighed;

/* NaN stays NaN: fmin and fmax would lose it. */
static eab_real at_most(eab_real x, eab_real limit) { return x > limit ? limit : x; }
static eab_real at_least_zero(eab_real x) { return x < 0 ? 0 : x; }

static weighed weigh_dpa(eab_real z) { return (weighed){z, 1}; }

static weighed weigh_ea_softmax(eab_real z) {
    const eab_real square = at_most(z * z, square_limit);
    return (weighed){square, square == square_limit ? 0 : 2 * z};
}

static weighed weigh_ea(eab_real z) {
    const eab_real square = at_most(z * z, square_limit);
    return (weighed){square / (1 + square) + weight_floor,
                     square == square_limit ? 0 : 2 * z / ((1 + square) * (1 + square))};
}

static weighed weigh_ea_parallel(eab_real z) { return weigh_ea(at_least_zero(z)); }

static weighed weigh_square(eab_real z) {
    const eab_real square = at_most(z * z, unsaturated_limit);
    return (weighed){square + weight_floor, square == unsaturated_limit ? 0 : 2 * z};
}

static weighed weigh_ea_quartic(eab_real z) {
    const eab_real square = at_most(z * z, quartic_limit), quartic = square * square;
    return (weighed){quartic / (1 + quartic) + weight_floor,
                     square == quartic_limit ? 0 : 4 * z * square / (1 + quartic) / (1 + quartic)};
}

static weighed weigh_sigmoid(eab_real z) {
    const eab_real negated = at_most(-z, sigmoid_limit), sigmoid = 1 / (1 + exp(negated));
    return (weighed){sigmoid + weight_floor, negated == sigmoid_limit ? 0 : sigmoid / (1 + exp(-negated))};
}

static weighed weigh_mix(eab_real t, eab_real z) {
    const weighed ea = weigh_ea(z);
    const eab_real largest = at_least_zero(z), of_dpa = (1 - t) * exp(z - largest), of_ea = t * exp(-largest);
    const eab_real sum = of_dpa + of_ea * ea.value;
    return (weighed){largest + log(sum), (of_dpa + of_ea * ea.derivative) / sum};
}

typedef struct {
    const char *name;
    bool bounded;
    weighed (*weigh)(eab_real z); /* NULL: weigh_mix */
} score_function;

static const score_function *score_function_of(int32_t mechanism) {
    static const score_function functions[] = {{"dpa", false, weigh_dpa},
                                               {"ea", true, weigh_ea},
                                               {"ea-scaled", true, weigh_ea},
                                               {"ea-softmax", false, weigh_ea_softmax},
                                               {"ea-parallel", true, weigh_ea_parallel},
                                               {"square", true, weigh_square},
                                               {"ea-quartic", true, weigh_ea_quartic},
                                               {"sigmoid", true, weigh_sigmoid},
                                               {"mix", false, NULL}};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (mechanism >= 0 && mechanism == eab_mechanism_from_name(functions[i].name)) return &functions[i];
    return NULL;
}

/* The attention of query `time` of one head, to its keys 0..keys-1. */
typedef struct {
    const score_function *function;
    eab_real scale, mix, slope;
    int32_t time, keys, head_dim;
    int64_t in_time, out_time;
    eab_real *attention, *derivative, *dp; /* [keys]: a, dz / (dp - D), dp */
    eab_real stat;                         /* log L or L */
} attended_row;

/* One head: its operands, and the gradients that are added to. */
typedef struct {
    const eab_real *q, *k, *v, *dout;
    eab_real *dq, *dk, *dv;
    bool magnitudes; /* sums of absolute values instead of gradients */
    bool centred;    /* with magnitudes: of the terms after dp - D */
} head_gradients;

static eab_real dot(const eab_real *x, const eab_real *y, int32_t count) {
    eab_real sum = 0;
    for (int32_t i = 0; i < count; i++) sum += x[i] * y[i];
    return sum;
}

static eab_real dot_of_magnitudes(const eab_real *x, const eab_real *y, int32_t count) {
    eab_real sum = 0;
    for (int32_t i = 0; i < count; i++) sum += fabs(x[i] * y[i]);
    return sum;
}

static void attend(attended_row *row, const eab_real *query, const eab_real *keys) {
    const bool bounded = row->function->bounded;
    eab_real largest = -HUGE_VAL, sum = 0;
    for (int32_t j = 0; j < row->keys; j++) {
        const eab_real z = row->scale * dot(query, keys + j * row->in_time, row->head_dim);
        const eab_real log_bias = -row->slope * fabs((eab_real)row->time - j);
        const weighed pair = row->function->weigh ? row->function->weigh(z) : weigh_mix(row->mix, z);
        row->attention[j] = bounded ? pair.value * exp(log_bias) : pair.value + log_bias;
        row->derivative[j] = bounded ? pair.derivative * exp(log_bias) : pair.derivative;
        if (row->attention[j] > largest || isnan(row->attention[j])) largest = row->attention[j];
    }
    for (int32_t j = 0; j < row->keys; j++) {
        if (!bounded) {
            row->attention[j] = exp(row->attention[j] - largest);
            row->derivative[j] *= row->attention[j];
        }
        sum += row->attention[j];
    }
    for (int32_t j = 0; j < row->keys; j++) {
        row->attention[j] /= sum;
        row->derivative[j] /= sum;
    }
    row->stat = bounded ? sum : largest + log(sum);
}

static int row_open(attended_row *row, const eab_attention_args *args, int32_t member) {
    *row = (attended_row){.function = score_function_of(args->scores.mechanism[member]),
                          .scale = (eab_real)args->scores.scale[member],
                          .mix = (eab_real)args->scores.mix[member],
                          .head_dim = args->head_dim,
                          .in_time = args->in_time,
                          .out_time = args->out_time};
    if (!row->function)
        return eab_fail(EAB_BAD_INPUT, "mechanism %d: the reference does not know it",
                        (int)args->scores.mechanism[member]);
    row->attention = calloc(3 * (size_t)args->context, sizeof *row->attention);
    if (!row->attention) return eab_fail(EAB_NO_MEMORY, "out of memory: a row of %d scores", (int)args->context);
    row->derivative = row->attention + args->context;
    row->dp = row->derivative + args->context;
    return EAB_OK;
}

static void row_set(attended_row *row, const eab_attention_args *args, int32_t head, int32_t time) {
    row->time = time;
    row->keys = args->causal ? time + 1 : args->context;
    row->slope = args->slopes ? (eab_real)args->slopes[head] : 0;
}

static int64_t in_offset(const eab_attention_args *args, int32_t batch, int32_t head, int32_t time) {
    return batch * args->in_batch + head * args->in_head + time * args->in_time;
}

static int64_t out_offset(const eab_attention_args *args, int32_t batch, int32_t head, int32_t time) {
    return batch * args->out_batch + head * args->out_head + time * args->out_time;
}

static void forward_row(attended_row *row, const eab_real *query, const eab_real *keys, const eab_real *values,
                        eab_real *out) {
    attend(row, query, keys);
    for (int32_t i = 0; i < row->head_dim; i++) {
        out[i] = 0;
        for (int32_t j = 0; j < row->keys; j++) out[i] += row->attention[j] * values[j * row->in_time + i];
    }
}

int EAB_REFERENCE(attention_forward)(const eab_attention_args *args, int32_t member, const eab_real *q,
                                     const eab_real *k, const eab_real *v, eab_real *out, eab_real *row_stat) {
    attended_row row;
    EAB_TRY(row_open(&row, args, member));
    for (int32_t batch = 0; batch < args->batch; batch++)
        for (int32_t head = 0; head < args->heads; head++) {
            const eab_real *keys = k + in_offset(args, batch, head, 0), *values = v + in_offset(args, batch, head, 0);
            for (int32_t time = 0; time < args->context; time++) {
                row_set(&row, args, head, time);
                forward_row(&row, q + in_offset(args, batch, head, time), keys, values,
                            out + out_offset(args, batch, head, time));
                if (row_stat) row_stat[((int64_t)batch * args->heads + head) * args->context + time] = row.stat;
            }
        }
    free(row.attention);
    return EAB_OK;
}

int EAB_REFERENCE(attention_row_weights)(const eab_attention_args *args, int32_t member, int32_t batch, int32_t head,
                                         int32_t time, const eab_real *q, const eab_real *k, eab_real *weights) {
    attended_row row;
    EAB_TRY(row_open(&row, args, member));
    row_set(&row, args, head, time);
    attend(&row, q + in_offset(args, batch, head, time), k + in_offset(args, batch, head, 0));
    for (int32_t j = 0; j < row.keys; j++) weights[j] = row.attention[j];
    free(row.attention);
    return EAB_OK;
}

/* dp of all keys; returns D, their mean under a. */
static eab_real differentiate_weights(attended_row *row, const head_gradients *head) {
    const eab_real *dout = head->dout + row->time * row->out_time;
    const bool magnitudes = head->magnitudes && !head->centred;
    eab_real mean_dp = 0;
    for (int32_t j = 0; j < row->keys; j++) {
        const eab_real *value = head->v + j * row->in_time;
        row->dp[j] = magnitudes ? dot_of_magnitudes(dout, value, row->head_dim) : dot(dout, value, row->head_dim);
        mean_dp += row->attention[j] * row->dp[j];
    }
    return mean_dp;
}

/* Adds one query's part to its own row of dq, and to dk and dv of all its keys. */
static void backward_row(attended_row *row, const head_gradients *head) {
    const int64_t here = row->time * row->in_time;
    const eab_real *query = head->q + here, *dout = head->dout + row->time * row->out_time;
    const bool magnitudes = head->magnitudes;
    attend(row, query, head->k);
    const eab_real mean_dp = differentiate_weights(row, head);
    /* A weight exp(l) moves by |l| roundings of l, and kernels keep log L as one float. */
    const eab_real condition = row->function->bounded || head->centred ? 1 : fmax(1, fabs(row->stat));
    for (int32_t j = 0; j < row->keys; j++) {
        const int64_t there = j * row->in_time;
        const eab_real dz = magnitudes && !head->centred ? condition * fabs(row->derivative[j]) * (row->dp[j] + mean_dp)
                                                         : row->derivative[j] * (row->dp[j] - mean_dp);
        for (int32_t i = 0; i < row->head_dim; i++) {
            const eab_real to_q = row->scale * dz * head->k[there + i], to_k = row->scale * dz * query[i];
            const eab_real to_v = row->attention[j] * dout[i] * (magnitudes ? condition : 1);
            head->dq[here + i] += magnitudes ? fabs(to_q) : to_q;
            head->dk[there + i] += magnitudes ? fabs(to_k) : to_k;
            head->dv[there + i] += magnitudes ? fabs(to_v) : to_v;
        }
    }
}

/* `all` points at the first head's data. */
static int backward(const eab_attention_args *args, int32_t member, const head_gradients *all) {
    attended_row row;
    EAB_TRY(row_open(&row, args, member));
    for (int32_t batch = 0; batch < args->batch; batch++)
        for (int32_t head = 0; head < args->heads; head++) {
            const int64_t in = in_offset(args, batch, head, 0), out = out_offset(args, batch, head, 0);
            const head_gradients one = {all->q + in,  all->k + in,  all->v + in,     all->dout + out, all->dq + in,
                                        all->dk + in, all->dv + in, all->magnitudes, all->centred};
            for (int32_t time = 0; time < args->context; time++)
                for (int64_t at = time * args->in_time, end = at + args->head_dim; at < end; at++)
                    one.dq[at] = one.dk[at] = one.dv[at] = 0;
            for (int32_t time = 0; time < args->context; time++) {
                row_set(&row, args, head, time);
                backward_row(&row, &one);
            }
        }
    free(row.attention);
    return EAB_OK;
}

int EAB_REFERENCE(attention_rows)(const eab_attention_args *args, int32_t head, const int32_t *times, int32_t count,
                                  const eab_real *q, const eab_real *k, const eab_real *v, const eab_real *dout,
                                  eab_real *out, eab_real *dq, eab_real *dk, eab_real *dv, bool magnitudes) {
    const head_gradients one = {q, k, v, dout, dq, dk, dv, magnitudes, false};
    attended_row row;
    EAB_TRY(row_open(&row, args, 0));
    for (int32_t i = 0; i < count; i++) {
        row_set(&row, args, head, times[i]);
        if (out) forward_row(&row, q + times[i] * args->in_time, k, v, out + times[i] * args->out_time);
        if (dq) backward_row(&row, &one);
    }
    free(row.attention);
    return EAB_OK;
}

int EAB_REFERENCE(attention_backward)(const eab_attention_args *args, int32_t member, const eab_real *q,
                                      const eab_real *k, const eab_real *v, const eab_real *dout, eab_real *dq,
                                      eab_real *dk, eab_real *dv) {
    return backward(args, member, &(head_gradients){q, k, v, dout, dq, dk, dv, false, false});
}

int EAB_REFERENCE(attention_terms)(const eab_attention_args *args, int32_t member, const eab_real *q, const eab_real *k,
                                   const eab_real *v, const eab_real *dout, eab_real *dq, eab_real *dk, eab_real *dv,
                                   bool centred) {
    return backward(args, member, &(head_gradients){q, k, v, dout, dq, dk, dv, true, centred});
}
