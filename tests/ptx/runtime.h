/* A CUDA runtime in place of libcudart: kernels run by the interpreter, under the rules that the real runtime enforces.
 * Work in a stream is done when the host waits for it, not before. */
#ifndef EAB_TESTS_PTX_RUNTIME_H
#define EAB_TESTS_PTX_RUNTIME_H

#include <cuda_runtime_api.h>

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "device_memory.h"
#include "instruction.h"

namespace ptx {

typedef std::function<cudaError_t()> Work;

struct Stream {
    std::vector<Work> queue;
    bool capturing = false, invalid = false; /* invalid: a call that capturing forbids was made */
    std::vector<Work> captured;
};

struct Graph {
    std::vector<Work> nodes;
};

struct Event {
    bool recorded = false, done = false;
    double time = 0;
    Stream *stream = nullptr;
};

const size_t default_shared_limit = 48 * 1024;

struct Kernel {
    std::string name;
    const Function *function = nullptr; /* found at the first use */
    size_t dynamic_limit = default_shared_limit;
};

struct Runtime {
    std::recursive_mutex mutex;             /* held by each call: kernels run one at a time */
    std::map<const void *, Kernel> kernels; /* by the host function that launches them */
    Stream default_stream;
    std::set<Stream *> streams;
    cudaError_t sticky = cudaSuccess; /* a device fault, which all later calls return */
    int64_t launches = 0;             /* that ran, for EAB_PTX_FAULT */
};

/* Never destroyed. Made at the first use: kernels register before main. */
Runtime &runtime();

/* Whose code and limits the device has. */
struct Limits {
    size_t shared_per_block, shared_per_multiprocessor;
    int multiprocessors, threads_per_multiprocessor;
};
const Limits &limits();

/* Remembers the error for cudaGetLastError. */
cudaError_t fail(cudaError_t error);
thread_local extern cudaError_t last_error;

/* runtime_streams.cpp */
Stream *stream_of(cudaStream_t stream);
cudaError_t enqueue(Stream *stream, Work work); /* or records it */
void drain(Stream *stream);
void drain_all();
/* Whether the thread captures a stream, which `call` then invalidates, with a finding. */
bool forbidden_while_capturing(const char *call);

/* runtime_kernels.cpp: null with a message where no PTX has the kernel. */
const Function *function_of(Kernel &kernel);

/* Whether all the bytes are in one allocation; else a finding. */
bool device_range(const void *at, size_t bytes, const char *what);

/* Begins each call: takes the lock; after a device fault the call fails. */
#define PTX_LOCK() const std::lock_guard<std::recursive_mutex> lock(runtime().mutex)
#define PTX_CALL() \
    PTX_LOCK();    \
    if (runtime().sticky) return fail(runtime().sticky)

} // namespace ptx

#endif
