/* Products on the diagonal of causal attention (product.h), of which half would be zeros.
 *
 * Their sums are short. The decisions that a whole product takes for each tile (size, start, finish) would be a tenth
 * of their time, so here they are compile-time constants. Tiles have few rows, so that little of the masked half is
 * computed: 4 rows of 4 vectors where there are 32 registers. At least 8 accumulators are needed to keep two
 * multiply-add units with a latency of four cycles busy. Measured shares of the peak: kernels/cpu/README.md.
 */
#include "product_tile.h"

/* ---- triangles --------------------------------------------------------------------------------------------------- */

/* The first `whole` rows: tiles below each other, each with its own number of terms. */
EAB_INLINE void triangle(const int rows, const int vectors, const bool prefetches, const eab_triangle_args *args,
                         int32_t whole, const tile_column *top) {
    eab_product_args step = {.a_row = args->a_row,
                             .a_k = args->a_k,
                             .b_row = args->b_row,
                             .c_row = args->c_row,
                             .start = args->start & EAB_START_C, /* start_row does not exist */
                             .finish = EAB_FINISH_NONE,
                             .ahead = args->ahead};
    tile_column place = *top;
    const bool lower = args->lower;
    for (int32_t row = 0; row < whole; row += rows) {
        step.k = lower ? row + rows : args->rows - row;
        multiply_tiles((tile_kind){rows, vectors, .prefetches = prefetches, .scales = true}, &step, &place);
        place.a += rows * step.a_row + (lower ? 0 : rows * step.a_k);
        if (!lower) place.b += rows * step.b_row;
        place.c += rows * step.c_row;
        if (place.factors) place.factors += rows;
    }
}

typedef void (*triangle_function)(const eab_triangle_args *, int32_t whole, const tile_column *);

#define TRIANGLE(rows, vectors)                                                                            \
    static void triangle_##vectors(const eab_triangle_args *args, int32_t whole, const tile_column *top) { \
        if (args->ahead && prefetch_active(args->ahead)) triangle(rows, vectors, true, args, whole, top);  \
        else triangle(rows, vectors, false, args, whole, top);                                             \
    }
TRIANGLE(EAB_TRIANGLE_STEP, 1)
#if EAB_DIAGONAL_VECTORS == 4
TRIANGLE(EAB_TRIANGLE_STEP, 2)
TRIANGLE(4, 3)
TRIANGLE(4, 4)
#else
TRIANGLE(4, 2)
#endif

static const triangle_function triangles[EAB_DIAGONAL_VECTORS] = {
    triangle_1,
    triangle_2,
#if EAB_DIAGONAL_VECTORS == 4
    triangle_3,
    triangle_4,
#endif
};

void EAB_ISA_NAME(eab_product_triangle)(const eab_triangle_args *args) {
    const int32_t whole = args->rows / EAB_TRIANGLE_STEP * EAB_TRIANGLE_STEP;
    const int32_t vectors = (args->columns + EAB_LANES - 1) / EAB_LANES;
    const int32_t panels = (vectors + EAB_DIAGONAL_VECTORS - 1) / EAB_DIAGONAL_VECTORS;
    for (int32_t panel = 0, begin = 0; panel < panels; panel++) {
        const int32_t end = vectors * (panel + 1) / panels, column = begin * EAB_LANES;
        const int32_t last = end * EAB_LANES > args->columns ? args->columns - EAB_LANES : (end - 1) * EAB_LANES;
        const tile_column top = {.a = args->a,
                                 .b = args->b + column,
                                 .c = args->c + column,
                                 .factors = args->factors,
                                 .last_column = last - column,
                                 .count = 1};
        triangles[end - begin - 1](args, whole, &top);
        begin = end;
    }
    if (whole == args->rows) return;
    const int32_t skip = args->lower ? 0 : whole;
    float *c = args->c + whole * args->c_row;
    EAB_PRODUCT(.rows = args->rows - whole, .columns = args->columns, .k = args->rows - skip,
                .a = args->a + whole * args->a_row + skip * args->a_k, .a_row = args->a_row, .a_k = args->a_k,
                .b = args->b + skip * args->b_row, .b_row = args->b_row, .c = c, .c_row = args->c_row,
                .start = args->start, .ahead = args->ahead);
    for (int32_t row = whole; args->factors && row < args->rows; row++, c += args->c_row)
        for (int32_t column = 0; column < args->columns; column++) c[column] *= args->factors[row];
}

/* ---- stairs ------------------------------------------------------------------------------------------------------ */

/* The rows of one step, in some of its vectors. */
EAB_INLINE void stair(const int rows, const int vectors, const bool prefetches, const eab_stairs_args *args,
                      const tile_column *top) {
    const eab_product_args step = {.k = args->k,
                                   .a_row = args->a_row,
                                   .a_k = 1,
                                   .b_row = args->b_row,
                                   .c_row = args->c_row,
                                   .start = EAB_START_ZERO,
                                   .finish = EAB_FINISH_NONE,
                                   .ahead = args->ahead};
    const tile_column place = {.a = top->a,
                               .b = top->b,
                               .c = top->c,
                               .last_column = (vectors - 1) * EAB_LANES,
                               .count = EAB_STAIR_ROWS / rows};
    multiply_tiles((tile_kind){rows, vectors, .prefetches = prefetches}, &step, &place);
}

typedef void (*stair_function)(const eab_stairs_args *, const tile_column *);

#define STAIR(rows, vectors)                                                                    \
    static void stair_##vectors(const eab_stairs_args *args, const tile_column *top) {          \
        if (args->ahead && prefetch_active(args->ahead)) stair(rows, vectors, true, args, top); \
        else stair(rows, vectors, false, args, top);                                            \
    }
STAIR(EAB_STAIR_ROWS, 1)
#if EAB_DIAGONAL_VECTORS == 4
STAIR(8, 2)
STAIR(8, 3)
STAIR(4, 4)
#else
STAIR(4, 2)
#endif

static const stair_function stairs[EAB_DIAGONAL_VECTORS] = {
    stair_1,
    stair_2,
#if EAB_DIAGONAL_VECTORS == 4
    stair_3,
    stair_4,
#endif
};

void EAB_ISA_NAME(eab_product_stairs)(const eab_stairs_args *args) {
    int32_t row = 0;
    for (; row + EAB_STAIR_ROWS <= args->rows; row += EAB_STAIR_ROWS) {
        tile_column top = {
            .a = args->a + row * args->a_row, .b = args->b + row, .c = args->c + row * args->c_row + row};
        for (int32_t left = (args->columns - row) / EAB_LANES; left > 0; left -= EAB_DIAGONAL_VECTORS) {
            stairs[(left < EAB_DIAGONAL_VECTORS ? left : EAB_DIAGONAL_VECTORS) - 1](args, &top);
            top.b += EAB_DIAGONAL_VECTORS * EAB_LANES;
            top.c += EAB_DIAGONAL_VECTORS * EAB_LANES;
        }
    }
    if (row < args->rows)
        EAB_PRODUCT(.rows = args->rows - row, .columns = args->columns - row, .k = args->k,
                    .a = args->a + row * args->a_row, .a_row = args->a_row, .a_k = 1, .b = args->b + row,
                    .b_row = args->b_row, .c = args->c + row * args->c_row + row, .c_row = args->c_row,
                    .ahead = args->ahead);
}
