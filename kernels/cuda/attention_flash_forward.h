/* Attention in bf16 and fp16 on the tensor cores, forward: out_i = sum_j w(z_ij) b_ij v_j / L_i.
 *
 * A block owns ROWS queries (kept in shared memory) and walks over tiles of K and V (attention_flash.h). A warp forms the
 * scores of its 16 * TILES queries with SPAN keys by mma.sync m16n8k16 in registers, turns them into weights there, and
 * feeds them, rounded to 16 bits, as the operand a of the second product: they never see shared memory. Softmax is the online
 * one (Milakov and Gimelshein, arXiv 1805.02867; Dao, arXiv 2307.08691), and rescales only if a maximum of the warp moved;
 * the bounded class has neither maximum nor rescaling. Causal: tiles right of the diagonal are skipped, those on it masked.
 *
 * What limits it: the tensor cores, and beside them the instructions that turn a product into a weight, which take the issue
 * slots of the same warps. A pair costs 2 DIM multiply-adds: at head_dim 64 on a Hopper SM 128 / 1024 = 0.125 clk with
 * wgmma, about 0.2 clk with mma.sync; and one MUFU (1/16 clk), and as many of the 128 lanes as README.md counts from the
 * machine code (dpa 5.4, ea 6.6, and 3 for mma and ldmatrix: 0.07 clk). So on an H200 (132 SMs, 790 TFLOP/s dense from the
 * best library) mma.sync at about 62% of the peak gives at most 490 TFLOP/s, 55 to 65% of which the dependencies between the two halves
 * leave: 270 to 320 TFLOP/s expected. Context 16,384, causal, 16 heads of 64: 2.1 G pairs, 0.55 TFLOP, 1.7 to 2.0 ms (0.56 ms at the
 * documented 989 TFLOP/s); MUFU 2.1 G / 4.2 T a second, 0.51 ms; memory 134 MB, 28 us (docs/cuda.md). Head_dim 128: twice the FLOPs. K and V from L2: 1/64 byte a multiply-add at ROWS = 128. Not measured on a GPU yet.
 *
 * A Hopper-only kernel (wgmma, TMA) would be a third branch of eab_cuda_flash_forward's dispatch (attention_flash.cu).
 */
#ifndef EAB_KERNELS_CUDA_ATTENTION_FLASH_FORWARD_H
#define EAB_KERNELS_CUDA_ATTENTION_FLASH_FORWARD_H

#include "attention_flash_dispatch.h"

template <typename Shape> struct eab_flash_state {
    float sum[Shape::TILES][Shape::DIM / 8][4];
    float total[Shape::TILES][2]; /* this lane's share of L, of rows group and group + 8 */
    float top[Shape::TILES][2];   /* exponential class: the row's largest x so far */
};

/* Products become weights, in place; state's totals gain them. `distance`: the first row minus the first column that the lane
 * holds. Pairs that are not allowed: column - row > last, or column >= columns (as seen from the lane's first row and column). */
