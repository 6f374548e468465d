/* Attention in float32, backward, for fleets of small models. Weights are recomputed from q, k and row_stat.
 *
 *   dp_ij = dout_i . v_j,  D_i = dout_i . out_i,  ds_ij = (w'(z_ij) b_ij / L_i) (dp_ij - D_i),  a_ij = w(z_ij) b_ij /
 *   L_i dq_i = scale sum_j ds_ij k_j,  dk_j = scale sum_i ds_ij q_i,  dv_j = sum_i a_ij dout_i
 *
 * One launch has blocks of two kinds (attention_small.h describes the layout): queries in registers with tiles of k and
 * v give dq; keys in registers with tiles of q and dout give dk and dv. One block owns each result, so there are no
 * atomics and runs agree bit for bit. Scores and dp are therefore computed twice: 7 products of head_dim multiply-adds
 * a pair instead of 5. D of a tile's queries is computed when the tile is loaded. dp - D is subtracted before any
 * multiplication, and nothing is divided by a score (docs/design.md 1).
 *
 * Limit: as in the forward pass, shared memory for large head_dim, the weights (twice) for small head_dim. A pair:
 * 7 head_dim FMA, about 40 other instructions, two MUFU. A row: 32 head_dim bytes. H200 with the quick ladder's fleet
 * (see the forward file): 65,536 x 300 pairs x 96 = 1.9 G lane instructions, 56 us at full rate, so 130 to 190 us
 * expected; MUFU 9 us; memory 512 x 768 x 260 x 4 B = 409 MB, 85 us, if the second pass finds the problem in the L2
 * cache. Not measured on a GPU yet.
 */
#include "attention_small.h"

typedef struct {
    const float *x, *y; /* k and v, or q and dout: the group's tiles at the chunk's first column, this lane's words */
    const float *stat, *mean_dp;         /* of columns that are queries */
    int32_t count;                       /* columns of the chunk */
    int32_t first_allowed, last_allowed; /* of row EDGE */
    float distance;                      /* row 0 minus the chunk's first column */
    float row_step;                      /* from row r to row r + 1: slots */
    float slope, mix; /* mix: of the member */
    bool sloped;
} column_chunk;

/* Rows that are queries: x = scale q, y = dout, dx = dq / scale. Rows that are keys: x = k, y = v, dx = dk, dy = dv;
 * their tiles hold scale q. So both passes compute the forward pass's scores bit for bit, and exp(log w - log L) is at
 * most 1. */
template <typename Shape, bool KEYS> struct differentiated {
    float x[Shape::ROWS][Shape::SLICE], y[Shape::ROWS][Shape::SLICE];
    float dx[Shape::ROWS][Shape::SLICE], dy[KEYS ? Shape::ROWS : 1][Shape::SLICE];
    float stat[Shape::ROWS], mean_dp[Shape::ROWS]; /* of queries */
};

/* What a pair needs of its query: log L, or 1 / L for bounded formulas. */
template <typename Formula> __device__ __forceinline__ float query_stat(float row_stat) {
    return Formula::bounded ? 1 / row_stat : row_stat;
}

/* Computes a_ij and ds_ij from z_ij and dp_ij. */
template <typename Formula>
__device__ __forceinline__ void differentiate_pair(float z, float dp, float mix, float log_bias, bool sloped,
                                                   float stat, float mean_dp, bool allowed, float &a, float &ds) {
    if (Formula::bounded) {
        const float factor = sloped ? stat * eab_fast_exp(log_bias) : stat;
        a = Formula::weight(z) * factor;
        ds = Formula::derivative(z) * factor * (dp - mean_dp);
    } else {
        a = eab_fast_exp(Formula::log_weight(z, mix) - stat + log_bias);
        ds = a * Formula::log_derivative(z, mix) * (dp - mean_dp);
    }
    a = allowed ? a : 0;
    ds = allowed ? ds : 0;
}

