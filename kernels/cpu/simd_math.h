/* The exponential, branch-free, in two forms that give the same bits: for loops over floats that the compiler
 * vectorises, and for vectors.
 *
 * exp(x) = 2^n exp(r), n = round(x / ln 2), |r| <= ln(2) / 2; exp(r) is a polynomial of degree 6 (interpolated at
 * Chebyshev nodes; 0.2 units of the last place). It computes 2 exp(r) 2^(n-1), since 2^128 is no float. Error below 1.3
 * ulp for -86.9 <= x <= 88.72; below that 0, above it exp(88.72) = 3.39e38. exp(0) = 1 exactly. NaN stays NaN.
 * tests/kernels/test_math.c checks all floats, here and for the functions below.
 */
#ifndef EAB_KERNELS_CPU_SIMD_MATH_H
#define EAB_KERNELS_CPU_SIMD_MATH_H

#include <math.h>

#include "simd.h"

#define EAB_EXP_LOWEST (-86.9f)
#define EAB_EXP_HIGHEST 88.72f

#define EAB_EXP_INVERSE_LN2 0x1.715476p+0f
#define EAB_EXP_LN2_HIGH 0x1.62e4p-1f /* 15 bits: n times it is exact */
#define EAB_EXP_LN2_LOW 0x1.7f7d1cp-20f
/* 1.5 * 2^23: adding it rounds to an integer, which its low bits then hold. With 126, the exponent's bias - 1, as well,
 * these are the exponent's bits of 2^(n-1). (No product with 1 / ln 2 lies halfway between integers: n is the same.) */
#define EAB_EXP_ROUND 12582912.0f
#define EAB_EXP_ROUND_BIASED (EAB_EXP_ROUND + 126)
/* 2 exp(r) = 2 + r (2 + r (1 + ...)) */
#define EAB_EXP_POLYNOMIAL(r)                          \
    (2 + (r) * (2 + (r) * (1 + (r) * (0x1.5554dcp-2f + \
                                      (r) * (0x1.555518p-4f + (r) * (0x1.120c4ap-6f + (r)*0x1.6d11e4p-9f))))))

EAB_INLINE float eab_expf_lane(float x) {
    const float clamped = x > EAB_EXP_HIGHEST ? EAB_EXP_HIGHEST : x;
    const float shifted = clamped * EAB_EXP_INVERSE_LN2 + EAB_EXP_ROUND_BIASED;
    const float n = shifted - EAB_EXP_ROUND_BIASED;
    const float r = (clamped - n * EAB_EXP_LN2_HIGH) - n * EAB_EXP_LN2_LOW;
    int32_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (int32_t)((uint32_t)bits << 23);
    float power;
    memcpy(&power, &bits, sizeof power);
    return x < EAB_EXP_LOWEST ? 0 : EAB_EXP_POLYNOMIAL(r) * power;
}

EAB_INLINE eab_vec eab_exp_vec(eab_vec x) {
    const eab_vec clamped = eab_min_vec(x, eab_splat(EAB_EXP_HIGHEST));
    const eab_vec shifted = clamped * EAB_EXP_INVERSE_LN2 + EAB_EXP_ROUND_BIASED;
    const eab_vec n = shifted - EAB_EXP_ROUND_BIASED;
    const eab_vec r = (clamped - n * EAB_EXP_LN2_HIGH) - n * EAB_EXP_LN2_LOW;
    const eab_vec power = (eab_vec)((eab_bits_vec)shifted << 23);
    const eab_vec result = EAB_EXP_POLYNOMIAL(r) * power;
    return eab_keep(~(x < EAB_EXP_LOWEST), result); /* ~(x < ...) keeps NaN, x >= ... would not */
}

