/* Fused attention, forward: out_i = sum_j w(z_ij) b_ij v_j / L_i, with no context x context matrix in memory.
 *
 * Queries are in the vector lanes. Per head and block of up to TILE_QUERIES queries, q is packed transposed, times the
 * scale; then for each block of keys:
 *   scores[key][query] = k (broadcast) x q;  scores become weights, lane by lane;
 *   out[dim][query] += v (broadcast) x weights
 * and at the end out is divided by L and transposed back. For head_dim of at least two vectors the sums are
 *   out[query][dim] += weights (broadcast) x v
 * in out itself, without a transposition; if causal they are divided by L as the last keys are added. k and v are read
 * in place, with any strides. The exponential class keeps a running maximum per lane and rescales out and L when it
 * grows (Milakov and Gimelshein, arXiv 1805.02867; Dao et al., arXiv 2205.14135). The bounded class needs no maximum
 * and no rescaling.
 *
 * Causal: blocks of keys left of the diagonal need no mask; on the diagonal only small squares are computed above it
 * (product_diagonal.c). Limited by the two products, 4 head_dim FLOPs a pair, for head_dim from about 32; below that by
 * the weights (a division or an exponential a pair) and the packing. Standalone calls prefetch the next block's
 * operands (prefetch.h). Measured shares of the peak: kernels/cpu/README.md.
 */
#include "attention_nonfinite.h"
#include "attention_small.h"
#include "attention_tile.h"

/* Statistics of a block of queries, one query per lane. */
typedef struct {
    float sum[TILE_QUERIES];
    float max[TILE_QUERIES];    /* exponential class: the largest log-weight so far */
    float factor[TILE_QUERIES]; /* the sums so far must be multiplied by this */
} row_statistics;

typedef struct {
    float *queries, *scores; /* [head_dim][TILE_QUERIES], [TILE_KEYS][TILE_QUERIES] */
    float *sums;             /* [head_dim][TILE_QUERIES], unless sums_in_rows */
    bias_table bias;
    row_statistics *rows;
} forward_space;

/* Scores become weights in place, and are added to *sum. Returns the factor for the sums so far. */
typedef eab_vec (*weigh_function)(const score_column *column, float *sum, float *max);

EAB_INLINE eab_vec weigh_bounded(const score_column *column, float *sum, eab_vec (*weight)(eab_vec), bool biased) {
    eab_vec total = {0};
    float *scores = column->scores;
    for (int32_t j = 0; j < column->keys; j++, scores += TILE_QUERIES) {
        eab_vec w = weight(eab_load(scores));
        if (biased) w *= eab_load(column->bias - j);
        total += w;
        eab_store(scores, w);
    }
    eab_store(sum, eab_load(sum) + total);
    return eab_splat(1);
}

/* Log-weights replace the scores. Returns the largest one, at least `before`. */
EAB_INLINE eab_vec log_weights(const score_column *column, eab_vec before, eab_vec (*log_weight)(eab_vec, float),
                               bool biased) {
    float *scores = column->scores;
    for (int32_t j = 0; j < column->keys; j++, scores += TILE_QUERIES) {
        eab_vec log_w = log_weight(eab_load(scores), column->mix);
        if (biased) log_w += eab_load(column->bias - j);
        eab_store(scores, log_w);
    }
    return eab_max_rows(column->scores, TILE_QUERIES, column->keys, before);
}

/* The largest log-weight of dpa, without a clamp of single scores. Changes none of them. */
EAB_INLINE eab_vec largest_score(const score_column *column, eab_vec before, bool biased) {
    if (!biased) return eab_max_rows(column->scores, TILE_QUERIES, column->keys, before);
    eab_vec top = before;
    for (int32_t j = 0; j < column->keys; j++)
        top = eab_max_vec(top, biased_score(column->scores + j * TILE_QUERIES, column->bias - j));
    return top;
}

/* exp(score + bias - top) replaces the scores. Returns their sum. */
EAB_INLINE eab_vec exponentials(const score_column *column, eab_vec top, bool biased) {
    eab_vec total = {0};
    float *scores = column->scores;
    for (int32_t j = 0; j < column->keys; j++, scores += TILE_QUERIES) {
        const eab_vec log_w = biased ? biased_score(scores, column->bias - j) : eab_load(scores);
        const eab_vec w = eab_exp_negative_vec(log_w - top);
        total += w;
        eab_store(scores, w);
    }
    return total;
}

