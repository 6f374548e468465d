/* Shared by the 16-bit attention kernels: tiles in shared memory, matrix fragments, weights.
 *
 * A block owns a tile of rows (queries; keys for dk and dv), 16 * TILES rows a warp. It walks over tiles of columns
 * (keys; queries for dk and dv): while it computes on one, cp.async loads the next into the other half of a double
 * buffer. A row of a tile is head_dim elements, padded with zeros to DIM. Its 16-byte words are swizzled by XOR with
 * the row number, so that the eight rows of an ldmatrix use eight different groups of four banks.
 */
#ifndef EAB_KERNELS_CUDA_ATTENTION_FLASH_H
#define EAB_KERNELS_CUDA_ATTENTION_FLASH_H

#include "attention_formula.h" /* first: it configures mechanism.h */

#include "attention.h"
#include "context.h"
#include "tensor_core.h"

/* ---- element types ---- */

/* WEIGHT_SHIFT: bounded weights and attention weights are stored times 2^WEIGHT_SHIFT. They can be as small as 2^-24,
 * below fp16's normal range; times 2^15 the smallest is normal and the largest, 2^15 (1 + eps), does not overflow. */
struct eab_flash_bf16 {
    static const int DTYPE = EAB_BF16, WEIGHT_SHIFT = 0;
    static __device__ __forceinline__ uint32_t pack(float low, float high) {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
        uint32_t bits;
        memcpy(&bits, &pair, sizeof bits);
        return bits;
    }
    static __device__ __forceinline__ float2 unpack(uint32_t bits) {
        __nv_bfloat162 pair;
        memcpy(&pair, &bits, sizeof bits);
        return __bfloat1622float2(pair);
    }
    static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
        eab_mma_m16n8k16_bf16(d, a, b);
    }
};

struct eab_flash_f16 {
    static const int DTYPE = EAB_F16, WEIGHT_SHIFT = 15;
    static __device__ __forceinline__ uint32_t pack(float low, float high) {
        const __half2 pair = __floats2half2_rn(low, high);
        uint32_t bits;
        memcpy(&bits, &pair, sizeof bits);
        return bits;
    }
    static __device__ __forceinline__ float2 unpack(uint32_t bits) {
        __half2 pair;
        memcpy(&pair, &bits, sizeof bits);
        return __half22float2(pair);
    }
    static __device__ __forceinline__ void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
        eab_mma_m16n8k16_f16(d, a, b);
    }
};

/* ---- arguments ---- */

/* Tensors [problem][context][head_dim], problem = batch * heads + head, of 16-bit elements. */
typedef struct {
    const uint16_t *q, *k, *v, *out, *dout;
    uint16_t *result, *dq, *dk, *dv;
    const float *row_stat, *mean_dp; /* [problem][context] */
    float *row_stat_result;          /* may be NULL */
    const float *slopes;             /* [heads] on the device, or NULL */
    int32_t problems, heads, context, head_dim, row_tiles, causal;
    bool wide; /* rows are 16-byte aligned and head_dim is a multiple of 8 */
    float scale;
} eab_flash_args;

/* Shape of a block. DIM: padded head_dim; TILES: 16-row tiles a warp; COLUMNS: columns of a shared tile; SPAN: columns
 * whose scores are in registers at a time; BLOCKS: blocks whose registers should fit a multiprocessor together; HELD:
 * the first 16 * HELD elements of a warp's rows stay in registers; the others are read again for each span. */
template <int DIM_, int WARPS_, int TILES_, int COLUMNS_, int SPAN_, int BLOCKS_, int HELD_ = 0>
struct eab_flash_shape {
    static const int DIM = DIM_, WARPS = WARPS_, TILES = TILES_, COLUMNS = COLUMNS_, SPAN = SPAN_, BLOCKS = BLOCKS_;
    static const int HELD = HELD_;
    static const int THREADS = 32 * WARPS_, ROWS = 16 * WARPS_ * TILES_;
    static const int ROW_BYTES = 2 * DIM_, ROW_TILE_BYTES = ROWS * ROW_BYTES, COLUMN_TILE_BYTES = COLUMNS_ * ROW_BYTES;
};

/* Products of a warp's rows with SPAN columns, then their weights: the lane's d of each m16n8k16 (tensor_core.h). */
template <typename Shape> using eab_flash_span = float[Shape::TILES][Shape::SPAN / 8][4];

