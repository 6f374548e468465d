/* The exponential, branch-free, in two forms that give the same bits: for loops over floats that the compiler
 * vectorises, and for vectors.
 *
 * exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; exp(r) is a polynomial of degree 6 (interpolated at
 * Chebyshev nodes; 0.2 units of the last place). It computes 2 exp(r) 2^(n-1), since 2^128 is no float.
 * Error below 1.3 ulp for -86.9 <= x <= 88.72 (tests/kernels/test_exp.c runs through all of them). Below, 0; above,
 * exp(88.72) = 3.39e38. exp(0) = 1 exactly. NaN stays NaN.
 */
#ifndef EAB_KERNELS_CPU_SIMD_MATH_H
#define EAB_KERNELS_CPU_SIMD_MATH_H

#include "simd.h"

#define EAB_EXP_LOWEST (-86.9f)
#define EAB_EXP_HIGHEST 88.72f

#define EAB_EXP_INVERSE_LN2 0x1.715476p+0f
#define EAB_EXP_LN2_HIGH 0x1.62e4p-1f /* 15 bits: n times it is exact */
#define EAB_EXP_LN2_LOW 0x1.7f7d1cp-20f
/* 1.5 * 2^23: adding it rounds to an integer, which its low bits then hold; 126 = exponent bias - 1. */
#define EAB_EXP_ROUND 12582912.0f
#define EAB_EXP_BIAS 126
/* 2 exp(r) = 2 + r (2 + r (1 + ...)) */
#define EAB_EXP_POLYNOMIAL(r)                          \
    (2 + (r) * (2 + (r) * (1 + (r) * (0x1.5554dcp-2f + \
                                      (r) * (0x1.555518p-4f + (r) * (0x1.120c4ap-6f + (r)*0x1.6d11e4p-9f))))))

/* For x within EAB_EXP_LOWEST..EAB_EXP_HIGHEST, or NaN. */
EAB_INLINE float eab_expf_lane_within(float x) {
    const float shifted = x * EAB_EXP_INVERSE_LN2 + EAB_EXP_ROUND;
    const float n = shifted - EAB_EXP_ROUND;
    const float r = (x - n * EAB_EXP_LN2_HIGH) - n * EAB_EXP_LN2_LOW;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (int32_t)(((uint32_t)bits + EAB_EXP_BIAS) << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    return EAB_EXP_POLYNOMIAL(r) * power;
}

EAB_INLINE float eab_expf_lane(float x) {
    const float result = eab_expf_lane_within(x > EAB_EXP_HIGHEST ? EAB_EXP_HIGHEST : x);
    return x < EAB_EXP_LOWEST ? 0 : result;
}

EAB_INLINE eab_vec eab_exp_vec(eab_vec x) {
    const eab_vec clamped = eab_min_vec(x, eab_splat(EAB_EXP_HIGHEST));
    const eab_vec shifted = clamped * EAB_EXP_INVERSE_LN2 + EAB_EXP_ROUND;
    const eab_vec n = shifted - EAB_EXP_ROUND;
    const eab_vec r = (clamped - n * EAB_EXP_LN2_HIGH) - n * EAB_EXP_LN2_LOW;
    const eab_vec power = (eab_vec)(((eab_bits_vec)shifted + EAB_EXP_BIAS) << 23);
    const eab_vec result = EAB_EXP_POLYNOMIAL(r) * power;
    return eab_keep(~(x < EAB_EXP_LOWEST), result); /* not x >= ...: NaN stays */
}

/* log(x) of positive normal x, below 3 ulp. x = 2^e m, sqrt(1/2) <= m < sqrt(2), and log m = 2 atanh(s) with
 * s = (m - 1) / (m + 1), |s| < 0.172: the series' terms up to s^9 leave 1e-9 of it. NaN stays NaN. */
EAB_INLINE eab_vec eab_log_vec(eab_vec x) {
    /* 0x3F3504F3: the bits of sqrt(1/2); the exponent changes there, not at 1. */
    const eab_int_vec exponent = (eab_int_vec)((eab_bits_vec)x - 0x3F3504F3) >> 23;
    const eab_vec m = (eab_vec)((eab_bits_vec)x - ((eab_bits_vec)exponent << 23));
    const eab_vec s = (m - 1) / (m + 1), square = s * s;
    const eab_vec series = square * (2.0f / 3 + square * (2.0f / 5 + square * (2.0f / 7 + square * (2.0f / 9))));
    const eab_vec e = __builtin_convertvector(exponent, eab_vec);
    const eab_vec result = e * EAB_EXP_LN2_HIGH + (2 * s + (s * series + e * EAB_EXP_LN2_LOW));
    return eab_select(x == x, result, x); /* NOLINT(misc-redundant-expression): false for NaN */
}

#endif
