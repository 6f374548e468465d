/* Attention in bf16 and fp16 on the tensor cores, backward: weights are computed anew from q, k and row_stat.
 *
 *   dp_ij = dout_i . v_j,  D_i = dout_i . out_i,  ds_ij = (w'(z_ij) b_ij / L_i) (dp_ij - D_i),  a_ij = w(z_ij) b_ij / L_i
 *   dq_i = scale sum_j ds_ij k_j,  dk_j = scale sum_i ds_ij q_i,  dv_j = sum_i a_ij dout_i
 *
 * Three kernels: D of every query; then one template twice. A block owns 64 rows and walks over tiles of columns (attention_flash.h):
 * queries against tiles of k and v give dq, keys against tiles of q and dout give dk and dv. Both products, S = X X'^T and
 * dP = Y Y'^T, stay in registers, where they become ds and a and then the operand a of the products with X' and Y',
 * read transposed from the same tiles. Every result has one owner, so there are no atomics and the bits do not vary; the
 * price is 7 products a pair where atomic additions to dq would need 5. Causal: tiles on the wrong side of the diagonal are skipped.
 *
 * What limits it: the tensor cores (7 DIM multiply-adds a pair: at head_dim 64 448 / 620 = 0.72 clk of an SM with mma.sync), and
 * registers (255 a thread at DIM 128, so 8 warps a multiprocessor). Two MUFU at most and about 20 other instructions a pair
 * and pass: 0.3 clk of issue. Counted as DESIGN.md does (10 head_dim a pair) 490 TFLOP/s x 5/7 = 350 at most on an H200; 55%
 * of it, 190 TFLOP/s, is expected. Context 16,384, causal, 16 heads of 64: 2.1 G pairs, 1.37 TFLOP as counted, 7.2 ms; MUFU twice, 1.0 ms; memory
 * 270 MB, 56 us (docs/cuda.md). Not measured on a GPU yet.
 */
#ifndef EAB_KERNELS_CUDA_ATTENTION_FLASH_BACKWARD_H
#define EAB_KERNELS_CUDA_ATTENTION_FLASH_BACKWARD_H

#include "attention_flash_dispatch.h"

