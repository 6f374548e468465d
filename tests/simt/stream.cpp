/* Streams, events, graphs. Work is done at once, or, while a stream captures, kept as a function that the graph calls
 * again. */
#include "runtime.h"

#include <chrono>
#include <functional>
#include <mutex>
#include <stdio.h>
#include <string.h>
#include <vector>

using namespace simt;

typedef std::function<cudaError_t()> work;

struct simt_graph {
    std::vector<work> nodes;
};
struct simt_stream {
    simt_graph *capture = nullptr;
    bool broken = false; /* the capture, by something that cannot be captured */
};
struct simt_event {
    std::chrono::steady_clock::time_point time;
    bool recorded = false;
};

/* What the calling thread captures: it must neither allocate nor free meanwhile (cudaStreamCaptureModeThreadLocal). */
static thread_local simt_graph *capturing;
bool simt::is_capturing() { return capturing != nullptr; }

/* Runs `now` at once, or adds it to the graph that the stream captures. */
static cudaError_t submit(cudaStream_t stream, work now) {
    if (fault() != cudaSuccess) return fault();
    if (!stream || !stream->capture) return set_error(now());
    stream->capture->nodes.push_back(std::move(now));
    return cudaSuccess;
}

int simt_launch_kernel(cudaStream_t stream, const simt_launch &launch) {
    if (!stream || !stream->capture) return execute(launch);
    stream->capture->nodes.push_back([launch] { return execute(launch) ? cudaPeekAtLastError() : cudaSuccess; });
    return EAB_OK;
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

/* Whether a copy's end is where `on_device` says, all of it in live memory; a line on stderr if not. */
static bool check_end(const char *call, const void *memory, size_t bytes, bool on_device) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(memory);
    char text[160];
    const char *reason = nullptr;
    if (on_device) reason = global_describe(address, bytes, text, sizeof text);
    else if (global_is_device(address)) reason = "device memory where the call's kind says host memory";
    if (reason) fprintf(stderr, "simt: %s of %zu bytes: %s\n", call, bytes, reason);
    return !reason;
}

static cudaError_t copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    if (!bytes) return cudaSuccess;
    const bool to_device = kind == cudaMemcpyDefault
                               ? global_is_device(reinterpret_cast<uintptr_t>(to))
                               : kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool from_device = kind == cudaMemcpyDefault
                                 ? global_is_device(reinterpret_cast<uintptr_t>(from))
                                 : kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (!check_end("cudaMemcpy to", to, bytes, to_device) || !check_end("cudaMemcpy from", from, bytes, from_device))
        return cudaErrorInvalidValue;
    memmove(to, from, bytes);
    if (to_device) global_mark_written(to, bytes);
    return cudaSuccess;
}

static cudaError_t fill(void *memory, int value, size_t bytes) {
    if (!bytes) return cudaSuccess;
    if (!check_end("cudaMemset", memory, bytes, true)) return cudaErrorInvalidValue;
    memset(memory, value, bytes);
    global_mark_written(memory, bytes);
    return cudaSuccess;
}

constexpr size_t MAX_PITCH = INT32_MAX; /* cudaDeviceProp.memPitch */

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    return fault() != cudaSuccess ? fault() : set_error(copy(to, from, bytes, kind));
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
    return submit(stream, [=] { return copy(to, from, bytes, kind); });
}
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
    if (width > to_pitch || width > from_pitch || to_pitch > MAX_PITCH || from_pitch > MAX_PITCH)
        return set_error(cudaErrorInvalidValue);
    return submit(stream, [=] {
        for (size_t row = 0; row < height; row++) {
            const cudaError_t error = copy(static_cast<char *>(to) + row * to_pitch,
                                           static_cast<const char *>(from) + row * from_pitch, width, kind);
            if (error != cudaSuccess) return error;
        }
        return cudaSuccess;
    });
}
cudaError_t cudaMemset(void *memory, int value, size_t bytes) {
    return fault() != cudaSuccess ? fault() : set_error(fill(memory, value, bytes));
}
cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream) {
    return submit(stream, [=] { return fill(memory, value, bytes); });
}
cudaError_t cudaMemset2DAsync(void *memory, size_t pitch, int value, size_t width, size_t height, cudaStream_t stream) {
    if (width > pitch || pitch > MAX_PITCH) return set_error(cudaErrorInvalidValue);
    return submit(stream, [=] {
        for (size_t row = 0; row < height; row++) {
            const cudaError_t error = fill(static_cast<char *>(memory) + row * pitch, value, width);
            if (error != cudaSuccess) return error;
        }
        return cudaSuccess;
    });
}

/* ---- streams and events ------------------------------------------------------------------------------------------ */

cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    *stream = new simt_stream;
    return fault();
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    if (stream) delete stream->capture;
    delete stream;
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    if (stream && stream->capture) {
        stream->broken = true;
        return set_error(cudaErrorStreamCaptureUnsupported);
    }
    return fault();
}
cudaError_t cudaStreamQuery(cudaStream_t stream) { return cudaStreamSynchronize(stream); }
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return fault(); }

cudaError_t cudaEventCreate(cudaEvent_t *event) {
    *event = new simt_event;
    return fault();
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *event, unsigned) { return cudaEventCreate(event); }
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete event;
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    return submit(stream, [=] {
        event->time = std::chrono::steady_clock::now();
        event->recorded = true;
        return cudaSuccess;
    });
}
cudaError_t cudaEventSynchronize(cudaEvent_t) { return fault(); }
cudaError_t cudaEventQuery(cudaEvent_t) { return fault(); }
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end) {
    if (!start->recorded || !end->recorded) return set_error(cudaErrorInvalidValue);
    *milliseconds = std::chrono::duration<float, std::milli>(end->time - start->time).count();
    return fault();
}

/* ---- graphs ------------------------------------------------------------------------------------------------------ */

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    if (!stream || stream->capture) return set_error(cudaErrorStreamCaptureUnsupported);
    stream->capture = capturing = new simt_graph;
    stream->broken = false;
    return fault();
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    *graph = nullptr;
    if (!stream || !stream->capture) return set_error(cudaErrorInvalidValue);
    if (stream->broken) delete stream->capture;
    else *graph = stream->capture;
    stream->capture = capturing = nullptr;
    return set_error(stream->broken ? cudaErrorStreamCaptureInvalidated : cudaSuccess);
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus *status) {
    *status = !stream || !stream->capture ? cudaStreamCaptureStatusNone
              : stream->broken            ? cudaStreamCaptureStatusInvalidated
                                          : cudaStreamCaptureStatusActive;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
    *executable = new simt_graph(*graph);
    return fault();
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    if (stream && stream->capture) return set_error(cudaErrorStreamCaptureUnsupported);
    for (const work &node : executable->nodes) {
        const cudaError_t error = fault() != cudaSuccess ? fault() : node();
        if (error != cudaSuccess) return set_error(error);
    }
    return fault();
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    delete executable;
    return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}
