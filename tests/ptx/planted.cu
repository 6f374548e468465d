#include "planted.h"

/* The compiler must not know which index or pointer a bug uses. */
static __global__ void memory(int pick, const float *x, float *y, float *unwritten, const float *host, int zero) {
    EAB_SHARED(float, tile, 64);
    EAB_DYNAMIC_SHARED(bytes);
    float *dynamic = reinterpret_cast<float *>(bytes);
    uint16_t *halves = reinterpret_cast<uint16_t *>(bytes);
    const int i = static_cast<int>(threadIdx.x);
    const bool last = i == 63;
    if (pick != UNWRITTEN_SHARED || !last) tile[i] = x[i];
    if (pick == UNWRITTEN_HALF) halves[i * 2] = 1;
    else if (pick != UNWRITTEN_DYNAMIC || i != 5) dynamic[i] = x[i];
    __syncthreads();
    float sum = tile[63 - i] + dynamic[(i + 1) % 64];
    if (last) switch (pick) {
            case PAST_STATIC: sum += tile[64 + zero]; break;
            case PAST_STATIC_POINTER: {
                const float *pointer = tile + zero;
                sum += pointer[64];
                break;
            }
            case BEFORE_STATIC: {
                float *pointer = tile + zero;
                pointer[-1] = 1;
                break;
            }
            case PAST_DYNAMIC: sum += dynamic[64 + zero]; break;
            case PAST_GLOBAL: sum += x[64 + zero]; break;
            case BEFORE_GLOBAL: sum += x[-1 - zero]; break;
            case WRITE_PAST_GLOBAL: y[64 + zero] = 1; break;
            case HOST_MEMORY: sum += host[zero]; break;
            case NULL_POINTER: sum += *reinterpret_cast<const float *>(static_cast<intptr_t>(zero)); break;
            case MISALIGNED_VECTOR: { /* all of it: nvcc would load a part alone, which is aligned */
                const float4 &four = *reinterpret_cast<const float4 *>(x + 2 + zero);
                sum += four.x + four.y + four.z + four.w;
                break;
            }
            case MISALIGNED_SHARED: *reinterpret_cast<float2 *>(tile + 1 + zero) = make_float2(1, 2); break;
            case UNWRITTEN_GLOBAL: sum += unwritten[zero]; break;
            case COPY_PAST_GLOBAL: memcpy(y + zero, x + 32, static_cast<size_t>(33 + zero) * sizeof(float)); break;
            case SHIFT_LEFT: sum += static_cast<float>(pick << (32 + zero)); break;
            case SHIFT_RIGHT: sum += static_cast<float>(reinterpret_cast<uintptr_t>(x) >> (64 + zero)); break;
            case UNWRITTEN_ADDED: unwritten[zero] += 1; break;
            default: break;
        }
    y[i] = sum;
}

/* Shared memory does not keep its contents from block to block. */
static __global__ void first_block_writes(float *y) {
    EAB_SHARED(float, value, 32);
    if (blockIdx.x == 0) value[threadIdx.x] = 1;
    __syncwarp();
    y[blockIdx.x * 32 + threadIdx.x] = value[threadIdx.x];
}

int planted_memory(cudaStream_t stream, int pick, const float *x, float *y, float *unwritten, const float *host) {
    if (pick == UNWRITTEN_LAST_BLOCK) return EAB_LAUNCH(stream, first_block_writes, 2, 32, 0, y);
    return EAB_LAUNCH(stream, memory, 1, 64, 64 * sizeof(float), pick, x, y, unwritten, host, 0);
}

static __global__ void copy(int pick, const float *x, float *y) {
    EAB_SHARED(float, tile, 256);
    const int i = static_cast<int>(threadIdx.x) * 4;
    const bool last = threadIdx.x == 63;
    if (pick == COPY_REUSED_EARLY) {
        tile[i] = tile[i + 1] = tile[i + 2] = tile[i + 3] = 0;
        __syncthreads();
        y[threadIdx.x] = tile[252 - i]; /* still read when the copy begins */
    }
    eab_cp_async_16(tile + i + (pick == COPY_MISALIGNED && last), x + i + (pick == COPY_PAST_END && last ? 4 : 0),
                    true);
    if (pick != NO_COMMIT) eab_cp_async_commit();
    if (pick == WAIT_TOO_FEW) eab_cp_async_wait<1>();
    else if (pick != NO_WAIT) eab_cp_async_wait<0>();
    if (pick != NO_BARRIER_AFTER_WAIT) __syncthreads();
    y[threadIdx.x] = tile[252 - i];
}

int planted_copy(cudaStream_t stream, int pick, const float *x, float *y) {
    return EAB_LAUNCH(stream, copy, 1, 64, 0, pick, x, y);
}

static __global__ void __launch_bounds__(64) bounded(float *y) { y[threadIdx.x] = 1; }
template <int WARPS> __global__ void __launch_bounds__(32 * WARPS, 2) bounded_by_template(float *y) {
    y[threadIdx.x] = 1;
}
static __global__ void empty(float *y) { y[0] = 1; }
static __global__ void large(float *y) {
    EAB_SHARED(float, tile, 15000);
    tile[threadIdx.x] = 1;
    y[threadIdx.x] = tile[threadIdx.x];
}

int planted_launch(cudaStream_t stream, dim3 grid, dim3 block, size_t dynamic_shared_bytes, bool opt_in, float *y) {
    if (opt_in && cudaFuncSetAttribute(empty, cudaFuncAttributeMaxDynamicSharedMemorySize, 227 << 10) != cudaSuccess)
        return eab_fail(EAB_DEVICE_FAULT, "cudaFuncSetAttribute");
    return EAB_LAUNCH(stream, empty, grid, block, dynamic_shared_bytes, y);
}

int planted_static_shared(cudaStream_t stream, float *y) { return EAB_LAUNCH(stream, large, 1, 32, 0, y); }

int planted_bound(cudaStream_t stream, unsigned threads, bool by_template, float *y) {
    return by_template ? EAB_LAUNCH(stream, bounded_by_template<2>, 1, threads, 0, y)
                       : EAB_LAUNCH(stream, bounded, 1, threads, 0, y);
}