/* Adds a chunk of columns to the gradients. Queries: of rows EDGE on; keys: of rows up to EDGE. */
template <typename Formula, typename Shape, bool KEYS, int EDGE>
__device__ __forceinline__ void differentiate_chunk(differentiated<Shape, KEYS> &rows, const column_chunk &chunk) {
    const int QUADS = Shape::SLICE / 4, STEP = Shape::STEP, FROM = KEYS ? 0 : EDGE, TO = KEYS ? EDGE + 1 : Shape::ROWS;
    float offset = chunk.distance;
#pragma unroll 1
    for (int32_t u = 0; u < chunk.count; u += STEP, offset -= STEP) {
        const float *xs = chunk.x + u * Shape::WIDTH, *ys = chunk.y + u * Shape::WIDTH;
        float z[Shape::ROWS][STEP], dp[Shape::ROWS][STEP];
#pragma unroll
        for (int r = FROM; r < TO; r++)
#pragma unroll
            for (int e = 0; e < STEP; e++) z[r][e] = dp[r][e] = 0;
#pragma unroll
        for (int m = 0; m < QUADS; m++)
#pragma unroll
            for (int e = 0; e < STEP; e++) {
                const float4 x = *reinterpret_cast<const float4 *>(xs + e * Shape::WIDTH + 4 * Shape::SPLIT * m);
                const float4 y = *reinterpret_cast<const float4 *>(ys + e * Shape::WIDTH + 4 * Shape::SPLIT * m);
#pragma unroll
                for (int r = FROM; r < TO; r++) {
                    eab_small_fma(z[r][e], rows.x[r] + 4 * m, x);
                    eab_small_fma(dp[r][e], rows.y[r] + 4 * m, y);
                }
            }
#pragma unroll
        for (int r = FROM; r < TO; r++)
#pragma unroll
            for (int e = 0; e < STEP; e++) {
                const bool allowed =
                    u + e < chunk.count && (r != EDGE || (u + e >= chunk.first_allowed && u + e <= chunk.last_allowed));
                const float log_bias = -chunk.slope * fabsf(offset + (float)r * chunk.row_step - (float)e);
                float a, ds;
                differentiate_pair<Formula>(eab_small_sum<Shape::SPLIT>(z[r][e]), eab_small_sum<Shape::SPLIT>(dp[r][e]),
                                            chunk.mix, log_bias, chunk.sloped, KEYS ? chunk.stat[u + e] : rows.stat[r],
                                            KEYS ? chunk.mean_dp[u + e] : rows.mean_dp[r], allowed, a, ds);
                z[r][e] = ds;
                dp[r][e] = a;
            }
#pragma unroll
        for (int m = 0; m < QUADS; m++)
#pragma unroll
            for (int e = 0; e < STEP; e++) {
                const float4 x = *reinterpret_cast<const float4 *>(xs + e * Shape::WIDTH + 4 * Shape::SPLIT * m);
#pragma unroll
                for (int r = FROM; r < TO; r++) eab_small_axpy(rows.dx[r] + 4 * m, z[r][e], x);
                if (KEYS) {
                    const float4 y = *reinterpret_cast<const float4 *>(ys + e * Shape::WIDTH + 4 * Shape::SPLIT * m);
#pragma unroll
                    for (int r = FROM; r < TO; r++) eab_small_axpy(rows.dy[KEYS ? r : 0] + 4 * m, dp[r][e], y);
                }
            }
    }
}

/* Chooses EDGE at run time: rows that a diagonal chunk masks entirely are left out of its code. */
template <typename Formula, typename Shape, bool KEYS, int EDGE> struct differentiate_at {
    static __device__ __forceinline__ void chunk(int32_t edge, differentiated<Shape, KEYS> &rows,
                                                 const column_chunk &columns) {
        if (edge == EDGE) differentiate_chunk<Formula, Shape, KEYS, EDGE>(rows, columns);
        else differentiate_at<Formula, Shape, KEYS, EDGE - 1>::chunk(edge, rows, columns);
    }
};
template <typename Formula, typename Shape, bool KEYS> struct differentiate_at<Formula, Shape, KEYS, -1> {
    static __device__ __forceinline__ void chunk(int32_t, differentiated<Shape, KEYS> &, const column_chunk &) {}
};

