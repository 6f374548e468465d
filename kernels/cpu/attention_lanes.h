/* Shared by attention_small*.c: groups of problems, gathering and scattering, and products of blocks of vectors.
 *
 * A "vector" here is EAB_LANES floats, one for each problem of the group.
 */
#ifndef EAB_KERNELS_CPU_ATTENTION_LANES_H
#define EAB_KERNELS_CPU_ATTENTION_LANES_H

#include <math.h>

#include "attention_nonfinite.h"
#include "attention_small.h"
#include "transpose.h"

static const int64_t VECTOR = EAB_LANES; /* floats; 64 bits, so that indices times it are too */

/* ---- groups ---------------------------------------------------------------------------------------------------- */

typedef struct {
    const eab_attention_args *args;
    int32_t times, dims;    /* context and head_dim rounded up to BLOCK */
    int64_t first, present; /* lane 0's problem, batch * heads + head; number of lanes with a problem */
    float scale, mix;
    bool exponential;
    const float *bias; /* vectors: bias[d] for the distance d = query - key, |d| < times (fill_bias) */
} lane_group;

EAB_INLINE int32_t round_up_block(int32_t count) { return (count + BLOCK - 1) / BLOCK * BLOCK; }

/* Where the head of lane `lane` begins; lanes past the last problem repeat it. */
EAB_INLINE int64_t lane_offset(const lane_group *group, int64_t lane, bool in) {
    const eab_attention_args *args = group->args;
    const int64_t problem = group->first + (lane < group->present ? lane : group->present - 1);
    const int64_t batch = problem / args->heads, head = problem % args->heads;
    return in ? batch * args->in_batch + head * args->in_head : batch * args->out_batch + head * args->out_head;
}

#ifdef EAB_HAS_EIGHTS
/* gather() for a multiple of 8 dims, with a third of the instructions. */
static void gather_eights(const lane_group *group, const float *x, bool in, float *to) {
    const eab_attention_args *args = group->args;
    const int64_t row = in ? args->in_time : args->out_time;
    const float *from[EAB_LANES];
    for (int i = 0; i < EAB_LANES; i++) from[i] = x + lane_offset(group, i, in);
    for (int32_t time = 0; time < args->context; time++)
        for (int32_t dim = 0; dim < args->head_dim; dim += 8, to += 8 * VECTOR) {
            eab_vec vectors[8];
            eights_gather(from, time * row + dim, vectors);
            EAB_UNROLL
            for (int i = 0; i < 8; i++) eab_store(to + i * VECTOR, vectors[i]);
        }
}

static void scatter_eights(const lane_group *group, const float *from, bool in, float *x) {
    const eab_attention_args *args = group->args;
    const int64_t row = in ? args->in_time : args->out_time;
    float *to[EAB_LANES];
    for (int i = 0; i < EAB_LANES; i++) to[i] = x + lane_offset(group, i, in);
    for (int32_t time = 0; time < args->context; time++)
        for (int32_t dim = 0; dim < args->head_dim; dim += 8, from += 8 * VECTOR) {
            eab_vec vectors[8];
            EAB_UNROLL
            for (int i = 0; i < 8; i++) vectors[i] = eab_load(from + i * VECTOR);
            eights_scatter(vectors, to, time * row + dim);
        }
}
#endif

/* Copies x's heads to vectors to[times][dims]. `in`: laid out as q, else as out. */
EAB_INLINE void gather(const lane_group *group, const float *x, bool in, float *to) {
    const eab_attention_args *args = group->args;
    const int64_t row = in ? args->in_time : args->out_time;
    const int32_t whole = args->head_dim & ~3;
    if (group->dims != args->head_dim || group->times != args->context)
        memset(to, 0, (size_t)(group->times * (group->dims * VECTOR)) * sizeof *to);
#ifdef EAB_HAS_EIGHTS
    if (args->head_dim % 8 == 0) {
        gather_eights(group, x, in, to);
        return;
    }
#endif
    for (int64_t lane = 0; lane < EAB_LANES; lane += 4) {
        const float *from[4];
        for (int i = 0; i < 4; i++) from[i] = x + lane_offset(group, lane + i, in);
        float *target = to + lane;
        for (int32_t time = 0; time < args->context; time++, target += group->dims * VECTOR) {
            const int64_t at = time * row;
            for (int32_t dim = 0; dim < whole; dim += 4) {
                quad rows[4], columns[4];
                for (int i = 0; i < 4; i++) rows[i] = quad_load(from[i] + at + dim);
                quad_transpose(rows, columns);
                for (int i = 0; i < 4; i++) quad_store(target + (dim + i) * VECTOR, columns[i]);
            }
            for (int32_t dim = whole; dim < args->head_dim; dim++)
                for (int i = 0; i < 4; i++) target[dim * VECTOR + i] = from[i][at + dim];
        }
    }
}

