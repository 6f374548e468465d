/* Attention in bf16 and fp16 on the tensor cores, backward. Weights are recomputed from q, k and row_stat.
 *
 *   dp_ij = dout_i . v_j,  D_i = dout_i . out_i,  ds_ij = (w'(z_ij) b_ij / L_i) (dp_ij - D_i),  a_ij = w(z_ij) b_ij /
 *   L_i dq_i = scale sum_j ds_ij k_j,  dk_j = scale sum_i ds_ij q_i,  dv_j = sum_i a_ij dout_i
 *
 * Three kernels: one for D of every query (from the weights where a row has few keys), then one template twice. A block
 * owns 64 rows and walks over tiles of columns (attention_flash.h): queries with tiles of k and v give dq, keys with
 * tiles of q and dout give dk and dv.
 *
 * Both products, S = X X'^T and dP = Y Y'^T, stay in registers. They become a and ds, which are the operand a of the
 * products with Y' and X', read transposed from the same tiles. One block owns each result, so there are no atomics and
 * runs agree bit for bit. This takes 7 products a pair, where atomic additions to dq would take 5. Causal: tiles on the
 * masked side of the diagonal are skipped.
 *
 * Limit: shared memory, because a warp has 16 rows: it reads each operand of the columns for 16 rows only. At head_dim
 * 64 a pair takes 68 bytes, 128 a clock: 0.53 clk of an H100's SM. The 7 DIM multiply-adds take 448 / 1270 = 0.35 clk
 * with mma.sync; the instructions (ea: 65 lane instructions, dpa: 54) 0.51 and 0.42. bounds.csv: at most 395 TFLOP/s of
 * products for ea, 408 for dpa. With 10 head_dim FLOPs a pair (docs/design.md 5) that is 282 and 291; 55% of it, 160
 * TFLOP/s, is expected. Context 16,384, causal, 16 heads of 64: 2.1 G pairs, 1.37 TFLOP so counted, 8.6 ms; MUFU twice,
 * 1.0 ms; memory 270 MB, 56 us (docs/cuda.md). Not measured on a GPU yet.
 */
#ifndef EAB_KERNELS_CUDA_ATTENTION_FLASH_BACKWARD_H
#define EAB_KERNELS_CUDA_ATTENTION_FLASH_BACKWARD_H

#include "attention_flash_dispatch.h"

/* What a pair needs of its query besides D: log L, or 1 / L for bounded formulas. */
template <typename Formula> __device__ __forceinline__ float eab_flash_stat(float row_stat) {
    return Formula::bounded ? eab_fast_reciprocal(row_stat) : row_stat;
}

/* Turns a pair's products z / scale and dp into a and ds. */
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
        const float z = log_scale::z(product, weights.scale, weights.limit);
        float log_a = log_scale::log_weight(z) - stat; /* subtracted first, because both can be huge */
        if (weights.sloped) log_a = fmaf(-weights.slope, apart, log_a);
        a = eab_fast_exp(log_a);
        ds = a * Formula::log_derivative(z) * (dp - mean_dp);
    }
    product = a;
    dp = ds;
}

/* ---- D ---- */

/* Rows of at most this many keys compute D from the weights, of bounded formulas. */
enum { EAB_FLASH_FEW_KEYS = 16 };