/* Calls visit(value, tile, half, row, column) for each value of a span. row = 16 tile + 8 half and column count from
 * the lane's first row and column. */
template <typename Shape, typename Visit>
__device__ __forceinline__ void eab_flash_each(eab_flash_span<Shape> &span, Visit visit) {
#pragma unroll
    for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
        for (int n = 0; n < Shape::SPAN / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) visit(span[tile][n][i], tile, i / 2, 16 * tile + 8 * (i / 2), 8 * n + i % 2);
}

/* Where a thread works. */
typedef struct {
    int32_t problem;
    int64_t start_row; /* the problem's first row, counted over all problems */
    int32_t first_row; /* the block's first row in the problem */
    int32_t warp_row;  /* the warp's first row in the block's tile */
    int32_t row;       /* the warp's first row in the problem */
    int32_t lane;
} eab_flash_place;

/* Blocks start in the order of their number, and those with the most columns should start first: under causal attention
 * the last queries, or the first keys. */
template <typename Shape>
__device__ __forceinline__ eab_flash_place eab_flash_locate(const eab_flash_args &args, bool last_rows_first) {
    eab_flash_place at;
    const int32_t in_problem = (int32_t)blockIdx.x % args.row_tiles;
    at.problem = (int32_t)blockIdx.x / args.row_tiles;
    at.first_row = (last_rows_first ? args.row_tiles - 1 - in_problem : in_problem) * Shape::ROWS;
    at.start_row = (int64_t)at.problem * args.context;
    at.warp_row = (int32_t)threadIdx.x / 32 * 16 * Shape::TILES;
    at.row = at.first_row + at.warp_row;
    at.lane = (int32_t)threadIdx.x % 32;
    return at;
}

/* ---- tiles ---- */

/* Byte offset of 16-byte word `word` of row `row`. */
template <int DIM> __device__ __forceinline__ int32_t eab_flash_at(int32_t row, int32_t word) {
    const int32_t swizzled =
        DIM >= 64 ? word ^ (row & 7) : word ^ ((row >> 1) & 3); /* DIM 32: two rows a 128-byte line */
    return row * (2 * DIM) + 16 * swizzled;
}

/* Begins to copy rows [first, first + ROWS) of a problem (which starts at row start_row of `from`) into a tile, with
 * zeros past the context and past head_dim. The caller commits, waits and synchronizes. */
template <int DIM, int ROWS, int THREADS>
__device__ __forceinline__ void eab_flash_load(unsigned char *tile, const uint16_t *from, int64_t start_row,
                                               int32_t first, const eab_flash_args &args) {
    const int WORDS = DIM / 8, STEP = THREADS / WORDS; /* a thread copies one word of every STEP-th row */
    static_assert(STEP % 8 == 0 && ROWS % STEP == 0, "the swizzle must be the same for all words of a thread");
    asm volatile("" : "+r"(first)); /* without it, each copy's address stays in a register across the loop over tiles */
    const int32_t word = (int32_t)threadIdx.x % WORDS, row = first + (int32_t)threadIdx.x / WORDS;
    unsigned char *to = tile + eab_flash_at<DIM>((int32_t)threadIdx.x / WORDS, word);
    const uint16_t *source = from + (start_row + row) * args.head_dim + 8 * word;
    if (args.wide) {
#pragma unroll
        for (int32_t n = 0; n < ROWS / STEP; n++, to += STEP * 2 * DIM, source += STEP * args.head_dim) {
            const bool here = row + n * STEP < args.context && 8 * word < args.head_dim;
            eab_cp_async_16(to, here ? source : from, here);
        }
        return;
    }
    /* head_dim is not a multiple of 8, or the data are not aligned: element by element */
#pragma unroll 1
    for (int32_t n = 0; n < ROWS / STEP; n++, to += STEP * 2 * DIM, source += STEP * args.head_dim) {
        uint32_t pair[4] = {0, 0, 0, 0};
        if (row + n * STEP < args.context) {
#pragma unroll
            for (int i = 0; i < 8; i++)
                if (8 * word + i < args.head_dim) pair[i / 2] |= (uint32_t)__ldg(source + i) << 16 * (i % 2);
        }
        *reinterpret_cast<uint4 *>(to) = make_uint4(pair[0], pair[1], pair[2], pair[3]);
    }
}

