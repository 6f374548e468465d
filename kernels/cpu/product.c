/* Whole products in tiles (product.h), and the transposition that packs operands.
 *
 * Rows are divided evenly (10 are 5 + 5, not 8 + 2): a tile of few accumulators waits for the latency of its
 * multiply-adds. A tile of one vector has up to EAB_TALL_ROWS rows: 8 accumulators would hide the latency, but need 9
 * loads for 8 multiply-adds, at two loads a cycle. All rows use a panel of up to EAB_TILE_VECTORS vectors of b before
 * the next panel: for k up to about 200 it stays in a 48 KiB L1 cache. Measured shares of the peak:
 * kernels/cpu/README.md.
 */
#include "product_tile.h"
#include "transpose.h"

typedef void (*tile_function)(const eab_product_args *, const tile_column *);

/* Each tile with and without prefetching. */
#define TILE(rows, vectors)                                                                                    \
    static void tile_##rows##_##vectors(const eab_product_args *args, const tile_column *column) {             \
        multiply_tiles((tile_kind){rows, vectors, .prefetches = false}, args, column);                         \
    }                                                                                                          \
    static void prefetching_tile_##rows##_##vectors(const eab_product_args *args, const tile_column *column) { \
        multiply_tiles((tile_kind){rows, vectors, .prefetches = true}, args, column);                          \
    }
/* clang-format does not understand lists of macros. */
/* clang-format off */
#define EACH_ROWS(X, vectors) X(1, vectors) X(2, vectors) X(3, vectors) X(4, vectors) X(5, vectors) X(6, vectors)
#define TILE_NAME(rows, vectors) tile_##rows##_##vectors,
#define PREFETCHING_TILE_NAME(rows, vectors) prefetching_tile_##rows##_##vectors,
#if EAB_TILE_ROWS == 8
#define EACH_SHORT(X, vectors) EACH_ROWS(X, vectors) X(7, vectors) X(8, vectors)
#else
#define EACH_SHORT(X, vectors) EACH_ROWS(X, vectors)
#endif
#define EACH_12(X) EACH_ROWS(X, 1) X(7, 1) X(8, 1) X(9, 1) X(10, 1) X(11, 1) X(12, 1)
#if EAB_TALL_ROWS == 24
#define EACH_TALL(X) EACH_12(X) X(13, 1) X(14, 1) X(15, 1) X(16, 1) X(17, 1) X(18, 1) X(19, 1) X(20, 1) \
    X(21, 1) X(22, 1) X(23, 1) X(24, 1)
#else
#define EACH_TALL(X) EACH_12(X)
#endif
EACH_TALL(TILE)
EACH_SHORT(TILE, 2)
#if EAB_TILE_VECTORS == 3
EACH_SHORT(TILE, 3)
#endif

/* [prefetching][vectors - 1][rows - 1] */
static const tile_function tiles[2][EAB_TILE_VECTORS][EAB_TALL_ROWS] = {
    {
        {EACH_TALL(TILE_NAME)},
        {EACH_SHORT(TILE_NAME, 2)},
#if EAB_TILE_VECTORS == 3
        {EACH_SHORT(TILE_NAME, 3)},
#endif
    },
    {
        {EACH_TALL(PREFETCHING_TILE_NAME)},
        {EACH_SHORT(PREFETCHING_TILE_NAME, 2)},
#if EAB_TILE_VECTORS == 3
        {EACH_SHORT(PREFETCHING_TILE_NAME, 3)},
#endif
    },
};
#if EAB_HAS_MASKS
#define NARROW_TILE(rows, vectors)                                                            \
    static void narrow_tile_##rows(const eab_product_args *args, const tile_column *column) { \
        multiply_tiles((tile_kind){rows, 1, .narrow = true}, args, column);                   \
    }
#define NARROW_TILE_NAME(rows, vectors) narrow_tile_##rows,
EACH_TALL(NARROW_TILE)
static const tile_function narrow_tiles[EAB_TALL_ROWS] = {EACH_TALL(NARROW_TILE_NAME)};
#endif
/* clang-format on */

