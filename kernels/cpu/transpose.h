/* Transposition, to pack operands: in blocks of 4 x 4 floats at every SIMD level, and of 4 x EAB_LANES and 8 x
 * EAB_LANES where vectors have 8 lanes or more. */
#ifndef EAB_KERNELS_CPU_TRANSPOSE_H
#define EAB_KERNELS_CPU_TRANSPOSE_H

#include <stdbool.h>
#include <stddef.h>

#include "simd.h"

typedef float quad __attribute__((vector_size(16)));
typedef int32_t quad_index __attribute__((vector_size(16)));

#ifdef __clang__
#define EAB_QUAD_SHUFFLE(x, y, i, j, k, l) __builtin_shufflevector(x, y, i, j, k, l)
#else
#define EAB_QUAD_SHUFFLE(x, y, i, j, k, l) __builtin_shuffle(x, y, (quad_index){i, j, k, l})
#endif

EAB_INLINE quad quad_load(const float *from) {
    quad value;
    memcpy(&value, from, sizeof value);
    return value;
}

EAB_INLINE void quad_store(float *to, quad value) { memcpy(to, &value, sizeof value); }

EAB_INLINE void quad_transpose(const quad rows[4], quad columns[4]) {
    const quad low01 = EAB_QUAD_SHUFFLE(rows[0], rows[1], 0, 4, 1, 5),
               high01 = EAB_QUAD_SHUFFLE(rows[0], rows[1], 2, 6, 3, 7);
    const quad low23 = EAB_QUAD_SHUFFLE(rows[2], rows[3], 0, 4, 1, 5),
               high23 = EAB_QUAD_SHUFFLE(rows[2], rows[3], 2, 6, 3, 7);
    columns[0] = EAB_QUAD_SHUFFLE(low01, low23, 0, 1, 4, 5);
    columns[1] = EAB_QUAD_SHUFFLE(low01, low23, 2, 3, 6, 7);
    columns[2] = EAB_QUAD_SHUFFLE(high01, high23, 0, 1, 4, 5);
    columns[3] = EAB_QUAD_SHUFFLE(high01, high23, 2, 3, 6, 7);
}

/* ---- 4 x EAB_LANES and 8 x EAB_LANES ----------------------------------------------------------------------------- */

#if defined(__has_builtin)
#if EAB_LANES >= 8 && __has_builtin(__builtin_shufflevector) /* GCC 12, clang */
#define EAB_HAS_EIGHTS
#endif
#endif

#ifdef EAB_HAS_EIGHTS
typedef float eight __attribute__((vector_size(32)));

EAB_INLINE eight quads_join(quad low, quad high) { return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7); }

/* Four floats from each of EAB_LANES / 4 rows that are 4 rows apart, in one vector. */
EAB_INLINE eab_vec quads_gather(const float *from, ptrdiff_t row) {
    const eight low = quads_join(quad_load(from), quad_load(from + 4 * row));
#if EAB_LANES == 16
    const eight high = quads_join(quad_load(from + 8 * row), quad_load(from + 12 * row));
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    return low;
#endif
}

/* For EAB_SWAP_BIT: lane i comes from a if i has bit d clear, else from b; LOWER takes lanes with bit d clear, UPPER
 * those with it set. */
#define EAB_LOWER(i, d) ((i) & (d) ? (i) - (d) + EAB_LANES : (i))
#define EAB_UPPER(i, d) ((i) & (d) ? (i) + EAB_LANES : (i) + (d))
#define EAB_EIGHT_LANES(of, i, d) \
    of(i, d), of(i + 1, d), of(i + 2, d), of(i + 3, d), of(i + 4, d), of(i + 5, d), of(i + 6, d), of(i + 7, d)
#if EAB_LANES == 16
#define EAB_MIX(a, b, of, d) __builtin_shufflevector(a, b, EAB_EIGHT_LANES(of, 0, d), EAB_EIGHT_LANES(of, 8, d))
#else
#define EAB_MIX(a, b, of, d) __builtin_shufflevector(a, b, EAB_EIGHT_LANES(of, 0, d))
#endif

