/* Streams, their capture, graphs. */
#include <cstdio>

#include "findings.h"
#include "runtime.h"
#include "settings.h"

namespace ptx {

static thread_local int captures; /* streams that this thread captures */

Stream *stream_of(cudaStream_t stream) { return stream ? (Stream *)stream : &runtime().default_stream; }

void drain(Stream *stream) {
    std::vector<Work> queue;
    queue.swap(stream->queue);
    for (const Work &work : queue) {
        if (runtime().sticky) return;
        runtime().sticky = work();
    }
}

void drain_all() {
    drain(&runtime().default_stream);
    for (Stream *const stream : runtime().streams) drain(stream);
}

cudaError_t enqueue(Stream *stream, Work work) {
    if (!stream->capturing) {
        stream->queue.push_back(std::move(work));
        return cudaSuccess;
    }
    if (stream->invalid) return fail(cudaErrorStreamCaptureInvalidated);
    stream->captured.push_back(std::move(work));
    return cudaSuccess;
}

bool forbidden_while_capturing(const char *call) {
    if (!captures) return false;
    finding("capture", nullptr, 0, "%s while a stream is captured", call);
    for (Stream *const stream : runtime().streams)
        if (stream->capturing) stream->invalid = true;
    return true;
}

static cudaError_t run_nodes(const Graph *graph) {
    for (const Work &work : graph->nodes)
        if (const cudaError_t error = work()) return error;
    return cudaSuccess;
}

} // namespace ptx

using namespace ptx;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *stream, unsigned) {
    PTX_CALL();
    Stream *const made = new Stream;
    runtime().streams.insert(made);
    *stream = (cudaStream_t)made;
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
    PTX_LOCK();
    drain((Stream *)stream);
    runtime().streams.erase((Stream *)stream);
    delete (Stream *)stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
    PTX_CALL();
    Stream *const s = stream_of(stream);
    if (s->capturing) {
        finding("capture", nullptr, 0, "cudaStreamSynchronize of a stream that is captured");
        s->invalid = true;
        return fail(cudaErrorStreamCaptureUnsupported);
    }
    drain(s);
    return fail(runtime().sticky);
}

cudaError_t cudaDeviceSynchronize(void) {
    PTX_CALL();
    if (forbidden_while_capturing("cudaDeviceSynchronize")) return fail(cudaErrorStreamCaptureUnsupported);
    drain_all();
    return fail(runtime().sticky);
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
    PTX_CALL();
    if (!stream) return fail(cudaErrorStreamCaptureUnsupported);
    Stream *const s = (Stream *)stream;
    if (s->capturing) return fail(cudaErrorIllegalState);
    s->capturing = true;
    s->invalid = false;
    s->captured.clear();
    captures++;
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *graph) {
    PTX_LOCK();
    Stream *const s = stream_of(stream);
    *graph = nullptr;
    if (!s->capturing) return fail(cudaErrorIllegalState);
    s->capturing = false;
    captures--;
    if (s->invalid) return fail(cudaErrorStreamCaptureInvalidated);
    Graph *const made = new Graph;
    made->nodes.swap(s->captured);
    *graph = (cudaGraph_t)made;
    return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t *executable, cudaGraph_t graph, unsigned long long) {
    PTX_CALL();
    *executable = (cudaGraphExec_t) new Graph(*(Graph *)graph);
    if (settings().trace) fprintf(stderr, "ptx: a graph of %zu nodes\n", ((Graph *)graph)->nodes.size());
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete (Graph *)graph;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
    PTX_LOCK();
    drain_all();
    delete (Graph *)executable;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
    PTX_CALL();
    const Graph *const graph = (const Graph *)executable;
    return enqueue(stream_of(stream), [graph] { return run_nodes(graph); });
}
}
