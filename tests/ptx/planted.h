/* Kernels with one bug each, which the detectors must name. `pick` chooses the bug, or 0, the same kernel without
 * it. */
#ifndef EAB_TESTS_PTX_PLANTED_H
#define EAB_TESTS_PTX_PLANTED_H

#include "../../kernels/cuda/tensor_core.h"

/* Memory: planted.cu. x and y have 64 floats on the device; one block of 64 threads. */
enum planted_memory {
    MEMORY_RIGHT,
    UNWRITTEN_SHARED,
    UNWRITTEN_DYNAMIC,
    UNWRITTEN_HALF,
    PAST_STATIC,
    PAST_STATIC_POINTER,
    BEFORE_STATIC,
    PAST_DYNAMIC,
    PAST_GLOBAL,
    BEFORE_GLOBAL,
    WRITE_PAST_GLOBAL,
    HOST_MEMORY,
    NULL_POINTER,
    MISALIGNED_VECTOR,
    MISALIGNED_SHARED,
    UNWRITTEN_GLOBAL,
    COPY_PAST_GLOBAL,
    UNWRITTEN_ADDED,
    UNWRITTEN_LAST_BLOCK,
    SHIFT_LEFT,
    SHIFT_RIGHT
};
int planted_memory(cudaStream_t stream, int pick, const float *x, float *y, float *unwritten, const float *host);

/* Barriers, warps: planted_order.cu. One block of 64 threads. */
enum planted_divergence {
    DIVERGENCE_RIGHT,
    BARRIER_EXIT,
    BARRIER_ELSEWHERE,
    BARRIER_HALF,
    SHUFFLE_EXITED,
    SHUFFLE_OUTSIDE_MASK,
    SHUFFLE_NOT_IN_MASK,
    SHUFFLE_DIVERGED,
    VOTE_EXITED,
    WARP_BARRIER_DIVERGED,
    MMA_DIVERGED,
    SHUFFLE_AND_BARRIER,
    SHUFFLE_WIDTH
};
int planted_divergence(cudaStream_t stream, int pick, float *y);

/* Order: races. One block of 64 threads, or two blocks. */
enum planted_race {
    RACE_RIGHT,
    NO_BARRIER,
    NO_BARRIER_AFTER,
    SAME_WORD,
    WITHIN_WARP,
    WITHIN_WARP_SHUFFLE,
    WARP_BARRIER_BETWEEN_WARPS,
    HALF_WARP,
    ATOMIC_AND_PLAIN,
    HALVES,
    LDMATRIX_RACE
};
int planted_race(cudaStream_t stream, int pick, float *y);
enum planted_block_race { BLOCKS_RIGHT, BLOCKS_WRITE, BLOCKS_READ, BLOCKS_ATOMIC_READ, BLOCKS_HALVES };
int planted_block_race(cudaStream_t stream, int pick, float *y);

/* Races in global memory within a block of 64 threads. */
enum planted_global_race {
    GLOBAL_RIGHT,
    GLOBAL_NO_BARRIER,
    GLOBAL_SAME_WORD,
    GLOBAL_WITHIN_WARP,
    GLOBAL_HALVES,
    GLOBAL_ATOMIC_READ
};
int planted_global_race(cudaStream_t stream, int pick, float *y);

/* cp.async. */
enum planted_copy {
    COPY_RIGHT,
    NO_WAIT,
    NO_COMMIT,
    WAIT_TOO_FEW,
    NO_BARRIER_AFTER_WAIT,
    COPY_MISALIGNED,
    COPY_PAST_END,
    COPY_REUSED_EARLY
};
int planted_copy(cudaStream_t stream, int pick, const float *x, float *y);

/* The answer depends on the order in which warps run. */
int planted_order(cudaStream_t stream, unsigned *order);

/* Launches that cannot be. */
int planted_launch(cudaStream_t stream, dim3 grid, dim3 block, size_t dynamic_shared_bytes, bool opt_in, float *y);
int planted_bound(cudaStream_t stream, unsigned threads, bool by_template, float *y); /* bounds of 64 threads */
int planted_static_shared(cudaStream_t stream, float *y);                             /* 60 KB */

#endif
