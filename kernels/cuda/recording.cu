/* A training step as one CUDA graph.
 *
 * Step numbers come from a counter on the device, `replays`, which the graph's last node increments: generate.cu and
 * optimizer.cu add it to the numbers that were recorded. EAB_CUDA_GRAPH=0 in the environment turns graphs off, to find
 * the kernel that causes a fault, or to measure what graphs gain. */
#include "operations.h"
#include "own.h"

#include <stdlib.h>
#include <string.h>

namespace {

typedef struct {
    cudaGraphExec_t executable;
    int64_t *replays;
    unsigned generation;
} recording;

__global__ void advance(int64_t *replays) { *replays += 1; }

} // namespace

bool eab_cuda_records(const eab_device *device) {
    const char *wanted = getenv("EAB_CUDA_GRAPH");
    return !eab_cuda_own_of(device)->sync_every_kernel && (!wanted || strcmp(wanted, "0") != 0);
}

int eab_cuda_record_begin(eab_device *device) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    const cudaStream_t stream = eab_cuda_stream(device);
    int64_t *replays = NULL;
    EAB_CUDA(cudaMalloc((void **)&replays, sizeof *replays));
    /* launched once before the recording, because loading a kernel can break it; then the counter is zeroed again */
    cudaError_t error = cudaMemsetAsync(replays, 0, sizeof *replays, stream);
    int status = EAB_LAUNCH(stream, advance, dim3(1), dim3(1), 0, replays);
    if (error == cudaSuccess) error = cudaMemsetAsync(replays, 0, sizeof *replays, stream);
    if (!status && error == cudaSuccess) error = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    if (!status) status = eab_cuda_status(error, "cudaStreamBeginCapture", __FILE__, __LINE__);
    if (status) {
        cudaFree(replays);
        return status;
    }
    own->replays = replays;
    return EAB_OK;
}

int eab_cuda_record_end(eab_device *device, void **recorded) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    const cudaStream_t stream = eab_cuda_stream(device);
    int64_t *replays = (int64_t *)own->replays;
    recording *made = (recording *)calloc(1, sizeof *made);
    cudaGraph_t graph = NULL;
    *recorded = NULL;
    own->replays = NULL;
    int status =
        made ? EAB_LAUNCH(stream, advance, dim3(1), dim3(1), 0, replays) : eab_fail(EAB_NO_MEMORY, "out of memory");
    cudaError_t error = cudaStreamEndCapture(stream, &graph);
    if (!status && error == cudaSuccess) error = cudaGraphInstantiate(&made->executable, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    if (!status) status = eab_cuda_status(error, "the recording of a step", __FILE__, __LINE__);
    if (status) {
        cudaFree(replays);
        free(made);
        return status;
    }
    made->replays = replays;
    made->generation = own->generation;
    *recorded = made;
    return EAB_OK;
}

int eab_cuda_replay(eab_device *device, void *recorded) {
    return eab_cuda_status(cudaGraphLaunch(((recording *)recorded)->executable, eab_cuda_stream(device)),
                           "a recorded step (EAB_CUDA_GRAPH=0 shows which kernel)", __FILE__, __LINE__);
}

void eab_cuda_forget(eab_device *device, void *recorded) {
    recording *old = (recording *)recorded;
    if (!old) return;
    if (eab_cuda_is_current(eab_cuda_own_of(device))) {
        cudaStreamSynchronize(eab_cuda_stream(device)); /* it may still be running */
        cudaGraphExecDestroy(old->executable);
        cudaFree(old->replays);
        cudaGetLastError();
    }
    free(old);
}
