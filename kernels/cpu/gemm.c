/* c = op(a) op(b) (+ c) (+ bias) of one member: the linear maps of the model and their gradients.
 *
 * The micro-kernel (product.h) takes a with any two strides, so a transposed a costs nothing. b needs contiguous
 * columns, so a transposed b (x = dy W^T) is packed: one pass over k * n values, 1/m of the work. Blocks of k (BLOCK_K)
 * keep a panel of b in the L1 cache, blocks of rows keep their part of a in L2. A block of k continues the sums in c,
 * so the bits do not depend on the blocking. With fewer columns than lanes: if a is transposed (a weight's gradient),
 * a's columns are in the lanes instead and c is computed transposed; else lanes are masked, or b and c are padded
 * copies where the processor has no masks. Limited by the loads and stores of c around short sums for the model's
 * shapes (k = 32..128), by the multiply-add units for large ones. Measured shares of the peak: kernels/cpu/README.md.
 */
#include "kernels.h"
#include "level.h"
#include "product.h"
#include "transpose.h"

/* GELU_ROWS: the rows that gelu finishes are still in the L1 cache (48 rows of 128 columns: 24 KiB). */
enum { BLOCK_K = 192, BLOCK_ROWS = 192, GELU_ROWS = 48, NARROW_ROWS = 96 };

typedef struct {
    const float *b;
    ptrdiff_t b_row;
    float *c;
    ptrdiff_t c_row;
    const float *bias;
    float *other;
    eab_finish finish;
} wide_operands; /* with at least EAB_LANES columns */

/* Outside the micro-kernel, because gelu needs the registers of the sums. */
static void finish_gelu(int32_t rows, int32_t columns, ptrdiff_t c_row, float *c, float *slopes) {
    if (c_row == columns) {
        EAB_ISA_NAME(eab_cpu_gelu)((int64_t)rows * columns, c, c, slopes);
        return;
    }
    for (int64_t row = 0; row < rows; row++)
        EAB_ISA_NAME(eab_cpu_gelu)(columns, c + row * c_row, c + row * c_row, slopes + row * c_row);
}

static void multiply_blocks(const eab_gemm *g, const float *a, int32_t columns, const wide_operands *operands) {
    const ptrdiff_t a_row = g->transpose_a ? 1 : g->lda, a_k = g->transpose_a ? g->lda : 1;
    const bool gelu = operands->finish == EAB_FINISH_GELU;
    const int32_t block_rows = gelu ? GELU_ROWS : BLOCK_ROWS;
    for (int32_t k = 0; k < g->k || k == 0; k += BLOCK_K) {
        const bool last = k + BLOCK_K >= g->k;
        const unsigned start =
            k ? EAB_START_C : (g->accumulate ? EAB_START_C : 0u) | (operands->bias ? EAB_START_ROW : 0u);
        for (int32_t row = 0; row < g->m; row += block_rows) {
            const eab_product_args args = {.rows = g->m - row < block_rows ? g->m - row : block_rows,
                                           .columns = columns,
                                           .k = g->k - k < BLOCK_K ? g->k - k : BLOCK_K,
                                           .a = a + row * a_row + k * a_k,
                                           .a_row = a_row,
                                           .a_k = a_k,
                                           .b = operands->b + k * operands->b_row,
                                           .b_row = operands->b_row,
                                           .c = operands->c + row * operands->c_row,
                                           .c_row = operands->c_row,
                                           .start = start,
                                           .start_row = operands->bias,
                                           .finish = last && !gelu ? operands->finish : EAB_FINISH_NONE,
                                           .other = operands->other ? operands->other + row * operands->c_row : NULL};
            EAB_ISA_NAME(eab_product)(&args);
            if (gelu && last)
                finish_gelu(args.rows, columns, operands->c_row, args.c, operands->other + row * operands->c_row);
        }
    }
}

/* For rows of a few columns, where a memcpy per row is slow. */
static void copy_rows(int64_t rows, int32_t columns, const float *from, ptrdiff_t from_row, float *to,
                      ptrdiff_t to_row) {
    for (int64_t row = 0; row < rows; row++, from += from_row, to += to_row) {
        int32_t column = 0;
#ifdef EAB_HAS_EIGHTS
        for (; column + 8 <= columns; column += 8) eight_store(to + column, eight_load(from + column));
#endif
        for (; column + 4 <= columns; column += 4) quad_store(to + column, quad_load(from + column));
        for (; column < columns; column++) to[column] = from[column];
    }
}

static void finish_narrow(const eab_gemm *g, float *c, float *other) {
    if (g->finish == EAB_FINISH_GELU) {
        finish_gelu(g->m, g->n, g->ldc, c, other);
        return;
    }
    for (int64_t row = 0; row < g->m && g->finish != EAB_FINISH_NONE; row++)
        for (int64_t i = row * g->ldc; i < row * g->ldc + g->n; i++) {
            if (g->finish == EAB_FINISH_RELU) c[i] = c[i] < 0 ? 0 : c[i];
            else if (g->finish == EAB_FINISH_RELU_SLOPE) c[i] = other[i] > 0 ? c[i] : 0;
            else c[i] *= other[i];
        }
}

