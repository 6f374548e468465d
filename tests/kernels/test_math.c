/* The vector functions of simd_math.h against the C library in float64, over all floats (one in EAB_FLOAT_STEP, by
 * default one in 3), at every SIMD level that this machine has. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "guarded.h"
#include "kernels/cpu/simd_math.h"
#include "levels/float_sweep.h"

enum { LEVELS = 3 };

static const uint32_t SIGN = 0x80000000u, ONE = 0x3F800000u, LEAST_NORMAL = 0x00800000u, LARGEST = 0x7F7FFFFFu;

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static void expect_below(const char *name, const sweep_result results[LEVELS], int which, double bound) {
    for (int level = 0; level < LEVELS; level++) {
        if (!math_level_at(level)) continue;
        cr_log_info("%s, %s: largest error %.4g at %.9g, of %lld floats", name, math_level_at(level)->isa,
                    results[level].worst[which], (double)results[level].at[which], (long long)results[level].count);
        cr_expect(results[level].count > 0 && results[level].worst[which] <= bound, "%s, %s: error %g at %.9g", name,
                  math_level_at(level)->isa, results[level].worst[which], (double)results[level].at[which]);
    }
}

/* ---- exp ------------------------------------------------------------------------------------------------------- */

static void run_exp(const math_level *level, const float *x, float *y, float *y2) { level->exponential(x, y, y2); }

static void exact_exp(double x, double exact[SWEEP_RESULTS], double unit[SWEEP_RESULTS]) {
    exact[0] = exact[1] = exp(x);
    unit[0] = unit[1] = ulp_of(exact[0]);
}

Test(exp, below_1_3_ulp_over_its_range) {
    sweep_result results[LEVELS] = {0};
    sweep_floats(0, bits_of(EAB_EXP_HIGHEST), sweep_step(), run_exp, exact_exp, results);
    sweep_floats(SIGN, bits_of(EAB_EXP_LOWEST), sweep_step(), run_exp, exact_exp, results);
    expect_below("exp of vectors", results, 0, 1.3);
    expect_below("exp of floats", results, 1, 1.3);
}

/* Below the range the result is 0, above it the value at its end, also for infinities; NaN stays NaN. */
Test(exp, ends) {
    float x[SWEEP_BLOCK], y[SWEEP_BLOCK], y2[SWEEP_BLOCK];
    const uint32_t below = bits_of(EAB_EXP_LOWEST), above = bits_of(EAB_EXP_HIGHEST);
    for (int level = 0; level < LEVELS; level++) {
        if (!math_level_at(level)) continue;
        for (uint32_t i = 0; i < SWEEP_BLOCK; i++)
            x[i] =
                from_bits(i % 2 ? above + 1 + (uint32_t)((uint64_t)(0x7F800000u - above - 1) * i / (SWEEP_BLOCK - 1))
                                : below + 1 + (uint32_t)((uint64_t)(0xFF800000u - below - 1) * i / (SWEEP_BLOCK - 2)));
        math_level_at(level)->exponential(x, y, y2);
        for (int i = 0; i < SWEEP_BLOCK; i++) {
            const float expected = i % 2 ? eab_expf_lane(EAB_EXP_HIGHEST) : 0;
            cr_assert(y[i] == y2[i] && fabsf(y[i] - expected) <= 1e-6f * expected, "%g: %g, %g", (double)x[i],
                      (double)y[i], (double)y2[i]);
        }
        for (uint32_t i = 0; i < SWEEP_BLOCK; i++) x[i] = from_bits((i % 2 ? SIGN : 0) | (0x7FC00000u + i * 1021));
        math_level_at(level)->exponential(x, y, y2);
        for (int i = 0; i < SWEEP_BLOCK; i++) cr_assert(isnan(y[i]) && isnan(y2[i]));
    }
    cr_expect_eq(eab_expf_lane(0), 1);
    cr_expect_eq(eab_expf_lane(-0.0f), 1);
    cr_expect(isfinite(eab_expf_lane(INFINITY)) && eab_expf_lane(INFINITY) > 3.3e38f);
}

Test(exp, the_vector_form_gives_the_same_bits) {
    float x[SWEEP_BLOCK], y[SWEEP_BLOCK], y2[SWEEP_BLOCK];
    for (uint32_t block = 0; block < 1024; block++) {
        for (uint32_t i = 0; i < SWEEP_BLOCK; i++) x[i] = from_bits((block * SWEEP_BLOCK + i) * 1021u);
        for (int level = 0; level < LEVELS; level++) {
            if (!math_level_at(level)) continue;
            math_level_at(level)->exponential(x, y, y2);
            for (int i = 0; i < SWEEP_BLOCK; i++)
                cr_assert((isnan(y[i]) && isnan(y2[i])) || same_floats(&y[i], &y2[i], 1), "%g", (double)x[i]);
        }
    }
}

static void run_exp_negative(const math_level *level, const float *x, float *y, float *y2) {
    level->exponential_negative(x, y, y2);
}

static void exact_exp_negative(double x, double exact[SWEEP_RESULTS], double unit[SWEEP_RESULTS]) {
    exact[0] = exp(x);
    unit[0] = ulp_of(exact[0]);
}

Test(exp, of_negative_numbers_below_5_ulp) {
    sweep_result results[LEVELS] = {0};
    sweep_floats(SIGN, bits_of(-30), sweep_step(), run_exp_negative, exact_exp_negative, results);
    expect_below("exp of negative vectors above -30", results, 0, 2);
    sweep_floats(bits_of(-30), bits_of(EAB_EXP_NONE + 0.01f), sweep_step(), run_exp_negative, exact_exp_negative,
                 results);
    expect_below("exp of negative vectors", results, 0, 5);
}