/* The reverse, for lanes with a problem. */
EAB_INLINE void scatter(const lane_group *group, const float *from, bool in, float *x) {
    const eab_attention_args *args = group->args;
    const int64_t row = in ? args->in_time : args->out_time;
    const int32_t whole = args->head_dim & ~3;
#ifdef EAB_HAS_EIGHTS
    if (args->head_dim % 8 == 0 && group->present == EAB_LANES) {
        scatter_eights(group, from, in, x);
        return;
    }
#endif
    for (int64_t lane = 0; lane < group->present; lane += 4) {
        const int present = group->present - lane < 4 ? (int)(group->present - lane) : 4;
        float *to[4];
        for (int i = 0; i < 4; i++) to[i] = x + lane_offset(group, lane + i, in);
        const float *source = from + lane;
        for (int32_t time = 0; time < args->context; time++, source += group->dims * VECTOR) {
            const int64_t at = time * row;
            for (int32_t dim = 0; dim < whole; dim += 4) {
                quad rows[4], columns[4];
                for (int i = 0; i < 4; i++) rows[i] = quad_load(source + (dim + i) * VECTOR);
                quad_transpose(rows, columns);
                for (int i = 0; i < present; i++) quad_store(to[i] + at + dim, columns[i]);
            }
            for (int32_t dim = whole; dim < args->head_dim; dim++)
                for (int i = 0; i < present; i++) to[i][at + dim] = source[dim * VECTOR + i];
        }
    }
}

EAB_INLINE head_place lane_place(const lane_group *group, int64_t lane) {
    const eab_attention_args *args = group->args;
    const int64_t problem = group->first + lane;
    return (head_place){lane_offset(group, lane, true), lane_offset(group, lane, false), problem * args->context,
                        (int32_t)(problem % args->heads)};
}

/* Whether results[times][dims] hold NaN or infinity that may come from masked pairs (attention_nonfinite.h). Padded
 * rows and dims are results of zeros. */
EAB_INLINE bool lanes_may_mask_nonfinite(const lane_group *group, const float *results) {
    const int64_t count = (int64_t)group->times * group->dims * EAB_LANES;
    return group->args->standalone && group->args->causal && !rows_are_finite(results, count, 1, count);
}

EAB_INLINE int64_t bias_vectors(const lane_group *group) { return 2 * (int64_t)group->times; }

/* The position bias, or its logarithm if exponential; masked pairs have 0 or -inf, so masks need no branch. */
EAB_INLINE void fill_bias(lane_group *group, float *table) {
    const eab_attention_args *args = group->args;
    eab_vec slopes = {0};
    for (int64_t lane = 0; args->slopes && lane < EAB_LANES; lane++)
        slopes[lane] = args->slopes[(group->first + (lane < group->present ? lane : group->present - 1)) % args->heads];
    float *bias = table + group->times * VECTOR;
    for (int32_t d = 1 - group->times; d < group->times; d++) {
        const bool masked = args->causal && d < 0;
        const eab_vec log_bias = masked ? eab_splat(-INFINITY) : -slopes * (float)(d < 0 ? -d : d);
        eab_store(bias + d * VECTOR, group->exponential ? log_bias : eab_exp_vec(log_bias));
    }
    group->bias = bias;
}

/* ---- products -------------------------------------------------------------------------------------------------- */

/* Rows of a block that are summed at a time: 16 sums in 32 registers, or 8 in 16. */
enum { BLOCK_ROWS = EAB_LANES == 16 ? 4 : 2 };

