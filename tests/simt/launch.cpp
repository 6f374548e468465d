/* Launches: limits as on sm_90, a pool of OS threads that take blocks, the sticky error that a finding leaves. */
#include "runtime.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <thread>
#include <vector>

namespace simt {

static std::mutex launch_lock; /* one launch at a time */
static std::map<const void *, size_t> shared_optin;
static cudaError_t last_error, sticky_error;
static bool fault_lasts; /* beyond a reset */
static uint64_t launches, last_steps;

cudaError_t set_error(cudaError_t error) {
    if (error != cudaSuccess) last_error = error;
    return error;
}

cudaError_t fault() { return sticky_error; }

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

/* Never destroyed: its threads wait in it when the program ends. */
struct thread_pool {
    std::mutex lock;
    std::condition_variable work, done;
    std::vector<runner *> runners; /* 0: of the thread that launches */
    context *launch;
    unsigned round, busy, wanted;
};
static thread_pool &pool = *new thread_pool();

static void take_blocks(runner &r, context &c) {
    runner_begin_launch(r, c);
    /* An order of the blocks that differs with the seed: i * shuffle + seed, with shuffle prime to the number of
     * blocks. */
    for (uint64_t i; !c.failed.load(std::memory_order_relaxed) && (i = c.next_block.fetch_add(1)) < c.blocks;) {
        const unsigned __int128 turned = static_cast<unsigned __int128>(i) * c.shuffle + c.seed % c.blocks;
        run_block(r, static_cast<uint64_t>(turned % c.blocks));
    }
}

static void worker_main(unsigned number) {
    unsigned seen = 0;
    std::unique_lock<std::mutex> guard(pool.lock);
    for (;;) {
        pool.work.wait(guard, [&] { return pool.round != seen; });
        seen = pool.round;
        if (number >= pool.wanted) continue;
        context &c = *pool.launch;
        runner &own = *pool.runners[number];
        guard.unlock();
        take_blocks(own, c);
        guard.lock();
        if (!--pool.busy) pool.done.notify_all();
    }
}

static unsigned thread_count() {
    const char *text = getenv("EAB_SIMT_THREADS");
    const unsigned count = text ? static_cast<unsigned>(atoi(text)) : std::thread::hardware_concurrency();
    return count < 1 ? 1 : count > 64 ? 64 : count;
}

static void run_blocks(context &c, unsigned threads) {
    const unsigned all = c.blocks < thread_count() ? static_cast<unsigned>(c.blocks) : thread_count();
    const unsigned wanted = c.blocks * threads < 64 ? 1 : all; /* a few threads are done before another core wakes */
    {
        const std::lock_guard<std::mutex> guard(pool.lock);
        while (pool.runners.size() < wanted || pool.runners.empty()) {
            pool.runners.push_back(runner_create());
            if (pool.runners.size() > 1)
                std::thread(worker_main, static_cast<unsigned>(pool.runners.size()) - 1).detach();
        }
        pool.launch = &c;
        pool.wanted = wanted;
        pool.busy = wanted - 1;
        if (pool.busy) pool.round++;
    }
    if (wanted > 1) pool.work.notify_all();
    take_blocks(*pool.runners[0], c);
    std::unique_lock<std::mutex> guard(pool.lock);
    pool.done.wait(guard, [] { return !pool.busy; });
    last_steps = 0;
    for (unsigned i = 0; i < wanted; i++) last_steps += pool.runners[i]->steps;
}

/* ---- launches ---------------------------------------------------------------------------------------------------- */

static const char *bad_shape(const simt_launch &launch, size_t limit) {
    const dim3 g = launch.grid, b = launch.block;
    if (!g.x || !g.y || !g.z) return "invalid configuration: an empty grid";
    if (!b.x || !b.y || !b.z) return "invalid configuration: an empty block";
    if (b.x > 1024 || b.y > 1024 || b.z > 64) return "invalid configuration: a block is at most 1024 x 1024 x 64";
    if (static_cast<uint64_t>(b.x) * b.y * b.z > MAX_THREADS)
        return "invalid configuration: more than 1024 threads in a block";
    if (g.x > 0x7fffffffu || g.y > 65535 || g.z > 65535)
        return "invalid configuration: a grid is at most 2^31 - 1 x 65535 x 65535";
    if (launch.bound && static_cast<uint64_t>(b.x) * b.y * b.z > launch.bound)
        return "invalid configuration: more threads in a block than the kernel's __launch_bounds__";
    if (launch.dynamic_shared_bytes > limit)
        return limit == SHARED_DEFAULT ? "more than 48 KiB of dynamic shared memory without cudaFuncSetAttribute"
                                       : "more dynamic shared memory than cudaFuncSetAttribute allowed";
    return nullptr;
}

static uint64_t common_divisor(uint64_t a, uint64_t b) { return b ? common_divisor(b, a % b) : a; }

static int report(const simt_launch &launch, const char *reason) {
    int length = static_cast<int>(strlen(launch.name));
    const char *name = launch.name;
    if (*name == '(' && length > 1) name++, length -= 2;
    return eab_fail(EAB_DEVICE_FAULT, "kernel %.*s at %s:%d: %s", length, name, launch.file, launch.line, reason);
}

/* EAB_SIMT_FAULT=N: the N-th launch of the process fails as if the device had; "N for good": and a reset does not help.
 * Processes that this one becomes by exec are spared. */
static bool fault_is_due() {
    static uint64_t count;
    const char *text = getenv("EAB_SIMT_FAULT");
    if (++count != (text ? strtoull(text, nullptr, 10) : 0)) return false;
    fault_lasts = strstr(text, "for good") != nullptr;
    unsetenv("EAB_SIMT_FAULT");
    return true;
}

int execute(const simt_launch &launch) {
    const std::lock_guard<std::mutex> guard(launch_lock);
    if (sticky_error != cudaSuccess) return report(launch, cudaGetErrorString(sticky_error));
    if (fault_is_due()) {
        sticky_error = last_error = cudaErrorLaunchFailure;
        fprintf(stderr, "simt: kernel %s: a fault that EAB_SIMT_FAULT asked for\n", launch.name);
        return report(launch, "a fault that EAB_SIMT_FAULT asked for");
    }
    const auto optin = shared_optin.find(launch.kernel);
    const size_t limit = optin == shared_optin.end() ? SHARED_DEFAULT : optin->second;
    if (const char *reason = bad_shape(launch, limit)) {
        set_error(cudaErrorInvalidConfiguration);
        return report(launch, reason);
    }
    const char *seed = getenv("EAB_SIMT_SEED");
    context c = {};
    c.launch = &launch;
    c.number = global_next_launch();
    c.seed = mix((seed ? strtoull(seed, nullptr, 10) : 1) ^ mix(++launches)) >> 1;
    c.blocks = static_cast<uint64_t>(launch.grid.x) * launch.grid.y * launch.grid.z;
    for (c.shuffle = c.seed % c.blocks | 1; common_divisor(c.shuffle, c.blocks) != 1;) c.shuffle += 2;
    c.shared_limit = limit > SHARED_DEFAULT ? SHARED_OPTIN : SHARED_DEFAULT;
    run_blocks(c, launch.block.x * launch.block.y * launch.block.z);
    if (!c.failed) return EAB_OK;
    sticky_error = last_error = cudaErrorLaunchFailure;
    fprintf(stderr, "simt: %s\n", finding_text());
    return eab_fail(EAB_DEVICE_FAULT, "%s", finding_text());
}

} // namespace simt