EAB_INLINE eab_vec weigh_exponential(const score_column *column, float *sum, float *max,
                                     eab_vec (*log_weight)(eab_vec, float), bool biased) {
    const bool is_dpa = log_weight == eab_dpa_log_weight; /* a constant after inlining */
    const eab_vec before = eab_load(max);
    eab_vec total, top = is_dpa ? largest_score(column, before, biased) : before;
    if (is_dpa && needs_no_clamp(top)) {
        total = exponentials(column, top, biased);
    } else {
        top = log_weights(column, before, log_weight, biased);
        total = exponentials(column, top, false);
    }
    const eab_vec factor = eab_exp_negative_vec(before - top);
    eab_store(max, top);
    eab_store(sum, eab_load(sum) * factor + total);
    return factor;
}

#define BOUNDED(formula)                                                                 \
    static eab_vec weigh_##formula(const score_column *column, float *sum, float *max) { \
        (void)max;                                                                       \
        return column->bias ? weigh_bounded(column, sum, eab_##formula##_weight, true)   \
                            : weigh_bounded(column, sum, eab_##formula##_weight, false); \
    }
EAB_BOUNDED_FORMULA_LIST(BOUNDED)

#define EXPONENTIAL(formula)                                                                          \
    static eab_vec weigh_##formula(const score_column *column, float *sum, float *max) {              \
        return column->bias ? weigh_exponential(column, sum, max, eab_##formula##_log_weight, true)   \
                            : weigh_exponential(column, sum, max, eab_##formula##_log_weight, false); \
    }
EAB_EXPONENTIAL_FORMULA_LIST(EXPONENTIAL)

static const weigh_function weigh_functions[] = {
#define FUNCTION(identifier, name, class_name, scale, formula) weigh_##formula,
    EAB_MECHANISM_LIST(FUNCTION)
#undef FUNCTION
};

typedef struct {
    const eab_attention_args *args;
    const float *q, *k, *v; /* of this batch element and head */
    float *out, *row_stat;  /* row_stat may be NULL */
    float scale, mix;
    bool exponential;
    weigh_function weigh;
    const forward_space *space;
    row_prefetch *ahead;
} head_pass;

/* A block: queries [first, first + count). */
typedef struct {
    int32_t first, count, vectors;
    float *out; /* of the first one */
} query_block;

/* Multiplies each query's sums by its factor. */
static void scale_sums(const head_pass *pass, const query_block *block, const float *factors) {
    const int32_t head_dim = pass->args->head_dim;
    if (sums_in_rows(pass->args)) {
        float *row = block->out;
        for (int32_t i = 0; i < block->count; i++, row += pass->args->out_time)
            for (int32_t dim = 0; dim < head_dim; dim++) row[dim] *= factors[i];
        return;
    }
    for (int32_t lane = 0; lane < block->vectors * EAB_LANES; lane += EAB_LANES)
        for (int32_t dim = 0; dim < head_dim; dim++) {
            float *sum = pass->space->sums + (int64_t)dim * TILE_QUERIES + lane;
            eab_store(sum, eab_load(sum) * eab_load(factors + lane));
        }
}

/* Sets factor to 1 / L. */
static void invert_sums(const query_block *block, row_statistics *rows) {
    for (int32_t lane = 0; lane < block->vectors * EAB_LANES; lane += EAB_LANES)
        eab_store(rows->factor + lane, 1 / eab_load(rows->sum + lane));
}

/* Adds keys [first, first + keys) to the block's queries. A block of keys on the diagonal begins at the first query;
 * it is the last one, so sums in rows are divided by L in the registers. */
static void attend_keys(const head_pass *pass, const query_block *block, int32_t first, int32_t keys, bool diagonal) {
    const forward_space *space = pass->space;
    const int64_t in_time = pass->args->in_time;
    const tile_rows k = {pass->k + first * in_time, in_time,  keys,       block->vectors,
                         pass->args->head_dim,      diagonal, pass->ahead};
    tile_rows v = k;
    v.data = pass->v + first * in_time;
    const bool biased = diagonal || pass->args->slopes;
    score_tile(&k, space->queries, space->scores);
    for (int32_t vector = 0; vector < block->vectors; vector++) {
        const int32_t lane = vector * EAB_LANES;
        const score_column column = {space->scores + lane, visible_keys(&k, vector), pass->mix,
                                     biased ? space->bias.at_zero + (block->first + lane - first) : NULL};
        eab_store(space->rows->factor + lane, pass->weigh(&column, space->rows->sum + lane, space->rows->max + lane));
    }
    if (pass->exponential && first > 0) scale_sums(pass, block, space->rows->factor);
    if (diagonal) invert_sums(block, space->rows);
    const eab_start start = first ? EAB_START_C : EAB_START_ZERO;
    if (sums_in_rows(pass->args))
        sum_tile_rows(&v, block->count, space->scores, block->out, pass->args->out_time, start, space->rows->factor);
    else sum_tile(&v, space->scores, space->sums, start);
}

static void attend_queries(const head_pass *pass, int32_t first_query, int32_t queries) {
    const eab_attention_args *args = pass->args;
    const forward_space *space = pass->space;
    row_statistics *rows = space->rows;
    const query_block block = {first_query, queries, (queries + EAB_LANES - 1) / EAB_LANES,
                               pass->out + first_query * args->out_time};
    const int32_t lanes = block.vectors * EAB_LANES;
    for (int32_t lane = 0; lane < lanes; lane += EAB_LANES) {
        eab_store(rows->sum + lane, eab_splat(0));
        eab_store(rows->max + lane, eab_splat(-3.0e38f)); /* below every log-weight */
    }
    pack_queries(pass->q + first_query * args->in_time, args->in_time, queries, args->head_dim, pass->scale,
                 space->queries);
    const int32_t unmasked = args->causal ? first_query : args->context;
    for (int32_t first = 0; first < unmasked; first += TILE_KEYS)
        attend_keys(pass, &block, first, unmasked - first < TILE_KEYS ? unmasked - first : TILE_KEYS, false);
    if (args->causal) {
        attend_keys(pass, &block, first_query, queries, true);
    } else {
        invert_sums(&block, rows);
        if (sums_in_rows(args)) scale_sums(pass, &block, rows->factor);
    }
    if (!sums_in_rows(args)) EAB_ISA_NAME(eab_transpose_scaled)
    (args->head_dim, queries, space->sums, TILE_QUERIES, rows->factor, 1, block.out, args->out_time);
    if (!pass->row_stat) return;
    if (pass->exponential)
        for (int32_t lane = 0; lane < lanes; lane += EAB_LANES)
            eab_store(rows->sum + lane, eab_load(rows->max + lane) + eab_log_vec(eab_load(rows->sum + lane)));
    memcpy(pass->row_stat + first_query, rows->sum, (size_t)queries * sizeof(float));
}

static size_t carve_forward(float *memory, const eab_attention_args *args, forward_space *space) {
    eab_carver from = {memory, 0};
    space->bias = bias_table_shape(args);
    float *table = eab_carve(&from, bias_table_floats(&space->bias));
    space->bias.at_zero = table ? table - space->bias.lowest : NULL;
    space->queries = eab_carve(&from, (int64_t)args->head_dim * TILE_QUERIES);
    space->sums = sums_in_rows(args) ? NULL : eab_carve(&from, (int64_t)args->head_dim * TILE_QUERIES);
    space->scores = eab_carve(&from, (int64_t)TILE_KEYS * TILE_QUERIES);
    space->rows = (row_statistics *)(void *)eab_carve(&from, sizeof *space->rows / sizeof(float));
    return from.floats * sizeof(float);
}

int EAB_ISA_NAME(eab_attention_forward)(eab_cpu_workspace *workspace, const eab_attention_args *args, int32_t member,
                                        const float *q, const float *k, const float *v, float *out, float *row_stat) {
    if (eab_attention_is_small(args))
        return EAB_ISA_NAME(eab_attention_small_forward)(workspace, args, member, q, k, v, out, row_stat);
    forward_space space;
    EAB_TRY(eab_cpu_workspace_reserve(workspace, carve_forward(NULL, args, &space)));
    carve_forward(workspace->memory, args, &space);
    const int32_t mechanism = args->scores.mechanism[member];
    row_prefetch ahead = {.args = args};
    const float *const operands[] = {q, k, v, out};
    for (int i = 0; i < 4; i++) prefetch_matrix(&ahead, operands[i]);
    const int32_t most = block_queries(args);
    prefetch_first(&ahead, most);
    head_pass pass = {.args = args,
                      .scale = args->scores.scale[member],
                      .mix = args->scores.mix[member],
                      .exponential = eab_mechanism_class_of(mechanism) == EAB_CLASS_EXPONENTIAL,
                      .weigh = weigh_functions[mechanism],
                      .space = &space,
                      .ahead = &ahead};
    for (int64_t i = 0; i < head_places(args); i++) {
        const head_place place = head_place_at(args, i);
        bias_table_move(&space.bias, args, i, pass.exponential);
        pass.q = q + place.in;
        pass.k = k + place.in;
        pass.v = v + place.in;
        pass.out = out + place.out;
        if (row_stat) pass.row_stat = row_stat + place.stat;
        for (int32_t first = 0; first < args->context; first += most) {
            const int32_t queries = args->context - first < most ? args->context - first : most;
            prefetch_behind(&ahead, i, first, most, 2 * block_work(args, first, queries));
            attend_queries(&pass, first, queries);
        }
        if (args->standalone && args->causal &&
            !rows_are_finite(pass.out, args->out_time, args->context, args->head_dim))
            EAB_TRY(eab_cpu_attention_again(args, member, &place, q, k, v, out, row_stat));
    }
    return EAB_OK;
}