/* Blocks of rows in a padded copy of c, which stays in the L1 cache. operands: the packed b, and c itself. */
static void multiply_narrow(const eab_gemm *g, const float *a, float *c_copy, const wide_operands *operands) {
    eab_gemm block = *g;
    wide_operands padded = *operands;
    padded.c = c_copy;
    padded.c_row = EAB_LANES;
    padded.other = NULL;
    padded.finish = EAB_FINISH_NONE;
    for (int32_t row = 0; row < g->m; row += NARROW_ROWS) {
        float *c = operands->c + (ptrdiff_t)row * operands->c_row;
        block.m = g->m - row < NARROW_ROWS ? g->m - row : NARROW_ROWS;
        if (g->accumulate) {
            memset(c_copy, 0, (size_t)block.m * EAB_LANES * sizeof(float));
            copy_rows(block.m, g->n, c, operands->c_row, c_copy, EAB_LANES);
        }
        multiply_blocks(&block, a + (ptrdiff_t)row * (g->transpose_a ? 1 : g->lda), EAB_LANES, &padded);
        copy_rows(block.m, g->n, c_copy, EAB_LANES, c, operands->c_row);
    }
}

/* A transposed a may have its columns in the lanes: faster if b's columns fill at most one vector. */
static bool computes_transposed(const eab_gemm *g) {
    return g->transpose_a && !g->transpose_b && g->n <= EAB_LANES && g->m >= EAB_LANES && g->m > g->n &&
           !g->bias.data && g->finish == EAB_FINISH_NONE;
}

/* c (+)= a^T b, of few columns, as c^T (+)= b^T a, of many: a[k][m], b[k][n]. The same sums in the same order. */
static int multiply_transposed(eab_cpu_workspace *workspace, const eab_gemm *g, const float *a, const float *b,
                               float *c) {
    EAB_TRY(eab_cpu_workspace_reserve(workspace, (size_t)g->n * (size_t)g->m * sizeof(float)));
    float *transposed = workspace->memory;
    eab_gemm swapped = *g;
    swapped.m = g->n;
    swapped.n = g->m;
    swapped.lda = g->ldb;
    const wide_operands operands = {.b = a, .b_row = g->lda, .c = transposed, .c_row = g->m};
    if (g->accumulate) eab_transpose(g->m, g->n, c, g->ldc, transposed, g->m);
    multiply_blocks(&swapped, b, g->m, &operands);
    eab_transpose(g->n, g->m, transposed, g->m, c, g->ldc);
    return EAB_OK;
}

int EAB_ISA_NAME(eab_gemm)(eab_cpu_workspace *workspace, const eab_gemm *g, int32_t member) {
    const float *a = (const float *)g->a.data + member * g->a.stride;
    const float *b = (const float *)g->b.data + member * g->b.stride;
    float *c = (float *)g->c.data + member * g->c.stride;
    const float *bias = g->bias.data ? (const float *)g->bias.data + member * g->bias.stride : NULL;
    if (g->m <= 0 || g->n <= 0) return EAB_OK;

    const bool narrow = g->n < EAB_LANES;
    float *other = g->other.data ? (float *)g->other.data + member * g->other.stride : NULL;
    wide_operands operands = {b, g->ldb, c, g->ldc, bias, other, g->finish};
    if (computes_transposed(g)) return multiply_transposed(workspace, g, a, b, c);
    if ((!narrow || EAB_HAS_MASKS) && !g->transpose_b) {
        multiply_blocks(g, a, g->n, &operands);
        return EAB_OK;
    }
    const int64_t width = narrow ? EAB_LANES : eab_round_up_lanes(g->n);
    const size_t packed_b = (size_t)g->k * (size_t)width, packed_c = narrow ? NARROW_ROWS * EAB_LANES : 0;
    EAB_TRY(eab_cpu_workspace_reserve(workspace, (packed_b + packed_c + EAB_LANES) * sizeof(float)));
    float *b_copy = workspace->memory, *c_copy = b_copy + packed_b, *bias_copy = c_copy + packed_c;
    if (narrow) memset(b_copy, 0, packed_b * sizeof(float)); /* left-over subnormal numbers would be slow */
    if (g->transpose_b) eab_transpose(g->n, g->k, b, g->ldb, b_copy, width);
    else copy_rows(g->k, g->n, b, g->ldb, b_copy, width);
    operands.b = b_copy;
    operands.b_row = width;
    if (!narrow) {
        multiply_blocks(g, a, g->n, &operands);
        return EAB_OK;
    }
    if (bias) {
        memset(bias_copy, 0, EAB_LANES * sizeof(float));
        memcpy(bias_copy, bias, (size_t)g->n * sizeof(float));
        operands.bias = bias_copy;
    }
    multiply_narrow(g, a, c_copy, &operands);
    finish_narrow(g, c, other);
    return EAB_OK;
}