/* Attention relies on these: a masked pair has weight 0, the largest score 1 before the division. */
Test(exp, of_negative_numbers_at_the_ends) {
    const float zeros[] = {EAB_EXP_NONE - 0.01f, -87.2f, -87.4f, -88, -1e3f, -1e9f, -3e38f, -INFINITY};
    float x[SWEEP_BLOCK], y[SWEEP_BLOCK];
    for (int level = 0; level < LEVELS; level++) {
        if (!math_level_at(level)) continue;
        for (int i = 0; i < SWEEP_BLOCK; i++) x[i] = zeros[i % 8];
        math_level_at(level)->exponential_negative(x, y, NULL);
        for (int i = 0; i < SWEEP_BLOCK; i++)
            cr_assert(y[i] == 0 && !signbit(y[i]), "%g: %g", (double)x[i], (double)y[i]);
        for (uint32_t i = 0; i < SWEEP_BLOCK; i++) x[i] = from_bits((i % 2 ? SIGN : 0) | (0x7FC00000u + i * 1021));
        math_level_at(level)->exponential_negative(x, y, NULL);
        for (int i = 0; i < SWEEP_BLOCK; i++) cr_assert(isnan(y[i]));
        for (int i = 0; i < SWEEP_BLOCK; i++) x[i] = i % 2 ? 0 : -0.0f;
        math_level_at(level)->exponential_negative(x, y, NULL);
        for (int i = 0; i < SWEEP_BLOCK; i++) cr_assert(y[i] == 1);
    }
}

/* ---- log ------------------------------------------------------------------------------------------------------- */

static void run_log(const math_level *level, const float *x, float *y, float *y2) { level->logarithm(x, y, y2); }

static void exact_log(double x, double exact[SWEEP_RESULTS], double unit[SWEEP_RESULTS]) {
    exact[0] = log(x);
    unit[0] = ulp_of(exact[0]);
}

Test(log, below_two_ulp) {
    sweep_result results[LEVELS] = {0};
    sweep_floats(LEAST_NORMAL, LARGEST, sweep_step(), run_log, exact_log, results);
    sweep_floats(ONE - 4096, ONE + 4096, 1, run_log, exact_log, results); /* near 1, where the result is small */
    expect_below("log", results, 0, 2);
    cr_expect_eq(eab_log_vec(eab_splat(1))[0], 0);
    cr_expect(isnan(eab_log_vec(eab_splat(NAN))[0]));
}

/* ---- 1 / sqrt -------------------------------------------------------------------------------------------------- */

static void run_inverse_sqrt(const math_level *level, const float *x, float *y, float *y2) {
    level->inverse_sqrt(x, y, y2);
}

static void exact_inverse_sqrt(double x, double exact[SWEEP_RESULTS], double unit[SWEEP_RESULTS]) {
    exact[0] = 1 / sqrt(x);
    unit[0] = ulp_of(exact[0]);
}

Test(inverse_sqrt, below_one_and_a_half_ulp) {
    sweep_result results[LEVELS] = {0};
    sweep_floats(LEAST_NORMAL, LARGEST, sweep_step(), run_inverse_sqrt, exact_inverse_sqrt, results);
    expect_below("1 / sqrt", results, 0, 1.5);
}

/* ---- gelu ------------------------------------------------------------------------------------------------------ */

static void run_gelu(const math_level *level, const float *x, float *y, float *y2) { level->gelu(x, y, y2); }

static void exact_gelu(double x, double exact[SWEEP_RESULTS], double unit[SWEEP_RESULTS]) {
    const double factor = 1.59576912160573071176, cube = 0.044715;
    const double within = x > 20 ? 20 : x < -20 ? -20 : x, square = within * within;
    const double e = exp(-factor * within * (1 + cube * square)), s = 1 / (1 + e);
    exact[0] = x * s;
    exact[1] = s + within * factor * (1 + 3 * cube * square) * (e * s) * s;
    unit[0] = fabs(x) > 0x1p-100 ? fabs(x) : 0x1p-100;
    unit[1] = 1;
}

Test(gelu, within_its_bounds_for_all_floats) {
    sweep_result results[LEVELS] = {0};
    sweep_floats(0, LARGEST, sweep_step(), run_gelu, exact_gelu, results);
    sweep_floats(SIGN, SIGN | LARGEST, sweep_step(), run_gelu, exact_gelu, results);
    expect_below("gelu", results, 0, EAB_GELU_ERROR);
    expect_below("gelu's slope", results, 1, EAB_GELU_SLOPE_ERROR);
}

Test(gelu, ends) {
    float x[SWEEP_BLOCK], y[SWEEP_BLOCK], slope[SWEEP_BLOCK];
    for (int level = 0; level < LEVELS; level++) {
        if (!math_level_at(level)) continue;
        for (uint32_t i = 0; i < SWEEP_BLOCK; i++) x[i] = from_bits((i % 2 ? SIGN : 0) | (0x7FC00000u + i * 1021));
        x[0] = 0;
        x[1] = -0.0f;
        x[2] = INFINITY;
        x[3] = -INFINITY;
        math_level_at(level)->gelu(x, y, slope);
        cr_expect(y[0] == 0 && slope[0] == 0.5f && y[1] == 0 && slope[1] == 0.5f);
        cr_expect(y[2] == INFINITY && slope[2] == 1 && fabsf(y[3]) < 1e-30f && fabsf(slope[3]) < 1e-30f);
        for (int i = 4; i < SWEEP_BLOCK; i++) cr_assert(isnan(y[i]) && isnan(slope[i]));
    }
}