using namespace simt;

uint64_t simt_last_steps() { return last_steps; }

cudaError_t cudaFuncSetAttribute(const void *kernel, cudaFuncAttribute attribute, int value) {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || static_cast<size_t>(value) > SHARED_OPTIN) return set_error(cudaErrorInvalidValue);
    const std::lock_guard<std::mutex> guard(launch_lock);
    shared_optin[kernel] = static_cast<size_t>(value) > SHARED_DEFAULT ? static_cast<size_t>(value) : SHARED_DEFAULT;
    return cudaSuccess;
}

cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *, int threads, size_t bytes) {
    const int by_threads = 2048 / (threads > 0 ? threads : 1);
    const int by_memory = static_cast<int>((size_t(228) << 10) / (bytes + 1024));
    *blocks = min(32, min(by_threads, by_memory));
    return cudaSuccess;
}

cudaError_t cudaGetLastError() {
    const cudaError_t error = sticky_error != cudaSuccess ? sticky_error : last_error;
    last_error = cudaSuccess;
    return error;
}
cudaError_t cudaPeekAtLastError() { return sticky_error != cudaSuccess ? sticky_error : last_error; }

/* As on the device, what a fault has poisoned is gone with all its memory. */
cudaError_t cudaDeviceReset() {
    const std::lock_guard<std::mutex> guard(launch_lock);
    global_release_all();
    finding_clear();
    if (fault_lasts) return sticky_error;
    sticky_error = last_error = cudaSuccess;
    launches = 0;
    return cudaSuccess;
}

const char *cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "cudaSuccess";
        case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
        case cudaErrorLaunchFailure: return "cudaErrorLaunchFailure";
        default: return "an error of simt";
    }
}

const char *cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess: return "no error";
        case cudaErrorInvalidValue: return "invalid argument";
        case cudaErrorMemoryAllocation: return "out of memory";
        case cudaErrorInvalidConfiguration: return "invalid configuration argument";
        case cudaErrorInvalidDevice: return "invalid device ordinal";
        case cudaErrorNoDevice: return "no CUDA-capable device is detected";
        case cudaErrorNotReady: return "device not ready";
        case cudaErrorLaunchFailure: return finding_text()[0] ? finding_text() : "unspecified launch failure";
        case cudaErrorStreamCaptureUnsupported: return "operation not permitted when stream is capturing";
        case cudaErrorStreamCaptureInvalidated: return "operation failed due to a previous error during capture";
        default: return "unknown error";
    }
}
