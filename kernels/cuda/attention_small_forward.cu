/* Attention in float32, forward, for fleets of small models: out_i = sum_j w(z_ij) b_ij v_j / L_i.
 *
 * Layout (attention_small.h): q and out in registers, K and V tiles in shared memory, several short problems and one
 * mechanism a block. For each pair of keys a slot computes ROWS x 2 scores. All its rows share the K rows that it
 * loads, so one LDS.128 feeds 4 ROWS multiply-adds. Scores become weights, then the V rows are added. The bounded class
 * needs neither maximum nor exponential nor rescaling; the exponential class rescales only when a row's maximum
 * changes.
 *
 * Limit: shared memory for large head_dim (an LDS.128 occupies the 128 byte/clk pipe for up to 4 clk; ROWS FMA
 * instructions take ROWS / 4 of a clk each), the weights for small head_dim. A pair: 2 head_dim FMA, about 14 other
 * instructions, one MUFU. A row: 16 head_dim bytes. H200 (docs/cuda.md) with the quick ladder's fleet (512 members x 32
 * x 4 problems of context 24, head_dim 8): 65,536 x 300 pairs x 30 = 0.6 G lane instructions at 33.5 T a second, 18 us
 * at full rate, so 40 to 60 us expected; MUFU 20 M / 4.2 T a second, 5 us; memory 512 x 768 x 132 x 4 B = 208 MB, 43
 * us. Not measured on a GPU yet.
 */
#include "attention_small.h"

typedef struct {
    const float *keys, *values; /* the group's tiles at the chunk's first column, this lane's words */
    int32_t count;              /* columns of the chunk */
    int32_t last;               /* the last column that row FIRST may attend to */
    float distance;             /* row 0 minus the chunk's first column */
    float row_step;             /* from row r to row r + 1: slots */
    float slope, mix; /* mix: of the member */
    bool sloped;
} key_chunk;

template <typename Shape> struct attended {
    float query[Shape::ROWS][Shape::SLICE], sum[Shape::ROWS][Shape::SLICE];
    float total[Shape::ROWS], top[Shape::ROWS]; /* of the weights; top: exponential class */
};

template <typename Shape> __device__ __forceinline__ float4 words(const float *column, int e, int m) {
    return *reinterpret_cast<const float4 *>(column + e * Shape::WIDTH + 4 * Shape::SPLIT * m);
}

/* Exponential class: raises the row's maximum and turns log-weights into weights relative to it. */
template <typename Shape>
__device__ __forceinline__ void exponentiate(attended<Shape> &rows, int r, float (&score)[Shape::STEP]) {
    float top = rows.top[r];
#pragma unroll
    for (int e = 0; e < Shape::STEP; e++) top = fmaxf(top, score[e]); /* ignores NaN, which stays in the score */
    if (top > rows.top[r]) {
        const float factor = eab_fast_exp(rows.top[r] - top);
        rows.top[r] = top;
        rows.total[r] *= factor;
#pragma unroll
        for (int i = 0; i < Shape::SLICE; i++) rows.sum[r][i] *= factor;
    }
#pragma unroll
    for (int e = 0; e < Shape::STEP; e++) score[e] = eab_fast_exp(score[e] - top);
}

/* Turns row r's scores with the keys from u on into weights and adds them to the row's total. Each lane holds a share
 * of a score. `distance`: row r minus key u. */
template <typename Formula, typename Shape, int FIRST>
__device__ __forceinline__ void weigh(attended<Shape> &rows, int r, float (&score)[Shape::STEP], const key_chunk &chunk,
                                      int32_t u, float distance) {
#pragma unroll
    for (int e = 0; e < Shape::STEP; e++) {
        const float z = eab_small_sum<Shape::SPLIT>(score[e]), log_bias = -chunk.slope * fabsf(distance - (float)e);
        const bool allowed = u + e < chunk.count && (r != FIRST || u + e <= chunk.last);
        if (Formula::bounded) {
            const float weight = chunk.sloped ? Formula::weight(z) * eab_fast_exp(log_bias) : Formula::weight(z);
            score[e] = allowed ? weight : 0;
        } else {
            score[e] = allowed ? Formula::log_weight(z, chunk.mix) + log_bias : -INFINITY;
        }
    }
    if (!Formula::bounded) exponentiate(rows, r, score);
#pragma unroll
    for (int e = 0; e < Shape::STEP; e++) rows.total[r] += score[e];
}

