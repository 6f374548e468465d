/* Activation, addition, rotation, dropout and column sums of a fleet, in float32.
 *
 *   relu(x) = max(x, 0); gelu(x) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3); y += x
 *   rotation of the pairs (i, i + head_dim / 2); sums[column] += sum over rows of x[row][column]
 *
 * Tiling: a thread processes packs of four reals (single reals if not aligned); members are the grid's y. In a column
 * sum, a block of 8 x 32 threads sums 32 columns, one a lane: each warp takes every 8th row, and their sums are
 * added in a fixed order. More than 1024 rows are first summed in parts. No atomics: the same bits each run. In dropout
 * a thread draws one block of four words for four channels a quarter of the row apart (../dropout.h), so that a warp's
 * accesses are contiguous; a replayed step counts its sequences on by itself, as in generate.cu.
 *
 * Limit: device memory. 512 members of the quick ladder (768 rows, d_model 32, mlp_dim 128): an activation of
 * [768][128] reads and writes 2 x 201 MB, 84 us on an H200 (docs/cuda.md; relu backward reads twice: 126 us); a column
 * sum of the same reads 201 MB, 42 us. A real: 8 bytes (backward and y += x: 12, a sum: 4) and 1 FLOP; gelu about 20
 * with two MUFU (12 us for 101 M), dropout about 25 integer instructions. In the MLP block both activations are part of
 * the products (gemm.cu). Not measured on a GPU yet.
 */
#include "../dropout.h"
#include "activation.h"
#include "fleet.h"
#include "operations.h"

namespace {

enum { THREADS = 256, SUM_ROWS = 1024, SUM_WARPS = 8 };

struct relu_forward {
    __device__ static float apply(float x, float) { return x < 0 ? 0 : x; } /* this form keeps NaN */
};
struct relu_backward {
    __device__ static float apply(float x, float dy) { return x > 0 ? dy : 0; }
};
struct gelu_forward {
    __device__ static float apply(float x, float) { return eab_cuda_gelu(x); }
};
struct gelu_backward {
    __device__ static float apply(float x, float dy) { return dy * eab_cuda_gelu_derivative(x); }
};
struct addition {
    __device__ static float apply(float x, float y) { return x + y; }
};

/* y = f(x, y) */
template <typename OPERATION, int WIDTH>
__global__ void __launch_bounds__(THREADS, 4) map(int32_t members, int64_t count, eab_tensor x_all, eab_tensor y_all) {
    typedef eab_pack<WIDTH> pack;
    const int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y) {
        const pack *x = (const pack *)eab_member(x_all, member);
        pack *y = (pack *)eab_member(y_all, member);
        for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count / WIDTH; i += step) {
            const pack in = x[i];
            pack out = y[i];
            for (int j = 0; j < WIDTH; j++) out.value[j] = OPERATION::apply(in.value[j], out.value[j]);
            y[i] = out;
        }
    }
}

template <typename OPERATION>
int launch_map(eab_device *device, int32_t members, int64_t count, eab_tensor x, eab_tensor y) {
    if (count == 0) return EAB_OK;
    const cudaStream_t stream = eab_cuda_stream(device);
    const bool packed = eab_cuda_aligned(x, count) && eab_cuda_aligned(y, count);
    const dim3 grid(eab_cuda_grid(packed ? count / 4 : count, THREADS), eab_cuda_grid_members(members));
    return packed ? EAB_LAUNCH(stream, (map<OPERATION, 4>), grid, dim3(THREADS), 0, members, count, x, y)
                  : EAB_LAUNCH(stream, (map<OPERATION, 1>), grid, dim3(THREADS), 0, members, count, x, y);
}

