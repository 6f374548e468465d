/* Marks on a device's stream, for measuring: CUDA events. Their resolution is half a microsecond. */
#include "operations.h"
#include "own.h"

int eab_cuda_mark_create(eab_device *device, void **mark) {
    cudaEvent_t event;
    *mark = NULL;
    eab_cuda_stream(device);
    EAB_CUDA(cudaEventCreate(&event));
    *mark = event;
    return EAB_OK;
}

void eab_cuda_mark_free(eab_device *device, void *mark) {
    if (!mark || !eab_cuda_is_current(eab_cuda_own_of(device))) return;
    eab_cuda_stream(device);
    cudaEventDestroy((cudaEvent_t)mark);
    cudaGetLastError();
}

int eab_cuda_mark_set(eab_device *device, void *mark) {
    EAB_CUDA(cudaEventRecord((cudaEvent_t)mark, eab_cuda_stream(device)));
    return EAB_OK;
}

int eab_cuda_mark_elapsed_s(eab_device *device, void *from, void *to, double *seconds) {
    float milliseconds = 0;
    eab_cuda_stream(device);
    EAB_CUDA(cudaEventSynchronize((cudaEvent_t)to));
    EAB_CUDA(cudaEventElapsedTime(&milliseconds, (cudaEvent_t)from, (cudaEvent_t)to));
    *seconds = 1e-3 * (double)milliseconds;
    return EAB_OK;
}