/* dout . out over this lane's slice; 0 if the row does not exist (`here` is false). */
template <typename Shape>
__device__ __forceinline__ float partial_mean_dp(const eab_small_backward_args &args, const eab_small_place &at,
                                                 int32_t batch, int32_t head, int32_t time, bool here) {
    float sum = 0;
    if (!here) return sum;
    const float *dout = eab_small_row(args.dout, at.member, batch, head, time);
    const float *out = eab_small_row(args.out, at.member, batch, head, time);
#pragma unroll 1
    for (int m = 0; m < Shape::SLICE / 4; m++) {
        const int32_t i = 4 * (at.lane + Shape::SPLIT * m);
        const float4 x = eab_small_load4(dout, i, args.head_dim, args.dout.wide);
        const float y[4] = {x.x, x.y, x.z, x.w};
        eab_small_fma(sum, y, eab_small_load4(out, i, args.head_dim, args.out.wide));
    }
    return sum;
}

__device__ __forceinline__ float saved_stat(const eab_small_backward_args &args, int32_t member, int32_t batch,
                                            int32_t head, int32_t time) {
    return args.row_stat[member * args.row_stat_member + ((int64_t)batch * args.heads + head) * args.context + time];
}

/* Computes log L or 1 / L, and D, of queries [first, first + count) of the block's problems: [group][column]. */
template <typename Formula, typename Shape>
__device__ __forceinline__ void load_query_terms(float *stat, float *mean_dp, const eab_small_backward_args &args,
                                                 const eab_small_place &at, int32_t first, int32_t count) {
    const int32_t padded = (count + Shape::STEP - 1) / Shape::STEP * Shape::STEP;
    const int32_t columns = args.layout.tile_chunks * args.layout.slots, total = at.problems * padded;
    /* all lanes take the same number of iterations, because they shuffle */
    for (int32_t base = 0; base < total; base += Shape::THREADS / Shape::SPLIT) {
        const int32_t n = base + (int32_t)threadIdx.x / Shape::SPLIT;
        const int32_t column = n % padded, group = n / padded, problem = at.first_problem + group;
        const bool here = n < total && column < count;
        const int32_t batch = problem / args.heads, head = problem % args.heads;
        const float mean =
            eab_small_sum<Shape::SPLIT>(partial_mean_dp<Shape>(args, at, batch, head, first + column, here));
        if (n < total && at.lane == 0) {
            stat[group * columns + column] =
                here ? query_stat<Formula>(saved_stat(args, at.member, batch, head, first + column)) : 0;
            mean_dp[group * columns + column] = mean;
        }
    }
}

template <typename Formula, typename Shape, bool KEYS>
__device__ __forceinline__ void load_rows(differentiated<Shape, KEYS> &rows, const eab_small_backward_args &args,
                                          const eab_small_place &at, int32_t first_row) {
    const eab_small_inputs &x = KEYS ? args.k : args.q, &y = KEYS ? args.v : args.dout;
#pragma unroll
    for (int r = 0; r < Shape::ROWS; r++) {
        const int32_t time = first_row + r * args.layout.slots;
        const bool here = at.present && time < args.context;
        eab_small_load<Shape>(rows.x[r], here ? eab_small_row(x, at.member, at.batch, at.head, time) : NULL, at.lane,
                              args.head_dim, x.wide, KEYS ? 1 : args.scores.scale[at.member]);
        eab_small_load<Shape>(rows.y[r], here ? eab_small_row(y, at.member, at.batch, at.head, time) : NULL, at.lane,
                              args.head_dim, y.wide, 1);
        rows.stat[r] = rows.mean_dp[r] = 0;
        if (!KEYS) {
            rows.mean_dp[r] =
                eab_small_sum<Shape::SPLIT>(partial_mean_dp<Shape>(args, at, at.batch, at.head, time, here));
            if (here) rows.stat[r] = query_stat<Formula>(saved_stat(args, at.member, at.batch, at.head, time));
        }
#pragma unroll
        for (int i = 0; i < Shape::SLICE; i++) rows.dx[r][i] = rows.dy[KEYS ? r : 0][i] = 0;
    }
}

template <typename Shape, bool KEYS>
__device__ __forceinline__ void store_rows(const differentiated<Shape, KEYS> &rows, const eab_small_backward_args &args,
                                           const eab_small_place &at, int32_t first_row) {
    const eab_small_outputs &dx = KEYS ? args.dk : args.dq;
#pragma unroll
    for (int r = 0; r < Shape::ROWS; r++) {
        const int32_t time = first_row + r * args.layout.slots;
        if (!at.present || time >= args.context) continue;
        eab_small_store<Shape>(eab_small_row(dx, at.member, at.batch, at.head, time), rows.dx[r], at.lane,
                               args.head_dim, dx.wide, KEYS ? 1 : args.scores.scale[at.member]);
        if (KEYS)
            eab_small_store<Shape>(eab_small_row(args.dv, at.member, at.batch, at.head, time), rows.dy[KEYS ? r : 0],
                                   at.lane, args.head_dim, args.dv.wide, 1);
    }
}