__global__ void __launch_bounds__(THREADS)
    rotate_pairs(int32_t members, int64_t rows, int32_t context, int32_t d_model, int32_t head_dim, float sign,
                 const float *table, eab_tensor qkv) {
    const int32_t half = head_dim / 2, heads = 2 * d_model / head_dim; /* those of q, then those of k */
    const int32_t pairs = heads * half;
    const int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y)
        for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < rows * pairs; i += step) {
            const int64_t row = i / pairs;
            const int32_t pair = (int32_t)(i - row * pairs), head = pair / half, place = pair - head * half;
            const float *angle = table + (row % context * half + place) * 2;
            float *x = eab_member(qkv, member) + row * 3 * d_model + head * head_dim + place;
            const float c = angle[0], s = sign * angle[1], first = x[0], second = x[half];
            x[0] = first * c - second * s;
            x[half] = first * s + second * c;
        }
}

/* eab_dropout on the device. */
struct dropping {
    int64_t rows;
    uint32_t batch, context, width, threshold, place;
    float scale;
    const uint32_t *seeds;
    uint64_t first_index;
    const int64_t *replays; /* or NULL */
};

template <bool ADD>
__global__ void __launch_bounds__(THREADS) drop(int32_t members, dropping d, eab_tensor x_all, eab_tensor y_all) {
    const uint32_t blocks = (d.width + 3) / 4;
    const int64_t step = (int64_t)gridDim.x * THREADS;
    const uint64_t first_index = d.first_index + (d.replays ? (uint64_t)*d.replays * d.batch : 0);
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y)
        for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < d.rows * blocks; i += step) {
            const int64_t row = i / blocks, sequence = row / d.context;
            const uint32_t block = (uint32_t)(i - row * blocks), position = (uint32_t)(row - sequence * d.context);
            const eab_philox_block words =
                eab_dropout_block(d.seeds[member], d.place, first_index + (uint64_t)sequence, position, block);
            const float *x = eab_member(x_all, member) + row * d.width;
            float *y = eab_member(y_all, member) + row * d.width;
#pragma unroll
            for (uint32_t word = 0; word < 4; word++) {
                const uint32_t channel = word * blocks + block;
                if (channel >= d.width) break;
                const float kept = words.word[word] >= d.threshold ? x[channel] * d.scale : 0;
                y[channel] = ADD ? y[channel] + kept : kept;
            }
        }
}

/* Sums column tile blockIdx.x % tiles over row part blockIdx.x / tiles: adds to `to`, or, if the rows are summed in
 * parts, writes to[part]. */
__global__ void __launch_bounds__(32 * SUM_WARPS)
    sum_columns(int32_t members, int64_t rows, int64_t part_rows, int32_t width, int32_t tiles, eab_tensor x_all,
                eab_tensor to_all, bool add) {
    EAB_SHARED(float, sums, 32 * SUM_WARPS);
    const int32_t lane = (int32_t)(threadIdx.x % 32), warp = (int32_t)(threadIdx.x / 32);
    const int64_t part = blockIdx.x / (unsigned)tiles;
    const int32_t column = (int32_t)(blockIdx.x % (unsigned)tiles) * 32 + lane;
    const int64_t first = part * part_rows, end = first + part_rows < rows ? first + part_rows : rows;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y) {
        float sum = 0;
        if (column < width) {
            const float *x = eab_member(x_all, member) + column;
#pragma unroll 4
            for (int64_t row = first + warp; row < end; row += SUM_WARPS) sum += x[row * width];
        }
        sums[warp * 32 + lane] = sum;
        __syncthreads();
        if (warp == 0 && column < width) {
            for (int32_t other = 1; other < SUM_WARPS; other++) sum += sums[other * 32 + lane];
            float *to = eab_member(to_all, member) + part * width + column;
            *to = add ? *to + sum : sum;
        }
        __syncthreads();
    }
}

} // namespace

int eab_cuda_activation_forward(eab_device *device, eab_activation activation, int32_t members, int64_t count,
                                eab_tensor x, eab_tensor y) {
    return activation == EAB_ACTIVATION_RELU ? launch_map<relu_forward>(device, members, count, x, y)
                                             : launch_map<gelu_forward>(device, members, count, x, y);
}

