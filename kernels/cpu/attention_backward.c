/* Fused attention, backward: weights are computed again from q, k and row_stat, tile by tile (attention_tile.h).
 *
 * With dp_ij = dout_i . v_j and D_i = dout_i . out_i, per block of queries (in the lanes) and block of keys:
 *   scores = k x q;  dp = v x dout;  a = w b / L;  ds = scale (w' b / L) (dp - D)        lane by lane
 *   dv[key][dim] += a x dout;  dk[key][dim] += ds x q;  dq[query][dim] += ds x k
 * dk, dv and dq have head_dim in the lanes and are summed in the results themselves. Exceptions: for head_dim below a
 * vector dk and dv are summed in padded rows; below two vectors dq is summed with queries in the lanes and transposed
 * back at the end of a block. q and dout are multiplied by the scale when they are packed, not for each pair. ds never
 * divides by a score, and dp - D is formed before it is multiplied (docs/design.md 1).
 *
 * Causal: as in attention.c; on the diagonal the sums of a key's dk and dv begin at the first query that sees it.
 * Limited by the five products, 10 head_dim FLOPs a pair; for small head_dim by the weights and the packing. Measured
 * shares of the peak: kernels/cpu/README.md.
 */
#include "attention_nonfinite.h"
#include "attention_small.h"
#include "attention_tile.h"

/* Per query. */
typedef struct {
    float stat[TILE_QUERIES];    /* exponential class: log L; bounded: 1 / L */
    float mean_dp[TILE_QUERIES]; /* scale * D */
} query_terms;

typedef struct {
    float *queries, *douts;        /* [head_dim][TILE_QUERIES], times the scale */
    float *outs, *dqueries;        /* as they are; outs shares memory with queries; dqueries: NULL if sums_in_rows */
    float *scores, *dscores;       /* [TILE_KEYS][TILE_QUERIES] */
    float *query_rows, *dout_rows; /* [TILE_QUERIES][EAB_LANES], for head_dim < EAB_LANES */
    float *dkeys, *dvalues;        /* [context][EAB_LANES], likewise */
    bias_table bias;
    query_terms *terms;
} backward_space;

/* scores become attention weights, dscores (scale * dp) become scale * dz. */
typedef void (*differentiate_function)(const score_column *column, float *dscores, const float *stat,
                                       const float *mean_dp);

EAB_INLINE void differentiate_bounded(const score_column *column, float *dscores, const float *stat,
                                      const float *mean_dp, eab_vec (*weight)(eab_vec), eab_vec (*derivative)(eab_vec),
                                      bool biased) {
    const eab_vec inverse = eab_load(stat), mean = eab_load(mean_dp);
    float *scores = column->scores;
    for (int32_t j = 0; j < column->keys; j++, scores += TILE_QUERIES, dscores += TILE_QUERIES) {
        const eab_vec z = eab_load(scores);
        const eab_vec factor = biased ? inverse * eab_load(column->bias - j) : inverse;
        eab_store(scores, weight(z) * factor);
        eab_store(dscores, derivative(z) * factor * (eab_load(dscores) - mean));
    }
}

EAB_INLINE void differentiate_exponential(const score_column *column, float *dscores, const float *stat,
                                          const float *mean_dp, eab_vec (*log_weight)(eab_vec, float),
                                          eab_vec (*log_derivative)(eab_vec, float), bool biased) {
    const eab_vec log_sum = eab_load(stat), mean = eab_load(mean_dp);
    float *scores = column->scores;
    if (log_weight == eab_dpa_log_weight && needs_no_clamp(log_sum)) {
        for (int32_t j = 0; j < column->keys; j++, scores += TILE_QUERIES, dscores += TILE_QUERIES) {
            const eab_vec log_w = biased ? biased_score(scores, column->bias - j) : eab_load(scores);
            const eab_vec a = eab_exp_negative_vec(log_w - log_sum);
            eab_store(scores, a);
            eab_store(dscores, a * (eab_load(dscores) - mean));
        }
        return;
    }
    for (int32_t j = 0; j < column->keys; j++, scores += TILE_QUERIES, dscores += TILE_QUERIES) {
        const eab_vec z = eab_load(scores);
        eab_vec log_w = log_weight(z, column->mix);
        if (biased) log_w += eab_load(column->bias - j);
        const eab_vec a = eab_exp_negative_vec(log_w - log_sum);
        eab_store(scores, a);
        eab_store(dscores, a * log_derivative(z, column->mix) * (eab_load(dscores) - mean));
    }
}

