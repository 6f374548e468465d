/* The micro-kernel's tiles and the loop over them: product.h. Also the transposition that packs operands.
 *
 * Tiles are cut evenly (10 rows are 5 + 5, not 8 + 2), since a tile of few accumulators waits for the latency of its
 * multiply-adds. A panel of up to EAB_TILE_VECTORS vectors of b is used by all rows before the next one: for k up to
 * about 200 it stays in a 48 KiB L1 cache. Measured shares of the peak: kernels/cpu/README.md.
 */
#include "product.h"

#include "transpose.h"

typedef struct {
    const float *a, *b;
    float *c;
    const float *start_row, *other;
    ptrdiff_t last_column; /* of the tile's last vector: (vectors - 1) * EAB_LANES, or less where it overlaps */
    int32_t count;         /* tiles below each other */
} tile_column;

EAB_INLINE ptrdiff_t vector_column(ptrdiff_t last_column, int vector, int vectors) {
    return vector == vectors - 1 ? last_column : (ptrdiff_t)vector * EAB_LANES;
}

EAB_INLINE eab_vec finish_vec(eab_finish finish, eab_vec sum, const float *other) {
    switch (finish) {
        case EAB_FINISH_RELU: return eab_keep(~(sum < 0), sum); /* NaN stays NaN */
        case EAB_FINISH_RELU_SLOPE: return eab_keep(eab_load(other) > 0, sum);
        case EAB_FINISH_TIMES: return sum * eab_load(other);
        case EAB_FINISH_GELU: /* gemm.c's */
        case EAB_FINISH_NONE: break;
    }
    return sum;
}

/* The tiles of a column. rows and vectors are constants where this is inlined, so that the accumulators become
 * registers. All of c is read before any is written: where the last vector overlaps the one before it, the same bits
 * are written twice. */
EAB_INLINE void tile(const int rows, const int vectors, const eab_product_args *args, const tile_column *place) {
    const ptrdiff_t a_row = args->a_row, a_k = args->a_k, b_row = args->b_row, c_row = args->c_row;
    const ptrdiff_t last_column = place->last_column;
    const int32_t depth = args->k;
    const float *first_a = place->a;
    float *c = place->c;
    const float *other = place->other;
    for (int32_t count = place->count; count > 0; count--, first_a += rows * a_row, c += rows * c_row) {
        const float *a = first_a, *b = place->b;
        eab_vec sum[EAB_TILE_ROWS][EAB_TILE_VECTORS];
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
                    sum[row][vector] = eab_load(c + row * c_row + vector_column(last_column, vector, vectors));
            }
        }
        if (args->start & EAB_START_ROW) {
            EAB_UNROLL
            for (int vector = 0; vector < vectors; vector++) {
                const eab_vec start = eab_load(place->start_row + vector_column(last_column, vector, vectors));
                EAB_UNROLL
                for (int row = 0; row < rows; row++) sum[row][vector] += start;
            }
        }
        for (int32_t k = depth; k > 0; k--) {
            eab_vec columns[EAB_TILE_VECTORS];
            EAB_UNROLL
            for (int vector = 0; vector < vectors; vector++)
                columns[vector] = eab_load(b + vector_column(last_column, vector, vectors));
            EAB_UNROLL
            for (int row = 0; row < rows; row++) {
                const eab_vec value = eab_splat(a[row * a_row]);
                EAB_UNROLL
                for (int vector = 0; vector < vectors; vector++) sum[row][vector] += value * columns[vector];
            }
            a += a_k;
            b += b_row;
        }
#define FINISH(finish)                                                                                        \
    EAB_UNROLL                                                                                                \
    for (int row = 0; row < rows; row++) {                                                                    \
        EAB_UNROLL                                                                                            \
        for (int vector = 0; vector < vectors; vector++)                                                      \
            sum[row][vector] = finish_vec(finish, sum[row][vector],                                           \
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
        EAB_UNROLL
        for (int row = 0; row < rows; row++) {
            EAB_UNROLL
            for (int vector = 0; vector < vectors; vector++)
                eab_store(c + row * c_row + vector_column(last_column, vector, vectors), sum[row][vector]);
        }
    }
}