/* x . y of two rows, on all lanes. */
template <typename Element>
__device__ __forceinline__ float eab_flash_dot(const uint16_t *x, const uint16_t *y, int32_t head_dim, int32_t lane) {
    float sum = 0;
#pragma unroll 1 /* at most four iterations; unrolled, CUDA 12.4 spills for sm_90a */
    for (int32_t i = lane; i < head_dim; i += 32)
        sum = fmaf(Element::unpack(__ldg(x + i)).x, Element::unpack(__ldg(y + i)).x, sum);
#pragma unroll
    for (int offset = 16; offset; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
    return sum;
}

/* D_i = dout_i . out_i, a warp a query. out is rounded to 16 bits. If one key has nearly all of a row's weight, dp - D
 * cancels, and ea multiplies the rest by w' / L, about 2 / z. In a row with one key and a small score the rounding of
 * out would then be most of the gradient. Only rows of few keys have such weights, so these compute
 * D_i = sum_j a_ij dp_ij instead. With 16 keys the error from D is at most 4e-4 of a gradient's norm over 150 random
 * problems of context 130 and head_dim 64, where out alone gives 2e-3 (tests/cuda/mean_dp_error.py): less than the
 * error from rounding the weights. In the exponential class w' / w is 1 or 2 z, and a, whose score would be rounded
 * unlike the forward pass's, could overflow. */
template <typename Element, typename Formula>
__global__ __launch_bounds__(128) void eab_flash_mean_dp(eab_flash_args args, float *mean_dp, int64_t rows) {
    const int64_t row = (int64_t)blockIdx.x * 4 + (int32_t)threadIdx.x / 32;
    if (row >= rows) return; /* the same for all lanes of a warp */
    const int32_t lane = (int32_t)threadIdx.x % 32, time = (int32_t)(row % args.context), head_dim = args.head_dim;
    const int32_t keys = args.causal ? time + 1 : args.context;
    const uint16_t *dout = args.dout + row * head_dim;
    float sum = 0;
    if (!Formula::bounded || keys > EAB_FLASH_FEW_KEYS) {
        sum = eab_flash_dot<Element>(dout, args.out + row * head_dim, head_dim, lane);
    } else {
        const int32_t head = (int32_t)(row / args.context) % args.heads;
        const eab_flash_weights<Formula> weights = eab_flash_weights_of<Formula>(args, head);
        const float stat = eab_flash_stat<Formula>(args.row_stat[row]);
#pragma unroll 1
        for (int32_t key = 0; key < keys; key++) {
            const int64_t at = (row - time + key) * head_dim;
            float a = eab_flash_dot<Element>(args.q + row * head_dim, args.k + at, head_dim, lane);
            const float dp = eab_flash_dot<Element>(dout, args.v + at, head_dim, lane);
            float ds = dp;
            eab_flash_differentiate<Formula>(a, ds, weights, fabsf((float)(time - key)), stat, 0);
            sum = fmaf(a, dp, sum);
        }
    }
    if (lane == 0) mean_dp[row] = sum;
}

/* ---- gradients ---- */

/* A warp's rows. KEYS: rows are keys (x = k, y = v), columns are queries (x = q, y = dout), the results are dk and dv.
 * Otherwise rows are queries (x = q, y = dout), columns are keys (x = k, y = v), the result is dq. */
template <typename Shape, bool KEYS> struct eab_flash_gradients {
    float dx[Shape::TILES][Shape::DIM / 8][4], dy[KEYS ? Shape::TILES : 1][Shape::DIM / 8][4];
    float stat[Shape::TILES][2], mean_dp[Shape::TILES][2]; /* of rows that are queries */
};

template <typename Formula, typename Shape, bool KEYS>
__device__ __forceinline__ void eab_flash_begin(eab_flash_gradients<Shape, KEYS> &rows, const eab_flash_place &at,
                                                const eab_flash_args &args) {
#pragma unroll
    for (int tile = 0; tile < Shape::TILES; tile++) {
#pragma unroll
        for (int n = 0; n < Shape::DIM / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) rows.dx[tile][n][i] = rows.dy[KEYS ? tile : 0][n][i] = 0;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int32_t time = at.row + 16 * tile + 8 * half + at.lane / 4;
            const bool here = !KEYS && time < args.context;
            rows.stat[tile][half] = here ? eab_flash_stat<Formula>(args.row_stat[at.start_row + time]) : 0;
            rows.mean_dp[tile][half] = here ? args.mean_dp[at.start_row + time] : 0;
        }
    }
}

/* Terms of columns that are queries, for tile t: [t % 2][stat, mean_dp][COLUMNS]. */
template <typename Shape> __device__ __forceinline__ float *eab_flash_terms_of(float *terms, int32_t t) {
    return terms + t % 2 * 2 * Shape::COLUMNS;
}

