/* The stand-ins of the CUDA runtime: memory, streams, events, graphs. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "samples.h"

Test(
    memory, is_limited, .init = [] { setenv("EAB_SIMT_MEMORY_MIB", "16", 1); }) {
    size_t free_bytes, total_bytes;
    void *memory, *more;
    cr_assert_eq(cudaMalloc(&memory, 12 << 20), cudaSuccess);
    cr_assert_eq(cudaMalloc(&more, 6 << 20), cudaErrorMemoryAllocation);
    cr_assert_null(more);
    cr_assert_eq(cudaMemGetInfo(&free_bytes, &total_bytes), cudaSuccess);
    cr_assert_eq(total_bytes, 16u << 20);
    cr_assert_eq(free_bytes, 4u << 20);
    cr_assert_eq(cudaFree(memory), cudaSuccess);
    cr_assert_eq(cudaMalloc(&more, 16 << 20), cudaSuccess);
    cr_assert_eq(cudaGetLastError(), cudaErrorMemoryAllocation, "of the refused one");
    cr_assert_eq(cudaGetLastError(), cudaSuccess);
}

Test(memory, is_checked_by_copies) {
    char host[64] = {0}, *memory;
    cr_assert_eq(cudaMalloc(&memory, 64), cudaSuccess);
    cr_assert_eq(cudaMemcpy(memory, host, 64, cudaMemcpyHostToDevice), cudaSuccess);
    cr_assert_eq(cudaMemcpy(memory + 1, host, 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue, "past the end");
    cr_assert_eq(cudaMemcpy(host, memory, 64, cudaMemcpyHostToDevice), cudaErrorInvalidValue, "the wrong way round");
    cr_assert_eq(cudaMemset(host, 0, 64), cudaErrorInvalidValue, "host memory");
    cr_assert_eq(cudaFree(memory + 8), cudaErrorInvalidValue, "not the start");
    cr_assert_eq(cudaFree(memory), cudaSuccess);
    cr_assert_eq(cudaFree(memory), cudaErrorInvalidValue, "twice");
    cr_assert_eq(cudaMemset(memory, 0, 64), cudaErrorInvalidValue, "freed");
    cr_assert_eq(cudaFree(nullptr), cudaSuccess);
}

Test(memory, two_dimensions) {
    char from[3 * 8], to[3 * 4], *memory;
    for (int i = 0; i < 24; i++) from[i] = static_cast<char>(i);
    cr_assert_eq(cudaMalloc(&memory, 3 * 16), cudaSuccess);
    cr_assert_eq(cudaMemset2DAsync(memory, 16, 1, 16, 3), cudaSuccess);
    cr_assert_eq(cudaMemcpy2DAsync(memory, 16, from, 8, 4, 3, cudaMemcpyHostToDevice), cudaSuccess);
    cr_assert_eq(cudaMemcpy2DAsync(to, 4, memory + 2, 16, 4, 3, cudaMemcpyDeviceToHost), cudaSuccess);
    const char expected[3 * 4] = {2, 3, 1, 1, 10, 11, 1, 1, 18, 19, 1, 1};
    cr_assert_arr_eq(to, expected, sizeof to);
}

Test(graph, replays_what_was_captured) {
    float *x, *sum, host[4] = {1, 2, 3, 4};
    cudaStream_t stream;
    cudaGraph_t graph;
    cudaGraphExec_t executable;
    cr_assert_eq(cudaMalloc(&x, sizeof host), cudaSuccess);
    cr_assert_eq(cudaMalloc(&sum, sizeof host), cudaSuccess);
    cr_assert_eq(cudaMemset(sum, 0, sizeof host), cudaSuccess);
    cr_assert_eq(cudaStreamCreate(&stream), cudaSuccess);
    cr_assert_eq(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    cr_assert_eq(cudaMemcpyAsync(x, host, sizeof host, cudaMemcpyHostToDevice, stream), cudaSuccess);
    cr_assert_eq(sample_add(stream, x, sum, sum, 4), EAB_OK);
    cr_assert_eq(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cr_assert_eq(cudaGraphInstantiate(&executable, graph, 0), cudaSuccess);
    cr_assert_eq(cudaGraphDestroy(graph), cudaSuccess);
    host[0] = 10; /* read when the graph runs */
    for (int i = 0; i < 3; i++) cr_assert_eq(cudaGraphLaunch(executable, stream), cudaSuccess);
    cr_assert_eq(cudaStreamSynchronize(stream), cudaSuccess);
    cr_assert_eq(cudaMemcpy(host, sum, sizeof host, cudaMemcpyDeviceToHost), cudaSuccess);
    const float expected[4] = {30, 6, 9, 12};
    cr_assert_arr_eq(host, expected, sizeof host);
    cr_assert_eq(cudaGraphExecDestroy(executable), cudaSuccess);
    cr_assert_eq(cudaStreamDestroy(stream), cudaSuccess);
}

