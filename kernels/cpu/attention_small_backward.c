/* Attention for short contexts, backward (attention_small.h): a problem per lane.
 *
 * The five products of attention_backward.c, on blocks of vectors. The weights of up to QUERIES queries are kept, so
 * that dk and dv are summed over these in registers: 8 * context * head_dim + 2 * QUERIES * context vectors in all.
 * Limited by gathering five operands and scattering three (40 us in eights, 55 us in fours, at head_dim 8, context 24,
 * 128 heads), then by the products. Measured shares of the peak: kernels/cpu/README.md.
 */
#include "attention_lanes.h"

enum { QUERIES = 32 };

typedef struct {
    float *queries, *keys, *values, *outs, *douts, *dqueries, *dkeys, *dvalues; /* vectors [times][dims] */
    float *scores, *dscores;                                                    /* vectors [QUERIES][times] */
    float *bias, *stats;                                                        /* vectors [2 * times], [times] */
} backward_space;

/* A row of scores becomes attention weights, and dscores (dp) become scale * dz. mean_dp is D. */
typedef void (*differentiate_function)(const lane_group *group, int32_t time, float *row, float *drow, eab_vec stat,
                                       eab_vec mean_dp);

EAB_INLINE void differentiate_bounded(const lane_group *group, int32_t time, float *row, float *drow, eab_vec stat,
                                      eab_vec mean_dp, eab_vec (*weight)(eab_vec), eab_vec (*derivative)(eab_vec)) {
    const int32_t keys = weighed_keys(group, time);
    const eab_vec inverse = 1 / stat;
    for (int32_t key = 0; key < keys; key++) {
        const eab_vec z = group->scale * eab_load(row + key * VECTOR);
        const eab_vec factor = inverse * lane_bias(group, time, key);
        const eab_vec difference = eab_load(drow + key * VECTOR) - mean_dp;
        eab_store(row + key * VECTOR, weight(z) * factor);
        eab_store(drow + key * VECTOR, derivative(z) * factor * (group->scale * difference));
    }
    clear_padding(group, keys, row);
    clear_padding(group, keys, drow);
}

EAB_INLINE void differentiate_exponential(const lane_group *group, int32_t time, float *row, float *drow, eab_vec stat,
                                          eab_vec mean_dp, eab_vec (*log_weight)(eab_vec, float),
                                          eab_vec (*log_derivative)(eab_vec, float)) {
    const int32_t keys = weighed_keys(group, time);
    for (int32_t key = 0; key < keys; key++) {
        const eab_vec z = group->scale * eab_load(row + key * VECTOR);
        eab_vec log_w = log_weight(z, group->mix) - stat;
        log_w += lane_bias(group, time, key);
        const eab_vec a = eab_exp_vec(log_w), difference = eab_load(drow + key * VECTOR) - mean_dp;
        eab_store(row + key * VECTOR, a);
        eab_store(drow + key * VECTOR, a * log_derivative(z, group->mix) * (group->scale * difference));
    }
    clear_padding(group, keys, row);
    clear_padding(group, keys, drow);
}

