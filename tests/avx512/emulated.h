/* The few AVX-512 intrinsics that kernels/cpu uses, on vectors that the compiler splits into halves of AVX2: included
 * before every kernel of the level avx512 (CMake option EAB_EMULATE_AVX512), so that its tests run, and its results can
 * be reproduced bit by bit, on a processor without it. Slow: the micro-kernels' registers are spilled. */
#ifndef EAB_TESTS_AVX512_EMULATED_H
#define EAB_TESTS_AVX512_EMULATED_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define __AVX512F__ 1 /* after immintrin.h, which would declare what this processor lacks */

#define EAB_EMULATED static inline __attribute__((always_inline))
typedef float eab_emulated_floats __attribute__((vector_size(64)));
typedef int32_t eab_emulated_ints __attribute__((vector_size(64)));
typedef uint64_t eab_emulated_wides __attribute__((vector_size(64)));

EAB_EMULATED __m512 eab_emulated_select(eab_emulated_ints mask, __m512 a, __m512 b) {
    return (__m512)((mask & (eab_emulated_ints)a) | (~mask & (eab_emulated_ints)b));
}
EAB_EMULATED __m512 eab_emulated_min(__m512 a, __m512 b) { /* b where one of them is NaN, as the instruction does */
    return eab_emulated_select((eab_emulated_floats)a < (eab_emulated_floats)b, a, b);
}
EAB_EMULATED __m512 eab_emulated_max(__m512 a, __m512 b) {
    return eab_emulated_select((eab_emulated_floats)a > (eab_emulated_floats)b, a, b);
}
EAB_EMULATED __m512i eab_emulated_multiply(__m512i a, __m512i b) {
    const uint64_t low = UINT32_MAX;
    return (__m512i)(((eab_emulated_wides)a & low) * ((eab_emulated_wides)b & low));
}
EAB_EMULATED __m512 eab_emulated_load(const void *from) {
    __m512 value;
    memcpy(&value, from, sizeof value);
    return value;
}
EAB_EMULATED __m512 eab_emulated_load_lanes(unsigned lanes, const float *from) {
    eab_emulated_floats value = {0};
    for (int i = 0; i < 16; i++)
        if (lanes >> i & 1) value[i] = from[i];
    return (__m512)value;
}
EAB_EMULATED void eab_emulated_store_lanes(float *to, unsigned lanes, __m512 value) {
    for (int i = 0; i < 16; i++)
        if (lanes >> i & 1) to[i] = value[i];
}
EAB_EMULATED __m512 eab_emulated_look_up(__m512 low, __m512i indices, __m512 high) {
    float table[32];
    memcpy(table, &low, sizeof low);
    memcpy(table + 16, &high, sizeof high);
    const eab_emulated_ints at = (eab_emulated_ints)indices & 31;
    eab_emulated_floats value = {0};
    for (int i = 0; i < 16; i++) value[i] = table[at[i]];
    return (__m512)value;
}

#define _mm512_min_ps eab_emulated_min
#define _mm512_max_ps eab_emulated_max
#define _mm512_mul_epu32 eab_emulated_multiply
#define _mm512_loadu_ps eab_emulated_load
#define _mm512_maskz_loadu_ps eab_emulated_load_lanes
#define _mm512_mask_storeu_ps eab_emulated_store_lanes
#define _mm512_permutex2var_ps eab_emulated_look_up

#endif
