/* The micro-kernel: c[row][column] (+)= sum_k a(row, k) * b[k][column], columns in the vector lanes.
 *
 * a(row, k) = a[row * a_row + k * a_k] is broadcast, so a may be stored either way round; b and c are row-major. A tile
 * of up to EAB_TILE_ROWS x EAB_TILE_VECTORS vectors of c stays in registers over the whole of k: 24 accumulators of 32
 * registers (AVX-512, aarch64), 12 of 16 elsewhere. Per k that is ROWS + VECTORS loads for ROWS * VECTORS
 * multiply-adds, so the two multiply-add units are the limit, not the loads.
 *
 * Every element is one chain of multiply-adds in increasing k, begun from its start value (c, a bias or 0). So its
 * bits depend neither on the blocking (a block of k continues from c) nor on the tile it fell into. What finishes it
 * (an activation, a product with slopes: eab_finish) is done before it leaves its register, which saves a pass over c.
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
#define EAB_TALL_ROWS 24       /* of tiles of one vector */
#define EAB_DIAGONAL_VECTORS 4 /* of a tile on the diagonal */
#else
#define EAB_TILE_ROWS 6
#define EAB_TILE_VECTORS 2
#define EAB_TALL_ROWS 12
#define EAB_DIAGONAL_VECTORS 2
#endif

/* What c starts from: the sum of these. */
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
    eab_finish finish;      /* done to the sums in the registers; not gelu */
    const float *other;     /* of finish: like c */
    row_prefetch *ahead;    /* asked for meanwhile; may be NULL */
} eab_product_args;

/* The product of any rows and k >= 0, and columns >= EAB_LANES, or fewer where EAB_HAS_MASKS. Nothing outside a, b and c
 * is touched: where columns are no whole number of vectors, the last vector overlaps the one before it. c overlaps
 * neither a nor b. */
void EAB_ISA_NAME(eab_product)(const eab_product_args *args);

/* The same with its arguments by name; those that are left out are 0: no bias, no finish. */
#define EAB_PRODUCT(...) EAB_ISA_NAME(eab_product)(&(eab_product_args){__VA_ARGS__})

/* ---- on the diagonal: product_diagonal.c ------------------------------------------------------------------------- */

#define EAB_TRIANGLE_STEP (EAB_LANES < 8 ? EAB_LANES : 8)
#define EAB_STAIR_ROWS (EAB_LANES > 8 ? EAB_LANES : 8)

/* c[row][column] (+)= sum_k a(row, k) * b[k][column] of a square a, [rows][rows], of which only one triangle counts: row i has
 * the terms 0..i (lower) or i..rows - 1. Rows are taken in steps that divide EAB_TRIANGLE_STEP: in the square where the rows of a
 * step and its columns meet, a must be 0 off the triangle; elsewhere what is off it is not read. */
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
    const float *factors; /* [rows], by which the sums are multiplied at last; may be NULL */
    row_prefetch *ahead;
} eab_triangle_args;

void EAB_ISA_NAME(eab_product_triangle)(const eab_triangle_args *args);

/* c[row][column] = sum_k a[row][k] * b[k][column] from the diagonal on: rows are taken in steps of EAB_STAIR_ROWS, and the columns
 * of a step begin at its first row. */
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