template <typename Formula, typename Shape, bool KEYS>
__device__ __forceinline__ void differentiate(const eab_small_backward_args &args, const eab_small_place &at,
                                              float *shared) {
    const eab_small_layout &layout = args.layout;
    const int32_t chunks = (args.context + layout.slots - 1) / layout.slots;
    const int32_t tile =
        KEYS ? layout.row_tiles - 1 - at.tile : at.tile; /* causal: the first keys have the most work */
    const int32_t first_row = tile * Shape::ROWS * layout.slots + at.slot;
    const int32_t diagonal = tile * Shape::ROWS; /* the first chunk on the diagonal */
    const int32_t begin = KEYS && args.causal ? diagonal : 0;
    const int32_t end = !KEYS && args.causal && diagonal + Shape::ROWS < chunks ? diagonal + Shape::ROWS : chunks;
    float *x_tile = shared, *y_tile = x_tile + layout.groups * layout.group_floats;
    float *stat = y_tile + layout.groups * layout.group_floats;
    float *mean_dp = stat + layout.groups * layout.tile_chunks * layout.slots;
    differentiated<Shape, KEYS> rows;
    load_rows<Formula, Shape, KEYS>(rows, args, at, first_row);

    column_chunk chunk;
    chunk.row_step = (float)layout.slots;
    chunk.sloped = args.scores.slopes != NULL;
    chunk.slope = chunk.sloped ? args.scores.slopes[at.head] : 0;
    chunk.mix = args.scores.mix[at.member];
    for (int32_t c = begin; c < end; c++) {
        const int32_t in_tile = (c - begin) % layout.tile_chunks, first = c * layout.slots;
        if (in_tile == 0) {
            const int32_t stop =
                c + layout.tile_chunks < end ? (c + layout.tile_chunks) * layout.slots : end * layout.slots;
            const int32_t count = (stop < args.context ? stop : args.context) - first;
            if (c > begin) __syncthreads();
            eab_small_load_tile<Shape>(x_tile, args, KEYS ? args.q : args.k, at, first, count,
                                       KEYS ? args.scores.scale[at.member] : 1);
            eab_small_load_tile<Shape>(y_tile, args, KEYS ? args.dout : args.v, at, first, count, 1);
            if (KEYS) load_query_terms<Formula, Shape>(stat, mean_dp, args, at, first, count);
            __syncthreads();
        }
        const int32_t column = in_tile * layout.slots;
        const int32_t offset = at.group * layout.group_floats + column * Shape::WIDTH + 4 * at.lane;
        const bool on_diagonal = args.causal && c >= diagonal && c < diagonal + Shape::ROWS;
        chunk.x = x_tile + offset;
        chunk.y = y_tile + offset;
        chunk.stat = stat + at.group * layout.tile_chunks * layout.slots + column;
        chunk.mean_dp = mean_dp + at.group * layout.tile_chunks * layout.slots + column;
        chunk.count = args.context - first < layout.slots ? args.context - first : layout.slots;
        chunk.first_allowed = on_diagonal && KEYS ? at.slot : 0;
        chunk.last_allowed = on_diagonal && !KEYS ? at.slot : layout.slots;
        chunk.distance = (float)(first_row - first);
        const int32_t edge = on_diagonal ? c - diagonal : KEYS ? Shape::ROWS - 1 : 0;
        differentiate_at<Formula, Shape, KEYS, Shape::ROWS - 1>::chunk(edge, rows, chunk);
    }
    store_rows(rows, args, at, first_row);
}

template <typename Formula, typename Shape>
__device__ __forceinline__ void differentiate_either(const eab_small_backward_args &args, const eab_small_place &at,
                                                     float *shared) {
    if (at.pass == 0) differentiate<Formula, Shape, true>(args, at, shared);
    else differentiate<Formula, Shape, false>(args, at, shared);
}

