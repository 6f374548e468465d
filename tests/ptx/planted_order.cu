#include "planted.h"

constexpr unsigned ALL = 0xffffffffu;

static __global__ void divergence(int pick, float *y) {
    const unsigned i = threadIdx.x, lane = i % 32;
    float sum = static_cast<float>(i);
    switch (pick) {
        case BARRIER_EXIT:
            if (i == 40) return;
            __syncthreads();
            break;
        case BARRIER_ELSEWHERE:
            if (i < 32) __syncthreads();
            else __syncthreads();
            break;
        case BARRIER_HALF:
            if (i < 32) __syncthreads();
            break;
        case SHUFFLE_EXITED:
            if (lane == 7) return;
            sum += __shfl_xor_sync(ALL, sum, 1);
            break;
        case SHUFFLE_OUTSIDE_MASK:
            if (lane < 16) sum += __shfl_down_sync(0xffffu, sum, 8);
            break;
        case SHUFFLE_NOT_IN_MASK: sum += __shfl_sync(0xffffu, sum, 0); break;
        case SHUFFLE_DIVERGED:
            if (lane < 16) sum += __shfl_xor_sync(ALL, sum, 1);
            __syncwarp();
            break;
        case VOTE_EXITED:
            if (lane == 31) return;
            sum += static_cast<float>(__ballot_sync(ALL, 1));
            break;
        case WARP_BARRIER_DIVERGED:
            if (lane < 8) __syncwarp(0xffffu);
            else if (lane < 16) __syncthreads();
            break;
        case MMA_DIVERGED: {
            float d[4] = {0, 0, 0, 0};
            const uint32_t a[4] = {0, 0, 0, 0}, b[2] = {0, 0};
            if (lane != 3) eab_mma_m16n8k16_bf16(d, a, b);
            sum += d[0];
            break;
        }
        case SHUFFLE_AND_BARRIER:
            if (lane == 0) __syncthreads();
            else sum += __shfl_xor_sync(ALL, sum, 1);
            break;
        case SHUFFLE_WIDTH: sum += __shfl_xor_sync(ALL, sum, 1, 24); break;
        default: /* all of it, as it should be */
            if (lane < 16) sum += __shfl_down_sync(0xffffu, sum, 8, 16);
            sum += __any_sync(ALL, lane == 3) ? 1.0f : 0.0f;
            __syncthreads();
            if (i < 32) __syncwarp();
            if (lane >= 16) return;
            __syncwarp(); /* the lanes that have exited need not come */
            break;
    }
    y[i] = sum;
}

int planted_divergence(cudaStream_t stream, int pick, float *y) {
    return EAB_LAUNCH(stream, divergence, 1, 64, 0, pick, y);
}

static __global__ void race(int pick, float *y) {
    EAB_SHARED(float, tile, 64);
    EAB_SHARED(uint16_t, halves, 256);
    EAB_SHARED(unsigned, count, 1);
    const unsigned i = threadIdx.x, lane = i % 32;
    if (i == 0) count[0] = 0;
    tile[i] = 1;
    for (unsigned j = i; j < 256; j += 64) halves[j] = 0;
    __syncthreads();
    float sum = 0;
    switch (pick) {
        case NO_BARRIER: /* reads what another warp writes */
            tile[i] = 2;
            sum = tile[63 - i];
            break;
        case NO_BARRIER_AFTER: /* writes what another warp reads */
            sum = tile[63 - i];
            tile[i] = 2;
            break;
        case SAME_WORD: tile[5] = 3; break; /* all write, and the same */
        case WITHIN_WARP:
            tile[i] = 2;
            sum = tile[i ^ 1];
            break;
        case WITHIN_WARP_SHUFFLE: /* a shuffle orders no memory */
            tile[i] = 2;
            sum = __shfl_xor_sync(ALL, sum, 1);
            sum += tile[i ^ 1];
            break;
        case WARP_BARRIER_BETWEEN_WARPS:
            tile[i] = 2;
            __syncwarp();
            sum = tile[(i + 32) % 64];
            break;
        case HALF_WARP: /* ordered within each half only */
            tile[i] = 2;
            __syncwarp(lane < 16 ? 0xffffu : 0xffff0000u);
            sum = tile[i ^ 16];
            break;
        case ATOMIC_AND_PLAIN:
            atomicAdd(&count[0], 1u);
            if (i == 9) sum = static_cast<float>(count[0]);
            break;
        case HALVES: /* threads i and i + 64 share no half, i and i ^ 1 do */ halves[i / 2] = 1; break;
        case LDMATRIX_RACE: { /* the row that a lane passes is its own; those that it gets are not */
            uint32_t r[4];
            for (unsigned j = 0; j < 8 && i < 32; j++) halves[i % 32 * 8 + j] = 1;
            if (i < 32) eab_ldmatrix_x4(r, eab_shared_address(halves + i % 32 * 8));
            break;
        }
        default:
            tile[i] = 2;
            __syncwarp(lane < 16 ? 0xffffu : 0xffff0000u);
            sum = tile[i ^ 1];
            __syncwarp();
            tile[i ^ 16] = sum;
            halves[i] = 1; /* the two halves of a word by two threads */
            atomicAdd(&count[0], 1u);
            __syncthreads();
            sum += tile[63 - i] + static_cast<float>(halves[63 - i] + count[0]);
            __syncthreads();
            tile[63 - i] = sum;
            break;
    }
    y[i] = sum;
}

