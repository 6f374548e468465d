/* Runs a block: a warp with threads that can go on is chosen at random, and each of them resumed once, in a random
 * order, till it waits for a barrier, waits for its warp, or ends. */
#include "runtime.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

namespace simt {

static void *reserve(size_t bytes) {
    void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) return memory;
    fprintf(stderr, "simt: cannot reserve %zu bytes\n", bytes);
    abort();
}

runner *runner_create() {
    runner *r = static_cast<runner *>(reserve(sizeof(runner)));
    r->fibers = static_cast<fiber *>(reserve(MAX_THREADS * sizeof(fiber)));
    r->arena = static_cast<unsigned char *>(reserve(ARENA_BYTES));
    r->words = static_cast<cell *>(reserve(ARENA_BYTES / 4 * sizeof(cell)));
    r->bytes = static_cast<cell *>(reserve(ARENA_BYTES * sizeof(cell)));
    r->global_writes = static_cast<global_write *>(reserve(GLOBAL_WRITES * sizeof(global_write)));
    r->event = 1;
    return r;
}

void runner_begin_launch(runner &r, context &context) {
    const simt_launch &launch = *context.launch;
    r.launch = &context;
    r.threads = launch.block.x * launch.block.y * launch.block.z;
    r.warp_count = (r.threads + WARP - 1) / WARP;
    for (; r.made < r.threads; r.made++) fiber_make_stack(r.fibers[r.made], r.made);
    for (unsigned t = 0; t < r.threads; t++) {
        fiber &f = r.fibers[t];
        f.owner = &r;
        f.thread = t;
        f.lane = t % WARP;
        f.warp = t / WARP;
        f.index = dim3(t % launch.block.x, t / launch.block.x % launch.block.y, t / launch.block.x / launch.block.y);
    }
    /* Dynamic shared memory first, aligned to 128 bytes and to no more. */
    const uintptr_t base = reinterpret_cast<uintptr_t>(r.arena);
    r.arrays[0] = {nullptr, base + ARENA_GUARD + 128, launch.dynamic_shared_bytes, "dynamic shared memory"};
    r.array_count = 1;
    r.last_array = 0;
    r.arena_next = r.arrays[0].begin + launch.dynamic_shared_bytes + ARENA_GUARD;
    r.static_bytes = 0;
    r.steps = 0;
    r.stopped = false;
}

static void begin_block(runner &r, uint64_t number) {
    const dim3 grid = r.launch->launch->grid;
    r.block_number = number;
    r.block = dim3(static_cast<unsigned>(number % grid.x), static_cast<unsigned>(number / grid.x % grid.y),
                   static_cast<unsigned>(number / grid.x / grid.y));
    r.random = mix(r.launch->seed ^ mix(number)) | 1;
    if (r.event > 0xf0000000u) { /* start again, with nothing remembered */
        madvise(r.words, ARENA_BYTES / 4 * sizeof(cell), MADV_DONTNEED);
        madvise(r.bytes, ARENA_BYTES * sizeof(cell), MADV_DONTNEED);
        madvise(r.global_writes, GLOBAL_WRITES * sizeof(global_write), MADV_DONTNEED);
        r.event = 1;
    }
    r.block_start = r.event++;
    r.barrier_stamp = r.event++;
    r.ready_warps = 0;
    for (unsigned i = 0; i < r.warp_count; i++) {
        const unsigned lanes = r.threads - i * WARP < WARP ? r.threads - i * WARP : WARP;
        const unsigned exists = lanes == WARP ? ~0u : (1u << lanes) - 1;
        r.warps[i] = {exists, exists, 0, 0, 0, r.barrier_stamp};
        r.ready_warps |= 1u << i;
    }
    for (unsigned t = 0; t < r.threads; t++) {
        fiber &f = r.fibers[t];
        f.stamp = r.barrier_stamp;
        f.op = operation::none;
        f.copy_count = 0;
        f.groups = 0;
        fiber_prepare(f);
    }
}

static inline uint64_t draw(runner &r) { /* xorshift64 */
    r.random ^= r.random << 13;
    r.random ^= r.random >> 7;
    r.random ^= r.random << 17;
    return r.random;
}

