/* The micro-kernel: c[row][column] (+)= sum_k a(row, k) * b[k][column], columns in the vector lanes.
 *
 * a(row, k) = a[row * a_row + k * a_k] is broadcast, so a may be transposed; b and c are row-major. A tile of up to
 * EAB_TILE_ROWS x EAB_TILE_VECTORS vectors of c stays in registers over all of k: 24 accumulators of 32 registers
 * (AVX-512, aarch64), 12 of 16 elsewhere. That is ROWS + VECTORS loads for ROWS * VECTORS multiply-adds per k, so the
 * two multiply-add units are the limit.
 *
 * Every element is one chain of multiply-adds in increasing k, from its start value (c, a bias or 0). So its bits
 * depend neither on the blocking (a block of k continues from c) nor on its tile. The finish (an activation, or a
 * product with slopes: eab_finish) is applied in the registers, which saves a pass over c.
 */
#ifndef EAB_KERNELS_CPU_PRODUCT_H
#define EAB_KERNELS_CPU_PRODUCT_H

#include <stddef.h>

#include "../backend.h"
#include "prefetch.h"
#include "simd.h"

#if EAB_LANES == 16 || defined(__aarch64__)
#define EAB_TILE_ROWS 8
#define EAB_TILE_VECTORS 3
#define EAB_TALL_ROWS 24       /* most rows of a tile of one vector */
#define EAB_DIAGONAL_VECTORS 4 /* most vectors of a tile on the diagonal */
#else
#define EAB_TILE_ROWS 6
#define EAB_TILE_VECTORS 2
#define EAB_TALL_ROWS 12
#define EAB_DIAGONAL_VECTORS 2
#endif

/* What the sums start from; flags. */
typedef enum { EAB_START_ZERO = 0, EAB_START_C = 1, EAB_START_ROW = 2 } eab_start;

typedef struct {
    int32_t rows, columns, k;
    const float *a;
    ptrdiff_t a_row, a_k;
    const float *b;
    ptrdiff_t b_row;
    float *c;
    ptrdiff_t c_row;
    unsigned start;         /* EAB_START_... */
    const float *start_row; /* [columns] (a bias) with EAB_START_ROW */
    eab_finish finish;      /* applied in the registers; never gelu */
    const float *other;     /* of finish; laid out as c is */
    row_prefetch *ahead;    /* memory to prefetch meanwhile; may be NULL */
} eab_product_args;

/* rows >= 0, k >= 0, columns >= EAB_LANES, or >= 1 with EAB_HAS_MASKS. Touches nothing outside a, b and c: if the
 * columns are not a whole number of vectors, the last vector overlaps the one before it. c overlaps neither a nor b. */
void EAB_ISA_NAME(eab_product)(const eab_product_args *args);

/* The same with its arguments by name; those that are left out are 0: no bias, no finish. */
#define EAB_PRODUCT(...) EAB_ISA_NAME(eab_product)(&(eab_product_args){__VA_ARGS__})

/* ---- on the diagonal: product_diagonal.c ------------------------------------------------------------------------- */

#define EAB_TRIANGLE_STEP (EAB_LANES < 8 ? EAB_LANES : 8)
#define EAB_STAIR_ROWS (EAB_LANES > 8 ? EAB_LANES : 8)

/* c[row][column] (+)= sum_k a(row, k) * b[k][column] with a triangular a, [rows][rows]: row i has the terms 0..i
 * (lower) or i..rows - 1. Rows are taken in steps that divide EAB_TRIANGLE_STEP. In a step's own square on the
 * diagonal a must be 0 outside the triangle; all else outside the triangle is not read. */
typedef struct {
    int32_t rows, columns; /* columns >= EAB_LANES */
    bool lower;
    const float *a;
    ptrdiff_t a_row, a_k;
    const float *b;
    ptrdiff_t b_row;
    float *c;
    ptrdiff_t c_row;
    eab_start start;
    const float *factors; /* [rows]: the finished sums are multiplied by these; may be NULL */
    row_prefetch *ahead;
} eab_triangle_args;

void EAB_ISA_NAME(eab_product_triangle)(const eab_triangle_args *args);

/* c[row][column] = sum_k a[row][k] * b[k][column], from the diagonal on: rows are taken in steps of EAB_STAIR_ROWS,
 * and a step's columns begin at its first row. */
typedef struct {
    int32_t rows, columns, k; /* columns: whole vectors, no fewer than rows */
    const float *a;
    ptrdiff_t a_row;
    const float *b;
    ptrdiff_t b_row;
    float *c;
    ptrdiff_t c_row;
    row_prefetch *ahead;
} eab_stairs_args;

void EAB_ISA_NAME(eab_product_stairs)(const eab_stairs_args *args);

#endif
