/* Allocations, copies and fills. */
#include <cstdio>
#include <cstring>

#include "findings.h"
#include "runtime.h"
#include "settings.h"

namespace ptx {

bool device_range(const void *at, size_t bytes, const char *what) {
    if (device_memory().find((uint64_t)at, bytes)) return true;
    finding("out of bounds", nullptr, 0, "%s of %zu bytes at %p", what, bytes, at);
    return false;
}

namespace {

cudaError_t fill(void *to, int value, size_t bytes) {
    if (!device_range(to, bytes, "memset")) return cudaErrorInvalidValue;
    device_memory().fill((uint64_t)to, value, bytes);
    return cudaSuccess;
}

cudaError_t copy_on_device(void *to, const void *from, size_t bytes) {
    if (!device_range(to, bytes, "copy to") || !device_range(from, bytes, "copy from")) return cudaErrorInvalidValue;
    const uint64_t a = (uint64_t)to, b = (uint64_t)from;
    if (bytes && a < b + bytes && b < a + bytes) finding("copy", nullptr, 0, "of overlapping memory");
    device_memory().copy(a, b, bytes);
    return cudaSuccess;
}

/* From pageable memory: the bytes are read before the call returns. */
cudaError_t upload(Stream *stream, void *to, const void *from, size_t bytes) {
    if (!device_range(to, bytes, "upload")) return fail(cudaErrorInvalidValue);
    const std::vector<char> staged((const char *)from, (const char *)from + bytes);
    return enqueue(stream, [=] {
        device_memory().upload((uint64_t)to, staged.data(), bytes);
        return cudaSuccess;
    });
}

/* To pageable memory: returns when it is done. */
cudaError_t download(Stream *stream, void *to, const void *from, size_t bytes) {
    if (!device_range(from, bytes, "download")) return fail(cudaErrorInvalidValue);
    drain(stream);
    if (runtime().sticky) return fail(runtime().sticky);
    if (!device_memory().written((uint64_t)from, bytes))
        finding("uninitialized", nullptr, 0, "download of %zu bytes that were not all written", bytes);
    memcpy(to, device_memory().bytes_at((uint64_t)from), bytes);
    return cudaSuccess;
}

/* Work on each row. */
template <typename F> cudaError_t enqueue_rows(cudaStream_t stream, size_t height, F row) {
    return enqueue(stream_of(stream), [=] {
        for (size_t r = 0; r < height; r++)
            if (const cudaError_t error = row(r)) return error;
        return cudaSuccess;
    });
}

} // namespace
} // namespace ptx

using namespace ptx;

extern "C" {

cudaError_t cudaMalloc(void **memory, size_t bytes) {
    PTX_CALL();
    if (forbidden_while_capturing("cudaMalloc")) return fail(cudaErrorStreamCaptureUnsupported);
    if (bytes > settings().memory_bytes - device_memory().in_use) return fail(cudaErrorMemoryAllocation);
    *memory = (void *)device_memory().allocate(bytes, 256);
    if (settings().trace) fprintf(stderr, "ptx: cudaMalloc of %zu bytes at %p\n", bytes, *memory);
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory) {
    PTX_LOCK();
    if (!memory) return cudaSuccess;
    if (forbidden_while_capturing("cudaFree")) return fail(cudaErrorStreamCaptureUnsupported);
    drain_all(); /* it waits for all work */
    if (runtime().sticky) return fail(runtime().sticky);
    Allocation *const allocation = device_memory().find((uint64_t)memory);
    if (!allocation || allocation->freed || allocation->address != (uint64_t)memory) {
        finding("free", nullptr, 0, "of %p, which is not allocated", memory);
        return fail(cudaErrorInvalidValue);
    }
    device_memory().release(allocation);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    PTX_CALL();
    *total = settings().memory_bytes;
    *free_bytes = *total - device_memory().in_use;
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    PTX_CALL();
    Stream *const s = stream_of(stream);
    const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (device_memory().in_range(to) != to_device || device_memory().in_range(from) != from_device) {
        finding("copy", nullptr, 0, "of kind %d from %p to %p", (int)kind, from, to);
        return fail(cudaErrorInvalidValue);
    }
    if (to_device && from_device) return enqueue(s, [=] { return copy_on_device(to, from, bytes); });
    if (s->capturing) {
        finding("capture", nullptr, 0, "a copy of pageable host memory while a stream is captured");
        s->invalid = true;
        return fail(cudaErrorStreamCaptureUnsupported);
    }
    return to_device ? upload(s, to, from, bytes) : download(s, to, from, bytes);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    const cudaError_t error = cudaMemcpyAsync(to, from, bytes, kind, nullptr);
    return error ? error : cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream) {
    PTX_CALL();
    return enqueue(stream_of(stream), [=] { return fill(to, value, bytes); });
}

cudaError_t cudaMemset(void *to, int value, size_t bytes) { return cudaMemsetAsync(to, value, bytes, nullptr); }

cudaError_t cudaMemset2DAsync(void *to, size_t pitch, int value, size_t width, size_t height, cudaStream_t stream) {
    PTX_CALL();
    if (width > pitch) return fail(cudaErrorInvalidValue);
    return enqueue_rows(stream, height, [=](size_t r) { return fill((char *)to + r * pitch, value, width); });
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
    PTX_CALL();
    if (width > to_pitch || width > from_pitch || kind != cudaMemcpyDeviceToDevice)
        return fail(cudaErrorInvalidPitchValue);
    return enqueue_rows(stream, height, [=](size_t r) {
        return copy_on_device((char *)to + r * to_pitch, (const char *)from + r * from_pitch, width);
    });
}
}
