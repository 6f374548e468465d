/* Runs one of the kernels with a planted bug (tests/ptx/planted.h): planted_bugs NAME. The emulator reports what it
 * finds; the last line of stdout is the launch's status, after waiting for it. tests/ptx/test_planted_bugs.py says what
 * must be found. */
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <cuda_runtime_api.h>

#include "tests/ptx/planted.h"

/* context.cu has it for the backend; these kernels have no device of the backend. */
extern "C" int eab_launch_status(cudaError_t error, const char *, const char *, int, cudaStream_t stream) {
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream);
    return error == cudaSuccess ? EAB_OK : EAB_DEVICE_FAULT;
}

static float *device(size_t bytes, bool written) {
    void *memory = nullptr;
    if (cudaMalloc(&memory, bytes) || (written && cudaMemset(memory, 0, bytes))) exit(3);
    return (float *)memory;
}

static int memory(int pick) {
    static float host[4];
    return planted_memory(nullptr, pick, device(256, true), device(256, true), device(256, false), host);
}

static int freed(int) {
    float *const x = device(256, true);
    cudaFree(x);
    return planted_memory(nullptr, MEMORY_RIGHT, x, device(256, true), nullptr, nullptr);
}

static int divergence(int pick) { return planted_divergence(nullptr, pick, device(256, true)); }
static int race(int pick) { return planted_race(nullptr, pick, device(256, true)); }
static int block_race(int pick) { return planted_block_race(nullptr, pick, device(256, true)); }
static int global_race(int pick) { return planted_global_race(nullptr, pick, device(256, true)); }
static int copy(int pick) { return planted_copy(nullptr, pick, device(1024, true), device(256, true)); }
static int bound(int threads) { return planted_bound(nullptr, (unsigned)threads, true, device(512, true)); }
static int static_shared(int) { return planted_static_shared(nullptr, device(256, true)); }

static int launch(int pick) {
    static const struct {
        dim3 grid, block;
        size_t bytes;
        bool opt_in;
    } launches[] = {{1, 1, 48 << 10, false},        {1, 1025, 0, false},
                    {1, dim3(32, 32, 2), 0, false}, {0, 32, 0, false},
                    {dim3(1, 65536), 32, 0, false}, {1, 32, (48 << 10) + 1, false},
                    {1, 1, 227 << 10, true},        {1, 32, (227 << 10) + 1, true}};
    const auto &l = launches[pick];
    return planted_launch(nullptr, l.grid, l.block, l.bytes, l.opt_in, device(256, true));
}

/* Prints the order in which two blocks of 64 threads ran. */
static int order(int) {
    unsigned seen[128];
    unsigned *const memory = (unsigned *)device(sizeof seen, true);
    const int status = planted_order(nullptr, memory);
    cudaMemcpy(seen, memory, sizeof seen, cudaMemcpyDeviceToHost);
    for (const unsigned place : seen) printf("%u ", place);
    printf("\n");
    return status;
}

/* A fault stays until the device is reset; EAB_PTX_FAULT may say that it stays for good. */
static int fault(int) {
    const int first = race(RACE_RIGHT);
    void *more = nullptr;
    const cudaError_t later = cudaMalloc(&more, 16), reset = cudaDeviceReset();
    printf("%d %d %d\n", first, later != cudaSuccess, reset == cudaSuccess && race(RACE_RIGHT) == EAB_OK);
    return EAB_OK;
}

/* Calls of the host. */
enum {
    HOST_RIGHT,
    FREED_TWICE,
    FILLED_PAST_THE_END,
    COPIED_AS_ANOTHER_KIND,
    COPIED_OVER_ITSELF,
    DOWNLOADED_UNWRITTEN,
    WAITED_WHILE_CAPTURING,
    ALLOCATED_WHILE_CAPTURING
};
static int host(int pick) {
    float *const memory = device(256, true), *more = nullptr;
    float here[64] = {};
    cudaStream_t stream;
    cudaGraph_t graph;
    if (cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking)) return EAB_DEVICE_FAULT;
    cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal);
    cudaMemsetAsync(memory, 0, 256, stream);
    if (pick == WAITED_WHILE_CAPTURING) cudaStreamSynchronize(stream);
    if (pick == ALLOCATED_WHILE_CAPTURING) cudaMalloc((void **)&more, 16);
    cudaStreamEndCapture(stream, &graph);
    cudaMemsetAsync(memory, 0, pick == FILLED_PAST_THE_END ? 257 : 256, stream);
    cudaMemcpyAsync(memory, here, 256, pick == COPIED_AS_ANOTHER_KIND ? cudaMemcpyDeviceToHost : cudaMemcpyHostToDevice,
                    stream);
    cudaMemcpyAsync(memory, memory + (pick == COPIED_OVER_ITSELF ? 4 : 32), 128, cudaMemcpyDeviceToDevice, stream);
    cudaMemcpyAsync(here, pick == DOWNLOADED_UNWRITTEN ? device(256, false) : memory, 256, cudaMemcpyDeviceToHost,
                    stream);
    cudaFree(memory);
    if (pick == FREED_TWICE) cudaFree(memory);
    return EAB_OK;
}