/* Says who does not come to the barrier, or to the warp's operation, that others wait in. */
static void report_divergence(runner &r) {
    fiber *waits = nullptr, *elsewhere = nullptr;
    for (unsigned t = 0; t < r.threads; t++) {
        fiber &f = r.fibers[t];
        if (f.op == operation::none) continue;
        if (!waits || (waits->op == operation::barrier && f.op != operation::barrier)) waits = &f;
    }
    const bool in_barrier = waits->op == operation::barrier;
    unsigned first = in_barrier ? 0 : waits->warp * WARP, last = in_barrier ? r.threads : first + WARP;
    for (unsigned t = first; t < last && t < r.threads && !elsewhere; t++) {
        fiber &f = r.fibers[t];
        if (!in_barrier && !(waits->mask >> f.lane & 1)) continue;
        if (f.op != waits->op || f.mask != waits->mask || f.at.line != waits->at.line || f.at.file != waits->at.file)
            elsewhere = &f;
    }
    const char *rule = in_barrier ? "divergent barrier" : "divergent warp operation";
    if (!elsewhere)
        finding(*waits, waits->at, "%s: mask 0x%08x of %s is never met", rule, waits->mask, operation_name(waits->op));
    else if (elsewhere->op == operation::none)
        finding(*waits, waits->at, "%s: this thread waits in %s, but thread (%u, %u, %u) has exited", rule,
                operation_name(waits->op), elsewhere->index.x, elsewhere->index.y, elsewhere->index.z);
    else
        finding(*waits, waits->at, "%s: this thread waits in %s, but thread (%u, %u, %u) in %s at %s:%d, mask 0x%08x",
                rule, operation_name(waits->op), elsewhere->index.x, elsewhere->index.y, elsewhere->index.z,
                operation_name(elsewhere->op), elsewhere->at.file, elsewhere->at.line, elsewhere->mask);
}

/* All threads wait: releases them if it is for one barrier. False: the block has ended, well or not. */
static bool pass_barrier(runner &r) {
    unsigned at_barrier = 0, done = 0;
    for (unsigned i = 0; i < r.warp_count; i++) {
        at_barrier += static_cast<unsigned>(__builtin_popcount(r.warps[i].at_barrier));
        done += static_cast<unsigned>(__builtin_popcount(r.warps[i].done));
    }
    if (done == r.threads) return false;
    const fiber &first = r.fibers[0];
    bool together = at_barrier == r.threads;
    int count = 0;
    for (unsigned t = 0; together && t < r.threads; t++) {
        const fiber &f = r.fibers[t];
        together = f.at.line == first.at.line && f.at.file == first.at.file && f.detail == first.detail;
        count += f.argument;
    }
    if (!together) {
        report_divergence(r);
        return false;
    }
    r.barrier_stamp = r.event++;
    for (unsigned t = 0; t < r.threads; t++) {
        r.fibers[t].stamp = r.barrier_stamp;
        r.fibers[t].argument = count;
        r.fibers[t].op = operation::none;
    }
    for (unsigned i = 0; i < r.warp_count; i++) {
        r.warps[i].ready = r.warps[i].at_barrier;
        r.warps[i].at_barrier = 0;
        r.warps[i].full_stamp = r.barrier_stamp;
        r.ready_warps |= 1u << i;
    }
    return true;
}

static void run_warp(runner &r, unsigned number) {
    warp &w = r.warps[number];
    const unsigned order = static_cast<unsigned>(draw(r) >> 20), start = order & 31, stride = (order >> 5 & 31) | 1;
    const unsigned ready = w.ready;
    w.ready = 0;
    for (unsigned i = 0; i < WARP; i++) {
        const unsigned lane = (start + i * stride) & 31;
        if (!(ready >> lane & 1)) continue;
        fiber_resume(r.fibers[number * WARP + lane]);
        r.steps++;
        if (r.stopped) return;
    }
    if (w.waiting) warp_resolve(r, number);
    if (!w.ready) r.ready_warps &= ~(1u << number);
}

void run_block(runner &r, uint64_t number) {
    begin_block(r, number);
    unsigned last = 0;
    do {
        while (r.ready_warps && !r.stopped) {
            /* Half of the time the same warp goes on, so that warps drift far apart between barriers. */
            const uint64_t choice = draw(r) >> 16;
            if (!(choice & 1) || !(r.ready_warps >> last & 1)) {
                const unsigned turn = choice >> 1 & 31;
                const unsigned turned = r.ready_warps >> turn | (turn ? r.ready_warps << (32 - turn) : 0);
                last = (static_cast<unsigned>(__builtin_ctz(turned)) + turn) & 31;
            }
            run_warp(r, last);
        }
    } while (!r.stopped && !r.launch->failed.load(std::memory_order_relaxed) && pass_barrier(r) && !r.stopped);
}

} // namespace simt

using namespace simt;

dim3 simt_thread_index() { return current->index; }
dim3 simt_block_index() { return current->owner->block; }
dim3 simt_block_dim() { return current->owner->launch->launch->block; }
dim3 simt_grid_dim() { return current->owner->launch->launch->grid; }

/* The value of `predicate` summed over the block. */
static int barrier(int kind, int predicate, const char *file, int line) {
    fiber &f = *current;
    f.op = operation::barrier;
    f.detail = kind;
    f.argument = predicate;
    f.mask = 0;
    f.at = {file, line, nullptr};
    f.owner->warps[f.warp].at_barrier |= 1u << f.lane;
    fiber_suspend(f);
    return f.argument;
}

void __syncthreads(const char *file, int line) { barrier(0, 0, file, line); }
int __syncthreads_count(int predicate, const char *file, int line) { return barrier(1, predicate != 0, file, line); }
int __syncthreads_or(int predicate, const char *file, int line) { return barrier(2, predicate != 0, file, line) != 0; }
int __syncthreads_and(int predicate, const char *file, int line) {
    return barrier(3, predicate != 0, file, line) == static_cast<int>(current->owner->threads);
}
