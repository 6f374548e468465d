/* The micro-kernel's tiles and the loop over them: product.h. Also the transposition that packs operands.
 *
 * Tiles are cut evenly (10 rows are 5 + 5, not 8 + 2), since a tile of few accumulators waits for the latency of its
 * multiply-adds. A panel of up to EAB_TILE_VECTORS vectors of b is used by all rows before the next one: for k up to
 * about 200 it stays in a 48 KiB L1 cache. Measured shares of the peak: kernels/cpu/README.md.
 */
#include "product.h"

typedef struct {
    const float *a, *b;
    float *c;
    const float *start_row;
    ptrdiff_t last_column; /* of the tile's last vector: (vectors - 1) * EAB_LANES, or less where it overlaps */
} tile_place;

EAB_INLINE ptrdiff_t tile_column(ptrdiff_t last_column, int vector, int vectors) {
    return vector == vectors - 1 ? last_column : (ptrdiff_t)vector * EAB_LANES;
}

/* One tile. rows and vectors are constants where this is inlined, so that the accumulators become registers. All of
 * c is read before any is written: where the last vector overlaps the one before it, the same bits are written twice. */
EAB_INLINE void tile(const int rows, const int vectors, const eab_product_args *args, const tile_place *place) {
    const ptrdiff_t a_row = args->a_row, a_k = args->a_k, b_row = args->b_row, c_row = args->c_row;
    const ptrdiff_t last_column = place->last_column;
    const float *a = place->a, *b = place->b;
    float *c = place->c;
    eab_vec sum[EAB_TILE_ROWS][EAB_TILE_VECTORS];
    for (int row = 0; row < rows; row++)
        for (int vector = 0; vector < vectors; vector++) sum[row][vector] = (eab_vec){0};
    if (args->start & EAB_START_C)
        for (int row = 0; row < rows; row++)
            for (int vector = 0; vector < vectors; vector++)
                sum[row][vector] = eab_load(c + row * c_row + tile_column(last_column, vector, vectors));
    if (args->start & EAB_START_ROW)
        for (int vector = 0; vector < vectors; vector++) {
            const eab_vec start = eab_load(place->start_row + tile_column(last_column, vector, vectors));
            for (int row = 0; row < rows; row++) sum[row][vector] += start;
        }
    for (int32_t k = args->k; k > 0; k--) {
        eab_vec columns[EAB_TILE_VECTORS];
#pragma GCC unroll 4
        for (int vector = 0; vector < vectors; vector++)
            columns[vector] = eab_load(b + tile_column(last_column, vector, vectors));
#pragma GCC unroll 8
        for (int row = 0; row < rows; row++) {
            const eab_vec value = eab_splat(a[row * a_row]);
#pragma GCC unroll 4
            for (int vector = 0; vector < vectors; vector++) sum[row][vector] += value * columns[vector];
        }
        a += a_k;
        b += b_row;
    }
    for (int row = 0; row < rows; row++)
        for (int vector = 0; vector < vectors; vector++)
            eab_store(c + row * c_row + tile_column(last_column, vector, vectors), sum[row][vector]);
}

typedef void (*tile_function)(const eab_product_args *, const tile_place *);

#define TILE(rows, vectors)                                                                              \
    static void tile_##rows##_##vectors(const eab_product_args *args, const tile_place *place) {         \
        tile(rows, vectors, args, place);                                                                \
    }
#if EAB_TILE_VECTORS == 3
#define TILES(rows) TILE(rows, 1) TILE(rows, 2) TILE(rows, 3)
#define TILE_NAMES(rows) {tile_##rows##_1, tile_##rows##_2, tile_##rows##_3}
#else
#define TILES(rows) TILE(rows, 1) TILE(rows, 2)
#define TILE_NAMES(rows) {tile_##rows##_1, tile_##rows##_2}
#endif
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