#define BUG(group, name) \
    { #group, #name, group, name }
static const struct {
    const char *group, *name;
    int (*run)(int);
    int pick;
} bugs[] = {
    BUG(memory, MEMORY_RIGHT),
    BUG(memory, UNWRITTEN_SHARED),
    BUG(memory, UNWRITTEN_DYNAMIC),
    BUG(memory, UNWRITTEN_HALF),
    BUG(memory, PAST_STATIC),
    BUG(memory, PAST_STATIC_POINTER),
    BUG(memory, BEFORE_STATIC),
    BUG(memory, PAST_DYNAMIC),
    BUG(memory, PAST_GLOBAL),
    BUG(memory, BEFORE_GLOBAL),
    BUG(memory, WRITE_PAST_GLOBAL),
    BUG(memory, HOST_MEMORY),
    BUG(memory, NULL_POINTER),
    BUG(memory, MISALIGNED_VECTOR),
    BUG(memory, MISALIGNED_SHARED),
    BUG(memory, UNWRITTEN_GLOBAL),
    BUG(memory, COPY_PAST_GLOBAL),
    BUG(memory, UNWRITTEN_ADDED),
    BUG(memory, UNWRITTEN_LAST_BLOCK),
    BUG(memory, SHIFT_LEFT),
    BUG(memory, SHIFT_RIGHT),
    {"memory", "FREED", freed, 0},
    BUG(divergence, DIVERGENCE_RIGHT),
    BUG(divergence, BARRIER_EXIT),
    BUG(divergence, BARRIER_ELSEWHERE),
    BUG(divergence, BARRIER_HALF),
    BUG(divergence, SHUFFLE_EXITED),
    BUG(divergence, SHUFFLE_OUTSIDE_MASK),
    BUG(divergence, SHUFFLE_NOT_IN_MASK),
    BUG(divergence, SHUFFLE_DIVERGED),
    BUG(divergence, VOTE_EXITED),
    BUG(divergence, WARP_BARRIER_DIVERGED),
    BUG(divergence, MMA_DIVERGED),
    BUG(divergence, SHUFFLE_AND_BARRIER),
    BUG(divergence, SHUFFLE_WIDTH),
    BUG(race, RACE_RIGHT),
    BUG(race, NO_BARRIER),
    BUG(race, NO_BARRIER_AFTER),
    BUG(race, SAME_WORD),
    BUG(race, WITHIN_WARP),
    BUG(race, WITHIN_WARP_SHUFFLE),
    BUG(race, WARP_BARRIER_BETWEEN_WARPS),
    BUG(race, HALF_WARP),
    BUG(race, ATOMIC_AND_PLAIN),
    BUG(race, HALVES),
    BUG(race, LDMATRIX_RACE),
    BUG(block_race, BLOCKS_RIGHT),
    BUG(block_race, BLOCKS_WRITE),
    BUG(block_race, BLOCKS_READ),
    BUG(block_race, BLOCKS_ATOMIC_READ),
    BUG(block_race, BLOCKS_HALVES),
    BUG(global_race, GLOBAL_RIGHT),
    BUG(global_race, GLOBAL_NO_BARRIER),
    BUG(global_race, GLOBAL_SAME_WORD),
    BUG(global_race, GLOBAL_WITHIN_WARP),
    BUG(global_race, GLOBAL_HALVES),
    BUG(global_race, GLOBAL_ATOMIC_READ),
    BUG(copy, COPY_RIGHT),
    BUG(copy, NO_WAIT),
    BUG(copy, NO_COMMIT),
    BUG(copy, WAIT_TOO_FEW),
    BUG(copy, NO_BARRIER_AFTER_WAIT),
    BUG(copy, COPY_MISALIGNED),
    BUG(copy, COPY_PAST_END),
    BUG(copy, COPY_REUSED_EARLY),
    {"launch", "LAUNCH_RIGHT", launch, 0},
    {"launch", "THREADS", launch, 1},
    {"launch", "THREADS_IN_ALL_DIMENSIONS", launch, 2},
    {"launch", "EMPTY_GRID", launch, 3},
    {"launch", "WIDE_GRID", launch, 4},
    {"launch", "DYNAMIC_SHARED", launch, 5},
    {"launch", "DYNAMIC_SHARED_OPT_IN", launch, 6},
    {"launch", "DYNAMIC_SHARED_LIMIT", launch, 7},
    {"launch", "BOUNDS_RIGHT", bound, 64},
    {"launch", "BOUNDS", bound, 65},
    {"launch", "STATIC_SHARED", static_shared, 0},
    BUG(host, HOST_RIGHT),
    BUG(host, FREED_TWICE),
    BUG(host, FILLED_PAST_THE_END),
    BUG(host, COPIED_AS_ANOTHER_KIND),
    BUG(host, COPIED_OVER_ITSELF),
    BUG(host, DOWNLOADED_UNWRITTEN),
    BUG(host, WAITED_WHILE_CAPTURING),
    BUG(host, ALLOCATED_WHILE_CAPTURING),
    {"schedule", "ORDER", order, 0},
    {"fault", "FAULT", fault, 0},
};

int main(int count, char **arguments) {
    setenv("EAB_PTX_DIR", PLANTED_FOLDER, 0);
    for (const auto &bug : bugs) {
        if (count < 2) printf("%s.%s\n", bug.group, bug.name);
        if (count < 2 || strcmp(arguments[1], bug.name) != 0) continue;
        printf("status %d\n", bug.run(bug.pick));
        return 0;
    }
    return count < 2 ? 0 : 2;
}
