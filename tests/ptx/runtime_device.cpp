/* The device, its limits, errors and events. */
#include <cstdio>
#include <cstring>
#include <ctime>

#include "runtime.h"
#include "settings.h"

namespace ptx {

thread_local cudaError_t last_error;

Runtime &runtime() {
    static Runtime *const made = new Runtime;
    return *made;
}

/* Shared memory by the CUDA C++ Programming Guide, "Technical Specifications per Compute Capability". */
const Limits &limits() {
    static const struct {
        int device;
        Limits limits;
    } all[] = {
        {80, {163 << 10, 164 << 10, 108, 2048}},  {86, {99 << 10, 100 << 10, 84, 1536}},
        {89, {99 << 10, 100 << 10, 128, 1536}},   {90, {227 << 10, 228 << 10, 132, 2048}},
        {100, {227 << 10, 228 << 10, 148, 2048}}, {120, {99 << 10, 100 << 10, 170, 1536}},
    };
    for (const auto &known : all)
        if (known.device == settings().device) return known.limits;
    return all[0].limits;
}

cudaError_t fail(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

static double now() {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

} // namespace ptx

using namespace ptx;

extern "C" {

cudaError_t cudaGetLastError(void) {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return runtime().sticky ? runtime().sticky : error;
}

cudaError_t cudaPeekAtLastError(void) { return runtime().sticky ? runtime().sticky : last_error; }

const char *cudaGetErrorString(cudaError_t error) {
    static thread_local char text[64];
    snprintf(text, sizeof text, "CUDA error %d", (int)error);
    return text;
}

cudaError_t cudaSetDevice(int device) {
    PTX_CALL();
    return device == 0 ? cudaSuccess : fail(cudaErrorInvalidDevice);
}

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 1;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
    memset(p, 0, sizeof *p);
    const int device = settings().device;
    snprintf(p->name, sizeof p->name, "PTX emulator sm_%d", device);
    p->major = device / 10;
    p->minor = device % 10;
    p->totalGlobalMem = settings().memory_bytes;
    p->multiProcessorCount = limits().multiprocessors;
    p->maxThreadsPerMultiProcessor = limits().threads_per_multiprocessor;
    p->sharedMemPerBlock = default_shared_limit;
    p->sharedMemPerBlockOptin = limits().shared_per_block;
    p->sharedMemPerMultiprocessor = limits().shared_per_multiprocessor;
    p->warpSize = 32;
    p->maxGridSize[0] = settings().largest_grid[0];
    p->maxGridSize[1] = settings().largest_grid[1];
    p->maxGridSize[2] = 65535;
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}

/* Clears a fault, unless EAB_PTX_FAULT says that it stays. */
cudaError_t cudaDeviceReset(void) {
    PTX_LOCK();
    if (runtime().sticky && settings().fault_for_good) return fail(runtime().sticky);
    runtime().sticky = cudaSuccess;
    last_error = cudaSuccess;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    PTX_CALL();
    *event = (cudaEvent_t) new Event;
    return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
    PTX_LOCK();
    drain_all();
    delete (Event *)event;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    PTX_CALL();
    Event *const e = (Event *)event;
    e->recorded = true;
    e->done = false;
    e->stream = stream_of(stream);
    return enqueue(e->stream, [e] {
        e->time = now();
        e->done = true;
        return cudaSuccess;
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
    PTX_CALL();
    Event *const e = (Event *)event;
    if (e->stream && !e->done) drain(e->stream);
    return fail(runtime().sticky);
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
    PTX_CALL();
    const Event *const a = (const Event *)from, *const b = (const Event *)to;
    if (!a->recorded || !b->recorded) return fail(cudaErrorInvalidResourceHandle);
    if (!a->done || !b->done) return fail(cudaErrorNotReady);
    *milliseconds = (float)(1e3 * (b->time - a->time));
    return cudaSuccess;
}
}
