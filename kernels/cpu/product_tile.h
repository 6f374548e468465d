/* The inner loop of all products: one tile of sums in registers. product.c and product_diagonal.c divide products into
 * tiles. */
#ifndef EAB_KERNELS_CPU_PRODUCT_TILE_H
#define EAB_KERNELS_CPU_PRODUCT_TILE_H

#include "product.h"

/* Vectors of the widest tile. */
enum { TILE_MOST_VECTORS = EAB_DIAGONAL_VECTORS > EAB_TILE_VECTORS ? EAB_DIAGONAL_VECTORS : EAB_TILE_VECTORS };

/* Tiles of one shape below each other. */
typedef struct {
    const float *a, *b;
    float *c;
    const float *start_row, *other;
    const float *factors;  /* [rows]: the finished sums are multiplied by these; may be NULL */
    ptrdiff_t last_column; /* where the last vector begins: (vectors - 1) * EAB_LANES, or less if it overlaps */
    eab_mask lanes;        /* of a narrow tile */
    int32_t count;         /* of tiles */
} tile_column;

EAB_INLINE ptrdiff_t vector_column(ptrdiff_t last_column, int vector, int vectors) {
    return vector == vectors - 1 ? last_column : (ptrdiff_t)vector * EAB_LANES;
}

/* A vector of columns: all lanes, or those of the mask where c has fewer columns (narrow). */
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
        case EAB_FINISH_GELU: /* done in gemm.c */
        case EAB_FINISH_NONE: break;
    }
    return sum;
}

/* Not inlined: one copy is enough. */
__attribute__((noinline)) static prefetch_walk pace(row_prefetch *ahead, int32_t vectors, int32_t depth) {
    return prefetch_pace(ahead, vectors, depth);
}

/* What is constant wherever a tile is inlined: its sums then become registers, and untaken branches vanish. A model's
 * products never prefetch and never scale: testing for it took 1 % of a step. */
typedef struct {
    int rows, vectors;
    bool narrow;     /* fewer columns than lanes */
    bool prefetches; /* args->ahead */
    bool scales;     /* by factors */
} tile_kind;

/* sum[row][vector] */
typedef eab_vec tile_sums[EAB_TALL_ROWS][TILE_MOST_VECTORS];

EAB_INLINE void clear_sums(const tile_kind kind, tile_sums sum) {
    EAB_UNROLL
    for (int row = 0; row < kind.rows; row++) {
        EAB_UNROLL
        for (int vector = 0; vector < kind.vectors; vector++) sum[row][vector] = (eab_vec){0};
    }
}

EAB_INLINE void load_sums(const tile_kind kind, const tile_column *at, ptrdiff_t c_row, tile_sums sum) {
    EAB_UNROLL
    for (int row = 0; row < kind.rows; row++) {
        EAB_UNROLL
        for (int vector = 0; vector < kind.vectors; vector++) {
            const ptrdiff_t column = vector_column(at->last_column, vector, kind.vectors);
            sum[row][vector] = load_columns(kind.narrow, at->lanes, at->c + row * c_row + column);
        }
    }
}

EAB_INLINE void add_start_row(const tile_kind kind, const tile_column *at, tile_sums sum) {
    EAB_UNROLL
    for (int vector = 0; vector < kind.vectors; vector++) {
        const ptrdiff_t column = vector_column(at->last_column, vector, kind.vectors);
        const eab_vec start = load_columns(kind.narrow, at->lanes, at->start_row + column);
        EAB_UNROLL
        for (int row = 0; row < kind.rows; row++) sum[row][vector] += start;
    }
}

