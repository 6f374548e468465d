/* The processor's matrix product against float64, at every SIMD level that this machine has. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "guarded.h"
#include "kernels/cpu/kernels.h"
#include "kernels/cpu/simd_math.h"

enum { LEVELS = 3 };

typedef struct {
    int32_t m, n, k, extra; /* extra: elements between the rows beyond their width */
    bool transpose_a, transpose_b, accumulate, biased;
} gemm_case;

static const char *case_name(const gemm_case *c) {
    static char text[120];
    snprintf(text, sizeof text, "%d x %d x %d%s%s%s%s extra %d", c->m, c->n, c->k, c->transpose_a ? " ta" : "",
             c->transpose_b ? " tb" : "", c->accumulate ? " accumulate" : "", c->biased ? " bias" : "", c->extra);
    return text;
}

typedef struct {
    gemm_case spec;
    guarded a, b, c_before, bias;
    eab_gemm g;
} gemm_problem;

static gemm_problem problem_new(gemm_case spec, uint32_t seed) {
    const int32_t a_rows = spec.transpose_a ? spec.k : spec.m, a_width = spec.transpose_a ? spec.m : spec.k;
    const int32_t b_rows = spec.transpose_b ? spec.n : spec.k, b_width = spec.transpose_b ? spec.k : spec.n;
    const int32_t lda = a_width + spec.extra, ldb = b_width + spec.extra, ldc = spec.n + spec.extra;
    gemm_problem p = {.spec = spec};
    /* The last row has no gap after it, so that an access beyond it is out of bounds. */
    p.a = guarded_new((int64_t)(a_rows - 1) * lda + a_width);
    p.b = guarded_new((int64_t)(b_rows - 1) * ldb + b_width);
    p.c_before = guarded_new((int64_t)(spec.m - 1) * ldc + spec.n);
    p.bias = guarded_new(spec.n);
    guarded_normal(&p.a, seed, 1);
    guarded_normal(&p.b, seed + 1, 1);
    guarded_normal(&p.bias, seed + 2, 1);
    if (spec.accumulate) guarded_normal(&p.c_before, seed + 3, 1);
    p.g = (eab_gemm){.members = 1,
                     .m = spec.m,
                     .n = spec.n,
                     .k = spec.k,
                     .lda = lda,
                     .ldb = ldb,
                     .ldc = ldc,
                     .transpose_a = spec.transpose_a,
                     .transpose_b = spec.transpose_b,
                     .accumulate = spec.accumulate,
                     .a = {p.a.data, 0},
                     .b = {p.b.data, 0},
                     .bias = {spec.biased ? p.bias.data : NULL, 0}};
    return p;
}

static void problem_free(gemm_problem *p) {
    guarded_free(&p->a);
    guarded_free(&p->b);
    guarded_free(&p->c_before);
    guarded_free(&p->bias);
}

static guarded problem_run(gemm_problem *p, const eab_cpu_kernels *kernels) {
    guarded c = guarded_new(p->c_before.count);
    memcpy(c.data, p->c_before.data, (size_t)c.count * sizeof *c.data);
    eab_cpu_workspace workspace = {0};
    p->g.c = (eab_tensor){c.data, 0};
    cr_assert(!kernels->gemm(&workspace, &p->g, 0));
    cr_assert(guarded_intact(&c), "%s %s: wrote past c", kernels->isa, case_name(&p->spec));
    eab_cpu_workspace_free(&workspace);
    return c;
}