/* exp(x) for x <= 0, of weights relative to the largest one; valid up to 88, beyond that the result has no meaning.
 * Three operations less than eab_exp_vec where multiply-adds are fused: n times ln 2, rounded to a float, is subtracted
 * at once. Error below 2 ulp for x >= -30, 5 ulp further down; 0 below EAB_EXP_NONE, where 2^(n-1) has an exponent of
 * zeros. exp(0) = 1 exactly. NaN stays NaN. */
#define EAB_EXP_NONE (-86.99f)
EAB_INLINE eab_vec eab_exp_negative_vec(eab_vec x) {
    const eab_vec within = eab_max_vec(eab_splat(-87.3f), x);
    const eab_vec shifted = within * EAB_EXP_INVERSE_LN2 + EAB_EXP_ROUND_BIASED;
    const eab_vec n = shifted - EAB_EXP_ROUND_BIASED;
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    const eab_vec r = within - n * (EAB_EXP_LN2_HIGH + EAB_EXP_LN2_LOW);
#else
    const eab_vec r = (within - n * EAB_EXP_LN2_HIGH) - n * EAB_EXP_LN2_LOW;
#endif
    return EAB_EXP_POLYNOMIAL(r) * (eab_vec)((eab_bits_vec)shifted << 23);
}

/* log(x) of positive normal x, below 2 ulp. x = 2^e m, sqrt(1/2) <= m < sqrt(2), and log m = 2 atanh(s) with
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

/* 1 / sqrt(x): two correctly rounded operations, below 1.5 ulp. */
EAB_INLINE float eab_inverse_sqrt(float x) { return 1 / sqrtf(x); }

/* gelu(x) = x/2 (1 + tanh u) = x s with s = 1 / (1 + e), e = exp(-2u), 2u = 2 sqrt(2/pi) (x + 0.044715 x^3), and its
 * slope s + x s (1 - s) 2u' = s (1 + x 2u' (e s)), where e s is 1 - s without cancellation.
 *
 * e = 2^t, t = -2u / ln 2 (eab_gelu_exp2); at most a quarter of its relative error reaches s. Beyond |x| = 9.9 s is
 * 1 or below 2^-125, and the clamp keeps e a normal number. Errors over all floats: value, at most EAB_GELU_ERROR
 * times |x|; slope, at most EAB_GELU_SLOPE_ERROR. NaN stays NaN. */
#define EAB_GELU_LIMIT 9.9f
#define EAB_GELU_FACTOR 1.5957691216057308 /* 2 sqrt(2/pi) */
#define EAB_GELU_CUBE 0.044715
#define EAB_GELU_INVERSE_LN2 1.4426950408889634
#define EAB_GELU_ERROR 1.6e-7
#define EAB_GELU_SLOPE_ERROR 3e-7
enum { EAB_GELU_MOST = 4 }; /* vectors at a time */

#define EAB_EACH EAB_UNROLL for (int i = 0; i < vectors; i++)
#if EAB_LANES == 16 && defined(__x86_64__)
/* e = 2^t: t is rounded to steps of 1/32, whose powers one instruction finds in a table in two registers; the rest is a
 * polynomial of degree 2 with a relative error of 5.4e-8. The whole part of t is added to the exponent as an integer.
 * The shift leaves the step's number i below the exponent, so the table has the bits of 2^(i/32) minus i * 2^18. */
