/* The inner loop of all products: one tile of sums in the registers. For the files that cut products into tiles, product.c and
 * product_diagonal.c. */
#ifndef EAB_KERNELS_CPU_PRODUCT_TILE_H
#define EAB_KERNELS_CPU_PRODUCT_TILE_H

#include "product.h"

/* Vectors of the widest tile there is. */
enum { TILE_MOST_VECTORS = EAB_DIAGONAL_VECTORS > EAB_TILE_VECTORS ? EAB_DIAGONAL_VECTORS : EAB_TILE_VECTORS };

/* A column of tiles, each `rows` times `vectors`. */
typedef struct {
    const float *a, *b;
    float *c;
    const float *start_row, *other;
    const float *factors;  /* [rows], by which the sums are multiplied at last; may be NULL */
    ptrdiff_t last_column; /* of the tile's last vector: (vectors - 1) * EAB_LANES, or less where it overlaps */
    eab_mask lanes;        /* of a narrow tile */
    int32_t count;         /* tiles below each other */
} tile_column;

EAB_INLINE ptrdiff_t vector_column(ptrdiff_t last_column, int vector, int vectors) {
    return vector == vectors - 1 ? last_column : (ptrdiff_t)vector * EAB_LANES;
}

/* A vector of columns: all lanes, or, where c has fewer columns (narrow), those of the mask. */
EAB_INLINE eab_vec load_columns(const bool narrow, eab_mask lanes, const float *from) {
#if EAB_HAS_MASKS
    if (narrow) return eab_load_lanes(lanes, from);
#endif
    (void)narrow, (void)lanes;
    return eab_load(from);
}

EAB_INLINE void store_columns(const bool narrow, eab_mask lanes, float *to, eab_vec value) {
#if EAB_HAS_MASKS
    if (narrow) {
        eab_store_lanes(lanes, to, value);
        return;
    }
#endif
    (void)narrow, (void)lanes;
    eab_store(to, value);
}

EAB_INLINE eab_vec finish_vec(eab_finish finish, const bool narrow, eab_mask lanes, eab_vec sum, const float *other) {
    switch (finish) {
        case EAB_FINISH_RELU: return eab_keep(~(sum < 0), sum); /* NaN stays NaN */
        case EAB_FINISH_RELU_SLOPE: return eab_keep(load_columns(narrow, lanes, other) > 0, sum);
        case EAB_FINISH_TIMES: return sum * load_columns(narrow, lanes, other);
        case EAB_FINISH_GELU: /* gemm.c's */
        case EAB_FINISH_NONE: break;
    }
    return sum;
}

/* Not inlined: once is enough. */
__attribute__((noinline)) static prefetch_walk pace(row_prefetch *ahead, int32_t vectors, int32_t depth) {
    return prefetch_pace(ahead, vectors, depth);
}

/* The tiles of a column. rows and vectors are constants where this is inlined, so that the accumulators become
 * registers; so are narrow (fewer columns than lanes), asks (for memory ahead) and scales (by factors): a model's products
 * never do the latter two, and asking whether to took 1 % of a step. All of c is read before any is written: where the
 * last vector overlaps the one before it, the same bits are written twice. */
EAB_INLINE void tile(const int rows, const int vectors, const bool narrow, const bool asks, const bool scales,
                     const eab_product_args *args, const tile_column *place) {
    const eab_mask lanes = place->lanes;
    const ptrdiff_t a_row = args->a_row, a_k = args->a_k, b_row = args->b_row, c_row = args->c_row;
    const ptrdiff_t last_column = place->last_column;
    const int32_t depth = args->k;
    const float *first_a = place->a;
    float *c = place->c;
    const float *other = place->other, *factors = place->factors;
    for (int32_t count = place->count; count > 0; count--, first_a += rows * a_row, c += rows * c_row) {
        /* high, highest: addresses of all rows from 4 strides */
        const float *a = first_a, *high = a + 8 * a_row, *highest = a + 16 * a_row, *b = place->b;
        prefetch_walk ahead = {0};
        if (asks) ahead = pace(args->ahead, rows * vectors, depth);
        eab_vec sum[EAB_TALL_ROWS][TILE_MOST_VECTORS];
        EAB_UNROLL
        for (int row = 0; row < rows; row++) {
            EAB_UNROLL
            for (int vector = 0; vector < vectors; vector++) sum[row][vector] = (eab_vec){0};
        }
        if (args->start & EAB_START_C) {
            EAB_UNROLL
            for (int row = 0; row < rows; row++) {
                EAB_UNROLL
                for (int vector = 0; vector < vectors; vector++)
                    sum[row][vector] =
                        load_columns(narrow, lanes, c + row * c_row + vector_column(last_column, vector, vectors));
            }
        }
        if (args->start & EAB_START_ROW) {
            EAB_UNROLL
            for (int vector = 0; vector < vectors; vector++) {
                const eab_vec start =
                    load_columns(narrow, lanes, place->start_row + vector_column(last_column, vector, vectors));
                EAB_UNROLL
                for (int row = 0; row < rows; row++) sum[row][vector] += start;
            }
        }
        for (int32_t k = depth; k > 0; k--) {
            if (asks && ahead.step) {
                __builtin_prefetch(ahead.line);
                if (ahead.step > PREFETCH_LINE) __builtin_prefetch(ahead.line + PREFETCH_LINE);
                ahead.line += ahead.step;
            }
            eab_vec columns[TILE_MOST_VECTORS];
            EAB_UNROLL
            for (int vector = 0; vector < vectors; vector++)
                columns[vector] = load_columns(narrow, lanes, b + vector_column(last_column, vector, vectors));
            EAB_UNROLL
            for (int row = 0; row < rows; row++) {
                const eab_vec value = eab_splat(row < 8    ? a[row * a_row]
                                                : row < 16 ? high[(row - 8) * a_row]
                                                           : highest[(row - 16) * a_row]);
                EAB_UNROLL
                for (int vector = 0; vector < vectors; vector++) sum[row][vector] += value * columns[vector];
            }
            a += a_k;
            high += a_k;
            highest += a_k;
            b += b_row;
        }
#define FINISH(finish)                                                                                        \
    EAB_UNROLL                                                                                                \
    for (int row = 0; row < rows; row++) {                                                                    \
        EAB_UNROLL                                                                                            \
        for (int vector = 0; vector < vectors; vector++)                                                      \
            sum[row][vector] = finish_vec(finish, narrow, lanes, sum[row][vector],                            \
                                          other + row * c_row + vector_column(last_column, vector, vectors)); \
    }
        if (args->finish != EAB_FINISH_NONE) {
            if (args->finish == EAB_FINISH_RELU) {
                FINISH(EAB_FINISH_RELU)
            } else if (args->finish == EAB_FINISH_RELU_SLOPE) {
                FINISH(EAB_FINISH_RELU_SLOPE)
            } else {
                FINISH(EAB_FINISH_TIMES)
            }
            other += rows * c_row;
        }
        if (scales && factors) {
            EAB_UNROLL
            for (int row = 0; row < rows; row++) {
                const eab_vec factor = eab_splat(factors[row]);
                EAB_UNROLL
                for (int vector = 0; vector < vectors; vector++) sum[row][vector] *= factor;
            }
            factors += rows;
        }
        EAB_UNROLL
        for (int row = 0; row < rows; row++) {
            EAB_UNROLL
            for (int vector = 0; vector < vectors; vector++)
                store_columns(narrow, lanes, c + row * c_row + vector_column(last_column, vector, vectors),
                              sum[row][vector]);
        }
    }
}

#endif