void EAB_ISA_NAME(eab_product)(const eab_product_args *args) {
    const int32_t vectors = (args->columns + EAB_LANES - 1) / EAB_LANES;
    const int32_t panels = (vectors + EAB_TILE_VECTORS - 1) / EAB_TILE_VECTORS;
    const int32_t row_tiles = (args->rows + EAB_TILE_ROWS - 1) / EAB_TILE_ROWS;
    /* The narrower panels come first: the last one, which may overlap, then has two vectors unless there is only one. */
    const int32_t narrow = panels * (vectors / panels + 1) - vectors;
    const int32_t short_tiles = row_tiles ? row_tiles * (args->rows / row_tiles + 1) - args->rows : 0;
    int32_t column = 0;
    for (int32_t panel = 0; panel < panels; panel++) {
        const int32_t width = vectors / panels + (panel >= narrow);
        int32_t last = column + (width - 1) * EAB_LANES;
        if (last + EAB_LANES > args->columns) last = args->columns - EAB_LANES;
        tile_place place = {args->a, args->b + column, args->c + column,
                            args->start_row ? args->start_row + column : NULL, last - column};
        for (int32_t row_tile = 0; row_tile < row_tiles; row_tile++) {
            const int32_t rows = args->rows / row_tiles + (row_tile >= short_tiles);
            tiles[rows - 1][width - 1](args, &place);
            place.a += rows * args->a_row;
            place.c += rows * args->c_row;
        }
        column += width * EAB_LANES;
    }
}

typedef float quad __attribute__((vector_size(16)));
typedef int32_t quad_index __attribute__((vector_size(16)));

#ifdef __clang__
#define SHUFFLE(x, y, i, j, k, l) __builtin_shufflevector(x, y, i, j, k, l)
#else
#define SHUFFLE(x, y, i, j, k, l) __builtin_shuffle(x, y, (quad_index){i, j, k, l})
#endif

EAB_INLINE quad load_quad(const float *from, float factor) {
    quad value;
    memcpy(&value, from, sizeof value);
    return value * factor;
}

void EAB_ISA_NAME(eab_transpose)(int64_t rows, int64_t columns, const float *from, ptrdiff_t from_row, float factor,
                                 float *to, ptrdiff_t to_row) {
    const int64_t whole_rows = rows & ~(int64_t)3, whole_columns = columns & ~(int64_t)3;
    for (int64_t row = 0; row < whole_rows; row += 4)
        for (int64_t column = 0; column < whole_columns; column += 4) {
            const float *corner = from + row * from_row + column;
            const quad row0 = load_quad(corner, factor), row1 = load_quad(corner + from_row, factor);
            const quad row2 = load_quad(corner + 2 * from_row, factor), row3 = load_quad(corner + 3 * from_row, factor);
            const quad low01 = SHUFFLE(row0, row1, 0, 4, 1, 5), high01 = SHUFFLE(row0, row1, 2, 6, 3, 7);
            const quad low23 = SHUFFLE(row2, row3, 0, 4, 1, 5), high23 = SHUFFLE(row2, row3, 2, 6, 3, 7);
            const quad column0 = SHUFFLE(low01, low23, 0, 1, 4, 5), column1 = SHUFFLE(low01, low23, 2, 3, 6, 7);
            const quad column2 = SHUFFLE(high01, high23, 0, 1, 4, 5), column3 = SHUFFLE(high01, high23, 2, 3, 6, 7);
            float *target = to + column * to_row + row;
            memcpy(target, &column0, sizeof column0);
            memcpy(target + to_row, &column1, sizeof column1);
            memcpy(target + 2 * to_row, &column2, sizeof column2);
            memcpy(target + 3 * to_row, &column3, sizeof column3);
        }
    for (int64_t row = 0; row < rows; row++)
        for (int64_t column = row < whole_rows ? whole_columns : 0; column < columns; column++)
            to[column * to_row + row] = factor * from[row * from_row + column];
}