static void check_values(const gemm_problem *p, const guarded *c, const char *isa) {
    const gemm_case *s = &p->spec;
    const eab_gemm *g = &p->g;
    for (int32_t row = 0; row < s->m; row++) {
        for (int32_t column = 0; column < s->n; column++) {
            const double before = s->accumulate ? (double)p->c_before.data[(int64_t)row * g->ldc + column] : 0;
            const double bias = s->biased ? (double)p->bias.data[column] : 0;
            double sum = before + bias, size = fabs(before) + fabs(bias);
            for (int32_t k = 0; k < s->k; k++) {
                const double a =
                    (double)p->a.data[s->transpose_a ? (int64_t)k * g->lda + row : (int64_t)row * g->lda + k];
                const double b =
                    (double)p->b.data[s->transpose_b ? (int64_t)column * g->ldb + k : (int64_t)k * g->ldb + column];
                sum += a * b;
                size += fabs(a * b);
            }
            const double value = (double)c->data[(int64_t)row * g->ldc + column];
            /* The bound for k + 2 roundings. */
            cr_assert(fabs(value - sum) <= (s->k + 2) * 0x1p-24 * size, "%s %s: [%d][%d] %g, not %g", isa, case_name(s),
                      row, column, value, sum);
        }
        for (int32_t gap = s->n; gap < g->ldc && row < s->m - 1; gap++) {
            const int64_t at = (int64_t)row * g->ldc + gap;
            cr_assert(same_floats(&c->data[at], &p->c_before.data[at], 1), "%s %s: wrote between rows", isa,
                      case_name(s));
        }
    }
}

static void check(gemm_case spec, uint32_t seed) {
    gemm_problem p = problem_new(spec, seed);
    for (int level = 0; level < LEVELS; level++) {
        const eab_cpu_kernels *kernels = eab_cpu_kernels_at(level);
        if (!kernels) continue;
        guarded c = problem_run(&p, kernels);
        check_values(&p, &c, kernels->isa);
        guarded_free(&c);
    }
    problem_free(&p);
}

static gemm_case with_flags(int32_t m, int32_t n, int32_t k, int flags) {
    return (gemm_case){m, n, k, flags & 16 ? 5 : 0, flags & 1, flags & 2, flags & 4, flags & 8};
}

Test(gemm, odd_sizes_with_all_flags) {
    static const int32_t rows[] = {1, 5, 9, 17}, columns[] = {1, 3, 7, 8, 15, 16, 17, 31, 33, 50, 65},
                         depths[] = {1, 2, 13, 40};
    uint32_t seed = 0;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof columns / sizeof *columns; j++)
            for (size_t l = 0; l < sizeof depths / sizeof *depths; l++)
                for (int flags = 0; flags < 32; flags++)
                    check(with_flags(rows[i], columns[j], depths[l], flags), seed += 10);
}

Test(gemm, blocks_of_rows_and_depth) {
    for (int flags = 0; flags < 16; flags++) {
        check(with_flags(200, 37, 31, flags), 1);
        check(with_flags(19, 35, 401, flags), 2);
        check(with_flags(193, 97, 193, flags), 3);
        check(with_flags(32, 7, 768, flags), 4);
        check(with_flags(150, 135, 515, flags), 5); /* packed: a of long rows */
        check(with_flags(131, 517, 200, flags), 6); /* packed: b of long rows */
    }
}

Test(gemm, nothing_to_add) {
    for (int level = 0; level < LEVELS; level++) {
        const eab_cpu_kernels *kernels = eab_cpu_kernels_at(level);
        if (!kernels) continue;
        float a[1] = {0}, b[40] = {0}, c[2][40], bias[40];
        for (int i = 0; i < 40; i++) bias[i] = (float)i;
        eab_gemm g = {.members = 1,
                      .m = 2,
                      .n = 40,
                      .k = 0,
                      .lda = 1,
                      .ldb = 40,
                      .ldc = 40,
                      .a = {a, 0},
                      .b = {b, 0},
                      .c = {c, 0},
                      .bias = {bias, 0}};
        eab_cpu_workspace workspace = {0};
        cr_assert(!kernels->gemm(&workspace, &g, 0));
        for (int i = 0; i < 40; i++) cr_expect_eq(c[1][i], (float)i, "k = 0 leaves the bias");
        eab_cpu_workspace_free(&workspace);
    }
}