/* D_i = dout_i . out_i, a warp a query. */
template <typename Element>
__global__ __launch_bounds__(128) void eab_flash_mean_dp(eab_flash_args args, float *mean_dp, int64_t rows) {
    const int64_t row = (int64_t)blockIdx.x * 4 + (int32_t)threadIdx.x / 32;
    if (row >= rows) return; /* all lanes of a warp alike */
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const uint16_t *dout = args.dout + row * args.head_dim, *out = args.out + row * args.head_dim;
    float sum = 0;
#pragma unroll 1 /* at most four times round; unrolled, CUDA 12.4 spills for sm_90a */
    for (int32_t i = lane; i < args.head_dim; i += 32)
        sum = fmaf(Element::unpack(__ldg(dout + i)).x, Element::unpack(__ldg(out + i)).x, sum);
#pragma unroll
    for (int offset = 16; offset; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    if (lane == 0) mean_dp[row] = sum;
}

/* What a pair needs of its query beside D: log L, or 1 / L. */
template <typename Formula> __device__ __forceinline__ float eab_flash_stat(float row_stat) {
    return Formula::bounded ? eab_fast_reciprocal(row_stat) : row_stat;
}

/* Products z / scale and dp of a pair become a and ds. */
template <typename Formula>
__device__ __forceinline__ void eab_flash_differentiate(float &product, float &dp,
                                                        const eab_flash_weights<Formula> &weights, float apart,
                                                        float stat, float mean_dp) {
    typedef eab_flash_log<Formula> log_scale;
    float a, ds;
    if (Formula::bounded) {
        const float z = weights.scale * product;
        const float factor = weights.sloped ? stat * eab_fast_exp2(-weights.x_slope * apart) : stat;
        a = Formula::weight(z) * factor;
        ds = Formula::derivative(z) * factor * (dp - mean_dp);
    } else {
        const float z = log_scale::z(product, weights.scale);
        float log_a = log_scale::log_weight(z) - stat; /* before anything is multiplied: both may be huge */
        if (weights.sloped) log_a = fmaf(-weights.slope, apart, log_a);
        a = eab_fast_exp(log_a);
        ds = a * Formula::log_derivative(z) * (dp - mean_dp);
    }
    product = a;
    dp = ds;
}

/* KEYS: rows are keys (x = k, y = v) and columns queries (x = q, y = dout), results dk and dv; else rows are queries and
 * columns keys, result dq. */
template <typename Element, typename Formula, typename Shape, bool KEYS>
__global__ __launch_bounds__(Shape::THREADS, Shape::BLOCKS) void eab_flash_backward(eab_flash_args args) {
    EAB_DYNAMIC_SHARED(shared);
    const int DIM = Shape::DIM, COLUMNS = Shape::COLUMNS, SPAN = Shape::SPAN, TILES = Shape::TILES;
    const int32_t problem = (int32_t)blockIdx.x / args.row_tiles, in_problem = (int32_t)blockIdx.x % args.row_tiles;
    const int32_t first_row =
        (KEYS ? in_problem : args.row_tiles - 1 - in_problem) * Shape::ROWS; /* the longest first */
    const int64_t start_row = (int64_t)problem * args.context;
    const int32_t lane = (int32_t)threadIdx.x % 32, warp_row = (int32_t)threadIdx.x / 32 * 16 * TILES,
                  row = first_row + warp_row;
    unsigned char *const x_rows = shared, *const y_rows = x_rows + Shape::ROW_TILE_BYTES;
    unsigned char *const tiles = y_rows + Shape::ROW_TILE_BYTES;
    float *const terms =
        reinterpret_cast<float *>(tiles + 4 * Shape::COLUMN_TILE_BYTES); /* KEYS: [2][stat, mean_dp][COLUMNS] */
    const eab_flash_weights<Formula> weights = eab_flash_weights_of<Formula>(args, problem % args.heads);
    const int32_t begin = KEYS && args.causal ? first_row / COLUMNS : 0;
    const int32_t last =
        !KEYS && args.causal && first_row + Shape::ROWS < args.context ? first_row + Shape::ROWS : args.context;
    const int32_t end = (last + COLUMNS - 1) / COLUMNS;

    float dx[TILES][DIM / 8][4], dy[KEYS ? TILES : 1][DIM / 8][4], stat[TILES][2], mean_dp[TILES][2];
#pragma unroll
    for (int tile = 0; tile < TILES; tile++) {
#pragma unroll
        for (int n = 0; n < DIM / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) dx[tile][n][i] = dy[KEYS ? tile : 0][n][i] = 0;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int32_t time = row + 16 * tile + 8 * half + lane / 4;
            const bool here = !KEYS && time < args.context;
            stat[tile][half] = here ? eab_flash_stat<Formula>(args.row_stat[start_row + time]) : 0;
            mean_dp[tile][half] = here ? args.mean_dp[start_row + time] : 0;
        }
    }
    eab_flash_load<DIM, Shape::ROWS, Shape::THREADS>(x_rows, KEYS ? args.k : args.q, start_row, first_row, args);
    eab_flash_load<DIM, Shape::ROWS, Shape::THREADS>(y_rows, KEYS ? args.v : args.dout, start_row, first_row, args);
    for (int32_t t = begin - 1; t < end; t++) {
        if (t >= begin) {
            eab_cp_async_wait<0>();
            __syncthreads(); /* tile t is there, and everyone is done with the other buffer */
        }
        if (t + 1 < end) {
            unsigned char *const next = tiles + (t + 1) % 2 * 2 * Shape::COLUMN_TILE_BYTES;
            eab_flash_load<DIM, COLUMNS, Shape::THREADS>(next, KEYS ? args.q : args.k, start_row, (t + 1) * COLUMNS,
                                                         args);
            eab_flash_load<DIM, COLUMNS, Shape::THREADS>(next + Shape::COLUMN_TILE_BYTES, KEYS ? args.dout : args.v,
                                                         start_row, (t + 1) * COLUMNS, args);
            eab_cp_async_commit();
            if (KEYS && (int32_t)threadIdx.x < COLUMNS) {
                const int32_t time = (t + 1) * COLUMNS + (int32_t)threadIdx.x;
                float *const to = terms + (t + 1) % 2 * 2 * COLUMNS + (int32_t)threadIdx.x;
                to[0] = time < args.context ? eab_flash_stat<Formula>(__ldg(args.row_stat + start_row + time)) : 0;
                to[COLUMNS] = time < args.context ? __ldg(args.mean_dp + start_row + time) : 0;
            }
        }
        if (t < begin) continue;
        const unsigned char *const xs = tiles + t % 2 * 2 * Shape::COLUMN_TILE_BYTES, *const ys =
                                                                                          xs + Shape::COLUMN_TILE_BYTES;
#pragma unroll 1
        for (int32_t span = 0; span < COLUMNS / SPAN; span++) {
            const int32_t column = t * COLUMNS + span * SPAN;
            if (column >= args.context) break;
            if (!KEYS && args.causal && column > row + 16 * TILES - 1)
                break;                                                    /* keys right of all queries of the warp */
            if (KEYS && args.causal && column + SPAN - 1 < row) continue; /* queries before all keys of the warp */
            const bool masked = column + SPAN > args.context ||
                                (args.causal && (KEYS ? row + 16 * TILES - 1 > column : column + SPAN - 1 > row));
            float a[TILES][SPAN / 8][4], ds[TILES][SPAN / 8][4];
            eab_flash_scores<Element, Shape>(a, x_rows, warp_row, xs, span * SPAN);
            eab_flash_scores<Element, Shape>(ds, y_rows, warp_row, ys, span * SPAN);
            const int32_t lane_column = column + 2 * (lane % 4), distance = row + lane / 4 - lane_column;
            const int32_t columns = args.context - lane_column;
            const float offset = (float)distance;
            const float *const column_terms = terms + t % 2 * 2 * COLUMNS + span * SPAN + 2 * (lane % 4);
#pragma unroll
            for (int n = 0; n < SPAN / 8; n++) {
                float2 column_stat = make_float2(0, 0), column_mean = make_float2(0, 0);
                if (KEYS) {
                    column_stat = *reinterpret_cast<const float2 *>(column_terms + 8 * n);
                    column_mean = *reinterpret_cast<const float2 *>(column_terms + COLUMNS + 8 * n);
                }
#pragma unroll
                for (int tile = 0; tile < TILES; tile++)
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        const int32_t to_column = 8 * n + i % 2, to_row = 16 * tile + 8 * (i / 2);
                        eab_flash_differentiate<Formula>(
                            a[tile][n][i], ds[tile][n][i], weights, fabsf(offset + (float)(to_row - to_column)),
                            KEYS ? (i % 2 ? column_stat.y : column_stat.x) : stat[tile][i / 2],
                            KEYS ? (i % 2 ? column_mean.y : column_mean.x) : mean_dp[tile][i / 2]);
                        if (KEYS && Element::WEIGHT_SHIFT) a[tile][n][i] *= (float)(1 << Element::WEIGHT_SHIFT);
                    }
            }
            if (masked) {
#pragma unroll
                for (int tile = 0; tile < TILES; tile++)
#pragma unroll
                    for (int n = 0; n < SPAN / 8; n++)
#pragma unroll
                        for (int i = 0; i < 4; i++) {
                            const int32_t apart = 8 * n + i % 2 - 16 * tile - 8 * (i / 2);
                            const bool on_side = KEYS ? apart >= distance : apart <= distance;
                            if (8 * n + i % 2 >= columns || (args.causal && !on_side))
                                a[tile][n][i] = ds[tile][n][i] = 0;
                        }
            }
            eab_flash_gather<Element, Shape>(dx, ds, xs, span * SPAN);
            if constexpr (KEYS) eab_flash_gather<Element, Shape>(dy, a, ys, span * SPAN);
        }
    }