EAB_INLINE void eab_gelu_exp2(const int vectors, eab_vec *restrict t, eab_vec *restrict e) {
    static const uint32_t powers[32] = {
        0x3F800000, 0x3F7ECD87, 0x3F7DAAC3, 0x3F7C980F, 0x3F7B95C2, 0x3F7AA43A, 0x3F79C3D3, 0x3F78F4F0,
        0x3F7837F0, 0x3F778D3A, 0x3F76F532, 0x3F767043, 0x3F75FED7, 0x3F75A15B, 0x3F75583F, 0x3F7523F6,
        0x3F7504F3, 0x3F74FBAF, 0x3F7508A4, 0x3F752C4D, 0x3F75672A, 0x3F75B9BE, 0x3F76248C, 0x3F76A81E,
        0x3F7744FD, 0x3F77FBB8, 0x3F78CCDF, 0x3F79B907, 0x3F7AC0C7, 0x3F7BE4BA, 0x3F7D257D, 0x3F7E83B3};
    const float round = EAB_EXP_ROUND / 32;
    const __m512 low = _mm512_loadu_ps(powers), high = _mm512_loadu_ps(powers + 16);
    eab_vec shifted[EAB_GELU_MOST];
    EAB_EACH shifted[i] = t[i] + round;
    EAB_EACH t[i] = t[i] - (shifted[i] - round);
    EAB_EACH e[i] = (eab_vec)_mm512_permutex2var_ps(low, (__m512i)shifted[i], high);
    EAB_EACH e[i] = (eab_vec)((eab_bits_vec)e[i] + ((eab_bits_vec)shifted[i] << 18));
    EAB_EACH e[i] = e[i] * (1 + t[i] * (0x1.62e584p-1f + t[i] * 0x1.ebfcccp-3f));
}
#else
/* e = 2^t: the exponent of round(t) is added as an integer to 2^(t - round t), a polynomial of degree 5 with a relative
 * error of 1.1e-7. */
EAB_INLINE void eab_gelu_exp2(const int vectors, eab_vec *restrict t, eab_vec *restrict e) {
    eab_vec shifted[EAB_GELU_MOST];
    EAB_EACH shifted[i] = t[i] + EAB_EXP_ROUND;
    EAB_EACH t[i] = t[i] - (shifted[i] - EAB_EXP_ROUND);
    EAB_EACH e[i] = 0x1.3cec5p-7f + t[i] * 0x1.5bb84p-10f;
    EAB_EACH e[i] = 0x1.c6b76p-5f + t[i] * e[i];
    EAB_EACH e[i] = 0x1.ebf9b8p-3f + t[i] * e[i];
    EAB_EACH e[i] = 0x1.62e42ap-1f + t[i] * e[i];
    EAB_EACH e[i] = 1 + t[i] * e[i];
    EAB_EACH e[i] = (eab_vec)((eab_bits_vec)e[i] + ((eab_bits_vec)shifted[i] << 23));
}
#endif

/* x becomes gelu(x), slope its slope, for `vectors` vectors (constant after inlining). Each step is done for all of
 * them, since it waits for the step before. */
EAB_INLINE void eab_gelu_vecs(const int vectors, eab_vec *restrict x, eab_vec *restrict slope) {
    const float inverse_ln2 = (float)(-EAB_GELU_FACTOR * EAB_GELU_INVERSE_LN2);
    const float cube = (float)(-EAB_GELU_FACTOR * EAB_GELU_INVERSE_LN2 * EAB_GELU_CUBE);
    eab_vec within[EAB_GELU_MOST], square[EAB_GELU_MOST], t[EAB_GELU_MOST], e[EAB_GELU_MOST], s[EAB_GELU_MOST];
    EAB_EACH x[i] = eab_max_vec(eab_splat(-EAB_GELU_LIMIT), x[i]);
    EAB_EACH within[i] = eab_min_vec(x[i], eab_splat(EAB_GELU_LIMIT));
    EAB_EACH square[i] = within[i] * within[i];
    EAB_EACH t[i] = within[i] * (inverse_ln2 + cube * square[i]);
    eab_gelu_exp2(vectors, t, e);
    EAB_EACH s[i] = 1 / (1 + e[i]);
    EAB_EACH square[i] = (float)EAB_GELU_FACTOR + (float)(3 * EAB_GELU_FACTOR * EAB_GELU_CUBE) * square[i];
    EAB_EACH slope[i] = s[i] * (1 + within[i] * square[i] * (e[i] * s[i]));
    EAB_EACH x[i] = x[i] * s[i];
}
#undef EAB_EACH

#endif