static void members_are_strided(const eab_cpu_kernels *kernels) {
    float a[3] = {1, 2, 3}, b[3] = {10, 100, 1000}, c[6] = {0};
    eab_gemm g = {
        .members = 3, .m = 1, .n = 1, .k = 1, .lda = 1, .ldb = 1, .ldc = 1, .a = {a, 1}, .b = {b, 1}, .c = {c, 2}};
    eab_cpu_workspace workspace = {0};
    for (int32_t member = 0; member < 3; member++) cr_assert(!kernels->gemm(&workspace, &g, member));
    eab_cpu_workspace_free(&workspace);
    cr_expect(c[0] == 10 && c[2] == 200 && c[4] == 3000 && c[1] == 0 && c[3] == 0, "%s", kernels->isa);
}

static void at_every_level(void (*f)(const eab_cpu_kernels *)) {
    for (int level = 0; level < 3; level++)
        if (eab_cpu_kernels_at(level)) f(eab_cpu_kernels_at(level));
}

Test(gemm, members_are_strided) { at_every_level(members_are_strided); }

/* An element's bits do not depend on the number of rows and columns. */
Test(gemm, same_bits_in_any_size) {
    for (int level = 0; level < LEVELS; level++) {
        const eab_cpu_kernels *kernels = eab_cpu_kernels_at(level);
        for (int flags = 0; flags < 2 && kernels; flags++) {
            gemm_problem p = problem_new(with_flags(70, 67, 300, flags | 4 | 8), 7);
            guarded all = problem_run(&p, kernels);
            for (int32_t rows = 1; rows < 70; rows += 6)
                for (int32_t columns = 1; columns < 67; columns += 5) {
                    gemm_problem part = p;
                    part.g.m = rows;
                    part.g.n = columns;
                    guarded c = problem_run(&part, kernels);
                    for (int32_t row = 0; row < rows; row++)
                        cr_assert(!memcmp(c.data + (int64_t)row * p.g.ldc, all.data + (int64_t)row * p.g.ldc,
                                          (size_t)columns * sizeof(float)),
                                  "%s: %d rows, %d columns", kernels->isa, rows, columns);
                    guarded_free(&c);
                }
            guarded_free(&all);
            problem_free(&p);
        }
    }
}

/* A product with a finish has the bits of the plain product with the finish applied to each element. */
Test(gemm, finishes_each_element) {
    static const int32_t sizes[][3] = {{1, 1, 1},     {9, 7, 5},    {17, 21, 21},   {31, 50, 40},
                                       {70, 67, 300}, {200, 8, 31}, {130, 517, 195}};
    for (int level = 0; level < LEVELS; level++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int flags = 0; flags < 32 && eab_cpu_kernels_at(level); flags++) {
                const eab_cpu_kernels *kernels = eab_cpu_kernels_at(level);
                gemm_problem p = problem_new(with_flags(sizes[i][0], sizes[i][1], sizes[i][2], flags), 11);
                guarded plain = problem_run(&p, kernels), other = guarded_new(p.c_before.count);
                guarded_normal(&other, 17, 1);
                p.g.other = (eab_tensor){other.data, 0};
                for (int finish = EAB_FINISH_RELU; finish <= EAB_FINISH_TIMES; finish++) {
                    p.g.finish = (eab_finish)finish;
                    guarded c = problem_run(&p, kernels);
                    for (int64_t at = 0; at < c.count; at++) {
                        if (at % p.g.ldc >= p.g.n) continue;
                        const float sum = plain.data[at], factor = other.data[at];
                        const float expected = finish == EAB_FINISH_RELU         ? (sum < 0 ? 0 : sum)
                                               : finish == EAB_FINISH_RELU_SLOPE ? (factor > 0 ? sum : 0)
                                                                                 : sum * factor;
                        cr_assert_eq(c.data[at], expected, "%s %s, finish %d: %g, not %g", kernels->isa,
                                     case_name(&p.spec), finish, (double)c.data[at], (double)expected);
                    }
                    guarded_free(&c);
                }
                guarded_free(&other);
                guarded_free(&plain);
                problem_free(&p);
            }
}