Test(graph, refuses_to_wait_while_it_captures) {
    cudaStream_t stream;
    cudaGraph_t graph;
    cr_assert_eq(cudaStreamCreate(&stream), cudaSuccess);
    cr_assert_eq(cudaStreamBeginCapture(stream, cudaStreamCaptureModeGlobal), cudaSuccess);
    cr_assert_eq(cudaStreamSynchronize(stream), cudaErrorStreamCaptureUnsupported);
    cr_assert_eq(cudaStreamEndCapture(stream, &graph), cudaErrorStreamCaptureInvalidated);
    cr_assert_null(graph);
    cr_assert_eq(cudaStreamSynchronize(stream), cudaSuccess);
    cr_assert_eq(cudaStreamDestroy(stream), cudaSuccess);
}

Test(graph, refuses_to_allocate_while_it_captures) {
    cudaStream_t stream;
    cudaGraph_t graph;
    void *memory = nullptr, *before;
    cr_assert_eq(cudaMalloc(&before, 16), cudaSuccess);
    cr_assert_eq(cudaStreamCreate(&stream), cudaSuccess);
    cr_assert_eq(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), cudaSuccess);
    cr_assert_eq(cudaMalloc(&memory, 16), cudaErrorStreamCaptureUnsupported);
    cr_assert_eq(cudaFree(before), cudaErrorStreamCaptureUnsupported);
    cr_assert_eq(cudaStreamEndCapture(stream, &graph), cudaSuccess);
    cr_assert_eq(cudaGraphDestroy(graph), cudaSuccess);
    cr_assert_eq(cudaFree(before), cudaSuccess);
    cr_assert_eq(cudaStreamDestroy(stream), cudaSuccess);
}

Test(event, measures_time) {
    cudaEvent_t start, end;
    float milliseconds = -1;
    cr_assert_eq(cudaEventCreate(&start), cudaSuccess);
    cr_assert_eq(cudaEventCreate(&end), cudaSuccess);
    cr_assert_eq(cudaEventRecord(start), cudaSuccess);
    cr_assert_eq(cudaEventElapsedTime(&milliseconds, start, end), cudaErrorInvalidValue);
    cr_assert_eq(cudaEventRecord(end), cudaSuccess);
    cr_assert_eq(cudaEventElapsedTime(&milliseconds, start, end), cudaSuccess);
    cr_assert_geq(milliseconds, 0);
    cr_assert_eq(cudaEventDestroy(start), cudaSuccess);
    cr_assert_eq(cudaEventDestroy(end), cudaSuccess);
}

/* More launches than the shadow's marks can number: those of the first are not taken for the last one's. */
Test(launch, many) {
    float *x, *sum;
    cr_assert_eq(cudaMalloc(&x, 256), cudaSuccess);
    cr_assert_eq(cudaMalloc(&sum, 256), cudaSuccess);
    cr_assert_eq(cudaMemset(x, 0, 256), cudaSuccess);
    for (int i = 0; i < 2100; i++) {
        cr_assert_eq(sample_add(nullptr, x, x, sum, 64), EAB_OK, "%s", eab_last_error());
        cr_assert_eq(sample_add(nullptr, sum, x, x, 32), EAB_OK, "%s", eab_last_error());
    }
}