#define BOUNDED(formula)                                                                                              \
    static void differentiate_##formula(const lane_group *group, int32_t time, float *row, float *drow, eab_vec stat, \
                                        eab_vec mean_dp) {                                                            \
        differentiate_bounded(group, time, row, drow, stat, mean_dp, eab_##formula##_weight,                          \
                              eab_##formula##_derivative);                                                            \
    }
EAB_BOUNDED_FORMULA_LIST(BOUNDED)

#define EXPONENTIAL(formula)                                                                                          \
    static void differentiate_##formula(const lane_group *group, int32_t time, float *row, float *drow, eab_vec stat, \
                                        eab_vec mean_dp) {                                                            \
        differentiate_exponential(group, time, row, drow, stat, mean_dp, eab_##formula##_log_weight,                  \
                                  eab_##formula##_log_derivative);                                                    \
    }
EAB_EXPONENTIAL_FORMULA_LIST(EXPONENTIAL)

static const differentiate_function differentiate_functions[] = {
#define FUNCTION(identifier, name, class_name, scale, formula) differentiate_##formula,
    EAB_MECHANISM_LIST(FUNCTION)
#undef FUNCTION
};

static eab_vec row_dot(const float *x, const float *y, int32_t dims) {
    eab_vec sum = {0};
    for (int32_t dim = 0; dim < dims; dim++) sum += eab_load(x + dim * VECTOR) * eab_load(y + dim * VECTOR);
    return sum;
}

/* to[key][dim] (+)= sum over queries [first, end) of weights[query - first][key] rows[query][dim], without masked
 * queries. */
static void gather_keys(const lane_group *group, const float *weights, const float *rows, int32_t first, int32_t end,
                        float *to) {
    const int32_t keys = group->args->causal ? end : group->times;
    for (int32_t key = 0; key < keys; key += BLOCK) {
        const int32_t begin = group->args->causal && key > first ? key : first;
        for (int32_t dim = 0; dim < group->dims; dim += BLOCK)
            multiply_block((block_product){.a = weights + (begin - first) * (group->times * VECTOR) + key * VECTOR,
                                           .a_row = 1,
                                           .a_k = group->times,
                                           .b = rows + begin * (group->dims * VECTOR) + dim * VECTOR,
                                           .b_column = 1,
                                           .b_k = group->dims,
                                           .c = to + key * (group->dims * VECTOR) + dim * VECTOR,
                                           .c_row = group->dims,
                                           .k = end - begin,
                                           .accumulate = first > 0 && (key < first || !group->args->causal)});
    }
}

static void differentiate_group(const lane_group *group, const backward_space *space,
                                differentiate_function differentiate) {
    const int64_t row_floats = (int64_t)group->times * EAB_LANES, head_row = (int64_t)group->dims * EAB_LANES;
    for (int32_t first = 0; first < group->times; first += QUERIES) {
        const int32_t end = group->times - first < QUERIES ? group->times : first + QUERIES;
        for (int32_t time = first; time < end; time += BLOCK) {
            float *scores = space->scores + (time - first) * row_floats,
                  *dscores = space->dscores + (time - first) * row_floats;
            multiply_rows(group, space->queries, space->keys, time, scores);
            multiply_rows(group, space->douts, space->values, time, dscores);
            for (int32_t row = 0; row < BLOCK; row++) {
                const int64_t at = (time + row) * head_row;
                differentiate(group, time + row, scores + row * row_floats, dscores + row * row_floats,
                              eab_load(space->stats + (time + row) * VECTOR),
                              row_dot(space->douts + at, space->outs + at, group->dims));
            }
            combine_rows(group, dscores, space->keys, time, space->dqueries + time * head_row);
        }
        gather_keys(group, space->scores, space->douts, first, end, space->dvalues);
        gather_keys(group, space->dscores, space->queries, first, end, space->dkeys);
    }
}

static size_t carve_backward(float *memory, const lane_group *group, backward_space *space) {
    eab_carver from = {memory, 0};
    const int64_t head = (int64_t)group->times * group->dims * EAB_LANES, row = (int64_t)group->times * EAB_LANES;
    float **const heads[] = {&space->queries, &space->keys,     &space->values, &space->outs,
                             &space->douts,   &space->dqueries, &space->dkeys,  &space->dvalues};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) *heads[i] = eab_carve(&from, head);
    space->scores = eab_carve(&from, QUERIES * row);
    space->dscores = eab_carve(&from, QUERIES * row);
    space->bias = eab_carve(&from, bias_vectors(group) * EAB_LANES);
    space->stats = eab_carve(&from, row);
    return from.floats * sizeof(float);
}

int EAB_ISA_NAME(eab_attention_small_backward)(eab_cpu_workspace *workspace, const eab_attention_args *args,
                                               int32_t member, const float *q, const float *k, const float *v,
                                               const float *out, const float *row_stat, const float *dout, float *dq,
                                               float *dk, float *dv) {
    const int32_t mechanism = args->scores.mechanism[member];
    lane_group group = {.args = args,
                        .times = round_up_block(args->context),
                        .dims = round_up_block(args->head_dim),
                        .scale = args->scores.scale[member],
                        .mix = args->scores.mix[member],
                        .exponential = eab_mechanism_class_of(mechanism) == EAB_CLASS_EXPONENTIAL};
    backward_space space;
    EAB_TRY(eab_cpu_workspace_reserve(workspace, carve_backward(NULL, &group, &space)));
    carve_backward(workspace->memory, &group, &space);
    const int64_t problems = (int64_t)args->batch * args->heads;
    for (group.first = 0; group.first < problems; group.first += EAB_LANES) {
        group.present = problems - group.first < EAB_LANES ? problems - group.first : EAB_LANES;
        if (group.first == 0 || args->slopes) fill_bias(&group, space.bias);
        gather(&group, q, true, space.queries);
        gather(&group, k, true, space.keys);
        gather(&group, v, true, space.values);
        gather(&group, out, false, space.outs);
        gather(&group, dout, false, space.douts);
        for (int32_t i = 0; i < group.times * EAB_LANES; i++)
            space.stats[i] = 1; /* for padded rows: any finite value */
        eab_transpose(group.present, args->context, row_stat + group.first * args->context, args->context, space.stats,
                      EAB_LANES);
        differentiate_group(&group, &space, differentiate_functions[mechanism]);
        scatter(&group, space.dqueries, true, dq);
        scatter(&group, space.dkeys, true, dk);
        scatter(&group, space.dvalues, true, dv);
        if (lanes_may_mask_nonfinite(&group, space.dqueries) || lanes_may_mask_nonfinite(&group, space.dkeys) ||
            lanes_may_mask_nonfinite(&group, space.dvalues))
            for (int64_t i = 0; i < group.present; i++) {
                const head_place place = lane_place(&group, i);
                if (!gradients_are_finite(args, dq + place.in, dk + place.in, dv + place.in))
                    EAB_TRY(eab_cpu_attention_backward_again(args, member, &place, q, k, v, dout, dq, dk, dv));
            }
    }
    return EAB_OK;
}
