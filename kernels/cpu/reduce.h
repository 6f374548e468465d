/* The sum and the maximum of a vector's lanes, always in the same order: of one vector, or of EAB_LANES vectors at a
 * time, with a quarter of the instructions and the same bits. */
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

/* Lane i from a where i & distance is 0, else from b: lane i itself (PICK), or lane i ^ distance (PICK_SWAPPED). */
#define EAB_PICK(i, d) ((i) + ((i) & (d) ? EAB_LANES : 0))
#define EAB_PICK_SWAPPED(i, d) (((i) ^ (d)) + ((i) & (d) ? EAB_LANES : 0))
#define EAB_LANES_4(of, i, d) of(i, d), of((i) + 1, d), of((i) + 2, d), of((i) + 3, d)
#if EAB_LANES == 16
#define EAB_ALL_LANES(of, d) EAB_LANES_4(of, 0, d), EAB_LANES_4(of, 4, d), EAB_LANES_4(of, 8, d), EAB_LANES_4(of, 12, d)
#elif EAB_LANES == 8
#define EAB_ALL_LANES(of, d) EAB_LANES_4(of, 0, d), EAB_LANES_4(of, 4, d)
#else
#define EAB_ALL_LANES(of, d) EAB_LANES_4(of, 0, d)
#endif
#ifdef __clang__
#define EAB_MERGE(a, b, of, d) __builtin_shufflevector(a, b, EAB_ALL_LANES(of, d))
#else
#define EAB_MERGE(a, b, of, d) __builtin_shuffle(a, b, (eab_int_vec){EAB_ALL_LANES(of, d)})
#endif

EAB_INLINE eab_vec eab_sum_vec(eab_vec x, eab_vec y) { return x + y; }

/* Halves the number of vectors: rows[i] takes the folds at distance d of rows[i] and rows[i + d], in half of its lanes
 * each. */
#define EAB_FOLD_ROWS(rows, d, fold)                                   \
    EAB_UNROLL                                                         \
    for (int i = 0; i < (d); i++)                                      \
        rows[i] = fold(EAB_MERGE(rows[i], rows[i + (d)], EAB_PICK, d), \
                       EAB_MERGE(rows[i], rows[i + (d)], EAB_PICK_SWAPPED, d));
#if EAB_LANES == 16
#define EAB_FOLD_16_ROWS(rows, fold) EAB_FOLD_ROWS(rows, 8, fold)
#else
#define EAB_FOLD_16_ROWS(rows, fold)
#endif
#if EAB_LANES >= 8
#define EAB_FOLD_8_ROWS(rows, fold) EAB_FOLD_ROWS(rows, 4, fold)
#else
#define EAB_FOLD_8_ROWS(rows, fold)
#endif
#define EAB_FOLD_ALL_ROWS(rows, fold) \
    EAB_FOLD_16_ROWS(rows, fold)      \
    EAB_FOLD_8_ROWS(rows, fold)       \
    EAB_FOLD_ROWS(rows, 2, fold)      \
    EAB_FOLD_ROWS(rows, 1, fold)

/* Lane i: the sum or maximum of rows[i]'s lanes; overwrites rows[EAB_LANES]. */
EAB_INLINE eab_vec eab_reduce_add_rows(eab_vec *rows) {
    EAB_FOLD_ALL_ROWS(rows, eab_sum_vec)
    return rows[0];
}
EAB_INLINE eab_vec eab_reduce_max_rows(eab_vec *rows) {
    EAB_FOLD_ALL_ROWS(rows, eab_max_vec)
    return rows[0];
}

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

#endif
