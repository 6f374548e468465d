/* CUDA devices: finding, opening and closing them, the stream, errors. */
#include "fleet.h"
#include "operations.h"
#include "own.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace {

enum { MAX_DEVICES = 64 };

/* For each device in this process: whether an error made its context unusable, and how often it was reset. */
bool poisoned[MAX_DEVICES];
unsigned generations[MAX_DEVICES];

/* Errors after which every call fails until the context is destroyed (CUDA runtime API, "cudaError"). Numbers, because
 * older toolkits do not name all of them. */
bool is_sticky(cudaError_t error) {
    const int code = (int)error;
    return code == 214 || code == 220 || code == 226 || code == 700 || code == 702 || code == 710 ||
           (code >= 714 && code <= 719) || code == 721 || code == 999;
}

thread_local int current = -1; /* the device that the calling thread selected last */

cudaError_t set_device(int index) {
    current = index;
    return cudaSetDevice(index);
}

/* Uses `current`, because after a fault cudaGetDevice may return the fault too. */
void note_sticky(cudaError_t error) {
    if (is_sticky(error) && current >= 0 && current < MAX_DEVICES)
        __atomic_store_n(&poisoned[current], true, __ATOMIC_RELAXED);
}

__global__ void probe() {}

thread_local bool sync_every_kernel; /* own.h; of the device that the calling thread uses */

/* Whether this build has code that the device can run. */
int check_architecture(int index, const cudaDeviceProp *properties) {
    cudaFuncAttributes attributes;
    const cudaError_t error = cudaFuncGetAttributes(&attributes, probe);
    if (error == cudaSuccess) return EAB_OK;
    cudaGetLastError();
    const int code = (int)error;
    const bool no_code =
        code == 209 || code == 98 || code == 222; /* no image, no function, PTX too new for the driver */
    if (!no_code) return eab_cuda_status(error, "cudaFuncGetAttributes", __FILE__, __LINE__);
    return eab_cuda_refuse_architecture(index, properties->name, properties->major, properties->minor,
                                        EAB_CUDA_ARCHITECTURES);
}

/* "; the last kernel queued was NAME at FILE:LINE" for an error that an earlier kernel may have caused; else "". */
void name_last_launch(cudaError_t error, char *text, size_t size) {
    text[0] = '\0';
    const eab_queued_kernel *last = &eab_queued_last;
    if (!is_sticky(error) || !last->name) return;
    const char *file = strrchr(last->file, '/');
    snprintf(text, size, "; the last kernel queued was %.80s at %.80s:%d", last->name, file ? file + 1 : last->file,
             last->line);
}

void write_description(eab_cuda_own *own, const cudaDeviceProp *properties) {
    char products[32];
    eab_cuda_blas_describe(own->blas, products, sizeof products);
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    snprintf(own->description, sizeof own->description,
             "%.100s, sm_%d%d, %zu GiB, driver for CUDA %d.%d, CUDA %d.%d, %s", properties->name, properties->major,
             properties->minor, properties->totalGlobalMem >> 30, driver / 1000, driver % 1000 / 10, runtime / 1000,
             runtime % 1000 / 10, products);
}

/* Whether the device runs kernels again. Some errors last until the process ends (CUDA runtime API, at
 * cudaErrorIllegalAddress: "the process must be terminated and relaunched"). */
int try_kernel(cudaStream_t stream) {
    EAB_TRY(EAB_LAUNCH(stream, probe, dim3(1), dim3(1), 0));
    EAB_CUDA(cudaStreamSynchronize(stream));
    return EAB_OK;
}

