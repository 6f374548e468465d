/* Shared by the fleet's kernels: grids over members, packs of reals, sums over lanes. */
#ifndef EAB_KERNELS_CUDA_FLEET_H
#define EAB_KERNELS_CUDA_FLEET_H

#include "context.h"

/* The largest grid in x and y, by the device's properties; prepare() in context.cu sets it. */
extern int eab_cuda_largest_grid[2];

/* Members are the grid's y; if a fleet is larger than the grid, kernels continue in steps of gridDim.y. */
static inline unsigned eab_cuda_grid_members(int32_t members) {
    const int32_t largest = __atomic_load_n(&eab_cuda_largest_grid[1], __ATOMIC_RELAXED);
    return (unsigned)(members < largest ? members : largest);
}

static inline int64_t eab_cuda_parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

/* Blocks in x for `count` items, `size` a block; if the grid is smaller, kernels continue in steps of the grid. */
static inline unsigned eab_cuda_grid(int64_t count, int64_t size) {
    const int64_t parts = eab_cuda_parts(count, size);
    const int64_t largest = __atomic_load_n(&eab_cuda_largest_grid[0], __ATOMIC_RELAXED);
    return parts < 1 ? 1u : (unsigned)(parts < largest ? parts : largest);
}

/* Whether a member's reals can be accessed 16 bytes at a time. */
static inline bool eab_cuda_aligned(eab_tensor tensor, int64_t count) {
    return (uintptr_t)tensor.data % 16 == 0 && tensor.stride % 4 == 0 && count % 4 == 0;
}

template <int WIDTH> struct alignas(4 * WIDTH) eab_pack { float value[WIDTH]; };

__device__ static inline float *eab_member(eab_tensor tensor, int64_t member) {
    return tensor.data ? (float *)tensor.data + member * tensor.stride : nullptr;
}

/* The sum over a group of LANES lanes, in each of them. All lanes of the warp must call it. */
template <int LANES> __device__ static inline float eab_lanes_sum(float value) {
    for (int offset = LANES / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, offset, 32);
    return value;
}

#endif