#define BOUNDED(formula)                                                                                              \
    static void differentiate_##formula(const score_column *column, float *dscores, const float *stat,                \
                                        const float *mean_dp) {                                                       \
        if (column->bias)                                                                                             \
            differentiate_bounded(column, dscores, stat, mean_dp, eab_##formula##_weight, eab_##formula##_derivative, \
                                  true);                                                                              \
        else                                                                                                          \
            differentiate_bounded(column, dscores, stat, mean_dp, eab_##formula##_weight, eab_##formula##_derivative, \
                                  false);                                                                             \
    }
EAB_BOUNDED_FORMULA_LIST(BOUNDED)

#define EXPONENTIAL(formula)                                                                           \
    static void differentiate_##formula(const score_column *column, float *dscores, const float *stat, \
                                        const float *mean_dp) {                                        \
        if (column->bias)                                                                              \
            differentiate_exponential(column, dscores, stat, mean_dp, eab_##formula##_log_weight,      \
                                      eab_##formula##_log_derivative, true);                           \
        else                                                                                           \
            differentiate_exponential(column, dscores, stat, mean_dp, eab_##formula##_log_weight,      \
                                      eab_##formula##_log_derivative, false);                          \
    }
EAB_EXPONENTIAL_FORMULA_LIST(EXPONENTIAL)

static const differentiate_function differentiate_functions[] = {
#define FUNCTION(identifier, name, class_name, scale, formula) differentiate_##formula,
    EAB_MECHANISM_LIST(FUNCTION)
#undef FUNCTION
};

/* Rows with head_dim in the lanes: in place, or padded copies where head_dim is less than a vector. */
typedef struct {
    float *data;
    int64_t row;
} lane_rows;

typedef struct {
    const eab_attention_args *args;
    const float *q, *k, *v, *out, *row_stat, *dout; /* of this batch element and head */
    float *dq;
    lane_rows dkeys, dvalues;
    int32_t columns; /* of dkeys and dvalues: head_dim, at least EAB_LANES */
    float scale, mix;
    bool exponential;
    differentiate_function differentiate;
    const backward_space *space;
    row_prefetch *ahead;
} head_pass;

typedef struct {
    int32_t first, count, vectors;
    const float *query_rows, *dout_rows;
    int64_t query_row, dout_row;
} query_block;

/* dk and dv rows [first, first + keys) += tile x the queries' rows. On the diagonal row j begins at query j. */
static void gather_rows(const head_pass *pass, const query_block *block, const float *tile, const float *rows,
                        int64_t row, const lane_rows *to, int32_t first, int32_t keys, bool diagonal) {
    /* The first block of queries that sees a key sets its rows. */
    const bool sets = pass->args->causal ? diagonal : block->first == 0;
    const eab_start start = sets ? EAB_START_ZERO : EAB_START_C;
    float *first_row = to->data + first * to->row;
    if (!diagonal) {
        EAB_PRODUCT(.rows = keys, .columns = pass->columns, .k = block->count, .a = tile, .a_row = TILE_QUERIES,
                    .a_k = 1, .b = rows, .b_row = row, .c = first_row, .c_row = to->row, .start = start,
                    .ahead = pass->ahead);
        return;
    }
    const eab_triangle_args args = {.rows = keys,
                                    .columns = pass->columns,
                                    .a = tile,
                                    .a_row = TILE_QUERIES,
                                    .a_k = 1,
                                    .b = rows,
                                    .b_row = row,
                                    .c = first_row,
                                    .c_row = to->row,
                                    .start = start,
                                    .ahead = pass->ahead};
    EAB_ISA_NAME(eab_product_triangle)(&args);
}

static void differentiate_keys(const head_pass *pass, const query_block *block, int32_t first, int32_t keys,
                               bool diagonal) {
    const backward_space *space = pass->space;
    const int64_t in_time = pass->args->in_time;
    const tile_rows k = {pass->k + first * in_time, in_time,  keys,       block->vectors,
                         pass->args->head_dim,      diagonal, pass->ahead};
    tile_rows v = k;
    v.data = pass->v + first * in_time;
    const bool biased = diagonal || pass->args->slopes;
    score_tile(&k, space->queries, space->scores);
    score_tile(&v, space->douts, space->dscores);
    for (int32_t vector = 0; vector < block->vectors; vector++) {
        const int32_t lane = vector * EAB_LANES;
        const score_column column = {space->scores + lane, visible_keys(&k, vector), pass->mix,
                                     biased ? space->bias.at_zero + (block->first + lane - first) : NULL};
        pass->differentiate(&column, space->dscores + lane, space->terms->stat + lane, space->terms->mean_dp + lane);
    }
    const eab_start start = first ? EAB_START_C : EAB_START_ZERO;
    if (sums_in_rows(pass->args))
        sum_tile_rows(&k, block->count, space->dscores, pass->dq + block->first * in_time, in_time, start, NULL);
    else sum_tile(&k, space->dscores, space->dqueries, start);
    gather_rows(pass, block, space->scores, block->dout_rows, block->dout_row, &pass->dvalues, first, keys, diagonal);
    gather_rows(pass, block, space->dscores, block->query_rows, block->query_row, &pass->dkeys, first, keys, diagonal);
}

/* Rows padded to a vector with zeros. */
static void pad_rows(const float *from, int64_t row, int32_t count, int32_t width, float *to) {
    for (int32_t i = 0; i < count; i++, from += row, to += EAB_LANES) {
        eab_store(to, (eab_vec){0});
        memcpy(to, from, (size_t)width * sizeof *to);
    }
}

/* Packs dout times the scale, and sums D from the packed values in the order of dims, as dp is summed: dp - D is
 * exactly 0 for a query that sees one key, whose v is its out. */
static void pack_douts(const head_pass *pass, const float *dout, const float *out, int32_t count) {
    const backward_space *space = pass->space;
    const int32_t head_dim = pass->args->head_dim;
    const int64_t row = pass->args->out_time;
#ifdef EAB_HAS_EIGHTS
    if (count % EAB_LANES == 0 && head_dim % 4 == 0) { /* without packing out: two thirds of the time */
        for (int32_t lane = 0; lane < count; lane += EAB_LANES, dout += EAB_LANES * row, out += EAB_LANES * row) {
            eab_vec mean = {0};
            for (int32_t dim = 0; dim < head_dim; dim += 4) {
                eab_vec douts[4], outs[4];
                fours_gather(dout + dim, row, douts);
                fours_gather(out + dim, row, outs);
                EAB_UNROLL
                for (int i = 0; i < 4; i++) {
                    douts[i] *= pass->scale;
                    eab_store(space->douts + (dim + i) * TILE_QUERIES + lane, douts[i]);
                    mean += douts[i] * outs[i];
                }
            }
            eab_store(space->terms->mean_dp + lane, mean);
        }
        return;
    }
#endif
    pack_queries(out, row, count, head_dim, 1, space->outs);
    pack_queries(dout, row, count, head_dim, pass->scale, space->douts);
    for (int32_t lane = 0; lane < count; lane += EAB_LANES) {
        eab_vec mean = {0};
        for (int32_t i = 0; i < head_dim; i++) {
            const int64_t at = (int64_t)i * TILE_QUERIES + lane;
            mean += eab_load(space->douts + at) * eab_load(space->outs + at);
        }
        eab_store(space->terms->mean_dp + lane, mean);
    }
}

static void differentiate_queries(const head_pass *pass, int32_t first, int32_t count) {
    const eab_attention_args *args = pass->args;
    const backward_space *space = pass->space;
    const float *q = pass->q + first * args->in_time, *dout = pass->dout + first * args->out_time;
    query_block block = {.first = first,
                         .count = count,
                         .vectors = (count + EAB_LANES - 1) / EAB_LANES,
                         .query_rows = q,
                         .query_row = args->in_time,
                         .dout_rows = dout,
                         .dout_row = args->out_time};
    if (args->head_dim < EAB_LANES) {
        pad_rows(q, args->in_time, count, args->head_dim, space->query_rows);
        pad_rows(dout, args->out_time, count, args->head_dim, space->dout_rows);
        block.query_rows = space->query_rows;
        block.dout_rows = space->dout_rows;
        block.query_row = block.dout_row = EAB_LANES;
    }
    pack_douts(pass, dout, pass->out + first * args->out_time, count);
    for (int32_t lane = 0; lane < block.vectors * EAB_LANES; lane += EAB_LANES)
        eab_store(space->terms->stat + lane, eab_splat(1)); /* lanes past the last query: any finite value */
    pack_queries(q, args->in_time, count, args->head_dim, pass->scale, space->queries); /* overwrites outs */
    for (int32_t i = 0; i < count; i++) {
        const float stat = pass->row_stat[first + i];
        space->terms->stat[i] = pass->exponential ? stat : 1 / stat;
    }
    const int32_t unmasked = args->causal ? first : args->context;
    for (int32_t key = 0; key < unmasked; key += TILE_KEYS)
        differentiate_keys(pass, &block, key, unmasked - key < TILE_KEYS ? unmasked - key : TILE_KEYS, false);
    if (args->causal) differentiate_keys(pass, &block, first, count, true);
    if (!sums_in_rows(args))
        eab_transpose(args->head_dim, count, space->dqueries, TILE_QUERIES, pass->dq + first * args->in_time,
                      args->in_time);
}

/* index: as in head_place_at. */
static void differentiate_head(head_pass *pass, int64_t index, float *dk, float *dv) {
    const eab_attention_args *args = pass->args;
    const bool padded = args->head_dim < EAB_LANES;
    pass->columns = padded ? EAB_LANES : args->head_dim;
    pass->dkeys = padded ? (lane_rows){pass->space->dkeys, EAB_LANES} : (lane_rows){dk, args->in_time};
    pass->dvalues = padded ? (lane_rows){pass->space->dvalues, EAB_LANES} : (lane_rows){dv, args->in_time};
    const int32_t most = block_queries(args);
    for (int32_t first = 0; first < args->context; first += most) {
        const int32_t count = args->context - first < most ? args->context - first : most;
        prefetch_behind(pass->ahead, index, first, most, 5 * block_work(args, first, count));
        differentiate_queries(pass, first, count);
    }
    for (int32_t j = 0; padded && j < args->context; j++) {
        memcpy(dk + j * args->in_time, pass->dkeys.data + j * pass->dkeys.row, (size_t)args->head_dim * sizeof(float));
        memcpy(dv + j * args->in_time, pass->dvalues.data + j * pass->dvalues.row,
               (size_t)args->head_dim * sizeof(float));
    }
}

static size_t carve_backward(float *memory, const eab_attention_args *args, backward_space *space) {
    eab_carver from = {memory, 0};
    space->bias = bias_table_shape(args);
    float *table = eab_carve(&from, bias_table_floats(&space->bias));
    space->bias.at_zero = table ? table - space->bias.lowest : NULL;
    const int64_t block = (int64_t)args->head_dim * TILE_QUERIES;
    space->queries = space->outs = eab_carve(&from, block); /* outs is not needed once queries are packed */
    space->douts = eab_carve(&from, block);
    space->dqueries = sums_in_rows(args) ? NULL : eab_carve(&from, block);
    space->scores = eab_carve(&from, (int64_t)TILE_KEYS * TILE_QUERIES);
    space->dscores = eab_carve(&from, (int64_t)TILE_KEYS * TILE_QUERIES);
    space->terms = (query_terms *)(void *)eab_carve(&from, sizeof *space->terms / sizeof(float));
    if (args->head_dim < EAB_LANES) {
        space->query_rows = eab_carve(&from, (int64_t)TILE_QUERIES * EAB_LANES);
        space->dout_rows = eab_carve(&from, (int64_t)TILE_QUERIES * EAB_LANES);
        space->dkeys = eab_carve(&from, (int64_t)args->context * EAB_LANES);
        space->dvalues = eab_carve(&from, (int64_t)args->context * EAB_LANES);
    }
    return from.floats * sizeof(float);
}

int EAB_ISA_NAME(eab_attention_backward)(eab_cpu_workspace *workspace, const eab_attention_args *args, int32_t member,
                                         const float *q, const float *k, const float *v, const float *out,
                                         const float *row_stat, const float *dout, float *dq, float *dk, float *dv) {
    if (eab_attention_is_small(args))
        return EAB_ISA_NAME(eab_attention_small_backward)(workspace, args, member, q, k, v, out, row_stat, dout, dq, dk,
                                                          dv);
    backward_space space = {0};
    EAB_TRY(eab_cpu_workspace_reserve(workspace, carve_backward(NULL, args, &space)));
    carve_backward(workspace->memory, args, &space);
    const int32_t mechanism = args->scores.mechanism[member];
    row_prefetch ahead = {.args = args};
    const float *const operands[] = {out, dout, q, k, v, dv, dk, dq};
    for (int i = 0; i < 8; i++) prefetch_matrix(&ahead, operands[i]);
    prefetch_first(&ahead, block_queries(args));
    head_pass pass = {.args = args,
                      .scale = args->scores.scale[member],
                      .mix = args->scores.mix[member],
                      .exponential = eab_mechanism_class_of(mechanism) == EAB_CLASS_EXPONENTIAL,
                      .differentiate = differentiate_functions[mechanism],
                      .space = &space,
                      .ahead = &ahead};
    for (int64_t i = 0; i < head_places(args); i++) {
        const head_place place = head_place_at(args, i);
        bias_table_move(&space.bias, args, i, pass.exponential);
        pass.q = q + place.in;
        pass.k = k + place.in;
        pass.v = v + place.in;
        pass.out = out + place.out;
        pass.dout = dout + place.out;
        pass.row_stat = row_stat + place.stat;
        pass.dq = dq + place.in;
        differentiate_head(&pass, i, dk + place.in, dv + place.in);
        if (args->standalone && args->causal && !gradients_are_finite(args, pass.dq, dk + place.in, dv + place.in))
            EAB_TRY(eab_cpu_attention_backward_again(args, member, &place, q, k, v, dout, dq, dk, dv));
    }
    return EAB_OK;
}