int prepare(eab_cuda_own *own, int index) {
    cudaDeviceProp properties;
    own->index = index;
    const bool reset = index < MAX_DEVICES && __atomic_exchange_n(&poisoned[index], false, __ATOMIC_RELAXED);
    if (reset) {
        set_device(index); /* these calls may return the old context's error */
        cudaDeviceReset();
        cudaGetLastError();
        __atomic_add_fetch(&generations[index], 1, __ATOMIC_RELAXED);
        own->sync_every_kernel = true;
    }
    EAB_CUDA(set_device(index));
    own->generation = index < MAX_DEVICES ? __atomic_load_n(&generations[index], __ATOMIC_RELAXED) : 0;
    EAB_CUDA(cudaGetDeviceProperties(&properties, index));
    EAB_TRY(check_architecture(index, &properties));
    const int *grid = properties.maxGridSize, enough = 1 << 20; /* more blocks in x gain nothing */
    __atomic_store_n(&eab_cuda_largest_grid[0], grid[0] < enough ? grid[0] : enough, __ATOMIC_RELAXED);
    __atomic_store_n(&eab_cuda_largest_grid[1], grid[1], __ATOMIC_RELAXED);
    own->multiprocessors = properties.multiProcessorCount;
    own->resident_threads = properties.multiProcessorCount * properties.maxThreadsPerMultiProcessor;
    EAB_CUDA(cudaStreamCreateWithFlags(&own->own_stream, cudaStreamNonBlocking));
    own->stream = own->own_stream;
    if (reset) EAB_TRY(try_kernel(own->stream));
    EAB_TRY(eab_cuda_blas_open(own->stream, &own->blas));
    write_description(own, &properties);
    return EAB_OK;
}

} // namespace

int eab_cuda_largest_grid[2];

int eab_cuda_refuse_architecture(int index, const char *name, int major, int minor, const char *built) {
    if (major < 8)
        return eab_fail(EAB_NO_DEVICE, "device %d (%.60s) has compute capability %d.%d; 8.0 or newer is allowed", index,
                        name, major, minor);
    return eab_fail(
        EAB_NO_DEVICE,
        "device %d (%.60s) has compute capability %d.%d, this build has code for %s; rebuild: cmake -B build "
        "-DCMAKE_CUDA_ARCHITECTURES=%d%d%s-real && cmake --build build",
        index, name, major, minor, built, major, minor, major == 9 ? "a" : "");
}

int eab_cuda_status(cudaError_t error, const char *what, const char *file, int line) {
    if (error == cudaSuccess) return EAB_OK;
    note_sticky(error);
    cudaGetLastError(); /* clears the error, because it is reported here */
    const char *name = strrchr(file, '/');
    char last[200];
    name_last_launch(error, last, sizeof last);
    return eab_fail(error == cudaErrorMemoryAllocation ? EAB_NO_MEMORY : EAB_DEVICE_FAULT,
                    "cuda: %s: %.120s at %s:%d%s", cudaGetErrorString(error), what, name ? name + 1 : file, line, last);
}

int eab_launch_status(cudaError_t error, const char *name, const char *file, int line, cudaStream_t stream) {
    const bool queued = error == cudaSuccess;
    if (queued && sync_every_kernel) error = cudaStreamSynchronize(stream);
    if (error == cudaSuccess) return EAB_OK;
    note_sticky(error);
    cudaGetLastError(); /* clears the error, because it is reported here */
    char last[200] = "";
    if (!queued) name_last_launch(error, last, sizeof last); /* the error may be an earlier kernel's */
    return eab_fail(error == cudaErrorMemoryAllocation ? EAB_NO_MEMORY : EAB_DEVICE_FAULT, "kernel %s at %s:%d: %s%s",
                    name, file, line, cudaGetErrorString(error), last);
}

const char *eab_cuda_absent(void) {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    if (error == cudaSuccess && count > 0) return NULL;
    cudaGetLastError();
    switch ((int)error) {
        case 0:
        case 100: return "the NVIDIA driver has no device here";
        case 34:
        case 35: return "no NVIDIA driver is installed, or it is too old for this build";
        case 46:
        case 999:
        case 3: return "the NVIDIA driver cannot be started";
        case 804: return "the NVIDIA driver does not match its libraries";
        default: return "the NVIDIA driver cannot list its devices";
    }
}

int eab_cuda_count(void) {
    int count = 0;
    if (cudaGetDeviceCount(&count) != cudaSuccess) {
        cudaGetLastError();
        return 0;
    }
    return count;
}

