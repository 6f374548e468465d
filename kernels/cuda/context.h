/* What every file of the CUDA backend knows of its device: stream, scratch memory, host arrays kept on the device.
 *
 * Host arrays that an operation is given (levels, mechanisms, optimizers, ...) change only when members leave a fleet.
 * eab_cuda_keep() holds a copy of each on the device and uploads it again only when its contents differ, so that a
 * training step has no traffic with the host and can be recorded as a graph.
 */
#ifndef EAB_KERNELS_CUDA_CONTEXT_H
#define EAB_KERNELS_CUDA_CONTEXT_H

#include "../backend.h"
#include "device.h"

/* The host arrays that are kept, one of each. */
typedef enum {
    EAB_CUDA_LEVELS,
    EAB_CUDA_PARTS,
    EAB_CUDA_SEEDS,
    EAB_CUDA_HELD_OUT,
    EAB_CUDA_MECHANISMS,
    EAB_CUDA_SCALES,
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

/* *on_device: a copy of host[0..bytes), or NULL where host is NULL. Valid until the device is closed, its contents until
 * the same array is kept with others. */
int eab_cuda_keep(eab_device *device, eab_cuda_kept array, const void *host, size_t bytes, const void **on_device);

/* Scratch for one operation: its contents last until the next operation takes it (the stream orders them). Aligned to 256
 * bytes. Of two calls in one operation the second gets the same memory: ask once, for the sum. */
int eab_cuda_scratch(eab_device *device, size_t bytes, void **memory);

/* How often the recording that is being made or replayed was replayed before: a number on the device, or NULL outside of
 * recordings, which means 0. Kernels add it to their step. */
const int64_t *eab_cuda_replays(const eab_device *device);

/* EAB_OK, or the eab_status of a CUDA error with a line that names `what`, file and line. A sticky error marks the
 * device for a reset at its next open. */
int eab_cuda_status(cudaError_t error, const char *what, const char *file, int line);

#ifdef __cplusplus
}
#endif

/* EAB_CUDA(cudaMemsetAsync(...)): returns from the enclosing function where the call fails. */
#define EAB_CUDA(call)                                                                                        \
    do {                                                                                                      \
        const cudaError_t eab_cuda_error = (call);                                                            \
        if (eab_cuda_error != cudaSuccess) return eab_cuda_status(eab_cuda_error, #call, __FILE__, __LINE__); \
    } while (0)

#endif
