/* Internal to the simt runtime: how a launch is held while it runs.
 *
 * A *runner* (one for each OS thread) runs whole blocks; it owns the fibers, one for each CUDA thread, and the block's
 * shared memory with its shadow. Time inside a runner is counted in sync events (block barriers, __syncwarp): an
 * access carries the *stamp* of its thread's last event, and is ordered before another thread's access if both threads
 * met in a later event.
 */
#ifndef EAB_TESTS_SIMT_RUNTIME_INTERNAL_H
#define EAB_TESTS_SIMT_RUNTIME_INTERNAL_H

#include <atomic>
#include <stddef.h>
#include <stdint.h>

#include "simt.h"

extern "C" {
#include "../../kernels/status.h"
}

namespace simt {

constexpr unsigned WARP = 32, MAX_THREADS = 1024, MAX_WARPS = MAX_THREADS / WARP;
constexpr size_t STACK_BYTES = 128 << 10, PAGE = 4096;
constexpr size_t SHARED_DEFAULT = 48 << 10, SHARED_OPTIN = 227 << 10, ARENA_BYTES = 1 << 20, ARENA_GUARD = 1024;
constexpr unsigned MAX_COPIES = 512, MAX_ARRAYS = 64;

struct runner;

/* Where an operation stands in the source: a call's file and line, or the return address of an access. */
struct site {
    const char *file;
    int line;
    const void *address;
};

enum class operation : uint8_t { none, barrier, sync_warp, shuffle, vote, reduce, mma, ldmatrix };
const char *operation_name(operation op);

/* One CUDA thread. */
struct fiber {
    void *stack_pointer;
    uintptr_t stack_low;
    runner *owner;
    unsigned thread, lane, warp;
    uint32_t stamp;      /* the event of its last synchronisation */
    uint32_t seen[WARP]; /* by lane of its warp: events before this one are ordered before what this thread does now */
    dim3 index;
    /* What it waits for, and gets: */
    operation op;
    int detail; /* kind of shuffle, vote, reduction, barrier; operand type of mma; matrices of ldmatrix */
    int argument, width;
    unsigned mask;
    uint64_t value;
    void *operands[3];
    site at;
    /* cp.async: copies begun and not waited for, oldest first */
    unsigned copy_count, groups;
    struct copy {
        uintptr_t to;
        const void *from; /* null: zeros */
        unsigned group;
    } * copies;
};

struct warp {
    unsigned exists, ready, waiting, at_barrier, done; /* lanes */
    uint32_t full_stamp;                               /* the last event that all its live threads took part in */
};

/* Of a word, or a byte, of shared memory. */
struct cell {
    uint32_t write_stamp, read_stamp, read_lanes;
    uint16_t writer;
    uint8_t read_warp, flags;
};
enum : uint8_t { CELL_WRITTEN = 15 /* one bit a byte */, CELL_BYTES = 16, CELL_ATOMIC = 32, CELL_PENDING = 64 };
enum : uint8_t { SEVERAL_WARPS = 255 };
enum : uint16_t { SEVERAL_THREADS = 0xffff }; /* the writer, after atomic operations of several */

struct shared_array {
    const void *key; /* null: the dynamic shared memory */
    uintptr_t begin;
    size_t bytes;
    const char *name;
};

/* The last write of this block to a word of global memory, and the last read since. */
struct global_write {
    uint64_t key; /* byte offset in the device's memory; odd for halves */
    uint32_t stamp, read_stamp;
    uint16_t writer, reader;
    bool is_atomic;
};
constexpr unsigned GLOBAL_WRITES = 1 << 14;

/* The launch in progress; one at a time in a process. */
struct context {
    const simt_launch *launch;
    uint32_t number;                /* 1..MAX_LAUNCH: tells this launch's marks in global shadow from older ones */
    uint64_t seed, blocks, shuffle; /* shuffle: multiplier of the block order */
    size_t shared_limit;
    std::atomic<uint64_t> next_block;
    std::atomic<bool> failed;
};

struct runner {
    context *launch;
    void *scheduler_stack;
    fiber *fibers;
    warp warps[MAX_WARPS];
    unsigned threads, warp_count;
    unsigned ready_warps;
    dim3 block;
    uint64_t block_number, random;
    uint64_t steps;
    /* shared memory */
    unsigned char *arena;
    cell *words, *bytes;
    shared_array arrays[MAX_ARRAYS];
    unsigned array_count, last_array;
    uintptr_t arena_next;
    size_t static_bytes;
    uint32_t event, block_start, barrier_stamp;
    global_write *global_writes; /* by a hash of their keys; a later write takes an earlier one's place */
    bool stopped;
    unsigned made; /* fibers with stacks */
};

runner *runner_create();
void runner_begin_launch(runner &r, context &launch);
void run_block(runner &r, uint64_t number);

/* The thread that this OS thread runs now; null in host code and in the scheduler. */
extern __thread fiber *current __attribute__((tls_model("initial-exec")));

/* fiber.cpp */
void fiber_make_stack(fiber &f, unsigned number);
void fiber_prepare(fiber &f);
void fiber_resume(fiber &f);
void fiber_suspend(fiber &f); /* back to the scheduler, which may resume it */

/* warp.cpp: completes what the waiting lanes of a warp have all come for. */
void warp_resolve(runner &r, unsigned number);
void wait_for_warp(operation op, unsigned mask, const char *file, int line);

/* tensor_core.cpp */
void complete_mma(runner &r, fiber *lanes);
void complete_ldmatrix(runner &r, fiber *lanes);

enum class access : uint8_t { read, write, atomic };
const char *access_name(access kind);

/* Whether the access is allowed; if not, a finding is recorded. shared.cpp, global.cpp */
bool shared_access(fiber &f, uintptr_t address, size_t bytes, access kind, const site &at);
bool shared_copy_begin(fiber &f, uintptr_t address, const site &at);
void shared_copy_end(fiber &f, uintptr_t address);
bool global_access(fiber &f, uintptr_t address, size_t bytes, access kind, const site &at);
bool any_access(fiber &f, uintptr_t address, size_t bytes, access kind, const site &at);
/* "thread (x, y, z)" of the block, or "several threads". */
const char *thread_name(const runner &r, unsigned thread, char (&text)[64]);

/* Whether what another thread of the block did under `stamp` is ordered before what f does now. */
bool ordered(const fiber &f, unsigned thread, uint32_t stamp);
inline bool is_shared(const runner &r, uintptr_t address) {
    return address - reinterpret_cast<uintptr_t>(r.arena) < ARENA_BYTES;
}

/* finding.cpp. Records the launch's first finding; a thread that calls this from its own code does not return. */
bool finding(fiber &f, const site &at, const char *format, ...) __attribute__((format(printf, 3, 4)));
void finding_clear();
const char *finding_text(); /* with the kernel, the line, the block and the thread; "" if there is none */

/* global.cpp */
constexpr uint32_t MAX_LAUNCH = 2047;
uint32_t global_next_launch();
void global_mark_written(const void *address, size_t bytes);
const char *global_describe(uintptr_t address, size_t bytes, char *text, size_t size); /* null: lies in live memory */
bool global_is_device(uintptr_t address);
cudaError_t global_allocate(void **memory, size_t bytes);
cudaError_t global_release(void *memory);
void global_release_all();
void global_size(size_t *free_bytes, size_t *total_bytes);

/* stream.cpp: whether the calling thread captures a stream. */
bool is_capturing();

/* launch.cpp */
int execute(const simt_launch &launch);
cudaError_t set_error(cudaError_t error); /* for cudaGetLastError */
cudaError_t fault();                      /* cudaSuccess, or why no work is taken any more */

inline uint64_t mix(uint64_t x) { /* splitmix64 */
    x += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return x ^ x >> 31;
}

} // namespace simt

/* Thread steps (resumptions) of the last launch, for measuring speed. */
uint64_t simt_last_steps();

#endif
