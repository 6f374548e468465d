/* Unfused attention between its products: rows of scores in memory become rows of weights, and back. For comparison
 * with the fused kernels (eabench bench --implementation unfused): as fast as an unfused implementation can be, a row
 * at a time, in vectors, while the row is in the first caches.
 *
 *   exponential: x = l(z) + log b; a = exp(x - max x) / sum;   ds = scale a l'(z) (da - sum a da)
 *   bounded:     a = w(z) b / sum w b;                         ds = scale a (w'(z) / w(z)) (da - sum a da), w >= eps
 *
 * Limited by memory: it reads and writes each row of context floats once, and so does each product.
 */
#include <math.h>

#include "formulas.h"
#include "level.h"

/* One query's row: its keys 0..keys-1; lanes past the end are masked. */
typedef struct {
    int32_t keys, context;
    float scale, mix, slope, time;
} score_row;

EAB_INLINE eab_vec load_part(const float *from, int32_t count) {
    eab_vec value = {0};
    if (count >= EAB_LANES) return eab_load(from);
    memcpy(&value, from, (size_t)count * sizeof *from);
    return value;
}

EAB_INLINE void store_part(float *to, int32_t count, eab_vec value) {
    if (count >= EAB_LANES) eab_store(to, value);
    else memcpy(to, &value, (size_t)count * sizeof *to);
}

EAB_INLINE eab_vec lane_numbers(void) {
    eab_vec lanes;
    for (int lane = 0; lane < EAB_LANES; lane++) lanes[lane] = (float)lane;
    return lanes;
}

/* -slope |i - j| of the keys from `first` on. */
EAB_INLINE eab_vec log_bias(const score_row *row, int32_t first) {
    const eab_vec distance = row->time - (lane_numbers() + (float)first);
    return -row->slope * eab_max_vec(distance, -distance);
}

EAB_INLINE eab_int_vec inside(int32_t count) { return lane_numbers() < eab_splat((float)count); }

EAB_INLINE float sum_of(eab_vec values) {
    float sum = 0;
    for (int lane = 0; lane < EAB_LANES; lane++) sum += values[lane];
    return sum;
}

EAB_INLINE float largest_of(eab_vec values) {
    float largest = values[0];
    for (int lane = 1; lane < EAB_LANES; lane++) largest = values[lane] > largest ? values[lane] : largest;
    return largest;
}

/* Multiplies the weights by `factor`; those past the keys become 0. */
EAB_INLINE void finish_row(const score_row *row, float *weights, float factor) {
    for (int32_t j = 0; j < row->keys; j += EAB_LANES)
        store_part(weights + j, row->keys - j, load_part(weights + j, row->keys - j) * factor);
    memset(weights + row->keys, 0, (size_t)(row->context - row->keys) * sizeof *weights);
}

#define EXPONENTIAL_ROWS(formula)                                                                  \
    static void formula##_forward(const score_row *row, const float *scores, float *weights) {     \
        eab_vec largest = eab_splat(-INFINITY), sum = {0};                                         \
        for (int32_t j = 0; j < row->keys; j += EAB_LANES) {                                       \
            const int32_t left = row->keys - j;                                                    \
            const eab_vec z = row->scale * load_part(scores + j, left);                            \
            eab_vec x = eab_##formula##_log_weight(z, row->mix) + log_bias(row, j);                \
            if (left < EAB_LANES) x = eab_select(inside(left), x, eab_splat(-INFINITY));           \
            largest = eab_max_vec(x, largest);                                                     \
            store_part(weights + j, left, x);                                                      \
        }                                                                                          \
        const float top = largest_of(largest);                                                     \
        for (int32_t j = 0; j < row->keys; j += EAB_LANES) {                                       \
            const int32_t left = row->keys - j;                                                    \
            eab_vec a = eab_exp_vec(load_part(weights + j, left) - top);                           \
            if (left < EAB_LANES) a = eab_keep(inside(left), a);                                   \
            sum += a;                                                                              \
            store_part(weights + j, left, a);                                                      \
        }                                                                                          \
        finish_row(row, weights, 1 / sum_of(sum));                                                 \
    }                                                                                              \
    EAB_INLINE eab_vec formula##_slope(const score_row *row, const float *scores, int32_t count) { \
        return eab_##formula##_log_derivative(row->scale * load_part(scores, count), row->mix);    \
    }

