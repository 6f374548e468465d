/* What the forward and the backward attention kernels share: tiles, position-bias tables, the cut of the workspace.
 *
 * A tile is a block of queries, in the vector lanes, times a block of keys, in the rows: element (key j, query i) is
 * tile[j][i]. Lane-wise sums and maxima over the rows are then a query's row statistics, without a horizontal
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
    TILE_QUERIES = (EAB_TILE_VECTORS == 3 ? 3 : 4) * EAB_LANES, /* also the floats between a tile's rows */
    TILE_KEYS = TILE_QUERIES > 64 ? TILE_QUERIES : 64
};

/* One vector of queries of a tile, for the functions that turn scores into weights. */
typedef struct {
    float *scores; /* [keys], TILE_QUERIES apart */
    int32_t keys;
    float scale;
    const float *bias;   /* the position bias of the first key: minus one float for each further key; NULL: none */
    row_prefetch *ahead; /* a row at every other key */
} tile_column;

/* The position bias as a table over the distance d = i - j: its logarithm for the exponential class, its value for the
 * bounded one; masked pairs (causal and d < 0) are -inf or 0. A tile's row is then one load, at any distance, and no
 * exponential is taken per pair. Without slopes only tiles on the diagonal need it, so it stays short. */
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

/* For the next head in order (prefetch.h), if its table is another one. */
EAB_INLINE void bias_table_move(const bias_table *table, const eab_attention_args *args, int64_t index,
                                bool logarithm) {
    if (index == 0 || (args->slopes && index % args->batch == 0))
        bias_table_fill(table, args->slopes ? args->slopes[index / args->batch] : 0, args->causal, logarithm);
}

/* Rows [first, first + count) of x, as columns of packed[head_dim][TILE_QUERIES]; columns up to whole vectors are 0. */
EAB_INLINE void pack_queries(const float *x, int64_t row, int32_t count, int32_t head_dim, float factor,
                             float *packed) {
    const int32_t last = count / EAB_LANES * EAB_LANES;
    if (last < count)
        for (int32_t i = 0; i < head_dim; i++) eab_store(packed + (int64_t)i * TILE_QUERIES + last, (eab_vec){0});
    EAB_ISA_NAME(eab_transpose)(count, head_dim, x, row, factor, packed, TILE_QUERIES);
}

#endif
