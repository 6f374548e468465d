/* The sum and the maximum of a vector's lanes, in an order that is always the same. */
#ifndef EAB_KERNELS_CPU_REDUCE_H
#define EAB_KERNELS_CPU_REDUCE_H

#include "simd.h"

/* Lane i gets lane i ^ distance; `distance` a power of two below EAB_LANES. */
#define EAB_LANE(i, distance) ((i) ^ (distance))
#if EAB_LANES == 16
#define EAB_SWAPPED_LANES(d)                                                                                        \
    EAB_LANE(0, d), EAB_LANE(1, d), EAB_LANE(2, d), EAB_LANE(3, d), EAB_LANE(4, d), EAB_LANE(5, d), EAB_LANE(6, d), \
        EAB_LANE(7, d), EAB_LANE(8, d), EAB_LANE(9, d), EAB_LANE(10, d), EAB_LANE(11, d), EAB_LANE(12, d),          \
        EAB_LANE(13, d), EAB_LANE(14, d), EAB_LANE(15, d)
#elif EAB_LANES == 8
#define EAB_SWAPPED_LANES(d)                                                                                        \
    EAB_LANE(0, d), EAB_LANE(1, d), EAB_LANE(2, d), EAB_LANE(3, d), EAB_LANE(4, d), EAB_LANE(5, d), EAB_LANE(6, d), \
        EAB_LANE(7, d)
#else
#define EAB_SWAPPED_LANES(d) EAB_LANE(0, d), EAB_LANE(1, d), EAB_LANE(2, d), EAB_LANE(3, d)
#endif

#ifdef __clang__
#define EAB_SWAP(value, d) __builtin_shufflevector(value, value, EAB_SWAPPED_LANES(d))
#else
#define EAB_SWAP(value, d) __builtin_shuffle(value, (eab_int_vec){EAB_SWAPPED_LANES(d)})
#endif

EAB_INLINE float eab_reduce_add(eab_vec value) {
#if EAB_LANES == 16
    value += EAB_SWAP(value, 8);
#endif
#if EAB_LANES >= 8
    value += EAB_SWAP(value, 4);
#endif
    value += EAB_SWAP(value, 2);
    value += EAB_SWAP(value, 1);
    return value[0];
}

EAB_INLINE float eab_reduce_max(eab_vec value) { /* of numbers; a NaN may or may not be passed over */
#if EAB_LANES == 16
    value = eab_max_vec(value, EAB_SWAP(value, 8));
#endif
#if EAB_LANES >= 8
    value = eab_max_vec(value, EAB_SWAP(value, 4));
#endif
    value = eab_max_vec(value, EAB_SWAP(value, 2));
    value = eab_max_vec(value, EAB_SWAP(value, 1));
    return value[0];
}

#endif