EAB_INLINE void multiply_add(const tile_kind kind, const eab_product_args *args, const tile_column *at, tile_sums sum) {
    const ptrdiff_t a_row = args->a_row, a_k = args->a_k, b_row = args->b_row;
    /* high, highest: addresses of all rows from 4 strides */
    const float *a = at->a, *high = a + 8 * a_row, *highest = a + 16 * a_row, *b = at->b;
    prefetch_walk ahead = {0};
    if (kind.prefetches) ahead = pace(args->ahead, kind.rows * kind.vectors, args->k);
    for (int32_t k = args->k; k > 0; k--) {
        if (kind.prefetches && ahead.step) {
            __builtin_prefetch(ahead.line);
            if (ahead.step > PREFETCH_LINE) __builtin_prefetch(ahead.line + PREFETCH_LINE);
            ahead.line += ahead.step;
        }
        eab_vec columns[TILE_MOST_VECTORS];
        EAB_UNROLL
        for (int vector = 0; vector < kind.vectors; vector++)
            columns[vector] =
                load_columns(kind.narrow, at->lanes, b + vector_column(at->last_column, vector, kind.vectors));
        EAB_UNROLL
        for (int row = 0; row < kind.rows; row++) {
            const eab_vec value = eab_splat(row < 8    ? a[row * a_row]
                                            : row < 16 ? high[(row - 8) * a_row]
                                                       : highest[(row - 16) * a_row]);
            EAB_UNROLL
            for (int vector = 0; vector < kind.vectors; vector++) sum[row][vector] += value * columns[vector];
        }
        a += a_k;
        high += a_k;
        highest += a_k;
        b += b_row;
    }
}

/* `finish` is a constant where this is inlined. */
EAB_INLINE void finish_sums(const tile_kind kind, const eab_finish finish, const tile_column *at, ptrdiff_t c_row,
                            tile_sums sum) {
    EAB_UNROLL
    for (int row = 0; row < kind.rows; row++) {
        EAB_UNROLL
        for (int vector = 0; vector < kind.vectors; vector++) {
            const float *other = at->other + row * c_row + vector_column(at->last_column, vector, kind.vectors);
            sum[row][vector] = finish_vec(finish, kind.narrow, at->lanes, sum[row][vector], other);
        }
    }
}

EAB_INLINE void scale_sums(const tile_kind kind, const float *factors, tile_sums sum) {
    EAB_UNROLL
    for (int row = 0; row < kind.rows; row++) {
        const eab_vec factor = eab_splat(factors[row]);
        EAB_UNROLL
        for (int vector = 0; vector < kind.vectors; vector++) sum[row][vector] *= factor;
    }
}

EAB_INLINE void store_sums(const tile_kind kind, const tile_column *at, ptrdiff_t c_row, tile_sums sum) {
    EAB_UNROLL
    for (int row = 0; row < kind.rows; row++) {
        EAB_UNROLL
        for (int vector = 0; vector < kind.vectors; vector++) {
            const ptrdiff_t column = vector_column(at->last_column, vector, kind.vectors);
            store_columns(kind.narrow, at->lanes, at->c + row * c_row + column, sum[row][vector]);
        }
    }
}

/* The tiles of a column. All of a tile's c is read before any is written: where the last vector overlaps the one before
 * it, the same bits are written twice. */
EAB_INLINE void multiply_tiles(const tile_kind kind, const eab_product_args *product, const tile_column *column) {
    const eab_product_args args = *product; /* a copy: no store to c can change it */
    tile_column at = *column;
    for (; at.count > 0; at.count--) {
        tile_sums sum;
        clear_sums(kind, sum);
        if (args.start & EAB_START_C) load_sums(kind, &at, args.c_row, sum);
        if (args.start & EAB_START_ROW) add_start_row(kind, &at, sum);
        multiply_add(kind, &args, &at, sum);
        if (args.finish != EAB_FINISH_NONE) {
            if (args.finish == EAB_FINISH_RELU) finish_sums(kind, EAB_FINISH_RELU, &at, args.c_row, sum);
            else if (args.finish == EAB_FINISH_RELU_SLOPE)
                finish_sums(kind, EAB_FINISH_RELU_SLOPE, &at, args.c_row, sum);
            else finish_sums(kind, EAB_FINISH_TIMES, &at, args.c_row, sum);
            at.other += kind.rows * args.c_row;
        }
        if (kind.scales && at.factors) {
            scale_sums(kind, at.factors, sum);
            at.factors += kind.rows;
        }
        store_sums(kind, &at, args.c_row, sum);
        at.a += kind.rows * args.a_row;
        at.c += kind.rows * args.c_row;
    }
}

#endif