template <typename Element, typename Formula, typename Shape>
__device__ __forceinline__ void eab_flash_weigh(float (&score)[Shape::TILES][Shape::SPAN / 8][4],
                                                eab_flash_state<Shape> &state,
                                                const eab_flash_weights<Formula> &weights, int32_t distance,
                                                bool masked, bool causal, int32_t columns) {
    typedef eab_flash_log<Formula> log_scale;
    const float offset = (float)distance;
    if (Formula::bounded &&
        weights.scale != 1) { /* the default of ea is 1: a multiplication of seven instructions saved */
#pragma unroll
        for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
            for (int n = 0; n < Shape::SPAN / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) score[tile][n][i] *= weights.scale;
    }
#pragma unroll
    for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
        for (int n = 0; n < Shape::SPAN / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float &s = score[tile][n][i];
                const float apart = fabsf(offset + (float)(16 * tile + 8 * (i / 2) - 8 * n - i % 2));
                if (Formula::bounded) {
                    s = Formula::weight(s);
                    if (Element::WEIGHT_SHIFT) s *= (float)(1 << Element::WEIGHT_SHIFT);
                    if (weights.sloped) s *= eab_fast_exp2(-weights.x_slope * apart);
                } else {
                    s = log_scale::x(s, weights.scale);
                    if (weights.sloped) s = fmaf(-weights.x_slope, apart, s);
                }
            }
    if (masked) {
#pragma unroll
        for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
            for (int n = 0; n < Shape::SPAN / 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    const int32_t column = 8 * n + i % 2, row = 16 * tile + 8 * (i / 2);
                    const bool allowed = column < columns && (!causal || column - row <= distance);
                    if (!allowed) score[tile][n][i] = Formula::bounded ? 0 : -INFINITY;
                }
    }
    if (!Formula::bounded) {
        const float limit = log_scale::limit(weights.scale);
        bool moved = false;
        float factor[Shape::TILES][2], shift[Shape::TILES][2];
#pragma unroll
        for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float top = state.top[tile][half];
#pragma unroll
                for (int n = 0; n < Shape::SPAN / 8; n++)
                    top = fmaxf(top, fmaxf(score[tile][n][2 * half], score[tile][n][2 * half + 1]));
                top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 1));
                top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, 2));
                top = fminf(top, limit);
                factor[tile][half] = eab_fast_exp2((state.top[tile][half] - top) * weights.unit);
                moved = moved || top > state.top[tile][half];
                state.top[tile][half] = top;
                shift[tile][half] = -top * weights.unit;
                if (fabsf(shift[tile][half]) >
                    1024) { /* its rounding would show in 2^(unit x + shift), or overflow it */
#pragma unroll
                    for (int n = 0; n < Shape::SPAN / 8; n++)
#pragma unroll
                        for (int i = 0; i < 2; i++) {
                            float &x = score[tile][n][2 * half + i];
                            x = eab_fast_min(x, limit) - top;
                        }
                    shift[tile][half] = 0;
                }
            }
        if (__any_sync(0xffffffffu, moved)) {
#pragma unroll
            for (int tile = 0; tile < Shape::TILES; tile++) {
                state.total[tile][0] *= factor[tile][0];
                state.total[tile][1] *= factor[tile][1];
#pragma unroll
                for (int n = 0; n < Shape::DIM / 8; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) state.sum[tile][n][i] *= factor[tile][i / 2];
            }
        }
#pragma unroll
        for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int n = 0; n < Shape::SPAN / 8; n++)
#pragma unroll
                    for (int i = 0; i < 2; i++)
                        score[tile][n][2 * half + i] =
                            eab_fast_exp2(fmaf(score[tile][n][2 * half + i], weights.unit, shift[tile][half]));
    }
#pragma unroll
    for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
        for (int n = 0; n < Shape::SPAN / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) state.total[tile][i / 2] += score[tile][n][i];
}

template <typename Element, typename Formula, typename Shape>
__global__ __launch_bounds__(Shape::THREADS, Shape::BLOCKS) void eab_flash_forward(eab_flash_args args) {
    EAB_DYNAMIC_SHARED(shared);
    const int32_t problem = (int32_t)blockIdx.x / args.row_tiles;
    const int32_t first_row =
        (args.row_tiles - 1 - (int32_t)blockIdx.x % args.row_tiles) * Shape::ROWS; /* the longest first */
    const int64_t start_row = (int64_t)problem * args.context;
    const int32_t lane = (int32_t)threadIdx.x % 32, warp_row = (int32_t)threadIdx.x / 32 * 16 * Shape::TILES;
    unsigned char *const row_tile = shared, *const column_tiles = shared + Shape::ROW_TILE_BYTES;
    const eab_flash_weights<Formula> weights = eab_flash_weights_of<Formula>(args, problem % args.heads);
    const int32_t end = args.causal && first_row + Shape::ROWS < args.context ? first_row + Shape::ROWS : args.context;
    const int32_t tiles = (end + Shape::COLUMNS - 1) / Shape::COLUMNS;

    eab_flash_state<Shape> state;
#pragma unroll
    for (int tile = 0; tile < Shape::TILES; tile++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            state.total[tile][half] = 0;
            state.top[tile][half] = -eab_flash_log<Formula>::limit(weights.scale);
        }
#pragma unroll
        for (int n = 0; n < Shape::DIM / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) state.sum[tile][n][i] = 0;
    }
    eab_flash_load<Shape::DIM, Shape::ROWS, Shape::THREADS>(row_tile, args.q, start_row, first_row, args);
    for (int32_t t = -1; t < tiles; t++) {
        if (t >= 0) {
            eab_cp_async_wait<0>();
            __syncthreads(); /* tile t is there, and everyone is done with the other buffer */
        }
        if (t + 1 < tiles) {
            unsigned char *const next = column_tiles + (t + 1) % 2 * 2 * Shape::COLUMN_TILE_BYTES;
            eab_flash_load<Shape::DIM, Shape::COLUMNS, Shape::THREADS>(next, args.k, start_row,
                                                                       (t + 1) * Shape::COLUMNS, args);
            eab_flash_load<Shape::DIM, Shape::COLUMNS, Shape::THREADS>(next + Shape::COLUMN_TILE_BYTES, args.v,
                                                                       start_row, (t + 1) * Shape::COLUMNS, args);
            eab_cp_async_commit();
        }
        if (t < 0) continue;
        const unsigned char *const keys = column_tiles + t % 2 * 2 * Shape::COLUMN_TILE_BYTES;
        const unsigned char *const values = keys + Shape::COLUMN_TILE_BYTES;
        const int32_t row = first_row + warp_row;
#pragma unroll
        for (int span = 0; span < Shape::COLUMNS / Shape::SPAN; span++) {
            const int32_t column = t * Shape::COLUMNS + span * Shape::SPAN;
            if (args.causal && column > row + 16 * Shape::TILES - 1) break; /* right of all rows of the warp */
            const bool masked = column + Shape::SPAN > args.context || (args.causal && column + Shape::SPAN - 1 > row);
            float score[Shape::TILES][Shape::SPAN / 8][4];
            eab_flash_scores<Element, Shape>(score, row_tile, warp_row, keys, span * Shape::SPAN);
            const int32_t lane_column = column + 2 * (lane % 4);
            eab_flash_weigh<Element, Formula, Shape>(score, state, weights, row + lane / 4 - lane_column, masked,
                                                     args.causal != 0, args.context - lane_column);
            eab_flash_gather<Element, Shape>(state.sum, score, values, span * Shape::SPAN);
        }
    }