template <typename Formula, typename Shape>
__device__ __forceinline__ void eab_flash_load_terms(float *terms, int32_t t, int64_t start_row,
                                                     const eab_flash_args &args) {
    if ((int32_t)threadIdx.x >= Shape::COLUMNS) return;
    const int32_t time = t * Shape::COLUMNS + (int32_t)threadIdx.x;
    float *const to = eab_flash_terms_of<Shape>(terms, t) + (int32_t)threadIdx.x;
    to[0] = time < args.context ? eab_flash_stat<Formula>(__ldg(args.row_stat + start_row + time)) : 0;
    to[Shape::COLUMNS] = time < args.context ? __ldg(args.mean_dp + start_row + time) : 0;
}

/* Turns a span's products z / scale and dp into a and ds, in place. `terms`: those of the lane's first column;
 * `offset`: the lane's first row minus its first column. */
template <typename Element, typename Formula, typename Shape, bool KEYS>
__device__ __forceinline__ void eab_flash_differentiate_span(eab_flash_span<Shape> &a, eab_flash_span<Shape> &ds,
                                                             const eab_flash_gradients<Shape, KEYS> &rows,
                                                             const eab_flash_weights<Formula> &weights,
                                                             const float *terms, float offset) {
#pragma unroll
    for (int n = 0; n < Shape::SPAN / 8; n++) {
        float2 stat = make_float2(0, 0), mean_dp = make_float2(0, 0);
        if (KEYS) {
            stat = *reinterpret_cast<const float2 *>(terms + 8 * n);
            mean_dp = *reinterpret_cast<const float2 *>(terms + Shape::COLUMNS + 8 * n);
        }
#pragma unroll
        for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int32_t column = 8 * n + i % 2, row = 16 * tile + 8 * (i / 2);
                eab_flash_differentiate<Formula>(a[tile][n][i], ds[tile][n][i], weights,
                                                 fabsf(offset + (float)(row - column)),
                                                 KEYS ? (i % 2 ? stat.y : stat.x) : rows.stat[tile][i / 2],
                                                 KEYS ? (i % 2 ? mean_dp.y : mean_dp.x) : rows.mean_dp[tile][i / 2]);
                if (KEYS && Element::WEIGHT_SHIFT) a[tile][n][i] *= (float)(1 << Element::WEIGHT_SHIFT);
            }
    }
}

/* Sets masked pairs to 0. distance and columns count from the lane's first row and column, as in eab_flash_weigh. */
template <typename Shape, bool KEYS>
__device__ __forceinline__ void eab_flash_mask(eab_flash_span<Shape> &values, int32_t distance, bool causal,
                                               int32_t columns) {
    eab_flash_each<Shape>(values, [&](float &value, int, int, int row, int column) {
        const bool allowed = KEYS ? column - row >= distance : column - row <= distance;
        if (column >= columns || (causal && !allowed)) value = 0;
    });
}

