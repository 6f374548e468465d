/* Events on a device's stream, for measuring times. Their resolution is half a microsecond. */
#include "operations.h"
#include "own.h"

int eab_cuda_event_create(eab_device *device, void **event) {
    *event = NULL;
    eab_cuda_stream(device);
    EAB_CUDA(cudaEventCreate((cudaEvent_t *)event));
    return EAB_OK;
}

void eab_cuda_event_free(eab_device *device, void *event) {
    if (!event || !eab_cuda_is_current(eab_cuda_own_of(device))) return;
    eab_cuda_stream(device);
    cudaEventDestroy((cudaEvent_t)event);
    cudaGetLastError();
}

int eab_cuda_event_record(eab_device *device, void *event) {
    EAB_CUDA(cudaEventRecord((cudaEvent_t)event, eab_cuda_stream(device)));
    return EAB_OK;
}

int eab_cuda_event_elapsed_s(eab_device *device, void *from, void *to, double *seconds) {
    float milliseconds = 0;
    eab_cuda_stream(device);
    EAB_CUDA(cudaEventSynchronize((cudaEvent_t)to));
    EAB_CUDA(cudaEventElapsedTime(&milliseconds, (cudaEvent_t)from, (cudaEvent_t)to));
    *seconds = 1e-3 * (double)milliseconds;
    return EAB_OK;
}
