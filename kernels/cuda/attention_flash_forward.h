/* Attention in bf16 and fp16 on the tensor cores, forward: out_i = sum_j w(z_ij) b_ij v_j / L_i.
 *
 * A block owns ROWS queries, in shared memory, and walks over tiles of K and V (attention_flash.h). A warp computes
 * the scores of its 16 * TILES queries with SPAN keys by mma.sync m16n8k16, in registers. There they become weights,
 * are rounded to 16 bits and are the operand a of the second product; shared memory is not involved. Softmax is the
 * online one (Milakov and Gimelshein, arXiv 1805.02867; Dao, arXiv 2307.08691); it rescales only when a maximum of
 * the warp changes. The bounded class needs neither maximum nor rescaling. Causal: tiles right of the diagonal are
 * skipped, those on it are masked.
 *
 * Limit: the tensor cores. On an H100's SM (2,048 multiply-adds of 16 bits a clock) at head_dim 64, a pair takes
 *   2 DIM multiply-adds: 128 / 2048 = 0.0625 clk with wgmma, as long as its MUFU; 0.101 clk with mma.sync, which
 *   reaches about 62% of that rate;
 *   one MUFU: 1/16 clk;
 *   lane instructions, 128 a clock: dpa 10.5, ea 11.7, 0.08 and 0.09 clk;
 *   12 bytes of shared memory, 128 a clock: 0.094 clk.
 * bounds.csv has all kernels: at most 613 TFLOP/s for dpa and ea at head_dim 64, 586 and 609 at 128. The two products
 * depend on each other, which leaves 55 to 65% of that: 340 to 400 TFLOP/s expected.
 * Context 16,384, causal, 16 heads of 64: 2.1 G pairs, 0.55 TFLOP, 1.4 to 1.6 ms (0.56 ms at the documented 989
 * TFLOP/s); MUFU 2.1 G / 4.2 T a second, 0.51 ms; memory 134 MB, 28 us (docs/cuda.md). Head_dim 128: twice the FLOPs.
 * K and V from the L2 cache: 1/64 byte a multiply-add at ROWS = 128. Not measured on a GPU yet.
 *
 * A kernel for Hopper only (wgmma, TMA) would be a branch of eab_cuda_flash_forward (attention_flash.cu).
 */
#ifndef EAB_KERNELS_CUDA_ATTENTION_FLASH_FORWARD_H
#define EAB_KERNELS_CUDA_ATTENTION_FLASH_FORWARD_H

#include "attention_flash_dispatch.h"

template <typename Shape> struct eab_flash_state {
    float sum[Shape::TILES][Shape::DIM / 8][4];
    float total[Shape::TILES][2]; /* this lane's share of L, of rows group and group + 8 */
    float top[Shape::TILES][2];   /* exponential class: the row's largest x so far */
};

template <typename Shape> __device__ __forceinline__ void eab_flash_clear(eab_flash_state<Shape> &state, float limit) {
#pragma unroll
    for (int tile = 0; tile < Shape::TILES; tile++) {
#pragma unroll
        for (int half = 0; half < 2; half++) {
            state.total[tile][half] = 0;
            state.top[tile][half] = -limit;
        }
#pragma unroll
        for (int n = 0; n < Shape::DIM / 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) state.sum[tile][n][i] = 0;
    }
}

/* Bounded formulas: turns products into weights, in place. `offset`: the lane's first row minus its first column. */
template <typename Element, typename Formula, typename Shape>
__device__ __forceinline__ void eab_flash_bounded_weights(eab_flash_span<Shape> &score,
                                                          const eab_flash_weights<Formula> &weights, float offset) {
    if (weights.scale != 1) /* ea's default is 1: that saves one instruction of seven */
        eab_flash_each<Shape>(score, [&](float &s, int, int, int, int) { s *= weights.scale; });
    eab_flash_each<Shape>(score, [&](float &s, int, int, int row, int column) {
        s = Formula::weight(s);
        if (Element::WEIGHT_SHIFT) s *= (float)(1 << Element::WEIGHT_SHIFT);
        if (weights.sloped) s *= eab_fast_exp2(-weights.x_slope * fabsf(offset + (float)(row - column)));
    });
}

/* Exponential formulas: turns products into x (see eab_flash_log), in place. */
template <typename Formula, typename Shape>
__device__ __forceinline__ void eab_flash_log_weights(eab_flash_span<Shape> &score,
                                                      const eab_flash_weights<Formula> &weights, float offset) {
    eab_flash_each<Shape>(score, [&](float &s, int, int, int row, int column) {
        s = eab_flash_log<Formula>::x(s, weights.scale);
        if (weights.sloped) s = fmaf(-weights.x_slope, fabsf(offset + (float)(row - column)), s);
    });
}