/* Blocks of both kinds alternate, so that the second kind finds the problem in the L2 cache. */
template <typename Shape>
__global__ __launch_bounds__(Shape::THREADS, Shape::BLOCKS) void eab_small_backward(eab_small_backward_args args) {
    EAB_DYNAMIC_SHARED(shared);
    const eab_small_place at = eab_small_locate<Shape>(args, 2);
    const eab_formula block_formula = eab_formula_of(args.scores.mechanism[at.member]);
    switch (block_formula) {
#define EAB_CASE(formula)                                                                                \
    case EAB_FORMULA_##formula:                                                                          \
        differentiate_either<eab_formula_##formula, Shape>(args, at, reinterpret_cast<float *>(shared)); \
        break;
        EAB_OWN_CODE_LIST(EAB_CASE)
#undef EAB_CASE
        case EAB_FORMULA_mix:
            if constexpr (Shape::WIDTH != 8) /* there it would spill a register */
                differentiate_either<eab_formula_mix, Shape>(args, at, reinterpret_cast<float *>(shared));
            break;
        default:
            if constexpr (Shape::WIDTH != 8) { /* there it would spill a register */
                eab_set_block_formula(block_formula);
                differentiate_either<eab_formula_shared, Shape>(args, at, reinterpret_cast<float *>(shared));
            }
    }
}

template <typename Shape>
static int launch(cudaStream_t stream, const eab_attention_args *args, eab_small_backward_args to) {
    int blocks;
    to.layout = eab_small_lay_out<Shape>(args, 2);
    EAB_TRY(eab_small_grid(args, &to.layout, 2, &blocks));
    const eab_small_layout *layout = &to.layout;
    const int floats = 2 * layout->groups * (layout->group_floats + layout->tile_chunks * layout->slots);
    return EAB_LAUNCH(stream, eab_small_backward<Shape>, dim3((unsigned)blocks), dim3(Shape::THREADS),
                      (size_t)floats * sizeof(float), to);
}

static bool have_own_code(const eab_attention_args *args) {
    for (int32_t member = 0; member < args->members; member++) switch (eab_formula_of(args->scores.mechanism[member])) {
#define EAB_CASE(formula) case EAB_FORMULA_##formula:
            EAB_OWN_CODE_LIST(EAB_CASE)
#undef EAB_CASE
            break;
            default: return false;
        }
    return true;
}

int eab_cuda_attention_backward(cudaStream_t stream, const eab_attention_args *args, const eab_cuda_scores *scores,
                                eab_const_tensor q, eab_const_tensor k, eab_const_tensor v, eab_const_tensor out,
                                eab_const_tensor row_stat, eab_const_tensor dout, eab_tensor dq, eab_tensor dk,
                                eab_tensor dv) {
    eab_small_backward_args to = {};
    eab_small_set(&to, args, scores, q, k, v, row_stat.stride);
    to.out = eab_small_out(args, out);
    to.row_stat = (const float *)row_stat.data;
    to.dout = eab_small_out(args, dout);
    to.dq = eab_small_in(args, dq);
    to.dk = eab_small_in(args, dk);
    to.dv = eab_small_in(args, dv);
    if (args->head_dim <= 4) return launch<eab_small_shape<4, 1, 2, 2, 128, 4>>(stream, args, to);
    if (args->head_dim <= 8 && have_own_code(args))
        return launch<eab_small_shape<8, 1, 2, 2, 128, 3>>(stream, args, to);
    if (args->head_dim <= 16) return launch<eab_small_shape<16, 1, 1, 1, 128, 3>>(stream, args, to);
    if (args->head_dim <= 32) return launch<eab_small_shape<16, 2, 1, 1, 128, 3>>(stream, args, to);
    if (args->head_dim <= 64) return launch<eab_small_shape<16, 4, 1, 1, 128, 3>>(stream, args, to);
    if (args->head_dim <= 128) return launch<eab_small_shape<16, 8, 1, 1, 128, 3>>(stream, args, to);
    if (args->head_dim <= 256) return launch<eab_small_shape<16, 16, 1, 1, 256, 1>>(stream, args, to);
    return eab_fail(EAB_UNSUPPORTED, "attention: head_dim %d; the cuda backend takes at most 256", (int)args->head_dim);
}
