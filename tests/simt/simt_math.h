/* Arithmetic intrinsics. Where the device's are approximate, these are the nearest the C library has: results agree to
 * the device's stated error, not bit for bit. */
#ifndef EAB_TESTS_SIMT_MATH_H
#define EAB_TESTS_SIMT_MATH_H

#include <math.h>
#include <stdint.h>

#include "simt_types.h"

/* X(type): what CUDA overloads min and max for. */
#define SIMT_ORDERED_LIST(X) X(int) X(unsigned) X(long) X(unsigned long) X(long long) X(unsigned long long)
#define SIMT_ORDERED(type)                                    \
    inline type min(type a, type b) { return b < a ? b : a; } \
    inline type max(type a, type b) { return a < b ? b : a; }
SIMT_ORDERED_LIST(SIMT_ORDERED)
#undef SIMT_ORDERED
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

/* The special-function unit: results below the smallest normal float are 0. */
inline float simt_flush(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0.0f, x) : x; }
inline float eab_fast_exp2(float x) { return simt_flush(exp2f(simt_flush(x))); }
inline float eab_fast_reciprocal(float x) { return simt_flush(1.0f / simt_flush(x)); }

inline float __expf(float x) { return simt_flush(exp2f(x * 1.44269504f)); }
inline float __exp10f(float x) { return simt_flush(exp2f(x * 3.32192809f)); }
inline float __logf(float x) { return log2f(x) * 0.693147181f; }
inline float __log2f(float x) { return log2f(x); }
inline float __powf(float x, float y) { return exp2f(y * log2f(x)); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanhf(float x) { return tanhf(x); }
inline float __fdividef(float x, float y) {
    return fabsf(y) > 0x1p126f && !isinf(y) ? (isinf(x) ? NAN : 0.0f * x) : x * eab_fast_reciprocal(y);
}
inline float __saturatef(float x) { return !(x > 0) ? 0.0f : x > 1 ? 1.0f : x; } /* NaN becomes 0 */
inline float rsqrtf(float x) { return static_cast<float>(1.0 / sqrt(static_cast<double>(x))); }
inline double rsqrt(double x) { return 1.0 / sqrt(x); }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fdiv_rn(float x, float y) { return x / y; }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }

/* Never contracted with what surrounds them, on the device as here: hence not inline. */
float __fadd_rn(float x, float y);
float __fsub_rn(float x, float y);
float __fmul_rn(float x, float y);
double __dadd_rn(double x, double y);
double __dmul_rn(double x, double y);

inline int __float2int_rn(float x) { return static_cast<int>(rintf(x)); }
inline int __float2int_rz(float x) { return static_cast<int>(x); }
inline int __float2int_rd(float x) { return static_cast<int>(floorf(x)); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }
inline float __uint2float_rn(unsigned x) { return static_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return simt_bits<unsigned>(x); }
inline int __float_as_int(float x) { return simt_bits<int>(x); }
inline float __uint_as_float(unsigned x) { return simt_bits<float>(x); }
inline float __int_as_float(int x) { return simt_bits<float>(x); }
inline long long __double_as_longlong(double x) { return simt_bits<long long>(x); }
inline double __longlong_as_double(long long x) { return simt_bits<double>(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll(static_cast<unsigned long long>(x)) : 64; }
inline unsigned __umulhi(unsigned x, unsigned y) { return static_cast<unsigned>(static_cast<uint64_t>(x) * y >> 32); }
inline int __mulhi(int x, int y) { return static_cast<int>(static_cast<int64_t>(x) * y >> 32); }

#endif