int planted_race(cudaStream_t stream, int pick, float *y) { return EAB_LAUNCH(stream, race, 1, 64, 0, pick, y); }

static __global__ void block_race(int pick, float *y) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    uint16_t *halves = reinterpret_cast<uint16_t *>(y);
    unsigned *count = reinterpret_cast<unsigned *>(y);
    switch (pick) {
        case BLOCKS_WRITE: y[threadIdx.x] = 1; break;
        case BLOCKS_READ: y[i] = y[(i + 32) % 64]; break;
        case BLOCKS_ATOMIC_READ: y[32 + i % 32] = static_cast<float>(blockIdx.x ? atomicAdd(count, 1u) : *count); break;
        case BLOCKS_HALVES: halves[threadIdx.x] = 1; break;
        default:
            if (i < 33) halves[i] = 1; /* a word's halves by two blocks */
            atomicAdd(count + 60, 1u);
            break;
    }
}

int planted_block_race(cudaStream_t stream, int pick, float *y) {
    return EAB_LAUNCH(stream, block_race, 2, 32, 0, pick, y);
}

static __global__ void global_race(int pick, float *y) {
    const unsigned i = threadIdx.x;
    uint16_t *halves = reinterpret_cast<uint16_t *>(y);
    unsigned *count = reinterpret_cast<unsigned *>(y);
    switch (pick) {
        case GLOBAL_NO_BARRIER:
            y[i] = 1;
            y[i] += y[63 - i];
            break;
        case GLOBAL_SAME_WORD: y[7] = 1; break;
        case GLOBAL_WITHIN_WARP:
            y[i] = 1;
            if (y[i ^ 1] < 0) y[i] = 2;
            break;
        case GLOBAL_HALVES: halves[i / 2] = 1; break;
        case GLOBAL_ATOMIC_READ:
            atomicAdd(count, 1u);
            if (i == 3) count[1] = count[0];
            break;
        default:
            y[i] = 1;
            __syncwarp();
            if (y[i ^ 1] < 0) y[i] = 2;
            __syncthreads();
            if (y[63 - i] < 0) return;
            __syncthreads();
            halves[i] = 1;
            atomicAdd(count + 40, 1u);
            break;
    }
}

int planted_global_race(cudaStream_t stream, int pick, float *y) {
    return EAB_LAUNCH(stream, global_race, 1, 64, 0, pick, y);
}

static __global__ void order(unsigned *seen) {
    EAB_SHARED(unsigned, next, 1);
    if (threadIdx.x == 0) next[0] = 0;
    __syncthreads();
    seen[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(next, 1u);
}

int planted_order(cudaStream_t stream, unsigned *seen) { return EAB_LAUNCH(stream, order, 2, 64, 0, seen); }