#pragma unroll
    for (int tile = 0; tile < TILES; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int32_t time = row + 16 * tile + 8 * half + lane / 4;
            if (time >= args.context) continue;
            const int64_t at = (start_row + time) * args.head_dim;
            eab_flash_store<Element, DIM>((KEYS ? args.dk : args.dq) + at, dx[tile], half, args.scale, args);
            if (KEYS)
                eab_flash_store<Element, DIM>(args.dv + at, dy[KEYS ? tile : 0], half,
                                              1.0f / (float)(1 << Element::WEIGHT_SHIFT), args);
        }
}

template <typename Element, typename Formula, typename Shape, bool KEYS>
static int eab_flash_backward_launch(cudaStream_t stream, eab_flash_args args) {
    args.row_tiles = (args.context + Shape::ROWS - 1) / Shape::ROWS;
    const size_t terms = KEYS ? 4 * Shape::COLUMNS * sizeof(float) : 0;
    return eab_flash_launch<Shape>(stream, eab_flash_backward<Element, Formula, Shape, KEYS>,
                                   KEYS ? "eab_flash_backward (dk, dv)" : "eab_flash_backward (dq)",
                                   2 * Shape::ROW_TILE_BYTES + 4 * Shape::COLUMN_TILE_BYTES + terms, args);
}