/* Adds column tile t (x, then y) to a warp's gradients. */
template <typename Element, typename Formula, typename Shape, bool KEYS>
__device__ __forceinline__ void eab_flash_differentiate_tile(
    eab_flash_gradients<Shape, KEYS> &rows, const eab_flash_held<Shape> &held_x, const eab_flash_held<Shape> &held_y,
    const unsigned char *x_rows, const unsigned char *x_columns, const float *terms, int32_t first,
    const eab_flash_weights<Formula> &weights, const eab_flash_place &at, const eab_flash_args &args) {
    const int SPAN = Shape::SPAN;
    const unsigned char *const y_rows = x_rows + Shape::ROW_TILE_BYTES;
    const unsigned char *const y_columns = x_columns + Shape::COLUMN_TILE_BYTES;
    const int32_t last_row = at.row + 16 * Shape::TILES - 1; /* of the warp */
#pragma unroll 1
    for (int32_t span = 0; span < Shape::COLUMNS / SPAN; span++) {
        const int32_t column = first + span * SPAN, last_column = column + SPAN - 1;
        if (column >= args.context) break;
        if (!KEYS && args.causal && column > last_row) break;      /* keys right of all queries of the warp */
        if (KEYS && args.causal && last_column < at.row) continue; /* queries before all keys of the warp */
        const bool masked =
            column + SPAN > args.context || (args.causal && (KEYS ? last_row > column : last_column > at.row));
        eab_flash_span<Shape> a, ds;
        eab_flash_scores<Element, Shape>(a, held_x, x_rows, at.warp_row, x_columns, span * SPAN);
        eab_flash_scores<Element, Shape>(ds, held_y, y_rows, at.warp_row, y_columns, span * SPAN);
        const int32_t lane_column = column + 2 * (at.lane % 4), distance = at.row + at.lane / 4 - lane_column;
        eab_flash_differentiate_span<Element, Formula, Shape, KEYS>(
            a, ds, rows, weights, terms + span * SPAN + 2 * (at.lane % 4), (float)distance);
        if (masked) {
            eab_flash_mask<Shape, KEYS>(a, distance, args.causal != 0, args.context - lane_column);
            eab_flash_mask<Shape, KEYS>(ds, distance, args.causal != 0, args.context - lane_column);
            /* The weight of a query's only key is 1 for any score, so ds is 0; dp - D would be a rounding error. */
            const bool one_key = (args.causal || args.context == 1) && at.row == 0 && column == 0;
            if (one_key && at.lane == 0) ds[0][0][0] = 0;
        }
        eab_flash_gather<Element, Shape>(rows.dx, ds, x_columns, span * SPAN);
        if constexpr (KEYS) eab_flash_gather<Element, Shape>(rows.dy, a, y_columns, span * SPAN);
    }
}

template <typename Element, typename Shape, bool KEYS>
__device__ __forceinline__ void eab_flash_store_gradients(const eab_flash_gradients<Shape, KEYS> &rows,
                                                          const eab_flash_place &at, const eab_flash_args &args) {
#pragma unroll
    for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int32_t time = at.row + 16 * tile + 8 * half + at.lane / 4;
            if (time >= args.context) continue;
            const int64_t to = (at.start_row + time) * args.head_dim;
            eab_flash_store<Element, Shape::DIM>((KEYS ? args.dk : args.dq) + to, rows.dx[tile], half, args.scale,
                                                 args);
            if (KEYS)
                eab_flash_store<Element, Shape::DIM>(args.dv + to, rows.dy[KEYS ? tile : 0], half,
                                                     1.0f / (float)(1 << Element::WEIGHT_SHIFT), args);
        }
}