/* c[row][column] (+)= sum_k a(row, k) b(column, k) for BLOCK rows and columns of vectors; strides in vectors. */
typedef struct {
    const float *a;
    int64_t a_row, a_k;
    const float *b;
    int64_t b_column, b_k;
    float *c;
    int64_t c_row; /* c's columns are contiguous */
    int32_t k;
    bool accumulate;
} block_product;

EAB_INLINE void multiply_block(block_product p) {
    for (int first = 0; first < BLOCK; first += BLOCK_ROWS) {
        eab_vec sum[BLOCK_ROWS][BLOCK];
        const float *a = p.a + first * p.a_row * EAB_LANES, *b = p.b;
        float *c = p.c + first * p.c_row * EAB_LANES;
        EAB_UNROLL
        for (int row = 0; row < BLOCK_ROWS; row++) {
            EAB_UNROLL
            for (int column = 0; column < BLOCK; column++)
                sum[row][column] = p.accumulate ? eab_load(c + (row * p.c_row + column) * EAB_LANES) : (eab_vec){0};
        }
        for (int32_t k = 0; k < p.k; k++, a += p.a_k * EAB_LANES, b += p.b_k * EAB_LANES) {
            eab_vec columns[BLOCK];
            EAB_UNROLL
            for (int column = 0; column < BLOCK; column++)
                columns[column] = eab_load(b + column * p.b_column * EAB_LANES);
            EAB_UNROLL
            for (int row = 0; row < BLOCK_ROWS; row++) {
                const eab_vec value = eab_load(a + row * p.a_row * EAB_LANES);
                EAB_UNROLL
                for (int column = 0; column < BLOCK; column++) sum[row][column] += value * columns[column];
            }
        }
        EAB_UNROLL
        for (int row = 0; row < BLOCK_ROWS; row++) {
            EAB_UNROLL
            for (int column = 0; column < BLOCK; column++)
                eab_store(c + (row * p.c_row + column) * EAB_LANES, sum[row][column]);
        }
    }
}

/* How many keys the block of queries at `time` may see, rounded up to BLOCK. */
EAB_INLINE int32_t visible_blocks(const lane_group *group, int32_t time) {
    return group->args->causal ? time + BLOCK : group->times;
}

/* How many keys get weights for query `time`: if causal, whole blocks, whose masked pairs get weight 0 from their
 * bias. */
EAB_INLINE int32_t weighed_keys(const lane_group *group, int32_t time) {
    return group->args->causal ? time / BLOCK * BLOCK + BLOCK : group->args->context;
}

/* scores[row][key] = x[time + row] . y[key] for a block of queries; rows of scores are `times` vectors apart. */
EAB_INLINE void multiply_rows(const lane_group *group, const float *x, const float *y, int32_t time, float *scores) {
    for (int32_t key = 0; key < visible_blocks(group, time); key += BLOCK)
        multiply_block((block_product){.a = x + time * (group->dims * VECTOR),
                                       .a_row = group->dims,
                                       .a_k = 1,
                                       .b = y + key * (group->dims * VECTOR),
                                       .b_column = group->dims,
                                       .b_k = 1,
                                       .c = scores + key * VECTOR,
                                       .c_row = group->times,
                                       .k = group->dims});
}

/* to[row][dim] = sum over keys of weights[row][key] y[key][dim] for a block of queries. */
EAB_INLINE void combine_rows(const lane_group *group, const float *weights, const float *y, int32_t time, float *to) {
    for (int32_t dim = 0; dim < group->dims; dim += BLOCK)
        multiply_block((block_product){.a = weights,
                                       .a_row = group->times,
                                       .a_k = 1,
                                       .b = y + dim * VECTOR,
                                       .b_column = 1,
                                       .b_k = group->dims,
                                       .c = to + dim * VECTOR,
                                       .c_row = group->dims,
                                       .k = visible_blocks(group, time)});
}

EAB_INLINE eab_vec lane_bias(const lane_group *group, int32_t time, int32_t key) {
    return eab_load(group->bias + (time - key) * VECTOR);
}

/* Sets the weights of keys that pad the context to 0. */
EAB_INLINE void clear_padding(const lane_group *group, int32_t keys, float *row) {
    for (int32_t key = keys; key < group->times && !group->args->causal; key++)
        eab_store(row + key * VECTOR, (eab_vec){0});
}

#endif
