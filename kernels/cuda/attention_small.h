/* Shared by the float32 attention kernels: how threads divide a problem, and how rows are loaded and stored.
 *
 * A problem is one head of one batch element of one member. Its rows (queries; keys for dk and dv) are in registers,
 * its columns (keys; queries for dk and dv) in shared memory:
 *
 *   slot     SPLIT neighbouring lanes that own ROWS rows; each lane holds SLICE of head_dim <= SPLIT * SLICE elements,
 *            every SPLIT-th group of 4 floats, so that the lanes of a slot read neighbouring 16-byte words
 *   group    `slots` slots that work on one problem; row r of slot t is row tile * ROWS * slots + r * slots + t
 *   block    `groups` groups, so that short problems fill it; all of one member, so that they share one mechanism
 *   chunk    `slots` columns; on the diagonal, chunk c concerns rows r >= c (queries) or r <= c (keys) only, so that
 *            causal attention skips the other rows without a branch in the inner loop
 *   tile     `tile_chunks` chunks, those in shared memory at a time; the whole problem if it fits
 */
#ifndef EAB_KERNELS_CUDA_ATTENTION_SMALL_H
#define EAB_KERNELS_CUDA_ATTENTION_SMALL_H

#include "attention_formula.h" /* first: it configures mechanism.h */

#include "attention.h"

/* STEP: columns of one iteration of the inner loop; divides `slots`. BLOCKS: blocks whose registers should fit a
 * multiprocessor together. */
template <int SLICE_, int SPLIT_, int ROWS_, int STEP_, int THREADS_, int BLOCKS_> struct eab_small_shape {
    static const int SLICE = SLICE_, SPLIT = SPLIT_, ROWS = ROWS_, STEP = STEP_, THREADS = THREADS_, BLOCKS = BLOCKS_;
    static const int WIDTH = SLICE_ * SPLIT_;
};

typedef struct {
    int32_t slots, groups, tile_chunks;
    int32_t row_tiles, problem_groups; /* of a problem, of a member */
    int32_t group_floats;              /* of a tensor's tile in shared memory, from one group to the next */
} eab_small_layout;

/* A tensor's rows: element i of row `time` of problem (batch, head) of a member. */
template <typename Real> struct eab_small_rows {
    Real *data;
    int64_t member, batch, head, time;
    bool wide; /* rows are 16-byte aligned and head_dim is a multiple of 4 */
};
typedef eab_small_rows<const float> eab_small_inputs;
typedef eab_small_rows<float> eab_small_outputs;

/* Arguments of both passes. */
struct eab_small_args {
    eab_small_layout layout;
    int32_t batch, heads, context, head_dim, causal;
    eab_cuda_scores scores;
    eab_small_inputs q, k, v;
    int64_t row_stat_member; /* floats between members of row_stat, [batch][heads][context] each */
};

struct eab_small_forward_args : eab_small_args {
    eab_small_outputs out;
    float *row_stat; /* may be NULL */
};

struct eab_small_backward_args : eab_small_args {
    eab_small_inputs out, dout;
    eab_small_outputs dq, dk, dv;
    const float *row_stat;
};

template <typename Real>
__device__ __forceinline__ Real *eab_small_row(const eab_small_rows<Real> &rows, int32_t member, int32_t batch,
                                               int32_t head, int32_t time) {
    return rows.data + member * rows.member + batch * rows.batch + head * rows.head + time * rows.time;
}

/* Four floats of a row from element i on; zeros past head_dim. */
__device__ __forceinline__ float4 eab_small_load4(const float *row, int32_t i, int32_t head_dim, bool wide) {
    float4 x = make_float4(0, 0, 0, 0);
    if (wide) {
        if (i < head_dim) x = __ldg(reinterpret_cast<const float4 *>(row + i));
    } else {
        if (i < head_dim) x.x = __ldg(row + i);
        if (i + 1 < head_dim) x.y = __ldg(row + i + 1);
        if (i + 2 < head_dim) x.z = __ldg(row + i + 2);
        if (i + 3 < head_dim) x.w = __ldg(row + i + 3);
    }
    return x;
}

/* This lane's slice of a row times `factor`; zeros if `row` is NULL. */
template <typename Shape>
__device__ __forceinline__ void eab_small_load(float (&x)[Shape::SLICE], const float *row, int32_t lane,
                                               int32_t head_dim, bool wide, float factor) {
#pragma unroll
    for (int m = 0; m < Shape::SLICE / 4; m++) {
        const int32_t i = 4 * (lane + Shape::SPLIT * m);
        const float4 part = row ? eab_small_load4(row, i, head_dim, wide) : make_float4(0, 0, 0, 0);
        x[4 * m] = part.x * factor;
        x[4 * m + 1] = part.y * factor;
        x[4 * m + 2] = part.z * factor;
        x[4 * m + 3] = part.w * factor;
    }
}