/* The buffer of column tile t: a tile of x, then one of y. */
template <typename Shape>
__device__ __forceinline__ unsigned char *eab_flash_columns_of(unsigned char *tiles, int32_t t) {
    return tiles + t % 2 * 2 * Shape::COLUMN_TILE_BYTES;
}

/* Begins to copy column tile t of tensors x and y. The caller commits, waits and synchronizes. */
template <typename Shape>
__device__ __forceinline__ void eab_flash_load_columns(unsigned char *tiles, int32_t t, const uint16_t *x,
                                                       const uint16_t *y, int64_t start_row,
                                                       const eab_flash_args &args) {
    unsigned char *const to = eab_flash_columns_of<Shape>(tiles, t);
    eab_flash_load<Shape::DIM, Shape::COLUMNS, Shape::THREADS>(to, x, start_row, t * Shape::COLUMNS, args);
    eab_flash_load<Shape::DIM, Shape::COLUMNS, Shape::THREADS>(to + Shape::COLUMN_TILE_BYTES, y, start_row,
                                                               t * Shape::COLUMNS, args);
}

/* Returns when the current column tile is loaded and no thread reads the other buffer any longer. */
__device__ __forceinline__ void eab_flash_wait() {
    eab_cp_async_wait<0>();
    __syncthreads();
}

/* This lane's number, hidden from the optimizer: it would keep the roughly 30 addresses derived from it in registers
 * across the loop over tiles, where computing each takes one instruction. */
__device__ __forceinline__ int32_t eab_flash_lane() {
    int32_t lane = (int32_t)threadIdx.x % 32;
    asm volatile("" : "+r"(lane));
    return lane;
}

/* The shared address that a lane passes to ldmatrix: row `row + extra + lane % 8`, word `word + bit` of a tile. row and
 * extra are multiples of 8, word is even. Tiles are aligned to 128 bytes, so that the swizzle is one XOR with the
 * address; row and the word's upper bit are the instruction's immediate offset where they are constants. */
template <int DIM>
__device__ __forceinline__ uint32_t eab_flash_lane_at(const unsigned char *tile, int32_t lane, int32_t row,
                                                      int32_t extra, int32_t word, int32_t bit) {
    const int32_t within = lane % 8, swizzle = DIM >= 64 ? within : within >> 1;
    const uint32_t at = eab_shared_address(tile) + (uint32_t)((extra + within) * (2 * DIM) + 16 * (bit ^ swizzle));
    return (at ^ (uint32_t)(16 * (word & 6))) + (uint32_t)(row * (2 * DIM) + 16 * (word & 8));
}

/* Operand a (16 x 16): rows `row` on, elements 16 * step on, of a tile. */
template <int DIM>
__device__ __forceinline__ void eab_flash_rows(uint32_t (&a)[4], const unsigned char *tile, int32_t lane, int32_t row,
                                               int32_t step) {
    eab_ldmatrix_x4(a, eab_flash_lane_at<DIM>(tile, lane, row, lane & 8, 2 * step, lane >> 4));
}

/* Two operands b, over elements 16 * step on: b[0], b[1] for 8 columns from `column` on, b[2], b[3] for the next 8. */
template <int DIM>
__device__ __forceinline__ void eab_flash_columns(uint32_t (&b)[4], const unsigned char *tile, int32_t lane,
                                                  int32_t column, int32_t step) {
    eab_ldmatrix_x4(b, eab_flash_lane_at<DIM>(tile, lane, column, lane >> 4 << 3, 2 * step, lane >> 3 & 1));
}

/* The same from the transposed tile: 8 elements from 8 * word on, then the next 8, over 16 columns from `column` on. */
template <int DIM>
__device__ __forceinline__ void eab_flash_transposed(uint32_t (&b)[4], const unsigned char *tile, int32_t lane,
                                                     int32_t column, int32_t word) {
    eab_ldmatrix_x4_trans(b, eab_flash_lane_at<DIM>(tile, lane, column, lane & 8, word, lane >> 4));
}

/* Operands a of the first HELD steps over a warp's rows. */
template <typename Shape> struct eab_flash_held { uint32_t a[Shape::HELD ? Shape::HELD : 1][Shape::TILES][4]; };

template <typename Shape>
__device__ __forceinline__ void eab_flash_hold(eab_flash_held<Shape> &held, const unsigned char *rows, int32_t row) {
    const int32_t lane = eab_flash_lane();
    rows += row * Shape::ROW_BYTES;
#pragma unroll
    for (int step = 0; step < Shape::HELD; step++)
#pragma unroll
        for (int tile = 0; tile < Shape::TILES; tile++)
            eab_flash_rows<Shape::DIM>(held.a[step][tile], rows, lane, 16 * tile, step);
}

