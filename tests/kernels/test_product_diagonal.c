/* Products on the diagonal (kernels/cpu/product.h) at every SIMD level, against float64. Inputs that must not be read
 * are NaN; memory that must not be written is checked. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "guarded.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/product.h"

#if defined(__x86_64__)
void eab_product_triangle_avx2(const eab_triangle_args *args);
void eab_product_triangle_avx512(const eab_triangle_args *args);
void eab_product_stairs_avx2(const eab_stairs_args *args);
void eab_product_stairs_avx512(const eab_stairs_args *args);
#endif

typedef struct {
    eab_isa isa;
    int32_t lanes;
    void (*triangle)(const eab_triangle_args *args);
    void (*stairs)(const eab_stairs_args *args);
} level;

static const level levels[] = {
    {EAB_ISA_BASE, 4, eab_product_triangle_base, eab_product_stairs_base},
#if defined(__x86_64__)
    {EAB_ISA_AVX2, 8, eab_product_triangle_avx2, eab_product_stairs_avx2},
    {EAB_ISA_AVX512, 16, eab_product_triangle_avx512, eab_product_stairs_avx512},
#endif
};
enum { LEVELS = sizeof levels / sizeof *levels, GAP = 5 /* floats between the rows of c */ };

static const int32_t sizes[] = {1, 3, 4, 7, 8, 12, 16, 17, 24, 31, 48, 63, 64, 65};
enum { SIZES = sizeof sizes / sizeof *sizes };

static int32_t triangle_step(const level *at) { return at->lanes < 8 ? at->lanes : 8; }
static int32_t stair_rows(const level *at) { return at->lanes > 8 ? at->lanes : 8; }

/* Expects `sum`, up to rounding in any order of the terms, with or without contraction; `size`: the terms' sum of
 * sizes. */
static void expect_close(const level *at, const char *name, int32_t rows, int32_t columns, float value, double sum,
                         double size, int32_t terms) {
    cr_assert(fabs((double)value - sum) <= 1.2e-7 * (terms + 1) * size, "%s, %s, %d x %d: %g, not %g",
              eab_isa_name(at->isa), name, rows, columns, (double)value, sum);
}

/* ---- triangles --------------------------------------------------------------------------------------------------- */

typedef struct {
    int32_t rows, columns;
    bool lower, a_transposed, continues, scales;
} triangle_case;

static bool on_triangle(bool lower, int32_t row, int32_t k) { return lower ? k <= row : k >= row; }

static void check_triangle(const level *at, const triangle_case *of) {
    const int32_t n = of->rows, columns = of->columns, c_row = columns + GAP, step = triangle_step(at);
    guarded a = guarded_new((int64_t)n * n), values = guarded_new((int64_t)n * n),
            b = guarded_new((int64_t)n * columns);
    guarded c = guarded_new((int64_t)n * c_row), before = guarded_new((int64_t)n * c_row), factors = guarded_new(n);
    guarded_normal(&values, 1, 1);
    guarded_normal(&b, 2, 1);
    guarded_normal(&before, 3, 1);
    guarded_normal(&factors, 4, 1);
    const int32_t a_row = of->a_transposed ? 1 : n, a_k = of->a_transposed ? n : 1;
    for (int32_t row = 0; row < n; row++)
        for (int32_t k = 0; k < n; k++) {
            if (on_triangle(of->lower, row, k)) a.data[row * a_row + k * a_k] = values.data[row * n + k];
            else if (row / step == k / step) a.data[row * a_row + k * a_k] = 0; /* else NaN */
        }
    for (int32_t row = 0; of->continues && row < n; row++)
        memcpy(c.data + row * c_row, before.data + row * c_row, (size_t)columns * sizeof(float));
    const eab_triangle_args args = {.rows = n,
                                    .columns = columns,
                                    .lower = of->lower,
                                    .a = a.data,
                                    .a_row = a_row,
                                    .a_k = a_k,
                                    .b = b.data,
                                    .b_row = columns,
                                    .c = c.data,
                                    .c_row = c_row,
                                    .start = of->continues ? EAB_START_C : EAB_START_ZERO,
                                    .factors = of->scales ? factors.data : NULL};
    at->triangle(&args);
    for (int32_t row = 0; row < n; row++) {
        const double factor = of->scales ? (double)factors.data[row] : 1;
        for (int32_t column = 0; column < columns; column++) {
            double sum = of->continues ? (double)before.data[row * c_row + column] : 0, size = fabs(sum);
            for (int32_t k = of->lower ? 0 : row; k <= (of->lower ? row : n - 1); k++) {
                const double term = (double)values.data[row * n + k] * (double)b.data[k * columns + column];
                sum += term;
                size += fabs(term);
            }
            expect_close(at, of->lower ? "lower triangle" : "upper triangle", n, columns, c.data[row * c_row + column],
                         factor * sum, fabs(factor) * size, n);
        }
        for (int32_t gap = columns; gap < c_row; gap++) cr_assert(guarded_untouched(c.data[row * c_row + gap]));
    }
    cr_assert(guarded_intact(&c));
    guarded *const all[] = {&a, &values, &b, &c, &before, &factors};
    for (int i = 0; i < 6; i++) guarded_free(all[i]);
}