template <typename Shape>
__device__ __forceinline__ void eab_small_store(float *row, const float (&x)[Shape::SLICE], int32_t lane,
                                                int32_t head_dim, bool wide, float factor) {
#pragma unroll
    for (int m = 0; m < Shape::SLICE / 4; m++) {
        const int32_t i = 4 * (lane + Shape::SPLIT * m);
        if (wide) {
            if (i < head_dim)
                *reinterpret_cast<float4 *>(row + i) =
                    make_float4(x[4 * m] * factor, x[4 * m + 1] * factor, x[4 * m + 2] * factor, x[4 * m + 3] * factor);
        } else {
#pragma unroll
            for (int n = 0; n < 4; n++)
                if (i + n < head_dim) row[i + n] = x[4 * m + n] * factor;
        }
    }
}

/* Where a thread works. A thread without a problem repeats the work of group 0, because all lanes take part in shuffles
 * and barriers; it stores nothing. */
typedef struct {
    int32_t member, tile, pass;      /* pass: the kind of block, 0..passes - 1 */
    int32_t first_problem, problems; /* of the block */
    int32_t group, slot, lane;
    bool present;
    int32_t batch, head; /* of its problem */
} eab_small_place;

template <typename Shape>
__device__ __forceinline__ eab_small_place eab_small_locate(const eab_small_args &args, int32_t passes) {
    const eab_small_layout &layout = args.layout;
    eab_small_place at;
    int32_t block = (int32_t)blockIdx.x;
    at.pass = block % passes;
    block /= passes;
    at.tile = layout.row_tiles - 1 - block % layout.row_tiles; /* causal: the last queries have the most work */
    block /= layout.row_tiles;
    at.first_problem = block % layout.problem_groups * layout.groups;
    at.member = block / layout.problem_groups;
    const int32_t left = args.batch * args.heads - at.first_problem;
    at.problems = left < layout.groups ? left : layout.groups;
    const int32_t slot = (int32_t)threadIdx.x / Shape::SPLIT;
    at.lane = (int32_t)threadIdx.x % Shape::SPLIT;
    at.group = slot / layout.slots;
    at.slot = slot % layout.slots;
    at.present = at.group < at.problems;
    if (!at.present) at.group = 0;
    const int32_t problem = at.first_problem + at.group;
    at.batch = problem / args.heads;
    at.head = problem % args.heads;
    return at;
}

/* Loads columns [first, first + count) of the block's problems, times `factor`, into shared memory:
 * [group][column][WIDTH], with zeros up to a multiple of STEP columns. */
template <typename Shape>
__device__ __forceinline__ void eab_small_load_tile(float *tile, const eab_small_args &args,
                                                    const eab_small_inputs &rows, const eab_small_place &at,
                                                    int32_t first, int32_t count, float factor) {
    const int QUADS = Shape::WIDTH / 4;
    const int32_t padded = (count + Shape::STEP - 1) / Shape::STEP * Shape::STEP;
#pragma unroll 1 /* saves registers: the rows occupy many */
    for (int32_t n = (int32_t)threadIdx.x; n < at.problems * padded * QUADS; n += Shape::THREADS) {
        const int32_t quad = n % QUADS, column = n / QUADS % padded, group = n / QUADS / padded;
        const int32_t problem = at.first_problem + group;
        float4 x = make_float4(0, 0, 0, 0);
        if (column < count)
            x = eab_small_load4(
                eab_small_row(rows, at.member, problem / args.heads, problem % args.heads, first + column), 4 * quad,
                args.head_dim, rows.wide);
        *reinterpret_cast<float4 *>(tile + group * args.layout.group_floats + column * Shape::WIDTH + 4 * quad) =
            make_float4(x.x * factor, x.y * factor, x.z * factor, x.w * factor);
    }
}