int eab_cuda_open(int index, eab_device *device) {
    eab_cuda_own *own = (eab_cuda_own *)calloc(1, sizeof *own);
    if (!own) return eab_fail(EAB_NO_MEMORY, "no memory for a device");
    device->own = own;
    const int status = prepare(own, index);
    if (status) eab_cuda_close(device);
    return status;
}

bool eab_cuda_is_current(const eab_cuda_own *own) {
    return own->index >= MAX_DEVICES || __atomic_load_n(&generations[own->index], __ATOMIC_RELAXED) == own->generation;
}

void eab_cuda_close(eab_device *device) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    const cudaError_t chosen = eab_cuda_is_current(own) ? set_device(own->index) : cudaErrorInvalidValue;
    note_sticky(chosen);
    if (chosen == cudaSuccess) {
        if (own->stream) note_sticky(cudaStreamSynchronize(own->stream)); /* may return a fault not yet reported */
        eab_cuda_blas_close(own->blas);
        for (int i = 0; i < EAB_CUDA_KEPT_COUNT; i++) cudaFree(own->kept[i].on_device);
        for (int i = 0; i < own->retired_count; i++) cudaFree(own->retired[i]);
        for (int i = 0; i < own->block_count; i++) cudaFree(own->blocks[i].memory);
        cudaFree(own->scratch.memory);
        cudaFree(own->burn);
        if (own->own_stream) cudaStreamDestroy(own->own_stream);
        cudaGetLastError();
    }
    for (int i = 0; i < EAB_CUDA_KEPT_COUNT; i++) free(own->kept[i].host);
    free(own->retired);
    free(own->blocks);
    free(own->texts);
    free(own);
    device->own = NULL;
}

void eab_cuda_describe(const eab_device *device, char *text, size_t size) {
    snprintf(text, size, "%s", eab_cuda_own_of(device)->description);
}

int eab_cuda_set_stream(eab_device *device, void *stream) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    own->stream = stream ? (cudaStream_t)stream : own->own_stream;
    return eab_cuda_blas_set_stream(own->blas, own->stream);
}

void eab_cuda_sync_every_kernel(eab_device *device) { eab_cuda_own_of(device)->sync_every_kernel = true; }

/* For tests of recovery: EAB_CUDA_FAULT_AFTER=n makes the n-th wait of this process (synchronize, download, upload)
 * report a failed kernel. */
static bool injected_fault(void) {
    static long waits;
    const char *after = getenv("EAB_CUDA_FAULT_AFTER");
    return after && __atomic_add_fetch(&waits, 1, __ATOMIC_RELAXED) == atol(after);
}

int eab_cuda_synchronize(eab_device *device) {
    EAB_CUDA(cudaStreamSynchronize(eab_cuda_stream(device)));
    if (injected_fault())
        return eab_cuda_status((cudaError_t)719, "a fault injected by EAB_CUDA_FAULT_AFTER", __FILE__, __LINE__);
    return EAB_OK;
}

int eab_cuda_capacity(eab_device *device, size_t *free_bytes, int64_t *resident_threads) {
    size_t total = 0;
    eab_cuda_stream(device);
    EAB_CUDA(cudaMemGetInfo(free_bytes, &total));
    *resident_threads = eab_cuda_own_of(device)->resident_threads;
    return EAB_OK;
}

cudaStream_t eab_cuda_stream(const eab_device *device) {
    const eab_cuda_own *own = eab_cuda_own_of(device);
    set_device(own->index);
    sync_every_kernel = own->sync_every_kernel;
    return own->stream;
}

int eab_cuda_multiprocessors(const eab_device *device) { return eab_cuda_own_of(device)->multiprocessors; }

const int64_t *eab_cuda_replays(const eab_device *device) { return eab_cuda_own_of(device)->replays; }

eab_cuda_blas *eab_cuda_blas_of(const eab_device *device) { return eab_cuda_own_of(device)->blas; }