/* Adds a chunk of keys to rows FIRST on. */
template <typename Formula, typename Shape, int FIRST>
__device__ __forceinline__ void attend_chunk(attended<Shape> &rows, const key_chunk &chunk) {
    const int QUADS = Shape::SLICE / 4, STEP = Shape::STEP;
    float offset = chunk.distance;
#pragma unroll 1
    for (int32_t u = 0; u < chunk.count; u += STEP, offset -= STEP) {
        const float *keys = chunk.keys + u * Shape::WIDTH, *values = chunk.values + u * Shape::WIDTH;
        float score[Shape::ROWS][STEP] = {};
#pragma unroll
        for (int m = 0; m < QUADS; m++)
#pragma unroll
            for (int e = 0; e < STEP; e++) {
                const float4 key = words<Shape>(keys, e, m);
#pragma unroll
                for (int r = FIRST; r < Shape::ROWS; r++) eab_small_fma(score[r][e], rows.query[r] + 4 * m, key);
            }
#pragma unroll
        for (int r = FIRST; r < Shape::ROWS; r++)
            weigh<Formula, Shape, FIRST>(rows, r, score[r], chunk, u, offset + (float)r * chunk.row_step);
#pragma unroll
        for (int m = 0; m < QUADS; m++)
#pragma unroll
            for (int e = 0; e < STEP; e++) {
                const float4 value = words<Shape>(values, e, m);
#pragma unroll
                for (int r = FIRST; r < Shape::ROWS; r++) eab_small_axpy(rows.sum[r] + 4 * m, score[r][e], value);
            }
    }
}

/* Chooses FIRST at run time: rows that a diagonal chunk masks entirely are left out of its code. */
template <typename Formula, typename Shape, int FIRST> struct attend_from {
    static __device__ __forceinline__ void chunk(int32_t first, attended<Shape> &rows, const key_chunk &keys) {
        if (first == FIRST) attend_chunk<Formula, Shape, FIRST>(rows, keys);
        else attend_from<Formula, Shape, FIRST - 1>::chunk(first, rows, keys);
    }
};
template <typename Formula, typename Shape> struct attend_from<Formula, Shape, -1> {
    static __device__ __forceinline__ void chunk(int32_t, attended<Shape> &, const key_chunk &) {}
};

template <typename Shape>
__device__ __forceinline__ void load_rows(attended<Shape> &rows, const eab_small_forward_args &args,
                                          const eab_small_place &at, int32_t first_row) {
#pragma unroll
    for (int r = 0; r < Shape::ROWS; r++) {
        const int32_t time = first_row + r * args.layout.slots;
        const bool here = at.present && time < args.context;
        eab_small_load<Shape>(rows.query[r], here ? eab_small_row(args.q, at.member, at.batch, at.head, time) : NULL,
                              at.lane, args.head_dim, args.q.wide, args.scores.scale[at.member]);
        rows.total[r] = 0;
        rows.top[r] = -3.0e38f; /* below every log-weight */
#pragma unroll
        for (int i = 0; i < Shape::SLICE; i++) rows.sum[r][i] = 0;
    }
}

/* Writes out and row_stat. */
template <typename Formula, typename Shape>
__device__ __forceinline__ void store_rows(const attended<Shape> &rows, const eab_small_forward_args &args,
                                           const eab_small_place &at, int32_t first_row) {
#pragma unroll
    for (int r = 0; r < Shape::ROWS; r++) {
        const int32_t time = first_row + r * args.layout.slots;
        if (!at.present || time >= args.context) continue;
        eab_small_store<Shape>(eab_small_row(args.out, at.member, at.batch, at.head, time), rows.sum[r], at.lane,
                               args.head_dim, args.out.wide, 1 / rows.total[r]);
        if (args.row_stat && at.lane == 0)
            args.row_stat[at.member * args.row_stat_member + ((int64_t)at.batch * args.heads + at.head) * args.context +
                          time] = Formula::bounded ? rows.total[r] : rows.top[r] + logf(rows.total[r]);
    }
}

