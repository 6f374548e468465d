#include "samples.h"

static __global__ void add(const float *x, const float *y, float *sum, int count) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count) sum[i] = x[i] + y[i];
}

int sample_add(cudaStream_t stream, const float *x, const float *y, float *sum, int count) {
    return EAB_LAUNCH(stream, add, static_cast<unsigned>(count + 127) / 128, 128, 0, x, y, sum, count);
}

/* Warps sum by shuffles, the first warp sums theirs. */
template <int THREADS>
static __global__ void __launch_bounds__(THREADS) block_sum(const float *x, float *sums, int per_block) {
    EAB_SHARED(float, of_warp, THREADS / 32);
    float sum = 0;
    for (int i = static_cast<int>(threadIdx.x); i < per_block; i += THREADS)
        sum += x[static_cast<size_t>(blockIdx.x) * static_cast<size_t>(per_block) + static_cast<size_t>(i)];
    for (int step = 16; step; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x < 32) {
        sum = threadIdx.x < THREADS / 32 ? of_warp[threadIdx.x] : 0;
        for (int step = 16; step; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, static_cast<unsigned>(step));
        if (threadIdx.x == 0) sums[blockIdx.x] = sum;
    }
}

int sample_block_sum(cudaStream_t stream, const float *x, float *sums, int blocks, int per_block) {
    return EAB_LAUNCH(stream, block_sum<256>, static_cast<unsigned>(blocks), 256, 0, x, sums, per_block);
}

/* A row of the tile has one word more, so that its columns lie in different banks. */
static __global__ void transpose(const float *x, float *y, int rows, int columns) {
    EAB_SHARED(float, tile, 32 * 33);
    const int left = static_cast<int>(blockIdx.x) * 32, top = static_cast<int>(blockIdx.y) * 32;
    const int tx = static_cast<int>(threadIdx.x), ty = static_cast<int>(threadIdx.y);
    for (int i = ty; i < 32; i += 8)
        if (top + i < rows && left + tx < columns) tile[i * 33 + tx] = x[(top + i) * columns + left + tx];
    __syncthreads();
    for (int i = ty; i < 32; i += 8)
        if (left + i < columns && top + tx < rows) y[(left + i) * rows + top + tx] = tile[tx * 33 + i];
}

int sample_transpose(cudaStream_t stream, const float *x, float *y, int rows, int columns) {
    const dim3 grid(static_cast<unsigned>(columns + 31) / 32, static_cast<unsigned>(rows + 31) / 32);
    return EAB_LAUNCH(stream, transpose, grid, dim3(32, 8), 0, x, y, rows, columns);
}

static __global__ void warp_scan(const int *x, int *sums, int count) {
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x), lane = i % 32;
    int sum = i < count ? x[i] : 0;
    for (int step = 1; step < 32; step *= 2) {
        const int left = __shfl_up_sync(0xffffffffu, sum, static_cast<unsigned>(step));
        if (lane >= step) sum += left;
    }
    if (i < count) sums[i] = sum;
}

int sample_warp_scan(cudaStream_t stream, const int *x, int *sums, int count) {
    return EAB_LAUNCH(stream, warp_scan, static_cast<unsigned>(count + 63) / 64, 64, 0, x, sums, count);
}

template <bool BF16, bool TRANSPOSED>
static __global__ void product(const uint16_t *a, const uint16_t *b, float *c, int k) {
    EAB_SHARED(uint16_t, tile_a, 16 * 16);
    EAB_SHARED(uint16_t, tile_b, 16 * 8);
    const int lane = static_cast<int>(threadIdx.x), group = lane / 4, pair = lane % 4 * 2;
    float d[4] = {0, 0, 0, 0};
    for (int start = 0; start < k; start += 16) {
        for (int i = lane; i < 256; i += 32) tile_a[i] = a[i / 16 * k + start + i % 16];
        for (int i = lane; i < 128; i += 32) tile_b[i] = TRANSPOSED ? b[start * 8 + i] : b[i / 16 * k + start + i % 16];
        __syncwarp();
        uint32_t fragment_a[4], fragment_b[2];
        /* Matrices of a: rows 0-7 and 8-15 of the left half, then of the right half. */
        eab_ldmatrix_x4(fragment_a, tile_a + lane % 16 * 16 + lane / 16 * 8);
        if (TRANSPOSED) eab_ldmatrix_x2_trans(fragment_b, tile_b + lane % 16 * 8);
        else eab_ldmatrix_x2(fragment_b, tile_b + lane % 8 * 16 + lane % 16 / 8 * 8);
        if (BF16) eab_mma_m16n8k16_bf16(d, fragment_a, fragment_b);
        else eab_mma_m16n8k16_f16(d, fragment_a, fragment_b);
        __syncwarp();
    }
    c[group * 8 + pair] = d[0];
    c[group * 8 + pair + 1] = d[1];
    c[(group + 8) * 8 + pair] = d[2];
    c[(group + 8) * 8 + pair + 1] = d[3];
}

