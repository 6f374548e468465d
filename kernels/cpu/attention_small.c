/* Attention for short contexts, forward (attention_small.h): a problem per lane.
 *
 * Per group of EAB_LANES problems and block of BLOCK queries: scores[query][key] = q . k, a product of BLOCK x BLOCK
 * blocks whose elements are vectors; scores become weights, row by row; out = weights x v, divided by L. A group's data
 * stay in the L1 or L2 cache: 4 * context * head_dim + BLOCK * context vectors. Limited by gathering and scattering (a
 * quarter to a third of the time where head_dim is no multiple of 8), and by a division or an exponential a pair.
 * Measured shares of the peak: kernels/cpu/README.md.
 */
#include "attention_lanes.h"

typedef struct {
    float *queries, *keys, *values, *outs; /* vectors [times][dims] */
    float *scores;                         /* vectors [BLOCK][times] */
    float *bias, *stats;                   /* vectors [2 * times], [times] */
} forward_space;

/* A row of scores becomes weights; sets *inverse to 1 / L and returns row_stat. */
typedef eab_vec (*weigh_function)(const lane_group *group, int32_t time, float *row, eab_vec *inverse);

EAB_INLINE eab_vec weigh_bounded(const lane_group *group, int32_t time, float *row, eab_vec *inverse,
                                 eab_vec (*weight)(eab_vec)) {
    const int32_t keys = weighed_keys(group, time);
    eab_vec total = {0};
    for (int32_t key = 0; key < keys; key++) {
        eab_vec w = weight(group->scale * eab_load(row + key * VECTOR));
        w *= lane_bias(group, time, key);
        total += w;
        eab_store(row + key * VECTOR, w);
    }
    clear_padding(group, keys, row);
    *inverse = 1 / total;
    return total;
}

EAB_INLINE eab_vec weigh_exponential(const lane_group *group, int32_t time, float *row, eab_vec *inverse,
                                     eab_vec (*log_weight)(eab_vec, float)) {
    const int32_t keys = weighed_keys(group, time);
    eab_vec total = {0};
    for (int32_t key = 0; key < keys; key++) {
        eab_vec log_w = log_weight(group->scale * eab_load(row + key * VECTOR), group->mix);
        log_w += lane_bias(group, time, key);
        eab_store(row + key * VECTOR, log_w);
    }
    const eab_vec top = eab_max_rows(row, EAB_LANES, keys, eab_splat(-3.0e38f)); /* below every log-weight */
    for (int32_t key = 0; key < keys; key++) {
        const eab_vec w = eab_exp_vec(eab_load(row + key * VECTOR) - top);
        total += w;
        eab_store(row + key * VECTOR, w);
    }
    clear_padding(group, keys, row);
    *inverse = 1 / total;
    return top + eab_log_vec(total);
}

#define BOUNDED(formula)                                                                                  \
    static eab_vec weigh_##formula(const lane_group *group, int32_t time, float *row, eab_vec *inverse) { \
        return weigh_bounded(group, time, row, inverse, eab_##formula##_weight);                          \
    }
EAB_BOUNDED_FORMULA_LIST(BOUNDED)

#define EXPONENTIAL(formula)                                                                              \
    static eab_vec weigh_##formula(const lane_group *group, int32_t time, float *row, eab_vec *inverse) { \
        return weigh_exponential(group, time, row, inverse, eab_##formula##_log_weight);                  \
    }
EAB_EXPONENTIAL_FORMULA_LIST(EXPONENTIAL)

static const weigh_function weigh_functions[] = {
#define FUNCTION(identifier, name, class_name, scale, formula) weigh_##formula,
    EAB_MECHANISM_LIST(FUNCTION)
#undef FUNCTION
};

static void attend_group(const lane_group *group, const forward_space *space, weigh_function weigh) {
    for (int32_t time = 0; time < group->times; time += BLOCK) {
        float *outs = space->outs + time * (group->dims * VECTOR);
        eab_vec inverse[BLOCK];
        multiply_rows(group, space->queries, space->keys, time, space->scores);
        for (int32_t row = 0; row < BLOCK; row++)
            eab_store(space->stats + (time + row) * VECTOR,
                      weigh(group, time + row, space->scores + row * (group->times * VECTOR), &inverse[row]));
        combine_rows(group, space->scores, space->values, time, outs);
        for (int32_t row = 0; row < BLOCK; row++)
            for (int32_t dim = 0; dim < group->dims; dim++) {
                float *value = outs + row * (group->dims * VECTOR) + dim * VECTOR;
                eab_store(value, eab_load(value) * inverse[row]);
            }
    }
}

static size_t carve_forward(float *memory, const lane_group *group, forward_space *space) {
    eab_carver from = {memory, 0};
    const int64_t head = (int64_t)group->times * group->dims * EAB_LANES, row = (int64_t)group->times * EAB_LANES;
    space->queries = eab_carve(&from, head);
    space->keys = eab_carve(&from, head);
    space->values = eab_carve(&from, head);
    space->outs = eab_carve(&from, head);
    space->scores = eab_carve(&from, BLOCK * row);
    space->bias = eab_carve(&from, bias_vectors(group) * EAB_LANES);
    space->stats = eab_carve(&from, row);
    return from.floats * sizeof(float);
}

int EAB_ISA_NAME(eab_attention_small_forward)(eab_cpu_workspace *workspace, const eab_attention_args *args,
                                              int32_t member, const float *q, const float *k, const float *v,
                                              float *out, float *row_stat) {
    const int32_t mechanism = args->scores.mechanism[member];
    lane_group group = {.args = args,
                        .times = round_up_block(args->context),
                        .dims = round_up_block(args->head_dim),
                        .scale = args->scores.scale[member],
                        .mix = args->scores.mix[member],
                        .exponential = eab_mechanism_class_of(mechanism) == EAB_CLASS_EXPONENTIAL};
    forward_space space;
    EAB_TRY(eab_cpu_workspace_reserve(workspace, carve_forward(NULL, &group, &space)));
    carve_forward(workspace->memory, &group, &space);
    const int64_t problems = (int64_t)args->batch * args->heads;
    for (group.first = 0; group.first < problems; group.first += EAB_LANES) {
        group.present = problems - group.first < EAB_LANES ? problems - group.first : EAB_LANES;
        if (group.first == 0 || args->slopes) fill_bias(&group, space.bias);
        gather(&group, q, true, space.queries);
        gather(&group, k, true, space.keys);
        gather(&group, v, true, space.values);
        attend_group(&group, &space, weigh_functions[mechanism]);
        scatter(&group, space.outs, false, out);
        if (row_stat)
            eab_transpose(args->context, group.present, space.stats, EAB_LANES, row_stat + group.first * args->context,
                          args->context);
        if (lanes_may_mask_nonfinite(&group, space.outs))
            for (int64_t i = 0; i < group.present; i++) {
                const head_place place = lane_place(&group, i);
                if (!rows_are_finite(out + place.out, args->out_time, args->context, args->head_dim))
                    EAB_TRY(eab_cpu_attention_again(args, member, &place, q, k, v, out, row_stat));
            }
    }
    return EAB_OK;
}
