/* The device as the operations see it: stream, scratch memory, copies of host arrays.
 *
 * Host arrays passed to operations (levels, mechanisms, optimizers, ...) change only when members leave a fleet.
 * eab_cuda_keep() keeps a copy of each on the device and uploads it only when its contents change. So a training step
 * transfers nothing between host and device and can be recorded as a graph. The texts of levels are kept likewise.
 */
#ifndef EAB_KERNELS_CUDA_CONTEXT_H
#define EAB_KERNELS_CUDA_CONTEXT_H

#include "../backend.h"
#include "device.h"

/* The host arrays with a copy on the device. */
typedef enum {
    EAB_CUDA_LEVELS,
    EAB_CUDA_PARTS,
    EAB_CUDA_SEEDS,
    EAB_CUDA_HELD_OUT,
    EAB_CUDA_MECHANISMS,
    EAB_CUDA_SCALES,
    EAB_CUDA_MIXES,
    EAB_CUDA_SLOPES,
    EAB_CUDA_VOCABULARIES,
    EAB_CUDA_OPTIMIZERS,
    EAB_CUDA_KEPT_COUNT
} eab_cuda_kept;

#ifdef __cplusplus
extern "C" {
#endif

/* The device's stream; also makes the device current in the calling thread. */
cudaStream_t eab_cuda_stream(const eab_device *device);

/* Number of multiprocessors. */
int eab_cuda_multiprocessors(const eab_device *device);

/* *on_device: a copy of host[0..bytes), or NULL if host is NULL. The pointer is valid until the device is closed, the
 * contents until the next call for the same array. */
int eab_cuda_keep(eab_device *device, eab_cuda_kept array, const void *host, size_t bytes, const void **on_device);

/* As eab_cuda_keep of EAB_CUDA_LEVELS. The levels' texts are replaced by copies on the device, one for each digest and
 * unit. When a text has no copy yet, the copies of all earlier calls are freed. */
int eab_cuda_keep_levels(eab_device *device, const eab_level *host, size_t count, const void **on_device);

/* Scratch memory for one operation, aligned to 256 bytes. Its contents last until the next operation uses it (the
 * stream orders them). A second call in one operation returns the same memory: call once, for the sum. */
int eab_cuda_scratch(eab_device *device, size_t bytes, void **memory);

/* Counts the earlier replays of the current recording: a number on the device, or NULL (0) outside of recordings.
 * Kernels add it to their step. */
const int64_t *eab_cuda_replays(const eab_device *device);

/* EAB_OK, or the eab_status of a CUDA error, with a line that names `what`, file and line. After a sticky error, the
 * next open resets the device. */
int eab_cuda_status(cudaError_t error, const char *what, const char *file, int line);

#ifdef __cplusplus
}
#endif

/* EAB_CUDA(cudaMemsetAsync(...)): returns from the enclosing function if the call fails. */
#define EAB_CUDA(call)                                                                                        \
    do {                                                                                                      \
        const cudaError_t eab_cuda_error = (call);                                                            \
        if (eab_cuda_error != cudaSuccess) return eab_cuda_status(eab_cuda_error, #call, __FILE__, __LINE__); \
    } while (0)

#endif
