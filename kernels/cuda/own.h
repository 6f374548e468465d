/* eab_device.own of the backend "cuda"; for context.cu, memory.cu, recording.cu, events.cu and burn.cu. */
#ifndef EAB_KERNELS_CUDA_OWN_H
#define EAB_KERNELS_CUDA_OWN_H

#include "blas.h"
#include "context.h"

/* A copy of a host array, on the host (to compare) and on the device. */
typedef struct {
    void *host, *on_device;
    size_t bytes, room;
} eab_cuda_copy;

/* A block of device memory. */
typedef struct {
    void *memory;
    size_t bytes;
} eab_cuda_block;

/* A text on the device, in one unit: an eab_text that has only this unit's tokens, and the tokens behind it. */
typedef struct {
    char sha256[65];
    int32_t unit;
    eab_text *on_device; /* a block */
} eab_cuda_text;

typedef struct {
    int index, multiprocessors, resident_threads;
    unsigned generation;    /* of the CUDA context: memory of an earlier one is gone */
    bool sync_every_kernel; /* after a fault: wait for each kernel, record nothing, so that a failing one is named */
    cudaStream_t own_stream, stream;
    eab_cuda_blas *blas;
    eab_cuda_copy kept[EAB_CUDA_KEPT_COUNT];
    eab_cuda_block scratch;
    void **retired; /* earlier scratch memory and copies, replaced by larger ones: recordings may still use them */
    int retired_count;
    eab_cuda_block *blocks; /* those of allocate() */
    int block_count, block_room;
    eab_cuda_text *texts; /* of the last levels with texts */
    int text_count;
    const int64_t *replays; /* of the recording that is being made, or NULL */
    void *burn;             /* the operands of burn() */
    int32_t burn_dtype;     /* their type; -1: not filled yet */
    char description[240];
} eab_cuda_own;

static inline eab_cuda_own *eab_cuda_own_of(const eab_device *device) { return (eab_cuda_own *)device->own; }

#ifdef __cplusplus
extern "C" {
#endif

/* False: the device's CUDA context was reset, and its memory is gone. */
bool eab_cuda_is_current(const eab_cuda_own *own);

#ifdef __cplusplus
}
#endif

#endif
