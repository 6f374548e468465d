/* Layer norm of a fleet, forward and backward, in float32.
 *
 *   normalized = (x - mean) inv_std, inv_std = 1 / sqrt(mean((x - mean)^2) + 1e-5), y = normalized gain + bias
 *   with g = dy gain: dx += inv_std (g - mean(g) - normalized mean(g normalized)); dgain += sum over rows of dy
 *   normalized, dbias += sum over rows of dy
 *
 * Tiling: a warp holds a row in registers (PER_LANE reals a lane, width <= 32 PER_LANE), so x is read once for mean and
 * variance, which are computed one after the other as on the CPU. Narrow rows are processed four at a time, to have
 * four loads in flight. Backward, a block of 8 warps takes a part of the rows. Each lane adds its columns' shares of
 * dgain and dbias in registers, the warps' sums are added in a fixed order, and a second kernel adds the parts: no
 * atomics.
 *
 * Limit: device memory. 512 members of the quick ladder ([768][32] each, 50 MB a tensor): forward reads x and writes
 * normalized and y, 150 MB, 32 us on an H200 (docs/cuda.md); backward reads dy, normalized and dx and writes dx, 200
 * MB, 42 us. A real: 12 bytes forward, 16 backward, about 10 FLOPs, 0.13 GFLOP in all, 2 us. Not measured on a GPU yet.
 */
#include "fleet.h"
#include "operations.h"

namespace {

enum { WARPS = 8, THREADS = 32 * WARPS, PART_ROWS = 256 };

/* Four blocks a multiprocessor leave 64 registers a thread. Without the bound, ptxas spills to fit a fifth block. */
template <int PER_LANE, int ROWS>
__global__ void __launch_bounds__(THREADS, PER_LANE <= 8 ? 4 : 1)
    forward(int32_t members, int32_t rows, int32_t width, eab_tensor gain_all, eab_tensor bias_all, eab_tensor x_all,
            eab_tensor y_all, eab_tensor normalized_all, eab_tensor inv_std_all) {
    const int32_t lane = (int32_t)(threadIdx.x % 32), warp = (int32_t)(threadIdx.x / 32);
    const int32_t step = (int32_t)gridDim.x * WARPS * ROWS;
    const float share = 1.0f / (float)width;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y) {
        const float *x = eab_member(x_all, member), *bias = eab_member(bias_all, member);
        const float *gain = eab_member(gain_all, member);
        float *y = eab_member(y_all, member), *normalized = eab_member(normalized_all, member);
        float *inv_std = eab_member(inv_std_all, member);
        for (int32_t first = ((int32_t)blockIdx.x * WARPS + warp) * ROWS; first < rows; first += step) {
            float value[ROWS][PER_LANE];
#pragma unroll
            for (int r = 0; r < ROWS; r++)
#pragma unroll
                for (int i = 0; i < PER_LANE; i++) {
                    const int32_t column = lane + 32 * i;
                    const bool inside = first + r < rows && column < width;
                    value[r][i] = inside ? x[(int64_t)(first + r) * width + column] : 0;
                }
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                float sum = 0, squares = 0;
#pragma unroll
                for (int i = 0; i < PER_LANE; i++) sum += value[r][i];
                const float mean = eab_lanes_sum<32>(sum) * share;
#pragma unroll
                for (int i = 0; i < PER_LANE; i++) {
                    value[r][i] -= mean;
                    if (lane + 32 * i < width) squares += value[r][i] * value[r][i];
                }
                const float variance = eab_lanes_sum<32>(squares) * share;
                const float scale = 1 / sqrtf(variance + 1e-5f);
                if (first + r >= rows) continue;
                if (lane == 0) inv_std[first + r] = scale;
                const int64_t row = (int64_t)(first + r) * width;
#pragma unroll
                for (int i = 0; i < PER_LANE; i++) {
                    const int32_t column = lane + 32 * i;
                    if (column >= width) continue;
                    const float unit = value[r][i] * scale;
                    normalized[row + column] = unit;
                    y[row + column] = bias ? unit * gain[column] + bias[column] : unit * gain[column];
                }
            }
        }
    }
}

/* partial: [part][2][width] a member, of dgain and dbias. */
template <int PER_LANE>
__global__ void __launch_bounds__(THREADS)
    backward(int32_t members, int32_t rows, int32_t width, eab_tensor gain_all, eab_tensor normalized_all,
             eab_tensor inv_std_all, eab_tensor dy_all, eab_tensor dx_all, eab_tensor partial_all) {
    EAB_SHARED(float, sums, 2 * THREADS);
    const int32_t lane = (int32_t)(threadIdx.x % 32), warp = (int32_t)(threadIdx.x / 32);
    const int32_t first = (int32_t)blockIdx.x * PART_ROWS, left = rows - first;
    const int32_t end = first + (left < PART_ROWS ? left : (int32_t)PART_ROWS);
    const float share = 1.0f / (float)width;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y) {
        const float *gain = eab_member(gain_all, member), *inv_std = eab_member(inv_std_all, member);
        const float *normalized_rows = eab_member(normalized_all, member), *dy_rows = eab_member(dy_all, member);
        float *dx_rows = eab_member(dx_all, member);
        float dgain[PER_LANE], dbias[PER_LANE];
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) dgain[i] = dbias[i] = 0;
        for (int32_t row = first + warp; row < end; row += WARPS) {
            const int64_t offset = (int64_t)row * width;
            float scaled[PER_LANE], unit[PER_LANE], sum = 0, dot = 0;
#pragma unroll
            for (int i = 0; i < PER_LANE; i++) {
                const int32_t column = lane + 32 * i;
                const bool inside = column < width;
                const float dy = inside ? dy_rows[offset + column] : 0;
                unit[i] = inside ? normalized_rows[offset + column] : 0;
                scaled[i] = inside ? dy * gain[column] : 0;
                sum += scaled[i];
                dot += scaled[i] * unit[i];
                dgain[i] += dy * unit[i];
                dbias[i] += dy;
            }
            const float mean = eab_lanes_sum<32>(sum) * share, mean_dot = eab_lanes_sum<32>(dot) * share;
            const float scale = inv_std[row];
#pragma unroll
            for (int i = 0; i < PER_LANE; i++) {
                const int32_t column = lane + 32 * i;
                if (column < width) dx_rows[offset + column] += scale * (scaled[i] - mean - unit[i] * mean_dot);
            }
        }
        float *partial = eab_member(partial_all, member) + (int64_t)blockIdx.x * 2 * width;
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) {
            sums[threadIdx.x] = dgain[i];
            sums[THREADS + threadIdx.x] = dbias[i];
            __syncthreads();
            const int32_t column = lane + 32 * i;
            if (warp < 2 && column < width) { /* warp 0: dgain, warp 1: dbias */
                float total = 0;
                for (int other = 0; other < WARPS; other++) total += sums[warp * THREADS + other * 32 + lane];
                partial[warp * width + column] = total;
            }
            __syncthreads();
        }
    }
}