/* Online softmax: raises the rows' maxima to include the span's and rescales the state. The weight of x is then
 * 2^(unit x + shift). */
template <typename Formula, typename Shape>
__device__ __forceinline__ void eab_flash_raise_top(eab_flash_span<Shape> &score, eab_flash_state<Shape> &state,
                                                    const eab_flash_weights<Formula> &weights,
                                                    float (&shift)[Shape::TILES][2]) {
    const float limit = weights.limit;
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
            if (__any_sync(0xffffffffu, top > state.top[tile][half])) {
                const float factor = eab_fast_exp2((state.top[tile][half] - top) * weights.unit);
                state.total[tile][half] *= factor;
#pragma unroll
                for (int n = 0; n < Shape::DIM / 8; n++)
#pragma unroll
                    for (int i = 0; i < 2; i++) state.sum[tile][n][2 * half + i] *= factor;
                state.top[tile][half] = top;
            }
            shift[tile][half] = -top * weights.unit;
            if (fabsf(shift[tile][half]) > 1024) { /* its rounding error would show in the weight, or overflow it */
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
}

/* Turns products into weights, in place, and adds them to the state's totals. `distance`: the lane's first row minus
 * its first column. Counted from these, a pair is masked if column - row > distance (causal) or column >= columns. */
template <typename Element, typename Formula, typename Shape>
__device__ __forceinline__ void eab_flash_weigh(eab_flash_span<Shape> &score, eab_flash_state<Shape> &state,
                                                const eab_flash_weights<Formula> &weights, int32_t distance,
                                                bool masked, bool causal, int32_t columns) {
    if (Formula::bounded) eab_flash_bounded_weights<Element, Formula, Shape>(score, weights, (float)distance);
    else eab_flash_log_weights<Formula, Shape>(score, weights, (float)distance);
    if (masked) /* one comparison a pair, and a select: no branches */
        eab_flash_each<Shape>(score, [&](float &s, int, int, int row, int column) {
            const int32_t end = causal ? min(columns, distance + row + 1) : columns;
            s = column < end ? s : Formula::bounded ? 0 : -INFINITY;
        });
    if (!Formula::bounded) {
        float shift[Shape::TILES][2];
        eab_flash_raise_top<Formula, Shape>(score, state, weights, shift);
        eab_flash_each<Shape>(score, [&](float &s, int tile, int half, int, int) {
            s = eab_fast_exp2(fmaf(s, weights.unit, shift[tile][half]));
        });
    }
    eab_flash_each<Shape>(score, [&](float &s, int tile, int half, int, int) { state.total[tile][half] += s; });
}

/* Adds a tile of keys and values, whose first column is `first`, to a warp's rows. */
template <typename Element, typename Formula, typename Shape>
__device__ __forceinline__ void eab_flash_attend(eab_flash_state<Shape> &state, const eab_flash_held<Shape> &held,
                                                 const unsigned char *queries, const unsigned char *keys, int32_t first,
                                                 const eab_flash_weights<Formula> &weights, const eab_flash_place &at,
                                                 const eab_flash_args &args) {
    const unsigned char *const values = keys + Shape::COLUMN_TILE_BYTES;
#pragma unroll(Shape::DIM > 64 ? 1 : Shape::COLUMNS / Shape::SPAN) /* not at 128: it would need too many registers */
    for (int span = 0; span < Shape::COLUMNS / Shape::SPAN; span++) {
        const int32_t column = first + span * Shape::SPAN;
        if (args.causal && column > at.row + 16 * Shape::TILES - 1) break; /* right of all rows of the warp */
        const bool masked = column + Shape::SPAN > args.context || (args.causal && column + Shape::SPAN - 1 > at.row);
        eab_flash_span<Shape> score;
        eab_flash_scores<Element, Shape>(score, held, queries, at.warp_row, keys, span * Shape::SPAN);
        const int32_t lane = eab_flash_lane(), lane_column = column + 2 * (lane % 4);
        eab_flash_weigh<Element, Formula, Shape>(score, state, weights, at.row + lane / 4 - lane_column, masked,
                                                 args.causal != 0, args.context - lane_column);
        eab_flash_gather<Element, Shape>(state.sum, score, values, span * Shape::SPAN);
    }
}

/* Writes out and row_stat of a warp's rows. */
template <typename Element, typename Formula, typename Shape>
__device__ __forceinline__ void eab_flash_finish(const eab_flash_state<Shape> &state, float scale,
                                                 const eab_flash_place &at, const eab_flash_args &args) {
#pragma unroll
    for (int tile = 0; tile < Shape::TILES; tile++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float total = state.total[tile][half];
            total += __shfl_xor_sync(0xffffffffu, total, 1);
            total += __shfl_xor_sync(0xffffffffu, total, 2);
            const int32_t time = at.row + 16 * tile + 8 * half + at.lane / 4;
            if (time >= args.context) continue;
            eab_flash_store<Element, Shape::DIM>(args.result + (at.start_row + time) * args.head_dim, state.sum[tile],
                                                 half, 1 / total, args);
            if (args.row_stat_result && at.lane % 4 == 0)
                args.row_stat_result[at.start_row + time] =
                    Formula::bounded ? total * (1.0f / (float)(1 << Element::WEIGHT_SHIFT))
                                     : eab_flash_log<Formula>::log_weight_of_x(state.top[tile][half], scale) +
                                           log2f(total) * EAB_LN_2;
        }
}

/* SLOPED: with ALiBi. As a variable, it would take a predicated instruction a pair where there is no ALiBi. */
template <typename Element, typename Formula, typename Shape, bool SLOPED>
__global__ __launch_bounds__(Shape::THREADS, Shape::BLOCKS) void eab_flash_forward(eab_flash_args args) {
    EAB_DYNAMIC_SHARED(shared);
    const eab_flash_place at = eab_flash_locate<Shape>(args, true); /* causal: the last rows have the most columns */
    unsigned char *const queries = shared, *const tiles = shared + Shape::ROW_TILE_BYTES;
    eab_flash_weights<Formula> weights = eab_flash_weights_of<Formula>(args, at.problem % args.heads);
    weights.sloped = SLOPED;
    const int32_t last =
        args.causal && at.first_row + Shape::ROWS < args.context ? at.first_row + Shape::ROWS : args.context;
    const int32_t end = (last + Shape::COLUMNS - 1) / Shape::COLUMNS;
    eab_flash_state<Shape> state;
    eab_flash_clear<Shape>(state, weights.limit);
    eab_flash_load<Shape::DIM, Shape::ROWS, Shape::THREADS>(queries, args.q, at.start_row, at.first_row, args);
    eab_flash_load_columns<Shape>(tiles, 0, args.k, args.v, at.start_row, args);
    eab_cp_async_commit();
    eab_flash_wait();
    eab_flash_held<Shape> held;
    eab_flash_hold<Shape>(held, queries, at.warp_row);
    for (int32_t t = 0; t < end; t++) {
        if (t + 1 < end) {
            eab_flash_load_columns<Shape>(tiles, t + 1, args.k, args.v, at.start_row, args);
            eab_cp_async_commit();
        }
        eab_flash_attend<Element, Formula, Shape>(state, held, queries, eab_flash_columns_of<Shape>(tiles, t),
                                                  t * Shape::COLUMNS, weights, at, args);
        eab_flash_wait();
    }
    eab_flash_finish<Element, Formula, Shape>(state, weights.scale, at, args);
}

template <typename Element, typename Formula, typename Shape>
static int eab_flash_forward_launch(cudaStream_t stream, eab_flash_args args) {
    args.row_tiles = (args.context + Shape::ROWS - 1) / Shape::ROWS;
    return eab_flash_launch<Shape>(stream,
                                   args.slopes ? eab_flash_forward<Element, Formula, Shape, true>
                                               : eab_flash_forward<Element, Formula, Shape, false>,
                                   "eab_flash_forward", Shape::ROW_TILE_BYTES + 4 * Shape::COLUMN_TILE_BYTES, args);
}

/* Chooses the padded head_dim and the block's shape. With 128 elements, shared memory would be the limit: queries are
 * read again for each span. So spans have 32 keys, and 32 elements of the queries stay in registers. With 48, ptxas
 * spills for some architectures. */
template <typename Element, typename Formula>
static int eab_flash_forward_of(cudaStream_t stream, const eab_flash_args &args) {
    if (args.head_dim <= 32)
        return eab_flash_forward_launch<Element, Formula, eab_flash_shape<32, 4, 2, 64, 32, 3>>(stream, args);
    if (args.head_dim <= 64)
        return eab_flash_forward_launch<Element, Formula, eab_flash_shape<64, 4, 2, 64, 64, 2>>(stream, args);
    return eab_flash_forward_launch<Element, Formula, eab_flash_shape<128, 4, 2, 64, 32, 2, 2>>(stream, args);
}

#define EAB_FLASH_FORWARD_CASE(formula) \
    case EAB_FORMULA_##formula:         \
        return eab_flash_forward_of<element, eab_formula_##formula>(stream, args);

#define EAB_FLASH_DEFINE_FORWARD(type)                                                                    \
    int eab_flash_forward_##type(cudaStream_t stream, eab_formula formula, const eab_flash_args &args) {  \
        typedef eab_flash_##type element;                                                                 \
        switch (formula) {                                                                                \
            EAB_OWN_CODE_LIST(EAB_FLASH_FORWARD_CASE)                                                     \
            default: return eab_fail(EAB_BAD_INPUT, "flash attention: unknown formula %d", (int)formula); \
        }                                                                                                 \
    }

#endif