/* gelu in float64: its value and slope. */
static void gelu(double x, double *value, double *slope) {
    const double factor = 0.79788456080286535588, cube = 0.044715, t = tanh(factor * (x + cube * x * x * x));
    *value = x / 2 * (1 + t);
    *slope = (1 + t) / 2 + x / 2 * (1 - t * t) * factor * (1 + 3 * cube * x * x);
}

/* Values and slopes agree with gelu of the plain product; nothing is written between, before or after the rows. */
Test(gemm, finishes_by_gelu) {
    static const int32_t sizes[][3] = {{1, 1, 1},     {9, 7, 5},    {17, 21, 21},   {49, 50, 40},
                                       {70, 67, 300}, {200, 8, 31}, {130, 517, 195}};
    for (int level = 0; level < LEVELS; level++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int flags = 0; flags < 32 && eab_cpu_kernels_at(level); flags++) {
                const eab_cpu_kernels *kernels = eab_cpu_kernels_at(level);
                gemm_problem p = problem_new(with_flags(sizes[i][0], sizes[i][1], sizes[i][2], flags), 13);
                guarded plain = problem_run(&p, kernels), slopes = guarded_new(p.c_before.count);
                guarded untouched = guarded_new(p.c_before.count);
                p.g.finish = EAB_FINISH_GELU;
                p.g.other = (eab_tensor){slopes.data, 0};
                guarded c = problem_run(&p, kernels);
                cr_assert(guarded_intact(&slopes), "%s %s: wrote past the slopes", kernels->isa, case_name(&p.spec));
                for (int64_t at = 0; at < c.count; at++) {
                    if (at % p.g.ldc >= p.g.n) {
                        cr_assert(same_floats(&slopes.data[at], &untouched.data[at], 1), "%s %s: wrote between slopes",
                                  kernels->isa, case_name(&p.spec));
                        continue;
                    }
                    double value, slope;
                    const double x = (double)plain.data[at];
                    gelu(x, &value, &slope);
                    cr_assert(fabs((double)c.data[at] - value) <= EAB_GELU_ERROR * fabs(x) + 1e-37 &&
                                  fabs((double)slopes.data[at] - slope) <= EAB_GELU_SLOPE_ERROR,
                              "%s %s: gelu(%g) %g and %g, not %g and %g", kernels->isa, case_name(&p.spec), x,
                              (double)c.data[at], (double)slopes.data[at], value, slope);
                }
                guarded_free(&c);
                guarded_free(&untouched);
                guarded_free(&slopes);
                guarded_free(&plain);
                problem_free(&p);
            }
}

static void nan_is_kept(const eab_cpu_kernels *kernels) {
    gemm_problem p = problem_new(with_flags(20, 20, 20, 0), 9);
    p.a.data[3 * 20 + 7] = NAN;
    guarded c = problem_run(&p, kernels);
    for (int i = 0; i < 20; i++) cr_expect(isnan(c.data[3 * 20 + i]) && !isnan(c.data[4 * 20 + i]));
    guarded_free(&c);
    guarded slopes = guarded_new(400);
    p.g.finish = EAB_FINISH_GELU;
    p.g.other = (eab_tensor){slopes.data, 0};
    c = problem_run(&p, kernels);
    for (int i = 0; i < 20; i++) {
        cr_expect(isnan(c.data[3 * 20 + i]) && !isnan(c.data[4 * 20 + i]));
        cr_expect(isnan(slopes.data[3 * 20 + i]) && !isnan(slopes.data[4 * 20 + i]));
    }
    guarded_free(&slopes);
    guarded_free(&c);
    problem_free(&p);
}

Test(gemm, nan_is_kept) { at_every_level(nan_is_kept); }