/* Adds the parts' sums to dgain and dbias, in order. */
__global__ void __launch_bounds__(THREADS)
    add_parts(int32_t members, int32_t parts, int32_t width, eab_tensor partial_all, eab_tensor dgain_all,
              eab_tensor dbias_all) {
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= (int64_t)members * 2 * width) return;
    const int64_t member = i / (2 * width);
    const int32_t column = (int32_t)(i - member * 2 * width);
    const float *partial = eab_member(partial_all, member) + column;
    float *to = column < width ? eab_member(dgain_all, member) : eab_member(dbias_all, member);
    if (!to) return;
    float sum = 0;
    for (int32_t part = 0; part < parts; part++) sum += partial[(int64_t)part * 2 * width];
    to[column < width ? column : column - width] += sum;
}

template <int PER_LANE, int ROWS>
int launch_forward(cudaStream_t stream, const eab_norm_args *args, eab_tensor x, eab_tensor y) {
    const dim3 grid(eab_cuda_grid(args->rows, WARPS * ROWS), eab_cuda_grid_members(args->members));
    return EAB_LAUNCH(stream, (forward<PER_LANE, ROWS>), grid, dim3(THREADS), 0, args->members, args->rows, args->width,
                      args->gain, args->bias, x, y, args->normalized, args->inv_std);
}

template <int PER_LANE>
int launch_backward(cudaStream_t stream, const eab_norm_args *args, eab_tensor dy, eab_tensor dx, eab_tensor partial) {
    const dim3 grid((unsigned)eab_cuda_parts(args->rows, PART_ROWS), eab_cuda_grid_members(args->members));
    return EAB_LAUNCH(stream, (backward<PER_LANE>), grid, dim3(THREADS), 0, args->members, args->rows, args->width,
                      args->gain, args->normalized, args->inv_std, dy, dx, partial);
}

} // namespace

int eab_cuda_norm_forward(eab_device *device, const eab_norm_args *args, eab_tensor x, eab_tensor y) {
    const cudaStream_t stream = eab_cuda_stream(device);
    if (args->width <= 32) return launch_forward<1, 4>(stream, args, x, y);
    if (args->width <= 64) return launch_forward<2, 4>(stream, args, x, y);
    if (args->width <= 128) return launch_forward<4, 2>(stream, args, x, y);
    if (args->width <= 256) return launch_forward<8, 1>(stream, args, x, y);
    if (args->width <= 512) return launch_forward<16, 1>(stream, args, x, y);
    if (args->width <= 1024) return launch_forward<32, 1>(stream, args, x, y);
    return eab_fail(EAB_UNSUPPORTED, "cuda: a norm over %d is too wide; allowed: 1..1024", (int)args->width);
}

int eab_cuda_norm_backward(eab_device *device, const eab_norm_args *args, eab_tensor dy, eab_tensor dx,
                           eab_tensor dgain, eab_tensor dbias) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const int32_t parts = (int32_t)eab_cuda_parts(args->rows, PART_ROWS), width = args->width;
    eab_tensor partial = {nullptr, (int64_t)parts * 2 * width};
    if (width > 1024)
        return eab_fail(EAB_UNSUPPORTED, "cuda: a norm over %d is too wide; allowed: 1..1024", (int)width);
    EAB_TRY(eab_cuda_scratch(device, (size_t)args->members * (size_t)partial.stride * sizeof(float), &partial.data));
    EAB_TRY(width <= 32    ? launch_backward<1>(stream, args, dy, dx, partial)
            : width <= 64  ? launch_backward<2>(stream, args, dy, dx, partial)
            : width <= 128 ? launch_backward<4>(stream, args, dy, dx, partial)
            : width <= 256 ? launch_backward<8>(stream, args, dy, dx, partial)
            : width <= 512 ? launch_backward<16>(stream, args, dy, dx, partial)
                           : launch_backward<32>(stream, args, dy, dx, partial));
    const dim3 grid((unsigned)eab_cuda_parts((int64_t)args->members * 2 * width, THREADS));
    return EAB_LAUNCH(stream, add_parts, grid, dim3(THREADS), 0, args->members, parts, width, partial, dgain, dbias);
}