/* The sum over the lanes of a slot. */
template <int SPLIT> __device__ __forceinline__ float eab_small_sum(float x) {
#pragma unroll
    for (int offset = 1; offset < SPLIT; offset *= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
    return x;
}

__device__ __forceinline__ void eab_small_fma(float &sum, const float *x, const float4 &y) {
    sum = fmaf(x[0], y.x, sum);
    sum = fmaf(x[1], y.y, sum);
    sum = fmaf(x[2], y.z, sum);
    sum = fmaf(x[3], y.w, sum);
}

__device__ __forceinline__ void eab_small_axpy(float *x, float a, const float4 &y) {
    x[0] = fmaf(a, y.x, x[0]);
    x[1] = fmaf(a, y.y, x[1]);
    x[2] = fmaf(a, y.z, x[2]);
    x[3] = fmaf(a, y.w, x[3]);
}

/* ---- host ---- */

/* A block's shared memory stays within what every GPU grants without cudaFuncSetAttribute. */
enum { EAB_SMALL_SHARED_BYTES = 48 * 1024 - 2048 };

/* `column_floats`: floats of shared memory for a column besides those of the two tensors. */
template <typename Shape> static eab_small_layout eab_small_lay_out(const eab_attention_args *args, int column_floats) {
    eab_small_layout layout;
    const int32_t most = Shape::THREADS / Shape::SPLIT, problems = args->batch * args->heads;
    const int32_t wanted = (args->context + Shape::ROWS * Shape::STEP - 1) / (Shape::ROWS * Shape::STEP) * Shape::STEP;
    layout.slots = wanted < most ? wanted : most;
    layout.groups = most / layout.slots < problems ? most / layout.slots : problems;
    const int32_t chunks = (args->context + layout.slots - 1) / layout.slots;
    const int32_t chunk_bytes =
        layout.groups * layout.slots * (2 * Shape::WIDTH + column_floats) * (int32_t)sizeof(float);
    const int32_t fitting = EAB_SMALL_SHARED_BYTES / chunk_bytes;
    layout.tile_chunks = fitting < 1 ? 1 : fitting < chunks ? fitting : chunks;
    const int32_t rows = Shape::ROWS * layout.slots;
    layout.row_tiles = (args->context + rows - 1) / rows;
    layout.problem_groups = (problems + layout.groups - 1) / layout.groups;
    /* An odd number of 16-byte words from group to group, so that lanes of different groups use different banks. */
    layout.group_floats = layout.tile_chunks * layout.slots * Shape::WIDTH;
    if (layout.groups > 1 && layout.group_floats / 4 % 2 == 0) layout.group_floats += 4;
    return layout;
}

template <typename Real>
static eab_small_rows<Real> eab_small_rows_of(Real *data, int64_t stride, int64_t batch, int64_t head, int64_t time,
                                              int32_t head_dim) {
    const int64_t aligned = stride | batch | head | time | head_dim;
    return {data, stride, batch, head, time, aligned % 4 == 0 && (uintptr_t)data % 16 == 0};
}

/* Rows laid out as q, k, v are. */
static inline eab_small_inputs eab_small_in(const eab_attention_args *args, eab_const_tensor x) {
    return eab_small_rows_of((const float *)x.data, x.stride, args->in_batch, args->in_head, args->in_time,
                             args->head_dim);
}
static inline eab_small_outputs eab_small_in(const eab_attention_args *args, eab_tensor x) {
    return eab_small_rows_of((float *)x.data, x.stride, args->in_batch, args->in_head, args->in_time, args->head_dim);
}

/* Rows laid out as out is. */
static inline eab_small_inputs eab_small_out(const eab_attention_args *args, eab_const_tensor x) {
    return eab_small_rows_of((const float *)x.data, x.stride, args->out_batch, args->out_head, args->out_time,
                             args->head_dim);
}
static inline eab_small_outputs eab_small_out(const eab_attention_args *args, eab_tensor x) {
    return eab_small_rows_of((float *)x.data, x.stride, args->out_batch, args->out_head, args->out_time,
                             args->head_dim);
}

/* Sets everything but the layout. */
static inline void eab_small_set(eab_small_args *to, const eab_attention_args *args, const eab_cuda_scores *scores,
                                 eab_const_tensor q, eab_const_tensor k, eab_const_tensor v, int64_t row_stat_member) {
    to->batch = args->batch;
    to->heads = args->heads;
    to->context = args->context;
    to->head_dim = args->head_dim;
    to->causal = args->causal;
    to->scores = *scores;
    to->q = eab_small_in(args, q);
    to->k = eab_small_in(args, k);
    to->v = eab_small_in(args, v);
    to->row_stat_member = row_stat_member;
}

/* Sets *blocks, the grid's size; EAB_UNSUPPORTED if it is too large. */
static inline int eab_small_grid(const eab_attention_args *args, const eab_small_layout *layout, int32_t passes,
                                 int *blocks) {
    const int64_t count = (int64_t)args->members * layout->problem_groups * layout->row_tiles * passes;
    if (count > INT32_MAX || (int64_t)args->batch * args->heads > INT32_MAX / 256)
        return eab_fail(EAB_UNSUPPORTED, "attention: %d members of %d x %d heads of %d positions are too many blocks",
                        (int)args->members, (int)args->batch, (int)args->heads, (int)args->context);
    *blocks = (int)count;
    return EAB_OK;
}

#endif
