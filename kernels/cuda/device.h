/* The only header through which kernel files include CUDA's own, and the macros that they share:
 *   EAB_TRY(EAB_LAUNCH(stream, kernel, grid, block, dynamic_shared_bytes, arguments...));
 *       instead of <<<>>>; a kernel with commas in its template arguments needs parentheses: (kernel<64, true>)
 *   EAB_SHARED(float, tile, 32 * 33);       a static shared array `tile`, aligned to 16 bytes
 *   EAB_DYNAMIC_SHARED(memory);             unsigned char *memory, aligned to 128 bytes: the launch's dynamic part
 */
#ifndef EAB_KERNELS_CUDA_DEVICE_H
#define EAB_KERNELS_CUDA_DEVICE_H

#include <stddef.h>
#include <stdint.h>

extern "C" {
#include "../status.h"
}

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#define EAB_SHARED(type, name, count) __shared__ __align__(16) type name[count]

/* All kernels of a file share one declaration, because CUDA requires the same type for every use of an extern array. */
#define EAB_DYNAMIC_SHARED(name)                                         \
    extern __shared__ __align__(128) unsigned char eab_dynamic_shared[]; \
    unsigned char *const name = eab_dynamic_shared

/* Turns the result of a launch into an eab_status, with a line that names the kernel if it failed (context.cu). */
extern "C" int eab_launch_status(cudaError_t error, const char *name, const char *file, int line, cudaStream_t stream);

/* Queues `kernel`. The arguments are converted to its parameter types, as in a call. */
template <typename... Parameters, typename... Arguments>
int eab_launch(const char *name, const char *file, int line, cudaStream_t stream, void (*kernel)(Parameters...),
               dim3 grid, dim3 block, size_t dynamic_shared_bytes, Arguments &&...arguments) {
    const auto launch = [&](Parameters... values) {
        void *pointers[] = {const_cast<void *>(static_cast<const void *>(&values))..., nullptr};
        return cudaLaunchKernel(reinterpret_cast<const void *>(kernel), grid, block, pointers, dynamic_shared_bytes,
                                stream);
    };
    return eab_launch_status(launch(arguments...), name, file, line, stream);
}

/* 2^x and 1/x on the special-function unit: errors of at most 2 and 1 ulp; subnormals become 0. */
__device__ __forceinline__ float eab_fast_exp2(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
__device__ __forceinline__ float eab_fast_reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* The kernel that the calling thread queued last; named when a fault appears later (context.cu). */
struct eab_queued_kernel {
    const char *name, *file;
    int line;
};
inline thread_local eab_queued_kernel eab_queued_last = {nullptr, nullptr, 0};

inline int eab_launch_note(int status, const char *name, const char *file, int line) {
    if (!status) eab_queued_last = {name, file, line};
    return status;
}

/* Launches a kernel; an eab_status. A failure leaves "kernel NAME at FILE:LINE: reason" for eab_last_error(). The
 * variable part starts with dynamic_shared_bytes, so that kernels without arguments work too. */
#define EAB_LAUNCH(stream, kernel, grid, block, ...)                                                            \
    eab_launch_note(eab_launch(#kernel, __FILE__, __LINE__, stream, kernel, grid, block, __VA_ARGS__), #kernel, \
                    __FILE__, __LINE__)

#endif