template <typename Element, typename Formula, typename QueryShape, typename KeyShape>
static int eab_flash_backward_both(cudaStream_t stream, const eab_flash_args &args) {
    EAB_TRY((eab_flash_backward_launch<Element, Formula, QueryShape, false>(stream, args)));
    return eab_flash_backward_launch<Element, Formula, KeyShape, true>(stream, args);
}

template <typename Element, typename Formula>
static int eab_flash_backward_of(cudaStream_t stream, const eab_flash_args &args) {
    typedef eab_flash_shape<32, 4, 1, 64, 32, 3> shape32;
    typedef eab_flash_shape<64, 4, 1, 64, 32, 2> shape64;
    typedef eab_flash_shape<128, 4, 1, 64, 32, 2> queries128;
    typedef eab_flash_shape<128, 4, 1, 64, 16, 2>
        keys128; /* two gradients of 128 elements leave registers for 16 columns */
    if (args.head_dim <= 32) return eab_flash_backward_both<Element, Formula, shape32, shape32>(stream, args);
    if (args.head_dim <= 64) return eab_flash_backward_both<Element, Formula, shape64, shape64>(stream, args);
    return eab_flash_backward_both<Element, Formula, queries128, keys128>(stream, args);
}

template <typename Element>
static int eab_flash_mean_dp_launch(cudaStream_t stream, const eab_flash_args &args, float *mean_dp) {
    const int64_t rows = (int64_t)args.problems * args.context, blocks = (rows + 3) / 4;
    if (blocks > INT32_MAX) return eab_fail(EAB_UNSUPPORTED, "flash backward: %lld rows are too many", (long long)rows);
    return EAB_LAUNCH(stream, eab_flash_mean_dp<Element>, dim3((unsigned)blocks), dim3(128), 0, args, mean_dp, rows);
}

#define EAB_FLASH_BACKWARD_CASE(formula) \
    case EAB_FORMULA_##formula:          \
        return eab_flash_backward_of<element, eab_formula_##formula>(stream, args);

#define EAB_FLASH_DEFINE_BACKWARD(type)                                                                   \
    int eab_flash_backward_##type(cudaStream_t stream, eab_formula formula, const eab_flash_args &args,   \
                                  float *mean_dp) {                                                       \
        typedef eab_flash_##type element;                                                                 \
        EAB_TRY(eab_flash_mean_dp_launch<element>(stream, args, mean_dp));                                \
        switch (formula) {                                                                                \
            EAB_EXPONENTIAL_FORMULA_LIST(EAB_FLASH_BACKWARD_CASE)                                         \
            EAB_BOUNDED_FORMULA_LIST(EAB_FLASH_BACKWARD_CASE)                                             \
            default: return eab_fail(EAB_BAD_INPUT, "flash attention: unknown formula %d", (int)formula); \
        }                                                                                                 \
    }

#endif
