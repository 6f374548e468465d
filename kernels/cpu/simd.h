/* Portable SIMD: the same source is compiled once per level, for vectors of EAB_LANES floats.
 *
 * On x86-64 the files of a level are compiled three times (base, avx2, avx512: see kernels/CMakeLists.txt), elsewhere
 * once. EAB_ISA_SUFFIX is the level's name; EAB_ISA_NAME(eab_gemm) is this level's function, for example eab_gemm_avx2.
 * Vectors are the GCC/clang extension. Intrinsics are used only for minimum and maximum, which GCC 12 does not find by
 * itself, for gelu's table look-up, for masks and for products of integers. Element-wise arithmetic over arrays may
 * also be a plain loop over floats, which both compilers vectorise (-O3 -fno-math-errno -fno-trapping-math).
 */
#ifndef EAB_KERNELS_CPU_SIMD_H
#define EAB_KERNELS_CPU_SIMD_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#ifndef EAB_ISA_SUFFIX
#define EAB_ISA_SUFFIX base
#endif

#ifndef EAB_LANES
#if defined(__AVX512F__)
#define EAB_LANES 16
#elif defined(__AVX2__)
#define EAB_LANES 8
#else
#define EAB_LANES 4
#endif
#endif

#define EAB_ISA_JOIN2(name, suffix) name##_##suffix
#define EAB_ISA_JOIN(name, suffix) EAB_ISA_JOIN2(name, suffix)
#define EAB_ISA_NAME(name) EAB_ISA_JOIN(name, EAB_ISA_SUFFIX)
#define EAB_ISA_TEXT2(suffix) #suffix
#define EAB_ISA_TEXT1(suffix) EAB_ISA_TEXT2(suffix)
#define EAB_ISA_TEXT EAB_ISA_TEXT1(EAB_ISA_SUFFIX)

/* Before a loop whose count is constant after inlining: unrolled, the arrays that it indexes become registers. */
#ifdef __clang__
#define EAB_UNROLL _Pragma("clang loop unroll(full)")
#else
#define EAB_UNROLL _Pragma("GCC unroll 24")
#endif

#define EAB_INLINE static inline __attribute__((always_inline))

typedef float eab_vec __attribute__((vector_size(4 * EAB_LANES)));
typedef int32_t eab_int_vec __attribute__((vector_size(4 * EAB_LANES)));
typedef uint32_t eab_bits_vec __attribute__((vector_size(4 * EAB_LANES))); /* a float's bits, which may wrap around */

typedef uint64_t eab_wide_vec __attribute__((vector_size(4 * EAB_LANES)));

EAB_INLINE eab_vec eab_load(const float *from) { /* any alignment */
    eab_vec value;
    memcpy(&value, from, sizeof value);
    return value;
}

EAB_INLINE void eab_store(float *to, eab_vec value) { memcpy(to, &value, sizeof value); }

EAB_INLINE eab_vec eab_splat(float value) { return value - (eab_vec){0}; } /* keeps -0, unlike value + 0 */

/* Lane by lane: a where the mask (a comparison of vectors: 0 or -1) is set, else b, or 0. GCC and clang compile this to
 * one or two instructions; a loop over lanes with ?: may become branches. */
EAB_INLINE eab_vec eab_select(eab_int_vec mask, eab_vec a, eab_vec b) {
    return (eab_vec)((mask & (eab_int_vec)a) | (~mask & (eab_int_vec)b));
}
EAB_INLINE eab_vec eab_keep(eab_int_vec mask, eab_vec a) { return (eab_vec)(mask & (eab_int_vec)a); }

/* x > limit ? limit : x keeps a NaN in x; x > y ? x : y keeps a NaN in y. x86's minimum and maximum do exactly that.
 * Clang compiles the selection to them; GCC 12 needs two or three instructions. */
#if defined(__x86_64__) && !defined(__clang__)
#if EAB_LANES == 16
#define EAB_X86(name) _mm512_##name
#elif EAB_LANES == 8
#define EAB_X86(name) _mm256_##name
#else
#define EAB_X86(name) _mm_##name
#endif
EAB_INLINE eab_vec eab_min_vec(eab_vec x, eab_vec limit) { return EAB_X86(min_ps)(limit, x); }
EAB_INLINE eab_vec eab_max_vec(eab_vec x, eab_vec y) { return EAB_X86(max_ps)(x, y); }
/* Products of the lower halves of 64-bit lanes. GCC 12 would multiply the upper ones, too. */
EAB_INLINE eab_wide_vec eab_multiply_low(eab_wide_vec x, uint32_t y) {
    typedef long long x86_vec __attribute__((vector_size(4 * EAB_LANES)));
    return (eab_wide_vec)EAB_X86(mul_epu32)((x86_vec)x, (x86_vec)((eab_wide_vec){0} + y));
}
#else
EAB_INLINE eab_vec eab_min_vec(eab_vec x, eab_vec limit) { return eab_select(x > limit, limit, x); }
EAB_INLINE eab_vec eab_max_vec(eab_vec x, eab_vec y) { return eab_select(x > y, x, y); }
EAB_INLINE eab_wide_vec eab_multiply_low(eab_wide_vec x, uint32_t y) { return (x & 0xFFFFFFFFu) * y; }
#endif

/* Whether |x| < limit in all lanes; false for NaN. */
EAB_INLINE bool eab_all_within(eab_vec x, float limit) {
    const eab_wide_vec within = (eab_wide_vec)((x < limit) & (x > -limit));
    uint64_t all = within[0];
    EAB_UNROLL
    for (int i = 1; i < EAB_LANES / 2; i++) all &= within[i];
    return all == UINT64_MAX;
}

/* The maximum of `largest` and `count` vectors, `row` floats apart. Four chains, since each maximum waits for the one
 * before it. */
EAB_INLINE eab_vec eab_max_rows(const float *from, int64_t row, int32_t count, eab_vec largest) {
    eab_vec top[4] = {largest, largest, largest, largest};
    int32_t i = 0;
    for (; i + 4 <= count; i += 4, from += 4 * row)
        for (int chain = 0; chain < 4; chain++) top[chain] = eab_max_vec(top[chain], eab_load(from + chain * row));
    for (; i < count; i++, from += row) top[0] = eab_max_vec(top[0], eab_load(from));
    return eab_max_vec(eab_max_vec(top[0], top[1]), eab_max_vec(top[2], top[3]));
}

/* Loads and stores of a vector's first lanes only, where the processor has them. */
#if defined(__AVX512F__)
#define EAB_HAS_MASKS 1
typedef __mmask16 eab_mask;
EAB_INLINE eab_mask eab_first_lanes(int32_t count) { return (eab_mask)((1u << count) - 1); } /* count: 0..16 */
EAB_INLINE eab_vec eab_load_lanes(eab_mask lanes, const float *from) {                       /* others: 0 */
    return (eab_vec)_mm512_maskz_loadu_ps(lanes, from);
}
EAB_INLINE void eab_store_lanes(eab_mask lanes, float *to, eab_vec value) {
    _mm512_mask_storeu_ps(to, lanes, (__m512)value);
}
#else
#define EAB_HAS_MASKS 0
typedef int32_t eab_mask;
#endif

/* `count` rounded up to whole vectors. */
EAB_INLINE int64_t eab_round_up_lanes(int64_t count) { return (count + EAB_LANES - 1) / EAB_LANES * EAB_LANES; }

#endif
