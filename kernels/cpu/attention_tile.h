/* Shared by the forward and the backward attention kernels: tiles and tables of position biases.
 *
 * A tile is a block of queries, in the vector lanes, by a block of keys, in the rows: element (key j, query i) is
 * tile[j][i]. Lane-wise sums and maxima over the rows are then statistics of the queries, without a horizontal
 * reduction.
 */
#ifndef EAB_KERNELS_CPU_ATTENTION_TILE_H
#define EAB_KERNELS_CPU_ATTENTION_TILE_H

#include <math.h>

#include "carver.h"
#include "formulas.h"
#include "kernels.h"
#include "level.h"
#include "prefetch.h"
#include "product.h"
#include "transpose.h"

enum {
    TILE_QUERIES = 4 * EAB_LANES, /* also the floats between a tile's rows */
    TILE_KEYS = 64
};

/* Whether sums over keys have dims in the lanes and need no transposition. With one vector of dims, or less, the
 * product would lose more than that. */
EAB_INLINE bool sums_in_rows(const eab_attention_args *args) { return args->head_dim >= 2 * EAB_LANES; }

/* Queries are divided evenly: 80 are 48 + 32, not 64 + 16. */
EAB_INLINE int32_t block_queries(const eab_attention_args *args) {
    const int64_t blocks = ((int64_t)args->context + TILE_QUERIES - 1) / TILE_QUERIES;
    return (int32_t)eab_round_up_lanes((args->context + blocks - 1) / blocks);
}

/* A lower bound for the multiply-adds of one product for queries [first, first + queries). */
EAB_INLINE double block_work(const eab_attention_args *args, int32_t first, int32_t queries) {
    const double keys = args->causal ? first + 0.5 * queries : args->context;
    return keys * queries * args->head_dim;
}

/* One vector of queries of a tile, for functions that turn scores into weights. */
typedef struct {
    float *scores; /* [keys], TILE_QUERIES apart; times the scale */
    int32_t keys;
    float mix;
    const float *bias; /* key j: at bias - j; NULL: none */
} score_column;

/* dpa's log-weight is the score itself. Where a clamp changes neither the largest one of any query (forward) nor log L
 * (backward), it changes no weight: those of smaller scores are 0. Without it a vector of pairs needs two operations
 * fewer. False for NaN. */
EAB_INLINE bool needs_no_clamp(eab_vec log_weight) { return eab_all_within(log_weight, EAB_LOG_WEIGHT_LIMIT); }

/* A score of dpa plus its bias. Infinity is clamped first: a pair with the bias -inf has no weight. */
EAB_INLINE eab_vec biased_score(const float *score, const float *bias) {
    return eab_min_vec(eab_load(score), eab_splat(EAB_LOG_WEIGHT_LIMIT)) + eab_load(bias);
}

/* The position bias as a table over the distance d = i - j: its logarithm for the exponential class, its value for the
 * bounded one; masked pairs (causal and d < 0) are -inf or 0. A tile's row needs one load, and no exponential per pair.
 * Without slopes only tiles on the diagonal use it, so it stays short. */
typedef struct {
    float *at_zero; /* at_zero[d], lowest <= d <= highest */
    int64_t lowest, highest;
} bias_table;

EAB_INLINE bias_table bias_table_shape(const eab_attention_args *args) {
    const int64_t context = eab_round_up_lanes(args->context);
    bias_table table = {NULL, -(int64_t)TILE_QUERIES, TILE_QUERIES};
    if (args->slopes) table.highest = context;
    if (args->slopes && !args->causal) table.lowest = -context;
    return table;
}

EAB_INLINE int64_t bias_table_floats(const bias_table *table) {
    return eab_round_up_lanes(table->highest - table->lowest + 1);
}

EAB_INLINE void bias_table_fill(const bias_table *table, float slope, bool causal, bool logarithm) {
    for (int64_t d = table->lowest; d <= table->highest; d++) table->at_zero[d] = -slope * (float)(d < 0 ? -d : d);
    if (!logarithm)
        for (int64_t d = table->lowest; d <= table->highest; d++) table->at_zero[d] = eab_expf_lane(table->at_zero[d]);
    if (causal)
        for (int64_t d = table->lowest; d < 0; d++) table->at_zero[d] = logarithm ? -INFINITY : 0;
}

/* Refills the table if head `index` in order (prefetch.h) has another slope than the one before. */
EAB_INLINE void bias_table_move(const bias_table *table, const eab_attention_args *args, int64_t index,
                                bool logarithm) {
    if (index == 0 || (args->slopes && index % args->batch == 0))
        bias_table_fill(table, args->slopes ? args->slopes[index / args->batch] : 0, args->causal, logarithm);
}

/* `count` rows of x become columns of packed[head_dim][TILE_QUERIES], times factor; columns up to whole vectors are
 * 0. */
EAB_INLINE void pack_queries(const float *x, int64_t row, int32_t count, int32_t head_dim, float factor,
                             float *packed) {
    const int32_t last = count / EAB_LANES * EAB_LANES;
#ifdef EAB_HAS_EIGHTS
    if (last == count && head_dim % 4 == 0) { /* inlined: 0.85 of the time */
        lanes_transpose(count, head_dim, x, row, &factor, 0, packed, TILE_QUERIES);
        return;
    }
#endif
    if (last < count)
        for (int32_t i = 0; i < head_dim; i++) eab_store(packed + (int64_t)i * TILE_QUERIES + last, (eab_vec){0});
    EAB_ISA_NAME(eab_transpose_scaled)(count, head_dim, x, row, &factor, 0, packed, TILE_QUERIES);
}

