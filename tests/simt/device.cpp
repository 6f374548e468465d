/* The device's properties, and memory as the host sees it. */
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

using namespace simt;

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return set_error(device ? cudaErrorInvalidDevice : cudaSuccess); }

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *properties, int device) {
    if (device) return set_error(cudaErrorInvalidDevice);
    size_t free_bytes;
    *properties = {};
    snprintf(properties->name, sizeof properties->name, "simt (CUDA on this processor)");
    global_size(&free_bytes, &properties->totalGlobalMem);
    properties->sharedMemPerBlock = SHARED_DEFAULT;
    properties->sharedMemPerBlockOptin = SHARED_OPTIN;
    properties->sharedMemPerMultiprocessor = 228 << 10;
    properties->reservedSharedMemPerBlock = 1024;
    properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    properties->maxThreadsPerMultiProcessor = 2048;
    properties->maxBlocksPerMultiProcessor = 32;
    const int block[3] = {1024, 1024, 64}, grid[3] = {5, 2, 65535}; /* small, so that loops take more than one iteration */
    memcpy(properties->maxThreadsDim, block, sizeof block);
    memcpy(properties->maxGridSize, grid, sizeof grid);
    properties->major = 9;
    properties->multiProcessorCount = 4; /* an H200 has 132; a grid that is made to fill the device should stay small */
    properties->l2CacheSize = 50 << 20;
    properties->memoryBusWidth = 6144;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
    cudaDeviceProp p;
    const cudaError_t error = cudaGetDeviceProperties(&p, device);
    if (error != cudaSuccess) return error;
    switch (attribute) {
        case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
        case cudaDevAttrMaxSharedMemoryPerBlock: *value = static_cast<int>(p.sharedMemPerBlock); break;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = static_cast<int>(p.sharedMemPerBlockOptin); break;
        case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
            *value = static_cast<int>(p.sharedMemPerMultiprocessor);
            break;
        case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
        case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
        case cudaDevAttrGlobalMemoryBusWidth: *value = p.memoryBusWidth; break;
        case cudaDevAttrClockRate: *value = 1980000; break;
        case cudaDevAttrMemoryClockRate: *value = 3201000; break;
        case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
        case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
        default: return set_error(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceGetPCIBusId(char *text, int size, int) {
    snprintf(text, static_cast<size_t>(size), "0000:00:00.0");
    return cudaSuccess;
}
cudaError_t cudaDeviceSynchronize() { return fault(); }
cudaError_t cudaDriverGetVersion(int *version) {
    *version = 13000;
    return cudaSuccess;
}
cudaError_t cudaRuntimeGetVersion(int *version) { return cudaDriverGetVersion(version); }

/* ---- memory ------------------------------------------------------------------------------------------------------ */

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    if (fault() != cudaSuccess) return fault();
    if (is_capturing()) return set_error(cudaErrorStreamCaptureUnsupported);
    return set_error(global_allocate(memory, bytes));
}
cudaError_t cudaFree(void *memory) {
    if (is_capturing()) return set_error(cudaErrorStreamCaptureUnsupported);
    return set_error(global_release(memory));
}
cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t) { return cudaMalloc(memory, bytes); }
cudaError_t cudaFreeAsync(void *memory, cudaStream_t) { return cudaFree(memory); }
cudaError_t cudaMallocHost(void **memory, size_t bytes) {
    *memory = malloc(bytes ? bytes : 1);
    return *memory ? cudaSuccess : set_error(cudaErrorMemoryAllocation);
}
cudaError_t cudaFreeHost(void *memory) {
    free(memory);
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    global_size(free_bytes, total_bytes);
    return fault();
}