#pragma unroll
    for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float total = state.total[tile][half];
            total += __shfl_xor_sync(0xffffffffu, total, 1);
            total += __shfl_xor_sync(0xffffffffu, total, 2);
            const int32_t time = first_row + warp_row + 16 * tile + 8 * half + lane / 4;
            if (time >= args.context) continue;
            eab_flash_store<Element, Shape::DIM>(args.result + (start_row + time) * args.head_dim, state.sum[tile],
                                                 half, 1 / total, args);
            if (args.row_stat_result && lane % 4 == 0)
                args.row_stat_result[start_row + time] =
                    Formula::bounded ? total * (1.0f / (float)(1 << Element::WEIGHT_SHIFT))
                                     : eab_flash_log<Formula>::log_weight_of_x(state.top[tile][half], weights.scale) +
                                           log2f(total) * EAB_LN_2;
        }
}

/* Queues the forward pass of one formula in one element type. */
template <typename Element, typename Formula, typename Shape>
static int eab_flash_forward_launch(cudaStream_t stream, eab_flash_args args) {
    args.row_tiles = (args.context + Shape::ROWS - 1) / Shape::ROWS;
    return eab_flash_launch<Shape>(stream, eab_flash_forward<Element, Formula, Shape>, "eab_flash_forward",
                                   Shape::ROW_TILE_BYTES + 4 * Shape::COLUMN_TILE_BYTES, args);
}

/* The padded head_dim, and how a block is laid out for it. With 128 elements a warp of 32 queries has registers for 16 keys' scores at
 * a time: enough for the bounded class, while the exponential class would pay for a row maximum every 16 keys. */
template <typename Element, typename Formula>
static int eab_flash_forward_of(cudaStream_t stream, const eab_flash_args &args) {
    if (args.head_dim <= 32)
        return eab_flash_forward_launch<Element, Formula, eab_flash_shape<32, 4, 2, 64, 32, 3>>(stream, args);
    if (args.head_dim <= 64)
        return eab_flash_forward_launch<Element, Formula, eab_flash_shape<64, 4, 2, 64, 64, 2>>(stream, args);
    typedef eab_flash_shape<128, Formula::bounded ? 4 : 8, Formula::bounded ? 2 : 1, 64, Formula::bounded ? 16 : 64,
                            Formula::bounded ? 2 : 1>
        wide_shape;
    return eab_flash_forward_launch<Element, Formula, wide_shape>(stream, args);
}

#define EAB_FLASH_FORWARD_CASE(formula) \
    case EAB_FORMULA_##formula:         \
        return eab_flash_forward_of<element, eab_formula_##formula>(stream, args);

#define EAB_FLASH_DEFINE_FORWARD(type)                                                                    \
    int eab_flash_forward_##type(cudaStream_t stream, eab_formula formula, const eab_flash_args &args) {  \
        typedef eab_flash_##type element;                                                                 \
        switch (formula) {                                                                                \
            EAB_EXPONENTIAL_FORMULA_LIST(EAB_FLASH_FORWARD_CASE)                                          \
            EAB_BOUNDED_FORMULA_LIST(EAB_FLASH_FORWARD_CASE)                                              \
            default: return eab_fail(EAB_BAD_INPUT, "flash attention: unknown formula %d", (int)formula); \
        }                                                                                                 \
    }

#endif
