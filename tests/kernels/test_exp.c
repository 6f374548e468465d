/* The vector exponential against the C library's, over every float. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "guarded.h"
#include "kernels/cpu/simd_math.h"

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double error_in_ulp(float x) {
    const double exact = exp((double)x);
    return fabs((double)eab_expf_lane(x) - exact) / ldexp(1, ilogb(exact) - 23);
}

Test(exp, below_two_ulp_over_its_range) {
    double worst = 0;
    /* Every 3rd float of either sign, from 2^-30 (below it exp is 1) to the ends of the range. */
    for (uint32_t bits = 0x30800000u; from_bits(bits) <= EAB_EXP_HIGHEST; bits += 3)
        worst = fmax(worst, error_in_ulp(from_bits(bits)));
    for (uint32_t bits = 0xB0800000u; from_bits(bits) >= EAB_EXP_LOWEST; bits += 3)
        worst = fmax(worst, error_in_ulp(from_bits(bits)));
    cr_log_info("largest error %g ulp", worst);
    cr_expect_lt(worst, 1.3, "%g ulp", worst);
}

Test(exp, ends) {
    cr_expect_eq(eab_expf_lane(0), 1);
    cr_expect_eq(eab_expf_lane(-0.0f), 1);
    cr_expect_eq(eab_expf_lane(-INFINITY), 0);
    cr_expect_eq(eab_expf_lane(-87), 0);
    cr_expect_eq(eab_expf_lane(-3e38f), 0);
    cr_expect(isfinite(eab_expf_lane(INFINITY)) && eab_expf_lane(INFINITY) > 3.3e38f);
    cr_expect_eq(eab_expf_lane(INFINITY), eab_expf_lane(89));
    cr_expect(isnan(eab_expf_lane(NAN)));
    cr_expect(isnan(eab_expf_lane(from_bits(0x7FC5A5A5u))));
    cr_expect(isnan(eab_expf_lane(from_bits(0xFFC00001u))));
}

Test(exp, the_vector_form_gives_the_same_bits) {
    for (int64_t i = 0; i < 1 << 22; i += EAB_LANES) {
        eab_vec x, y;
        for (int lane = 0; lane < EAB_LANES; lane++) x[lane] = from_bits((uint32_t)(i + lane) * 1021u);
        y = eab_exp_vec(x);
        for (int lane = 0; lane < EAB_LANES; lane++) {
            const float alone = eab_expf_lane(x[lane]), in_vector = y[lane];
            cr_assert((isnan(alone) && isnan(in_vector)) || same_floats(&alone, &in_vector, 1), "%g", (double)x[lane]);
        }
    }
}

Test(log, below_three_ulp) {
    double worst = 0;
    for (uint32_t bits = 0x00800000u; bits < 0x7F800000u; bits += EAB_LANES * 251) {
        eab_vec x, y;
        for (int lane = 0; lane < EAB_LANES; lane++) x[lane] = from_bits(bits + (uint32_t)lane * 251);
        y = eab_log_vec(x);
        for (int lane = 0; lane < EAB_LANES && from_bits(bits + (uint32_t)lane * 251) < INFINITY; lane++) {
            const double exact = log((double)x[lane]);
            if (exact != 0) worst = fmax(worst, fabs((double)y[lane] - exact) / ldexp(1, ilogb(exact) - 23));
        }
    }
    for (int step = -2000; step <= 2000; step++) { /* around 1, where the result is small */
        const eab_vec x = eab_splat(1 + (float)step * 0x1p-23f);
        const double exact = log((double)x[0]);
        if (step) worst = fmax(worst, fabs((double)eab_log_vec(x)[0] - exact) / ldexp(1, ilogb(exact) - 23));
    }
    cr_log_info("largest error %g ulp", worst);
    cr_expect_lt(worst, 3, "%g ulp", worst);
    cr_expect_eq(eab_log_vec(eab_splat(1))[0], 0);
    cr_expect(isnan(eab_log_vec(eab_splat(NAN))[0]));
}
