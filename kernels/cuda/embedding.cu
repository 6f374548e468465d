/* Embedding of a fleet, forward and backward, in float32.
 *
 *   x[row] = token[tokens[row]] + position[time of row]
 *   dtoken[id] += sum of dx over the rows with that token; dposition[time] += sum of dx over the batch
 *
 * Tiling: forward, a thread a real. Backward, a block of 8 warps owns one token of the vocabulary and 32 columns: its
 * warps search the member's tokens 32 at a time (a vote finds the matching rows) and add those rows of dx, one column a
 * lane. The warps' sums are added in a fixed order. No two blocks write the same place: no atomics, the same bits each
 * run. For the position's gradient, one thread for each (time, column) sums over the batch.
 *
 * Limit: device memory. 512 members of the quick ladder ([768][32] each): forward writes 50 MB, 11 us on an H200
 * (docs/cuda.md). Backward reads 50 MB of dx once, 11 us; each token's block reads the tokens again, from the
 * first-level cache: 16 tokens x 24 votes a member. A real: 4 bytes and one FLOP, in both passes. Not measured on a GPU
 * yet.
 */
#include "fleet.h"
#include "operations.h"

namespace {

enum { THREADS = 256, WARPS = THREADS / 32 };

__global__ void __launch_bounds__(THREADS, 4)
    forward(int32_t members, int64_t rows, int32_t context, int32_t width, const int32_t *tokens, int64_t tokens_stride,
            eab_tensor token_all, eab_tensor position_all, eab_tensor x_all) {
    const int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y) {
        const float *token = eab_member(token_all, member), *position = eab_member(position_all, member);
        float *x = eab_member(x_all, member);
        for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < rows * width; i += step) {
            const int64_t row = i / width, column = i - row * width;
            const float value = token[(int64_t)tokens[member * tokens_stride + row] * width + column];
            x[i] = position ? value + position[row % context * width + column] : value;
        }
    }
}

__global__ void __launch_bounds__(THREADS)
    backward_tokens(int32_t members, int32_t rows, int32_t width, int32_t tiles, const int32_t *tokens_all,
                    int64_t tokens_stride, eab_tensor dx_all, eab_tensor token_all) {
    EAB_SHARED(float, sums, THREADS);
    const int32_t lane = (int32_t)(threadIdx.x % 32), warp = (int32_t)(threadIdx.x / 32);
    const int32_t id = (int32_t)(blockIdx.x / (unsigned)tiles);
    const int32_t column = (int32_t)(blockIdx.x % (unsigned)tiles) * 32 + lane;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y) {
        const int32_t *tokens = tokens_all + member * tokens_stride;
        const float *dx = eab_member(dx_all, member);
        float sum = 0;
        for (int32_t first = warp * 32; first < rows; first += THREADS) {
            const bool mine = first + lane < rows && tokens[first + lane] == id;
            unsigned found = __ballot_sync(0xFFFFFFFFu, mine);
            while (found) {
                const int32_t row = first + __ffs((int)found) - 1;
                found &= found - 1;
                if (column < width) sum += dx[(int64_t)row * width + column];
            }
        }
        sums[threadIdx.x] = sum;
        __syncthreads();
        if (warp == 0 && column < width) {
            for (int32_t other = 1; other < WARPS; other++) sum += sums[other * 32 + lane];
            eab_member(token_all, member)[(int64_t)id * width + column] += sum;
        }
        __syncthreads();
    }
}

__global__ void __launch_bounds__(THREADS)
    backward_positions(int32_t members, int32_t batch, int64_t count, eab_tensor dx_all, eab_tensor position_all) {
    const int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y)
        for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
            const float *dx = eab_member(dx_all, member) + i;
            float sum = 0;
            for (int64_t sequence = 0; sequence < batch; sequence++) sum += dx[sequence * count];
            eab_member(position_all, member)[i] += sum;
        }
}

} // namespace

int eab_cuda_embed_forward(eab_device *device, const eab_shape *shape, const eab_embedding *weights,
                           const int32_t *tokens, int64_t tokens_stride, eab_tensor x) {
    const int64_t rows = (int64_t)shape->batch * shape->context;
    const dim3 grid(eab_cuda_grid(rows * shape->d_model, THREADS), eab_cuda_grid_members(shape->members));
    return EAB_LAUNCH(eab_cuda_stream(device), forward, grid, dim3(THREADS), 0, shape->members, rows, shape->context,
                      shape->d_model, tokens, tokens_stride, weights->token, weights->position, x);
}

int eab_cuda_embed_backward(eab_device *device, const eab_shape *shape, const eab_embedding *gradients,
                            const int32_t *tokens, int64_t tokens_stride, eab_tensor dx) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const int32_t tiles = (shape->d_model + 31) / 32;
    const unsigned grid_members = eab_cuda_grid_members(shape->members);
    if (gradients->token.data) {
        const dim3 grid((unsigned)shape->vocab * (unsigned)tiles, grid_members);
        EAB_TRY(EAB_LAUNCH(stream, backward_tokens, grid, dim3(THREADS), 0, shape->members,
                           shape->batch * shape->context, shape->d_model, tiles, tokens, tokens_stride, dx,
                           gradients->token));
    }
    if (!gradients->position.data) return EAB_OK;
    const int64_t count = (int64_t)shape->context * shape->d_model;
    return EAB_LAUNCH(stream, backward_positions, dim3(eab_cuda_grid(count, THREADS), grid_members), dim3(THREADS), 0,
                      shape->members, shape->batch, count, dx, gradients->position);
}
