/* c = op(a) op(b) (+ c) (+ bias) of one member: the linear maps of the model and their gradients.
 *
 * The micro-kernel (product.h) takes a with any two strides, so a transposed a needs no copy. b needs contiguous
 * columns, so a transposed b (x = dy W^T) is packed: one pass over k * n values, 1/m of the work. Large products copy
 * blocks of operands (packed_operands). Blocks of k (BLOCK_K) keep a panel of b in the L1 cache, blocks of rows keep
 * their part of a in L2. A block of k continues the sums in c, so the bits depend neither on blocking nor on copies.
 * With fewer columns than lanes: if a is transposed (a weight's gradient), a's columns are in the lanes instead and c
 * is computed transposed; else lanes are masked, or b and c are padded copies where the processor has no masks. Limited
 * by the loads and stores of c around short sums in small models (k = 16, 32), by the multiply-add units in large ones,
 * and by reading operands where a step exceeds the caches. Measured shares of the peak: kernels/cpu/README.md.
 */
#include "kernels.h"
#include "level.h"
#include "product.h"
#include "transpose.h"

/* GELU_ROWS: the rows that gelu finishes are still in the L1 cache (48 rows of 128 columns: 24 KiB). PACK_LEAST: rows
 * and columns of a product from which on copies of its operands pay; PACK_ROW: reals of a row, likewise. A_ROW: an odd
 * number of lines, so that rows below each other are in different sets. */
enum {
    BLOCK_K = 192,
    BLOCK_ROWS = 192,
    GELU_ROWS = 48,
    NARROW_ROWS = 96,
    PACK_LEAST = 128,
    PACK_ROW = 512,
    A_ROW = 144
};

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

/* Copies of operands, so that what a product reads repeatedly lies in all sets of the L1 cache: rows that are 2 KiB
 * apart share two of its 64 sets. Copying also reads an operand as a stream; the micro-kernel would wait for each
 * row. */
typedef struct {
    int32_t panel; /* columns of a panel of b; the last one has fewer, or more by less than a vector */
    float *b, *a;  /* [k] panels, [BLOCK_K][A_ROW]; NULL: the operand is used where it is */
} packed_operands;

static int32_t panel_width(int32_t panel, int32_t left) { return left < panel + EAB_LANES ? left : panel; }

/* `rows` rows of op(b) from row k on, as panels of [rows][width]. */
static void pack_b(const eab_gemm *g, const float *b, int32_t k, int32_t rows, const packed_operands *packed) {
    float *to = packed->b;
    for (int32_t column = 0, width; column < g->n; column += width, to += (ptrdiff_t)rows * width) {
        width = panel_width(packed->panel, g->n - column);
        if (g->transpose_b) eab_transpose(width, rows, b + (ptrdiff_t)column * g->ldb + k, g->ldb, to, width);
        else copy_rows(rows, width, b + (ptrdiff_t)k * g->ldb + column, g->ldb, to, width);
    }
}

static void multiply_blocks(const eab_gemm *g, const float *a, int32_t columns, const wide_operands *operands,
                            const packed_operands *packed) {
    const ptrdiff_t a_row = g->transpose_a ? 1 : g->lda, a_k = g->transpose_a ? g->lda : 1;
    const bool gelu = operands->finish == EAB_FINISH_GELU;
    const int32_t block_rows = gelu ? GELU_ROWS : packed->a ? A_ROW : BLOCK_ROWS;
    for (int32_t k = 0; k < g->k || k == 0; k += BLOCK_K) {
        const bool last = k + BLOCK_K >= g->k;
        const unsigned start =
            k ? EAB_START_C : (g->accumulate ? EAB_START_C : 0u) | (operands->bias ? EAB_START_ROW : 0u);
        eab_product_args args = {.k = last ? g->k - k : BLOCK_K,
                                 .c_row = operands->c_row,
                                 .start = start,
                                 .finish = last && !gelu ? operands->finish : EAB_FINISH_NONE};
        if (packed->b) pack_b(g, operands->b, k, args.k, packed);
        for (int32_t row = 0; row < g->m; row += block_rows) {
            args.rows = g->m - row < block_rows ? g->m - row : block_rows;
            args.a = a + row * a_row + k * a_k;
            args.a_row = a_row;
            args.a_k = a_k;
            if (packed->a) {
                if (g->transpose_a) copy_rows(args.k, args.rows, args.a, a_k, packed->a, args.a_k = A_ROW);
                else copy_rows(args.rows, args.k, args.a, a_row, packed->a, args.a_row = BLOCK_K);
                args.a = packed->a;
            }
            const ptrdiff_t place = row * operands->c_row;
            args.b = packed->b ? packed->b : operands->b + k * operands->b_row;
            for (int32_t column = 0; column < columns; column += args.columns) {
                args.columns = packed->b ? panel_width(packed->panel, columns - column) : columns;
                args.b_row = packed->b ? args.columns : operands->b_row;
                args.c = operands->c + place + column;
                args.start_row = operands->bias ? operands->bias + column : NULL;
                args.other = operands->other ? operands->other + place + column : NULL;
                EAB_ISA_NAME(eab_product)(&args);
                args.b += (ptrdiff_t)args.k * args.columns;
            }
            if (gelu && last)
                finish_gelu(args.rows, columns, operands->c_row, operands->c + place, operands->other + place);
        }
    }
}

