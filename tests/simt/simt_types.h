/* The vector types, and the two 16-bit floats as storage with conversions that round to nearest even, as the device
 * does. */
#ifndef EAB_TESTS_SIMT_TYPES_H
#define EAB_TESTS_SIMT_TYPES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct uint3 {
    unsigned x, y, z;
};

/* X(element, prefix): vectors as large as a device's accesses, aligned to their size. */
#define SIMT_VECTOR_LIST(X) \
    X(float, float)         \
    X(int, int)             \
    X(unsigned, uint)
#define SIMT_VECTOR_TYPES(element, prefix)                                     \
    struct __align__(8) prefix##2 {                                            \
        element x, y;                                                          \
    };                                                                         \
    struct __align__(16) prefix##4 {                                           \
        element x, y, z, w;                                                    \
    };                                                                         \
    inline prefix##2 make_##prefix##2(element x, element y) { return {x, y}; } \
    inline prefix##4 make_##prefix##4(element x, element y, element z, element w) { return {x, y, z, w}; }
SIMT_VECTOR_LIST(SIMT_VECTOR_TYPES)
#undef SIMT_VECTOR_TYPES

struct __align__(16) double2 {
    double x, y;
};
inline double2 make_double2(double x, double y) { return {x, y}; }

template <typename To, typename From> inline To simt_bits(From from) {
    static_assert(sizeof(To) == sizeof(From), "a bit cast keeps the size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

/* ---- bfloat16: the upper half of a float ------------------------------------------------------------------------- */

struct __nv_bfloat16 {
    unsigned short x;
};
struct __align__(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
    const uint32_t bits = simt_bits<uint32_t>(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return {0x7fff}; /* the device's NaN */
    return {static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1)) >> 16)};
}
inline __nv_bfloat16 __float2bfloat16(float value) { return __float2bfloat16_rn(value); }
inline float __bfloat162float(__nv_bfloat16 value) { return simt_bits<float>(static_cast<uint32_t>(value.x) << 16); }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) {
    return {__float2bfloat16_rn(x), __float2bfloat16_rn(y)};
}
inline __nv_bfloat162 __float22bfloat162_rn(float2 value) { return __floats2bfloat162_rn(value.x, value.y); }
inline float2 __bfloat1622float2(__nv_bfloat162 value) {
    return {__bfloat162float(value.x), __bfloat162float(value.y)};
}
inline float __low2float(__nv_bfloat162 value) { return __bfloat162float(value.x); }
inline float __high2float(__nv_bfloat162 value) { return __bfloat162float(value.y); }

/* ---- float16: 5 bits of exponent, 10 of fraction ----------------------------------------------------------------- */

struct __half {
    unsigned short x;
};
struct __align__(4) __half2 {
    __half x, y;
};
typedef __half half;
typedef __half2 half2;

/* In integers rather than with the compiler's _Float16, which rounds twice where the processor lacks it. */
inline __half __float2half_rn(float value) {
    const uint32_t bits = simt_bits<uint32_t>(value), magnitude = bits & 0x7fffffffu;
    const uint32_t sign = bits >> 16 & 0x8000u;
    if (magnitude > 0x7f800000u) return {0x7fff};
    if (magnitude >= 0x477ff000u) return {static_cast<unsigned short>(sign | 0x7c00u)}; /* 65520 and more: infinity */
    if (magnitude < 0x33000000u) return {static_cast<unsigned short>(sign)};            /* below 2^-25: 0 */
    const uint32_t exponent = magnitude >> 23;
    /* Subnormal halves count in steps of 2^-24, normal ones drop 13 bits and move the exponent's bias from 127 to
     * 15. */
    const uint32_t drop = exponent < 113 ? 126 - exponent : 13;
    const uint32_t kept = exponent < 113 ? (magnitude & 0x7fffffu) | 0x800000u : magnitude - (112u << 23);
    const uint32_t rounded = (kept + (1u << (drop - 1)) - 1 + (kept >> drop & 1)) >> drop;
    return {static_cast<unsigned short>(sign | rounded)};
}
inline __half __float2half(float value) { return __float2half_rn(value); }
inline float __half2float(__half value) {
    const uint32_t sign = (value.x & 0x8000u) << 16, exponent = value.x >> 10 & 31, fraction = value.x & 0x3ffu;
    if (exponent == 31) return simt_bits<float>(sign | 0x7f800000u | fraction << 13);
    if (exponent) return simt_bits<float>(sign | (exponent + 112) << 23 | fraction << 13);
    const float size = static_cast<float>(fraction) * 0x1p-24f;
    return sign ? -size : size;
}
inline __half2 __floats2half2_rn(float x, float y) { return {__float2half_rn(x), __float2half_rn(y)}; }
inline __half2 __float22half2_rn(float2 value) { return __floats2half2_rn(value.x, value.y); }
inline float2 __half22float2(__half2 value) { return {__half2float(value.x), __half2float(value.y)}; }
inline float __low2float(__half2 value) { return __half2float(value.x); }
inline float __high2float(__half2 value) { return __half2float(value.y); }

#endif