typedef void (*tile_function)(const eab_product_args *, const tile_column *);

#define TILE(rows, vectors)                                                                       \
    static void tile_##rows##_##vectors(const eab_product_args *args, const tile_column *place) { \
        tile(rows, vectors, args, place);                                                         \
    }
#if EAB_TILE_VECTORS == 3
#define TILES(rows) TILE(rows, 1) TILE(rows, 2) TILE(rows, 3)
#define TILE_NAMES(rows) \
    { tile_##rows##_1, tile_##rows##_2, tile_##rows##_3 }
#else
#define TILES(rows) TILE(rows, 1) TILE(rows, 2)
#define TILE_NAMES(rows) \
    { tile_##rows##_1, tile_##rows##_2 }
#endif
/* Lists of macros. clang-format does not read them as such. */
/* clang-format off */
TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6)
#if EAB_TILE_ROWS == 8
TILES(7) TILES(8)
#endif

static const tile_function tiles[EAB_TILE_ROWS][EAB_TILE_VECTORS] = {
    TILE_NAMES(1), TILE_NAMES(2), TILE_NAMES(3), TILE_NAMES(4), TILE_NAMES(5), TILE_NAMES(6),
#if EAB_TILE_ROWS == 8
    TILE_NAMES(7), TILE_NAMES(8),
#endif
};
/* clang-format on */

void EAB_ISA_NAME(eab_product)(const eab_product_args *args) {
    const int32_t vectors = (args->columns + EAB_LANES - 1) / EAB_LANES;
    const int32_t panels = (vectors + EAB_TILE_VECTORS - 1) / EAB_TILE_VECTORS;
    const int32_t row_tiles = (args->rows + EAB_TILE_ROWS - 1) / EAB_TILE_ROWS;
    /* The narrower panels come first: the last one, which may overlap, then has two vectors unless there is only one.
     * */
    const int32_t narrow = panels * (vectors / panels + 1) - vectors;
    const int32_t short_tiles = row_tiles ? row_tiles * (args->rows / row_tiles + 1) - args->rows : 0;
    int32_t column = 0;
    for (int32_t panel = 0; panel < panels; panel++) {
        const int32_t width = vectors / panels + (panel >= narrow);
        int32_t last = column + (width - 1) * EAB_LANES;
        if (last + EAB_LANES > args->columns) last = args->columns - EAB_LANES;
        tile_column place = {args->a,
                             args->b + column,
                             args->c + column,
                             args->start_row ? args->start_row + column : NULL,
                             args->other ? args->other + column : args->c,
                             last - column,
                             short_tiles};
        const int32_t rows = row_tiles ? args->rows / row_tiles : 0;
        if (short_tiles) tiles[rows - 1][width - 1](args, &place);
        place.a += (ptrdiff_t)short_tiles * rows * args->a_row;
        place.c += (ptrdiff_t)short_tiles * rows * args->c_row;
        place.other += (ptrdiff_t)short_tiles * rows * args->c_row;
        place.count = row_tiles - short_tiles;
        if (place.count) tiles[rows][width - 1](args, &place);
        column += width * EAB_LANES;
    }
}

void EAB_ISA_NAME(eab_transpose)(int64_t rows, int64_t columns, const float *from, ptrdiff_t from_row, float factor,
                                 float *to, ptrdiff_t to_row) {
    const int64_t whole_rows = rows & ~(int64_t)3, whole_columns = columns & ~(int64_t)3;
    for (int64_t row = 0; row < whole_rows; row += 4)
        for (int64_t column = 0; column < whole_columns; column += 4) {
            const float *corner = from + row * from_row + column;
            quad block[4], turned[4];
            for (int i = 0; i < 4; i++) block[i] = quad_load(corner + i * from_row) * factor;
            quad_transpose(block, turned);
            for (int i = 0; i < 4; i++) quad_store(to + (column + i) * to_row + row, turned[i]);
        }
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = row < whole_rows ? whole_columns : 0; column < columns; column++)
            to[column * to_row + row] = factor * from[row * from_row + column];
}