/* ---- products of a tile ------------------------------------------------------------------------------------------ */

/* The keys of a tile (or their values), read in place, and its number of query vectors. On the diagonal key j has
 * the time of query j. */
typedef struct {
    const float *data;
    int64_t row;
    int32_t keys, vectors, head_dim;
    bool diagonal;
    row_prefetch *ahead;
} tile_rows;

/* tile[key][query] = rows[key] . packed[][query]; on the diagonal in stairs (product.h). */
static void score_tile(const tile_rows *rows, const float *packed, float *tile) {
    if (!rows->diagonal) {
        EAB_PRODUCT(.rows = rows->keys, .columns = rows->vectors * EAB_LANES, .k = rows->head_dim, .a = rows->data,
                    .a_row = rows->row, .a_k = 1, .b = packed, .b_row = TILE_QUERIES, .c = tile, .c_row = TILE_QUERIES,
                    .ahead = rows->ahead);
        return;
    }
    const eab_stairs_args args = {.rows = rows->keys,
                                  .columns = rows->vectors * EAB_LANES,
                                  .k = rows->head_dim,
                                  .a = rows->data,
                                  .a_row = rows->row,
                                  .b = packed,
                                  .b_row = TILE_QUERIES,
                                  .c = tile,
                                  .c_row = TILE_QUERIES,
                                  .ahead = rows->ahead};
    EAB_ISA_NAME(eab_product_stairs)(&args);
}

/* sums[dim][query] (+)= sum over keys of rows[key][dim] tile[key][query]. On the diagonal two vectors of queries at
 * a time, over the keys that both see; then the second one over the keys that it alone sees. */
static void sum_tile(const tile_rows *rows, const float *tile, float *sums, eab_start start) {
    if (!rows->diagonal) {
        EAB_PRODUCT(.rows = rows->head_dim, .columns = rows->vectors * EAB_LANES, .k = rows->keys, .a = rows->data,
                    .a_row = 1, .a_k = rows->row, .b = tile, .b_row = TILE_QUERIES, .c = sums, .c_row = TILE_QUERIES,
                    .start = start, .ahead = rows->ahead);
        return;
    }
    for (int32_t vector = 0; vector < rows->vectors; vector += 2) {
        const int32_t lane = vector * EAB_LANES, second = lane + EAB_LANES;
        const int32_t both = rows->keys < second ? rows->keys : second;
        const int32_t rest = (rows->keys < second + EAB_LANES ? rows->keys : second + EAB_LANES) - both;
        EAB_PRODUCT(.rows = rows->head_dim, .columns = rest ? 2 * EAB_LANES : EAB_LANES, .k = both, .a = rows->data,
                    .a_row = 1, .a_k = rows->row, .b = tile + lane, .b_row = TILE_QUERIES, .c = sums + lane,
                    .c_row = TILE_QUERIES, .start = start, .ahead = rows->ahead);
        if (rest)
            EAB_PRODUCT(.rows = rows->head_dim, .columns = EAB_LANES, .k = rest, .a = rows->data + both * rows->row,
                        .a_row = 1, .a_k = rows->row, .b = tile + (int64_t)both * TILE_QUERIES + second,
                        .b_row = TILE_QUERIES, .c = sums + second, .c_row = TILE_QUERIES, .start = EAB_START_C,
                        .ahead = rows->ahead);
    }
}

/* to[query][dim] (+)= sum over keys of tile[key][query] rows[key][dim]: the same sums, with dims in the lanes. On the
 * diagonal, and only there, the sums are multiplied by factors[query] unless it is NULL. */
static void sum_tile_rows(const tile_rows *rows, int32_t queries, const float *tile, float *to, int64_t to_row,
                          eab_start start, const float *factors) {
    if (!rows->diagonal) {
        EAB_PRODUCT(.rows = queries, .columns = rows->head_dim, .k = rows->keys, .a = tile, .a_row = 1,
                    .a_k = TILE_QUERIES, .b = rows->data, .b_row = rows->row, .c = to, .c_row = to_row, .start = start,
                    .ahead = rows->ahead);
        return;
    }
    const eab_triangle_args args = {.rows = queries,
                                    .columns = rows->head_dim,
                                    .lower = true,
                                    .a = tile,
                                    .a_row = 1,
                                    .a_k = TILE_QUERIES,
                                    .b = rows->data,
                                    .b_row = rows->row,
                                    .c = to,
                                    .c_row = to_row,
                                    .start = start,
                                    .factors = factors,
                                    .ahead = rows->ahead};
    EAB_ISA_NAME(eab_product_triangle)(&args);
}

/* How many keys of a tile the queries in its vector `vector` see. */
EAB_INLINE int32_t visible_keys(const tile_rows *rows, int32_t vector) {
    const int32_t most = (vector + 1) * EAB_LANES;
    return rows->diagonal && rows->keys > most ? most : rows->keys;
}

#endif
