/* Small device helpers that the fleet's kernels share: members, packs of reals, sums over lanes. */
#ifndef EAB_KERNELS_CUDA_FLEET_H
#define EAB_KERNELS_CUDA_FLEET_H

#include "context.h"

/* Under simt grids are small, so that the kernels' loops over members and over parts go round more than once, as they do on
 * a GPU for fleets of more than 65,535 and for tensors that no test could hold. */
#ifdef EAB_SIMT
enum { EAB_CUDA_MAX_GRID_X = 5, EAB_CUDA_MAX_GRID_Y = 2 };
#else
enum { EAB_CUDA_MAX_GRID_X = 1 << 20, EAB_CUDA_MAX_GRID_Y = 65535 };
#endif

/* Grids have the members in y; a kernel goes on in steps of gridDim.y where a fleet is larger than a grid. */
static inline unsigned eab_cuda_grid_members(int32_t members) {
    return members < EAB_CUDA_MAX_GRID_Y ? (unsigned)members : (unsigned)EAB_CUDA_MAX_GRID_Y;
}

static inline int64_t eab_cuda_parts(int64_t count, int64_t size) { return (count + size - 1) / size; }

/* Blocks in x for `count` things, `size` of them a block at a time; kernels go on in steps of the grid. */
static inline unsigned eab_cuda_grid(int64_t count, int64_t size) {
    const int64_t parts = eab_cuda_parts(count, size);
    return parts < 1 ? 1u : parts < EAB_CUDA_MAX_GRID_X ? (unsigned)parts : (unsigned)EAB_CUDA_MAX_GRID_X;
}

/* Whether a member's reals may be moved 16 bytes at a time. */
static inline bool eab_cuda_aligned(eab_tensor tensor, int64_t count) {
    return (uintptr_t)tensor.data % 16 == 0 && tensor.stride % 4 == 0 && count % 4 == 0;
}

template <int WIDTH> struct alignas(4 * WIDTH) eab_pack { float value[WIDTH]; };

__device__ static inline float *eab_member(eab_tensor tensor, int64_t member) {
    return tensor.data ? (float *)tensor.data + member * tensor.stride : nullptr;
}

/* The sum over the lanes of a group of LANES, in all of them; every lane of the warp must come here. */
template <int LANES> __device__ static inline float eab_lanes_sum(float value) {
    for (int offset = LANES / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xFFFFFFFFu, value, offset, 32);
    return value;
}

#endif