int eab_cuda_activation_backward(eab_device *device, eab_activation activation, int32_t members, int64_t count,
                                 eab_tensor x, eab_tensor dy) {
    return activation == EAB_ACTIVATION_RELU ? launch_map<relu_backward>(device, members, count, x, dy)
                                             : launch_map<gelu_backward>(device, members, count, x, dy);
}

int eab_cuda_add(eab_device *device, int32_t members, int64_t count, eab_tensor x, eab_tensor y) {
    return launch_map<addition>(device, members, count, x, y);
}

int eab_cuda_rotate(eab_device *device, const eab_shape *shape, eab_tensor qkv, bool inverse) {
    const int64_t rows = (int64_t)shape->batch * shape->context;
    const int32_t head_dim = shape->d_model / shape->heads;
    const int64_t pairs = rows * 2 * shape->heads * (head_dim / 2);
    if (pairs == 0) return EAB_OK;
    const dim3 grid(eab_cuda_grid(pairs, THREADS), eab_cuda_grid_members(shape->members));
    return EAB_LAUNCH(eab_cuda_stream(device), rotate_pairs, grid, dim3(THREADS), 0, shape->members, rows,
                      shape->context, shape->d_model, head_dim, inverse ? -1.0f : 1.0f, (const float *)shape->rope.data,
                      qkv);
}

int eab_cuda_dropout(eab_device *device, const eab_shape *shape, eab_tensor x, eab_tensor y, bool add) {
    const eab_dropout *args = shape->dropout;
    const size_t bytes = (size_t)shape->members * sizeof *args->seeds;
    const void *seeds = nullptr;
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_SEEDS, args->seeds, bytes, &seeds));
    dropping d = {};
    d.rows = (int64_t)shape->batch * shape->context;
    d.batch = (uint32_t)shape->batch; /* no micro-batches: micro_batch_bytes is 0 */
    d.context = (uint32_t)shape->context;
    d.width = (uint32_t)shape->d_model;
    d.threshold = eab_dropout_threshold(args->probability);
    d.place = args->place;
    d.scale = (float)(1 / (1 - args->probability));
    d.seeds = (const uint32_t *)seeds;
    d.first_index = args->first_index;
    d.replays = eab_cuda_replays(device);
    const dim3 grid(eab_cuda_grid(d.rows * ((d.width + 3) / 4), THREADS), eab_cuda_grid_members(shape->members));
    const cudaStream_t stream = eab_cuda_stream(device);
    return add ? EAB_LAUNCH(stream, (drop<true>), grid, dim3(THREADS), 0, shape->members, d, x, y)
               : EAB_LAUNCH(stream, (drop<false>), grid, dim3(THREADS), 0, shape->members, d, x, y);
}

int eab_cuda_column_sum(eab_device *device, int32_t members, int32_t rows, int32_t width, eab_tensor x,
                        eab_tensor sums) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const int32_t tiles = (width + 31) / 32;
    const int64_t parts = eab_cuda_parts(rows, SUM_ROWS);
    const dim3 block(32 * SUM_WARPS);
    const unsigned grid_members = eab_cuda_grid_members(members);
    if (parts == 1)
        return EAB_LAUNCH(stream, sum_columns, dim3((unsigned)tiles, grid_members), block, 0, members, (int64_t)rows,
                          (int64_t)SUM_ROWS, width, tiles, x, sums, true);
    eab_tensor partial = {nullptr, parts * width};
    EAB_TRY(eab_cuda_scratch(device, (size_t)members * (size_t)partial.stride * sizeof(float), &partial.data));
    EAB_TRY(EAB_LAUNCH(stream, sum_columns, dim3((unsigned)(parts * tiles), grid_members), block, 0, members,
                       (int64_t)rows, (int64_t)SUM_ROWS, width, tiles, x, partial, false));
    return EAB_LAUNCH(stream, sum_columns, dim3((unsigned)tiles, grid_members), block, 0, members, parts, parts, width,
                      tiles, partial, sums, true);
}