int sample_product(cudaStream_t stream, const uint16_t *a, const uint16_t *b, float *c, int k, bool is_bf16) {
    if (is_bf16) return EAB_LAUNCH(stream, (product<true, false>), 1, 32, 0, a, b, c, k);
    return EAB_LAUNCH(stream, (product<false, false>), 1, 32, 0, a, b, c, k);
}

int sample_product_transposed(cudaStream_t stream, const uint16_t *a, const uint16_t *b, float *c, int k,
                              bool is_bf16) {
    if (is_bf16) return EAB_LAUNCH(stream, (product<true, true>), 1, 32, 0, a, b, c, k);
    return EAB_LAUNCH(stream, (product<false, true>), 1, 32, 0, a, b, c, k);
}

/* While one buffer is copied out, the next tile of 256 floats is on its way into the other. */
static __global__ void async_copy(const float *x, float *y, int count) {
    EAB_DYNAMIC_SHARED(memory);
    float *buffers[2] = {reinterpret_cast<float *>(memory), reinterpret_cast<float *>(memory) + 256};
    const int mine = static_cast<int>(threadIdx.x) * 4, tiles = (count + 255) / 256;
    eab_cp_async_16(buffers[0] + mine, x + mine, mine < count);
    eab_cp_async_commit();
    for (int tile = 0; tile < tiles; tile++) {
        const int next = (tile + 1) * 256 + mine;
        eab_cp_async_16(buffers[(tile + 1) % 2] + mine, x + next, next < count);
        eab_cp_async_commit();
        eab_cp_async_wait<1>();
        __syncthreads();
        const float4 values = *reinterpret_cast<float4 *>(buffers[tile % 2] + (252 - mine)); /* of another thread */
        *reinterpret_cast<float4 *>(y + tile * 256 + (252 - mine)) = values;
        __syncthreads();
    }
}

int sample_async_copy(cudaStream_t stream, const float *x, float *y, int count) {
    return EAB_LAUNCH(stream, async_copy, 1, 64, 2 * 256 * sizeof(float), x, y, count);
}

static __global__ void histogram(const int *x, int *counts, int count, int bins) {
    EAB_DYNAMIC_SHARED(memory);
    int *local = reinterpret_cast<int *>(memory);
    for (int i = static_cast<int>(threadIdx.x); i < bins; i += static_cast<int>(blockDim.x)) local[i] = 0;
    __syncthreads();
    const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
    if (i < count) atomicAdd(&local[x[i]], 1);
    __syncthreads();
    for (int j = static_cast<int>(threadIdx.x); j < bins; j += static_cast<int>(blockDim.x))
        atomicAdd(&counts[j], local[j]);
}

int sample_histogram(cudaStream_t stream, const int *x, int *counts, int count, int bins) {
    return EAB_LAUNCH(stream, histogram, static_cast<unsigned>(count + 63) / 64, 64,
                      static_cast<size_t>(bins) * sizeof(int), x, counts, count, bins);
}

static __global__ void barriers(float *out, int rounds) {
    EAB_SHARED(float, value, 1024);
    const unsigned thread = threadIdx.x, other = (thread + 1) % blockDim.x;
    float sum = 0;
    for (int i = 0; i < rounds; i++) {
        value[thread] = sum + 1;
        __syncthreads();
        sum = value[other];
        __syncthreads();
    }
    out[blockIdx.x * blockDim.x + thread] = sum;
}

int sample_barriers(cudaStream_t stream, float *out, int blocks, int threads, int rounds) {
    return EAB_LAUNCH(stream, barriers, static_cast<unsigned>(blocks), static_cast<unsigned>(threads), 0, out, rounds);
}

static __global__ void shuffles(float *out, int rounds) {
    float sum = 1;
    for (int i = 0; i < rounds; i++) sum = 0.5f * (sum + __shfl_xor_sync(0xffffffffu, sum, i & 31));
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}

int sample_shuffles(cudaStream_t stream, float *out, int blocks, int threads, int rounds) {
    return EAB_LAUNCH(stream, shuffles, static_cast<unsigned>(blocks), static_cast<unsigned>(threads), 0, out, rounds);
}