/* d = the products of rows `row` on of `rows` with columns `column` on of `columns`, over DIM elements. */
template <typename Element, typename Shape>
__device__ __forceinline__ void eab_flash_scores(eab_flash_span<Shape> &d, const eab_flash_held<Shape> &held,
                                                 const unsigned char *rows, int32_t row, const unsigned char *columns,
                                                 int32_t column) {
    const int32_t lane = eab_flash_lane();
    rows += row * Shape::ROW_BYTES;
    columns += column * Shape::ROW_BYTES;
#pragma unroll
    for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
        for (int n = 0; n < Shape::SPAN / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) d[tile][n][i] = 0;
#pragma unroll
    for (int step = 0; step < Shape::DIM / 16; step++) {
        uint32_t a[Shape::TILES][4];
#pragma unroll
        for (int tile = 0; tile < Shape::TILES; tile++) {
            if (step >= Shape::HELD) eab_flash_rows<Shape::DIM>(a[tile], rows, lane, 16 * tile, step);
            else memcpy(a[tile], held.a[step][tile], sizeof a[tile]);
        }
#pragma unroll
        for (int n = 0; n < Shape::SPAN / 16; n++) {
            uint32_t b[4];
            eab_flash_columns<Shape::DIM>(b, columns, lane, 16 * n, step);
            const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
#pragma unroll
            for (int tile = 0; tile < Shape::TILES; tile++) {
                Element::mma(d[tile][2 * n], a[tile], first);
                Element::mma(d[tile][2 * n + 1], a[tile], second);
            }
        }
    }
}

/* sum += weights times the elements of the columns `column` on: out, or gradients. */
template <typename Element, typename Shape>
__device__ __forceinline__ void eab_flash_gather(float (&sum)[Shape::TILES][Shape::DIM / 8][4],
                                                 const eab_flash_span<Shape> &weight, const unsigned char *columns,
                                                 int32_t column) {
    const int32_t lane = eab_flash_lane();
    columns += column * Shape::ROW_BYTES;
#pragma unroll
    for (int step = 0; step < Shape::SPAN / 16; step++) {
        uint32_t a[Shape::TILES][4];
#pragma unroll
        for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
            for (int i = 0; i < 4; i++) { /* two 8-column fragments d make one 16-column operand a, lane by lane */
                const float(&from)[4] = weight[tile][2 * step + i / 2];
                a[tile][i] = Element::pack(from[2 * (i % 2)], from[2 * (i % 2) + 1]);
            }
#pragma unroll
        for (int n = 0; n < Shape::DIM / 16; n++) {
            uint32_t b[4];
            eab_flash_transposed<Shape::DIM>(b, columns, lane, 16 * step, 2 * n);
            const uint32_t first[2] = {b[0], b[1]}, second[2] = {b[2], b[3]};
#pragma unroll
            for (int tile = 0; tile < Shape::TILES; tile++) {
                Element::mma(sum[tile][2 * n], a[tile], first);
                Element::mma(sum[tile][2 * n + 1], a[tile], second);
            }
        }
    }
}

/* Stores one row of a result. Four lanes hold it, each 2 neighbouring elements of every 8. */
template <typename Element, int DIM>
__device__ __forceinline__ void eab_flash_store(uint16_t *row, const float (&sum)[DIM / 8][4], int half, float factor,
                                                const eab_flash_args &args) {
    const int32_t pair = 2 * ((int32_t)threadIdx.x % 4);
#pragma unroll
    for (int n = 0; n < DIM / 8; n++) {
        const int32_t i = 8 * n + pair;
        const uint32_t bits = Element::pack(sum[n][2 * half] * factor, sum[n][2 * half + 1] * factor);
        if (args.wide) {
            if (i < args.head_dim) *reinterpret_cast<uint32_t *>(row + i) = bits;
        } else {
            if (i < args.head_dim) row[i] = (uint16_t)bits;
            if (i + 1 < args.head_dim) row[i + 1] = (uint16_t)(bits >> 16);
        }
    }
}

/* ---- weights ---- */