template <typename Element, typename Formula, typename Shape, bool KEYS>
__global__ __launch_bounds__(Shape::THREADS, Shape::BLOCKS) void eab_flash_backward(eab_flash_args args) {
    EAB_DYNAMIC_SHARED(shared);
    const int DIM = Shape::DIM, COLUMNS = Shape::COLUMNS, ROWS = Shape::ROWS, THREADS = Shape::THREADS;
    const eab_flash_place at = eab_flash_locate<Shape>(args, !KEYS); /* causal: the first keys have the most queries */
    unsigned char *const x_rows = shared, *const y_rows = x_rows + Shape::ROW_TILE_BYTES;
    unsigned char *const tiles = y_rows + Shape::ROW_TILE_BYTES;
    float *const terms = reinterpret_cast<float *>(tiles + 4 * Shape::COLUMN_TILE_BYTES); /* KEYS only */
    const eab_flash_weights<Formula> weights = eab_flash_weights_of<Formula>(args, at.problem % args.heads);
    const int32_t begin = KEYS && args.causal ? at.first_row / COLUMNS : 0;
    const int32_t last =
        !KEYS && args.causal && at.first_row + ROWS < args.context ? at.first_row + ROWS : args.context;
    const int32_t end = (last + COLUMNS - 1) / COLUMNS;
    eab_flash_gradients<Shape, KEYS> rows;
    eab_flash_begin<Formula, Shape, KEYS>(rows, at, args);
    eab_flash_load<DIM, ROWS, THREADS>(x_rows, KEYS ? args.k : args.q, at.start_row, at.first_row, args);
    eab_flash_load<DIM, ROWS, THREADS>(y_rows, KEYS ? args.v : args.dout, at.start_row, at.first_row, args);
    const uint16_t *const x = KEYS ? args.q : args.k, *const y = KEYS ? args.dout : args.v;
    eab_flash_load_columns<Shape>(tiles, begin, x, y, at.start_row, args);
    eab_cp_async_commit();
    if (KEYS) eab_flash_load_terms<Formula, Shape>(terms, begin, at.start_row, args);
    eab_flash_wait();
    eab_flash_held<Shape> held_x, held_y;
    eab_flash_hold<Shape>(held_x, x_rows, at.warp_row);
    eab_flash_hold<Shape>(held_y, y_rows, at.warp_row);
    for (int32_t t = begin; t < end; t++) {
        if (t + 1 < end) {
            eab_flash_load_columns<Shape>(tiles, t + 1, x, y, at.start_row, args);
            eab_cp_async_commit();
            if (KEYS) eab_flash_load_terms<Formula, Shape>(terms, t + 1, at.start_row, args);
        }
        eab_flash_differentiate_tile<Element, Formula, Shape, KEYS>(
            rows, held_x, held_y, x_rows, eab_flash_columns_of<Shape>(tiles, t), eab_flash_terms_of<Shape>(terms, t),
            t * COLUMNS, weights, at, args);
        eab_flash_wait();
    }
    eab_flash_store_gradients<Element, Shape, KEYS>(rows, at, args);
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
    typedef eab_flash_shape<32, 4, 1, 64, 32, 3, 2> shape32;
    typedef eab_flash_shape<64, 4, 1, 64, 32, 2, 4> shape64;
    typedef eab_flash_shape<128, 4, 1, 64, 32, 2, 8> queries128;
    typedef eab_flash_shape<128, 4, 1, 64, 16, 2, 2>
        keys128; /* two gradients of 128 elements leave registers for 16 columns */
    if (args.head_dim <= 32) return eab_flash_backward_both<Element, Formula, shape32, shape32>(stream, args);
    if (args.head_dim <= 64) return eab_flash_backward_both<Element, Formula, shape64, shape64>(stream, args);
    return eab_flash_backward_both<Element, Formula, queries128, keys128>(stream, args);
}

template <typename Element, typename Formula>
static int eab_flash_mean_dp_launch(cudaStream_t stream, const eab_flash_args &args, float *mean_dp) {
    const int64_t rows = (int64_t)args.problems * args.context, blocks = (rows + 3) / 4;
    if (blocks > INT32_MAX) return eab_fail(EAB_UNSUPPORTED, "flash backward: %lld rows are too many", (long long)rows);
    return EAB_LAUNCH(stream, (eab_flash_mean_dp<Element, Formula>), dim3((unsigned)blocks), dim3(128), 0, args,
                      mean_dp, rows);
}

#define EAB_FLASH_BACKWARD_CASE(formula)                                                            \
    case EAB_FORMULA_##formula:                                                                     \
        EAB_TRY((eab_flash_mean_dp_launch<element, eab_formula_##formula>(stream, args, mean_dp))); \
        return eab_flash_backward_of<element, eab_formula_##formula>(stream, args);

#define EAB_FLASH_DEFINE_BACKWARD(type)                                                                   \
    int eab_flash_backward_##type(cudaStream_t stream, eab_formula formula, const eab_flash_args &args,   \
                                  float *mean_dp) {                                                       \
        typedef eab_flash_##type element;                                                                 \
        switch (formula) {                                                                                \
            EAB_OWN_CODE_LIST(EAB_FLASH_BACKWARD_CASE)                                                    \
            default: return eab_fail(EAB_BAD_INPUT, "flash attention: unknown formula %d", (int)formula); \
        }                                                                                                 \
    }

#endif