Test(product_diagonal, triangles) {
    for (int l = 0; l < LEVELS; l++) {
        if (!eab_isa_available(levels[l].isa)) continue;
        const int32_t lanes = levels[l].lanes;
        const int32_t widths[] = {lanes, lanes + 1, 2 * lanes, 3 * lanes - 1, 4 * lanes, 5 * lanes + 3, 128};
        for (int i = 0; i < SIZES; i++)
            for (int w = 0; w < 7; w++)
                for (unsigned flags = 0; flags < 16; flags++) {
                    const triangle_case of = {sizes[i],         widths[w],        (flags & 1) != 0,
                                              (flags & 2) != 0, (flags & 4) != 0, (flags & 8) != 0};
                    check_triangle(&levels[l], &of);
                }
    }
}

/* ---- stairs ------------------------------------------------------------------------------------------------------ */

static void check_stairs(const level *at, int32_t rows, int32_t columns, int32_t depth) {
    const int32_t a_row = depth + 2, c_row = columns + GAP;
    guarded a = guarded_new((int64_t)rows * a_row), b = guarded_new((int64_t)depth * columns);
    guarded c = guarded_new((int64_t)rows * c_row);
    guarded_normal(&a, 5, 1);
    guarded_normal(&b, 6, 1);
    const eab_stairs_args args = {.rows = rows,
                                  .columns = columns,
                                  .k = depth,
                                  .a = a.data,
                                  .a_row = a_row,
                                  .b = b.data,
                                  .b_row = columns,
                                  .c = c.data,
                                  .c_row = c_row};
    at->stairs(&args);
    for (int32_t row = 0; row < rows; row++) {
        const int32_t first = row / stair_rows(at) * stair_rows(at);
        for (int32_t column = 0; column < c_row; column++) {
            const float value = c.data[row * c_row + column];
            if (column < first || column >= columns) {
                cr_assert(guarded_untouched(value), "%s: row %d, column %d of %d", eab_isa_name(at->isa), row, column,
                          columns);
                continue;
            }
            double sum = 0, size = 0;
            for (int32_t k = 0; k < depth; k++) {
                const double term = (double)a.data[row * a_row + k] * (double)b.data[k * columns + column];
                sum += term;
                size += fabs(term);
            }
            expect_close(at, "stairs", rows, columns, value, sum, size, depth);
        }
    }
    cr_assert(guarded_intact(&c));
    guarded_free(&a);
    guarded_free(&b);
    guarded_free(&c);
}

Test(product_diagonal, stairs) {
    static const int32_t depths[] = {1, 3, 17, 64};
    for (int l = 0; l < LEVELS; l++) {
        if (!eab_isa_available(levels[l].isa)) continue;
        const int32_t lanes = levels[l].lanes;
        for (int i = 0; i < SIZES; i++)
            for (int more = 0; more < 2; more++)
                for (int d = 0; d < 4; d++)
                    check_stairs(&levels[l], sizes[i], ((sizes[i] + lanes - 1) / lanes + more) * lanes, depths[d]);
    }
}