static void finish_rows(const eab_gemm *g, float *c, float *other) {
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
        multiply_blocks(&block, a + (ptrdiff_t)row * (g->transpose_a ? 1 : g->lda), EAB_LANES, &padded,
                        &(packed_operands){0});
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
    multiply_blocks(&swapped, b, g->m, &operands, &(packed_operands){0});
    eab_transpose(g->n, g->m, transposed, g->m, c, g->ldc);
    return EAB_OK;
}

/* Which operands are copied, and the memory for that. */
static int reserve_packed(eab_cpu_workspace *workspace, const eab_gemm *g, packed_operands *packed) {
    const bool large = g->m >= PACK_LEAST && g->n >= PACK_LEAST;
    const bool packs_a = large && (g->transpose_a || g->lda >= PACK_ROW);
    const bool packs_b = g->transpose_b || (large && (g->transpose_a || g->ldb >= PACK_ROW));
    const size_t depth = (size_t)(g->k < BLOCK_K ? g->k : BLOCK_K);
    const size_t a_reals = packs_a ? BLOCK_K * A_ROW : 0, b_reals = packs_b ? depth * (size_t)g->n : 0;
    EAB_TRY(eab_cpu_workspace_reserve(workspace, (a_reals + b_reals) * sizeof(float)));
    *packed = (packed_operands){.panel = large ? EAB_TILE_VECTORS * EAB_LANES : g->n,
                                .a = packs_a ? workspace->memory : NULL,
                                .b = packs_b ? (float *)workspace->memory + a_reals : NULL};
    return EAB_OK;
}

/* One row, as in sampling: four rows of b at a time, so that it is read in the order of memory. Each element is the
 * same chain of multiply-adds as in a tile. */
static void multiply_row(const eab_gemm *g, const float *restrict a, float *restrict c, const wide_operands *operands) {
    const ptrdiff_t row = operands->b_row, step = g->transpose_a ? g->lda : 1;
    const float *restrict b = operands->b;
    for (int32_t i = 0; i < g->n; i++) c[i] = (g->accumulate ? c[i] : 0) + (operands->bias ? operands->bias[i] : 0);
    int32_t k = 0;
    for (; k + 4 <= g->k; k += 4, b += 4 * row) {
        const float a0 = a[k * step], a1 = a[(k + 1) * step], a2 = a[(k + 2) * step], a3 = a[(k + 3) * step];
        for (int32_t i = 0; i < g->n; i++)
            c[i] = c[i] + a0 * b[i] + a1 * b[i + row] + a2 * b[i + 2 * row] + a3 * b[i + 3 * row];
    }
    for (; k < g->k; k++, b += row)
        for (int32_t i = 0; i < g->n; i++) c[i] += a[k * step] * b[i];
    finish_rows(g, c, operands->other);
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
    if (g->m == 1 && !g->transpose_b) {
        multiply_row(g, a, c, &operands);
        return EAB_OK;
    }
    if (!narrow || (EAB_HAS_MASKS && !g->transpose_b)) {
        packed_operands packed;
        if (narrow) packed = (packed_operands){0};
        else EAB_TRY(reserve_packed(workspace, g, &packed));
        multiply_blocks(g, a, g->n, &operands, &packed);
        return EAB_OK;
    }
    const size_t packed_b = (size_t)g->k * EAB_LANES, packed_c = NARROW_ROWS * EAB_LANES;
    EAB_TRY(eab_cpu_workspace_reserve(workspace, (packed_b + packed_c + EAB_LANES) * sizeof(float)));
    float *b_copy = workspace->memory, *c_copy = b_copy + packed_b, *bias_copy = c_copy + packed_c;
    memset(b_copy, 0, packed_b * sizeof(float)); /* left-over subnormal numbers would be slow */
    if (g->transpose_b) eab_transpose(g->n, g->k, b, g->ldb, b_copy, EAB_LANES);
    else copy_rows(g->k, g->n, b, g->ldb, b_copy, EAB_LANES);
    operands.b = b_copy;
    operands.b_row = EAB_LANES;
    if (bias) {
        memset(bias_copy, 0, EAB_LANES * sizeof(float));
        memcpy(bias_copy, bias, (size_t)g->n * sizeof(float));
        operands.bias = bias_copy;
    }
    multiply_narrow(g, a, c_copy, &operands);
    finish_rows(g, c, other);
    return EAB_OK;
}