template <typename Formula, typename Shape>
__device__ __forceinline__ void attend(const eab_small_forward_args &args, const eab_small_place &at, float *shared) {
    const eab_small_layout &layout = args.layout;
    const int32_t first_row = at.tile * Shape::ROWS * layout.slots + at.slot;
    float *key_tile = shared, *value_tile = shared + layout.groups * layout.group_floats;
    attended<Shape> rows;
    load_rows(rows, args, at, first_row);
    key_chunk chunk;
    chunk.row_step = (float)layout.slots;
    chunk.sloped = args.scores.slopes != NULL;
    chunk.slope = chunk.sloped ? args.scores.slopes[at.head] : 0;
    chunk.mix = args.scores.mix[at.member];
    const int32_t chunks = (args.context + layout.slots - 1) / layout.slots;
    const int32_t diagonal = args.causal ? at.tile * Shape::ROWS : chunks;
    const int32_t end = args.causal && diagonal + Shape::ROWS < chunks ? diagonal + Shape::ROWS : chunks;
    for (int32_t c = 0; c < end; c++) {
        const int32_t in_tile = c % layout.tile_chunks, first = c * layout.slots;
        if (in_tile == 0) {
            const int32_t stop =
                c + layout.tile_chunks < end ? (c + layout.tile_chunks) * layout.slots : end * layout.slots;
            const int32_t count = (stop < args.context ? stop : args.context) - first;
            if (c) __syncthreads();
            eab_small_load_tile<Shape>(key_tile, args, args.k, at, first, count, 1);
            eab_small_load_tile<Shape>(value_tile, args, args.v, at, first, count, 1);
            __syncthreads();
        }
        const int32_t offset = at.group * layout.group_floats + in_tile * layout.slots * Shape::WIDTH + 4 * at.lane;
        chunk.keys = key_tile + offset;
        chunk.values = value_tile + offset;
        chunk.count = args.context - first < layout.slots ? args.context - first : layout.slots;
        chunk.last = c >= diagonal ? at.slot : layout.slots;
        chunk.distance = (float)(first_row - first);
        attend_from<Formula, Shape, Shape::ROWS - 1>::chunk(c >= diagonal ? c - diagonal : 0, rows, chunk);
    }
    store_rows<Formula>(rows, args, at, first_row);
}

template <typename Shape>
__global__ __launch_bounds__(Shape::THREADS, Shape::BLOCKS) void eab_small_forward(eab_small_forward_args args) {
    EAB_DYNAMIC_SHARED(shared);
    const eab_small_place at = eab_small_locate<Shape>(args, 1);
    const eab_formula block_formula = eab_formula_of(args.scores.mechanism[at.member]);
    switch (block_formula) {
#define EAB_CASE(formula)                                                                  \
    case EAB_FORMULA_##formula:                                                            \
        attend<eab_formula_##formula, Shape>(args, at, reinterpret_cast<float *>(shared)); \
        break;
        EAB_OWN_CODE_LIST(EAB_CASE)
#undef EAB_CASE
        case EAB_FORMULA_mix: attend<eab_formula_mix, Shape>(args, at, reinterpret_cast<float *>(shared)); break;
        default:
            eab_set_block_formula(block_formula);
            attend<eab_formula_shared, Shape>(args, at, reinterpret_cast<float *>(shared));
    }
}

template <typename Shape>
static int launch(cudaStream_t stream, const eab_attention_args *args, eab_small_forward_args to) {
    int blocks;
    to.layout = eab_small_lay_out<Shape>(args, 0);
    EAB_TRY(eab_small_grid(args, &to.layout, 1, &blocks));
    const size_t bytes = (size_t)(2 * to.layout.groups * to.layout.group_floats) * sizeof(float);
    return EAB_LAUNCH(stream, eab_small_forward<Shape>, dim3((unsigned)blocks), dim3(Shape::THREADS), bytes, to);
}

int eab_cuda_attention_forward(cudaStream_t stream, const eab_attention_args *args, const eab_cuda_scores *scores,
                               eab_const_tensor q, eab_const_tensor k, eab_const_tensor v, eab_tensor out,
                               eab_tensor row_stat) {
    eab_small_forward_args to = {};
    eab_small_set(&to, args, scores, q, k, v, row_stat.stride);
    to.out = eab_small_out(args, out);
    to.row_stat = (float *)row_stat.data;
    if (args->head_dim <= 4) return launch<eab_small_shape<4, 1, 4, 2, 128, 4>>(stream, args, to);
    if (args->head_dim <= 8) return launch<eab_small_shape<8, 1, 4, 2, 128, 3>>(stream, args, to);
    if (args->head_dim <= 16) return launch<eab_small_shape<16, 1, 2, 2, 128, 3>>(stream, args, to);
    if (args->head_dim <= 32) return launch<eab_small_shape<16, 2, 2, 2, 128, 3>>(stream, args, to);
    if (args->head_dim <= 64) return launch<eab_small_shape<16, 4, 2, 2, 128, 3>>(stream, args, to);
    if (args->head_dim <= 128) return launch<eab_small_shape<16, 8, 2, 2, 128, 3>>(stream, args, to);
    if (args->head_dim <= 256) return launch<eab_small_shape<16, 16, 2, 2, 256, 1>>(stream, args, to);
    return eab_fail(EAB_UNSUPPORTED, "attention: head_dim %d; the cuda backend takes at most 256", (int)args->head_dim);
}
