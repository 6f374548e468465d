/* Transposition, which packs operands: by blocks of 4 x 4 floats at every SIMD level. */
#ifndef EAB_KERNELS_CPU_TRANSPOSE_H
#define EAB_KERNELS_CPU_TRANSPOSE_H

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

/* to[column][row] = factor * from[row][column]: rows of `from` are from_row apart, those of `to` to_row. */
void EAB_ISA_NAME(eab_transpose)(int64_t rows, int64_t columns, const float *from, ptrdiff_t from_row, float factor,
                                 float *to, ptrdiff_t to_row);

#endif