static tile_function find_tile(const eab_product_args *args, int32_t width, int32_t rows) {
#if EAB_HAS_MASKS
    if (args->columns < EAB_LANES) return narrow_tiles[rows - 1];
#endif
    return tiles[args->ahead && prefetch_active(args->ahead)][width - 1][rows - 1];
}

void EAB_ISA_NAME(eab_product)(const eab_product_args *args) {
    const int32_t vectors = (args->columns + EAB_LANES - 1) / EAB_LANES;
    const int32_t panels = (vectors + EAB_TILE_VECTORS - 1) / EAB_TILE_VECTORS;
    /* The narrower panels come first: the last one, which may overlap, then has two vectors unless there is only
     * one. */
    const int32_t narrow = panels * (vectors / panels + 1) - vectors;
    const bool tall =
        args->a_row % 1024 != 0; /* rows 4 KiB apart share a set of the L1 cache, which has 8 to 12 ways */
#if EAB_HAS_MASKS
    const eab_mask lanes = eab_first_lanes(args->columns < EAB_LANES ? args->columns : EAB_LANES);
#else
    const eab_mask lanes = -1;
#endif
    int32_t column = 0;
    for (int32_t panel = 0; panel < panels; panel++) {
        const int32_t width = vectors / panels + (panel >= narrow);
        const int32_t most_rows = width == 1 && tall ? EAB_TALL_ROWS : EAB_TILE_ROWS;
        const int32_t row_tiles = (args->rows + most_rows - 1) / most_rows;
        const int32_t rows = row_tiles ? args->rows / row_tiles : 0;
        const int32_t short_tiles = row_tiles * (rows + 1) - args->rows;
        int32_t last = column + (width - 1) * EAB_LANES;
        if (args->columns >= EAB_LANES && last + EAB_LANES > args->columns) last = args->columns - EAB_LANES;
        tile_column place = {args->a,
                             args->b + column,
                             args->c + column,
                             args->start_row ? args->start_row + column : NULL,
                             args->other ? args->other + column : args->c,
                             NULL,
                             last - column,
                             lanes,
                             short_tiles};
        if (short_tiles) find_tile(args, width, rows)(args, &place);
        place.a += (ptrdiff_t)short_tiles * rows * args->a_row;
        place.c += (ptrdiff_t)short_tiles * rows * args->c_row;
        place.other += (ptrdiff_t)short_tiles * rows * args->c_row;
        place.count = row_tiles - short_tiles;
        if (place.count) find_tile(args, width, rows + 1)(args, &place);
        column += width * EAB_LANES;
    }
}

void EAB_ISA_NAME(eab_transpose_scaled)(int64_t rows, int64_t columns, const float *from, ptrdiff_t from_row,
                                        const float *factors, ptrdiff_t factor_step, float *to, ptrdiff_t to_row) {
    const int64_t whole_rows = rows & ~(int64_t)3, whole_columns = columns & ~(int64_t)3;
    int64_t row = 0;
#ifdef EAB_HAS_EIGHTS
    row = rows / EAB_LANES * EAB_LANES;
    if (!factor_step && *factors == 1) lanes_transpose(row, whole_columns, from, from_row, NULL, 0, to, to_row);
    else lanes_transpose(row, whole_columns, from, from_row, factors, factor_step, to, to_row);
#endif
    for (; row < whole_rows; row += 4)
        for (int64_t column = 0; column < whole_columns; column += 4) {
            const float *corner = from + row * from_row + column;
            quad block[4], turned[4];
            for (int i = 0; i < 4; i++) block[i] = quad_load(corner + i * from_row);
            quad_transpose(block, turned);
            for (int64_t i = column; i < column + 4; i++)
                quad_store(to + i * to_row + row, factors[i * factor_step] * turned[i - column]);
        }
    for (row = 0; row < rows; row++)
        for (int64_t column = row < whole_rows ? whole_columns : 0; column < columns; column++)
            to[column * to_row + row] = factors[column * factor_step] * from[row * from_row + column];
}