/* Swaps bit d of the row number with bit d of the lane number, in `count` rows. */
#define EAB_SWAP_BIT(rows, count, d)                      \
    for (int i = 0; i < (count); i++)                     \
        if (!(i & (d))) {                                 \
            const eab_vec a = rows[i], b = rows[i + (d)]; \
            rows[i] = EAB_MIX(a, b, EAB_LOWER, d);        \
            rows[i + (d)] = EAB_MIX(a, b, EAB_UPPER, d);  \
        }

/* Transposes each 8 x 8 block of 8 vectors in place. */
EAB_INLINE void eights_transpose(eab_vec rows[8]){
    EAB_UNROLL EAB_SWAP_BIT(rows, 8, 1) EAB_UNROLL EAB_SWAP_BIT(rows, 8, 2) EAB_UNROLL EAB_SWAP_BIT(rows, 8, 4)}

/* Lane l of vectors[i] = from[l * row + i], i < 4: EAB_LANES / 4 loads and two shuffles a vector. */
EAB_INLINE void fours_gather(const float *from, ptrdiff_t row, eab_vec vectors[4]) {
    EAB_UNROLL
    for (int i = 0; i < 4; i++) vectors[i] = quads_gather(from + i * row, row);
    EAB_UNROLL EAB_SWAP_BIT(vectors, 4, 1) EAB_UNROLL EAB_SWAP_BIT(vectors, 4, 2)
}

/* eab_transpose_scaled of whole vectors of rows and whole fours of columns; factors NULL: none. */
EAB_INLINE void lanes_transpose(int64_t rows, int64_t columns, const float *from, ptrdiff_t from_row,
                                const float *factors, ptrdiff_t factor_step, float *to, ptrdiff_t to_row) {
    for (int64_t row = 0; row < rows; row += EAB_LANES)
        for (int64_t column = 0; column < columns; column += 4) {
            eab_vec turned[4];
            fours_gather(from + row * from_row + column, from_row, turned);
            EAB_UNROLL
            for (int64_t i = 0; i < 4; i++)
                eab_store(to + (column + i) * to_row + row,
                          factors ? factors[(column + i) * factor_step] * turned[i] : turned[i]);
        }
}

EAB_INLINE eight eight_load(const float *from) {
    eight value;
    memcpy(&value, from, sizeof value);
    return value;
}

EAB_INLINE void eight_store(float *to, eight value) { memcpy(to, &value, sizeof value); }

/* Lane l of vectors[i] = rows[l][at + i], i < 8. */
EAB_INLINE void eights_gather(const float *const rows[EAB_LANES], int64_t at, eab_vec vectors[8]) {
    EAB_UNROLL
    for (int i = 0; i < 8; i++)
#if EAB_LANES == 16
        vectors[i] = __builtin_shufflevector(eight_load(rows[i] + at), eight_load(rows[i + 8] + at), 0, 1, 2, 3, 4, 5,
                                             6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
        vectors[i] = eight_load(rows[i] + at);
#endif
    eights_transpose(vectors);
}

/* The reverse; overwrites the vectors. */
EAB_INLINE void eights_scatter(eab_vec vectors[8], float *const rows[EAB_LANES], int64_t at) {
    eights_transpose(vectors);
    EAB_UNROLL
    for (int i = 0; i < 8; i++) {
#if EAB_LANES == 16
        eight_store(rows[i] + at, __builtin_shufflevector(vectors[i], vectors[i], 0, 1, 2, 3, 4, 5, 6, 7));
        eight_store(rows[i + 8] + at, __builtin_shufflevector(vectors[i], vectors[i], 8, 9, 10, 11, 12, 13, 14, 15));
#else
        eight_store(rows[i] + at, vectors[i]);
#endif
    }
}
#endif

/* to[column][row] = factors[column * factor_step] * from[row][column]: rows of `from` are from_row apart, those of `to`
 * to_row; factor_step 0: one factor for all. */
void EAB_ISA_NAME(eab_transpose_scaled)(int64_t rows, int64_t columns, const float *from, ptrdiff_t from_row,
                                        const float *factors, ptrdiff_t factor_step, float *to, ptrdiff_t to_row);

EAB_INLINE void eab_transpose(int64_t rows, int64_t columns, const float *from, ptrdiff_t from_row, float *to,
                              ptrdiff_t to_row) {
    const float one = 1;
    EAB_ISA_NAME(eab_transpose_scaled)(rows, columns, from, from_row, &one, 0, to, to_row);
}

#endif