#define BOUNDED_ROWS(formula)                                                                      \
    static void formula##_forward(const score_row *row, const float *scores, float *weights) {     \
        eab_vec sum = {0};                                                                         \
        for (int32_t j = 0; j < row->keys; j += EAB_LANES) {                                       \
            const int32_t left = row->keys - j;                                                    \
            eab_vec w = eab_##formula##_weight(row->scale * load_part(scores + j, left));          \
            if (row->slope > 0) w *= eab_exp_vec(log_bias(row, j));                                \
            if (left < EAB_LANES) w = eab_keep(inside(left), w);                                   \
            sum += w;                                                                              \
            store_part(weights + j, left, w);                                                      \
        }                                                                                          \
        finish_row(row, weights, 1 / sum_of(sum));                                                 \
    }                                                                                              \
    EAB_INLINE eab_vec formula##_slope(const score_row *row, const float *scores, int32_t count) { \
        const eab_vec z = row->scale * load_part(scores, count);                                   \
        return eab_##formula##_derivative(z) / eab_##formula##_weight(z);                          \
    }

#define BACKWARD_ROWS(formula)                                                                                         \
    static void formula##_backward(const score_row *row, const float *scores, const float *weights, float *dweights) { \
        eab_vec products = {0};                                                                                        \
        for (int32_t j = 0; j < row->keys; j += EAB_LANES)                                                             \
            products += load_part(weights + j, row->keys - j) * load_part(dweights + j, row->keys - j);                \
        const float mean = sum_of(products);                                                                           \
        for (int32_t j = 0; j < row->keys; j += EAB_LANES) {                                                           \
            const int32_t left = row->keys - j;                                                                        \
            const eab_vec slope = formula##_slope(row, scores + j, left);                                              \
            const eab_vec difference = load_part(dweights + j, left) - mean;                                           \
            store_part(dweights + j, left, row->scale * load_part(weights + j, left) * slope * difference);            \
        }                                                                                                              \
        memset(dweights + row->keys, 0, (size_t)(row->context - row->keys) * sizeof *dweights);                        \
    }

EAB_EXPONENTIAL_FORMULA_LIST(EXPONENTIAL_ROWS)
EAB_BOUNDED_FORMULA_LIST(BOUNDED_ROWS)
EAB_EXPONENTIAL_FORMULA_LIST(BACKWARD_ROWS)
EAB_BOUNDED_FORMULA_LIST(BACKWARD_ROWS)

typedef struct {
    void (*forward)(const score_row *row, const float *scores, float *weights);
    void (*backward)(const score_row *row, const float *scores, const float *weights, float *dweights);
} row_functions;

static const row_functions functions[EAB_MECHANISM_COUNT] = {
#define ROW_FUNCTIONS(identifier, name, class_name, scale, formula) {formula##_forward, formula##_backward},
    EAB_MECHANISM_LIST(ROW_FUNCTIONS)
#undef ROW_FUNCTIONS
};

static score_row row_at(const eab_attention_args *args, int32_t member, int64_t head, int32_t time) {
    return (score_row){.keys = args->causal ? time + 1 : args->context,
                       .context = args->context,
                       .scale = args->scores.scale[member],
                       .mix = args->scores.mix[member],
                       .slope = args->slopes ? args->slopes[head % args->heads] : 0,
                       .time = (float)time};
}

void EAB_ISA_NAME(eab_scores_forward)(const eab_attention_args *args, int32_t member, const float *scores,
                                      float *weights) {
    const row_functions *f = &functions[args->scores.mechanism[member]];
    for (int64_t head = 0; head < (int64_t)args->batch * args->heads; head++)
        for (int32_t time = 0; time < args->context; time++) {
            const score_row row = row_at(args, member, head, time);
            const int64_t at = (head * args->context + time) * args->context;
            f->forward(&row, scores + at, weights + at);
        }
}

void EAB_ISA_NAME(eab_scores_backward)(const eab_attention_args *args, int32_t member, const float *scores,
                                       const float *weights, float *dweights) {
    const int32_t mechanism = args->scores.mechanism[member];
    const row_functions *f = &functions[mechanism];
    for (int64_t head = 0; head < (int64_t)args->batch * args->heads; head++)
        for (int32_t time = 0; time < args->context; time++) {
            const score_row row = row_at(args, member, head, time);
            const int64_t at = (head * args->context + time) * args->context;
            /* dpa's slope is 1 for any score, so any row can stand in. */
            f->backward(&row, (mechanism == EAB_MECHANISM_dpa ? weights : scores) + at, weights + at, dweights + at);
        }
}
