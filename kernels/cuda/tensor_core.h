/* Wrappers of the warp-wide matrix instructions (sm_80 and newer) and of asynchronous copies into shared memory.
 *
 * All 32 lanes of a warp call eab_mma_* and eab_ldmatrix_* together. With group = lane / 4 and pair = 2 * (lane % 4)
 * (PTX ISA, "Matrix fragments for mma.m16n8k16"), a lane holds two 16-bit values a register, the lower column in the
 * lower half:
 *   a (16 x 16): a[0] row group,     columns pair, pair + 1      a[2] row group,     columns pair + 8, pair + 9
 *                a[1] row group + 8, columns pair, pair + 1      a[3] row group + 8, columns pair + 8, pair + 9
 *   b (16 x 8):  b[0] rows pair, pair + 1, column group          b[1] rows pair + 8, pair + 9, column group
 *   d (16 x 8):  d[0], d[1] row group, columns pair, pair + 1    d[2], d[3] row group + 8, same columns
 *
 * eab_ldmatrix_x4 reads four 8 x 8 matrices of 16-bit values: lane l passes the address of row l % 8 of matrix l / 8
 * (16 bytes, aligned to 16). r[m] receives matrix m's values at row lane / 4, columns pair, pair + 1; _trans: at rows
 * pair, pair + 1, column lane / 4.
 *
 * eab_cp_async_16 begins a copy of 16 bytes; if not valid, it writes zeros and does not read `global`. commit closes a
 * group of the calling thread's copies. wait<n> returns when all but the thread's n newest groups are complete. Other
 * threads see the data after a barrier that follows the wait.
 */
#ifndef EAB_KERNELS_CUDA_TENSOR_CORE_H
#define EAB_KERNELS_CUDA_TENSOR_CORE_H

#include "device.h"

/* d += a * b, accumulated in float32. */
__device__ __forceinline__ void eab_mma_m16n8k16_bf16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void eab_mma_m16n8k16_f16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ uint32_t eab_shared_address(const void *shared) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

__device__ __forceinline__ void eab_ldmatrix_x4(uint32_t (&r)[4], uint32_t shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared)
                 : "memory");
}

__device__ __forceinline__ void eab_ldmatrix_x4_trans(uint32_t (&r)[4], uint32_t shared) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared)
                 : "memory");
}

/* .cg bypasses the first-level cache, because a block reads a tile once. */
__device__ __forceinline__ void eab_cp_async_16(void *shared, const void *global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
                 :
                 : "r"(eab_shared_address(shared)), "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
                 : "memory");
}

__device__ __forceinline__ void eab_cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

template <int N> __device__ __forceinline__ void eab_cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" : : "n"(N) : "memory");
}

#endif