/* The forward pass of exponential formulas works with x, where the weight is 2^(unit x). x is the log-weight; for dpa,
 * whose log-weight is scale q . k, it is the product q . k, so that scale and log2(e) together cost one multiply-add a
 * pair. Values above `limit` count as `limit`: the largest then differs from the maximum by 0, where infinities give
 * NaN. */
template <typename Formula> struct eab_flash_log {
    static __device__ __forceinline__ float unit(float) { return EAB_LOG2_E; }
    static __device__ __forceinline__ float x(float product, float scale) {
        return Formula::log_weight(scale * product);
    }
    static __device__ __forceinline__ float limit(float) { return EAB_LOG_WEIGHT_LIMIT; }
    static __device__ __forceinline__ float log_weight_of_x(float x, float) { return x; }
    static __device__ __forceinline__ float z(float product, float scale, float) { return scale * product; }
    static __device__ __forceinline__ float log_weight(float z) { return Formula::log_weight(z); }
};
template <> struct eab_flash_log<eab_formula_dpa> {
    static __device__ __forceinline__ float unit(float scale) { return scale * EAB_LOG2_E; }
    static __device__ __forceinline__ float x(float product, float) { return product; }
    static __device__ __forceinline__ float limit(float scale) { return EAB_LOG_WEIGHT_LIMIT / fmaxf(1, unit(scale)); }
    static __device__ __forceinline__ float log_weight_of_x(float x, float scale) { return scale * x; }
    static __device__ __forceinline__ float z(float product, float scale, float limit) {
        return scale * eab_fast_min(product, limit);
    }
    static __device__ __forceinline__ float log_weight(float z) { return z; }
};

/* What turns a block's products into weights. */
template <typename Formula> struct eab_flash_weights {
    float scale, unit, limit; /* limit: of x (eab_flash_log); computing it takes a division */
    float slope;              /* ALiBi's, of the log-weight; 0 without */
    float x_slope;            /* of x; for bounded formulas, of log2 of the weight */
    bool sloped;
};

template <typename Formula>
__device__ __forceinline__ eab_flash_weights<Formula> eab_flash_weights_of(const eab_flash_args &args, int32_t head) {
    eab_flash_weights<Formula> of;
    of.scale = args.scale;
    of.unit = eab_flash_log<Formula>::unit(args.scale);
    of.limit = eab_flash_log<Formula>::limit(args.scale);
    of.sloped = args.slopes != NULL;
    of.slope = of.sloped ? args.slopes[head] : 0;
    /* finite, because 0 times it must be 0 */
    of.x_slope = fminf(Formula::bounded ? of.slope * EAB_LOG2_E : of.slope * EAB_LOG2_E / of.unit, 3.0e38f);
    return of;
}

/* ---- host ---- */

static inline eab_flash_args eab_flash_args_of(const eab_attention *attention, const float *device_slopes,
                                               int32_t rows) {
    eab_flash_args to = {};
    to.problems = attention->batch * attention->heads;
    to.heads = attention->heads;
    to.context = attention->context;
    to.head_dim = attention->head_dim;
    to.causal = attention->causal;
    to.row_tiles = (attention->context + rows - 1) / rows;
    to.slopes = attention->slopes ? device_slopes : NULL;
    to.scale = attention->scale != 0 ? attention->scale
                                     : eab_mechanism_default_scale(attention->mechanism, attention->head_dim);
    return to;
}

/* Queues a kernel of a shape over all row tiles of all problems. */
template <typename Shape, typename Kernel>
static int eab_flash_launch(cudaStream_t stream, Kernel *kernel, const char *name, size_t bytes,
                            const eab_flash_args &args) {
    const int64_t blocks = (int64_t)args.problems * args.row_tiles;
    if (blocks > INT32_MAX)
        return eab_fail(EAB_UNSUPPORTED, "%s: %d heads of %d positions are too many blocks", name, (int)args.problems,
                        (int)args.context);
    if (bytes > 48 * 1024) {
        const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
        if (error == cudaErrorInvalidValue) {
            cudaGetLastError();
            return eab_fail(EAB_UNSUPPORTED, "%s: this device has no %zu bytes of shared memory for a block", name,
                            bytes);
        }
        if (error != cudaSuccess) return eab_cuda_status(error, name, __FILE__, __LINE__); /* an earlier kernel's */
    }
    return eab_launch_note(
        eab_launch(name, __FILE__, __LINE__, stream, kernel, dim3((unsigned)blocks), dim3(Shape::THREADS), bytes, args),
        name, __FILE__, __LINE__);
}

#endif
