/* Each detector finds the bug that is planted for it, names kernel and line, and is silent about the same kernel
 * without it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../ptx/planted.h"

static float *device(size_t bytes, bool written) {
    void *memory = nullptr;
    cr_assert_eq(cudaMalloc(&memory, bytes), cudaSuccess);
    if (written) cr_assert_eq(cudaMemset(memory, 0, bytes), cudaSuccess);
    return static_cast<float *>(memory);
}

static const char *const seeds[] = {"1", "2", "3", "4", "5"};

/* Under all seeds: launch() fails with `rule` in its message (null: succeeds). */
template <typename Launch> static void expect(const char *rule, const char *place, Launch launch) {
    for (const char *seed : seeds) {
        setenv("EAB_SIMT_SEED", seed, 1);
        const int status = launch();
        if (!rule) {
            cr_assert_eq(status, EAB_OK, "seed %s: %s", seed, eab_last_error());
        } else {
            cr_assert_eq(status, EAB_DEVICE_FAULT, "seed %s: nothing was found, but: %s", seed, rule);
            cr_assert(strstr(eab_last_error(), rule), "seed %s: \"%s\" is not in: %s", seed, rule, eab_last_error());
            cr_assert(strstr(eab_last_error(), place), "seed %s: \"%s\" is not in: %s", seed, place, eab_last_error());
            cr_assert_eq(cudaGetLastError(), cudaErrorLaunchFailure);
        }
        cr_assert_eq(cudaDeviceReset(), cudaSuccess);
    }
}

static void expect_memory(int pick, const char *rule) {
    static float host[4];
    float *const heap = static_cast<float *>(malloc(sizeof host));
    expect(rule, "tests/simt/planted.cu", [=] {
        return planted_memory(nullptr, pick, device(256, true), device(256, true), device(256, false), heap);
    });
    free(heap);
}

Test(memory, right) { expect_memory(MEMORY_RIGHT, nullptr); }
Test(memory, unwritten_shared) { expect_memory(UNWRITTEN_SHARED, "byte 252, which nothing has written"); }
Test(memory, unwritten_dynamic) {
    expect_memory(UNWRITTEN_DYNAMIC, "dynamic shared memory, byte 20, which nothing has written");
}
Test(memory, unwritten_half) { expect_memory(UNWRITTEN_HALF, "which nothing has written"); }
Test(memory, unwritten_last_block) { expect_memory(UNWRITTEN_LAST_BLOCK, "of value, byte"); }
Test(memory, unwritten_global) { expect_memory(UNWRITTEN_GLOBAL, "which nothing has written"); }
Test(memory, unwritten_added) { expect_memory(UNWRITTEN_ADDED, "which nothing has written"); }
Test(memory, past_static) { expect_memory(PAST_STATIC, "out of bounds"); }
Test(memory, past_static_pointer) { expect_memory(PAST_STATIC_POINTER, "byte 256 of tile, which has 256"); }
Test(memory, before_static) { expect_memory(BEFORE_STATIC, "out of bounds: write of 4 bytes"); }
Test(memory, past_dynamic) { expect_memory(PAST_DYNAMIC, "byte 256 of dynamic shared memory, which has 256"); }
Test(memory, past_global) { expect_memory(PAST_GLOBAL, "byte 256 of an allocation of 256 bytes"); }
Test(memory, before_global) { expect_memory(BEFORE_GLOBAL, "out of bounds"); }
Test(memory, write_past_global) {
    expect_memory(WRITE_PAST_GLOBAL, "write of 4 bytes of global memory: out of bounds");
}
Test(memory, host_memory) { expect_memory(HOST_MEMORY, "which is not device memory"); }
Test(memory, null_pointer) { expect_memory(NULL_POINTER, "which is not device memory"); }
Test(memory, misaligned_vector) { expect_memory(MISALIGNED_VECTOR, "misaligned"); }
Test(memory, misaligned_shared) { expect_memory(MISALIGNED_SHARED, "misaligned"); }
Test(memory, copy_past_global) { expect_memory(COPY_PAST_GLOBAL, "out of bounds"); }

Test(memory, freed) {
    expect("use of freed memory: byte ", "tests/simt/planted.cu", [] {
        float *const x = device(256, true);
        cr_assert_eq(cudaFree(x), cudaSuccess);
        return planted_memory(nullptr, MEMORY_RIGHT, x, device(256, true), nullptr, nullptr);
    });
}

static void expect_divergence(int pick, const char *rule) {
    expect(rule, "planted_order.cu", [=] { return planted_divergence(nullptr, pick, device(256, true)); });
}
Test(divergence, right) { expect_divergence(DIVERGENCE_RIGHT, nullptr); }
Test(divergence, barrier_exit) { expect_divergence(BARRIER_EXIT, "thread (40, 0, 0) has exited"); }
Test(divergence, barrier_elsewhere) { expect_divergence(BARRIER_ELSEWHERE, "divergent barrier"); }
Test(divergence, barrier_half) { expect_divergence(BARRIER_HALF, "divergent barrier"); }
Test(divergence, shuffle_exited) { expect_divergence(SHUFFLE_EXITED, "names lane 7, which has exited"); }
Test(divergence, shuffle_outside_mask) {
    expect_divergence(SHUFFLE_OUTSIDE_MASK, "which the mask 0x0000ffff leaves out");
}
Test(divergence, shuffle_not_in_mask) { expect_divergence(SHUFFLE_NOT_IN_MASK, "leaves out the caller"); }
Test(divergence, shuffle_diverged) { expect_divergence(SHUFFLE_DIVERGED, "divergent warp operation"); }
Test(divergence, vote_exited) { expect_divergence(VOTE_EXITED, "names lane 31, which has exited"); }
Test(divergence, warp_barrier_diverged) { expect_divergence(WARP_BARRIER_DIVERGED, "divergent warp operation"); }
Test(divergence, mma_diverged) { expect_divergence(MMA_DIVERGED, "mma"); }
Test(divergence, shuffle_and_barrier) { expect_divergence(SHUFFLE_AND_BARRIER, "divergent warp operation"); }
Test(divergence, shuffle_width) { expect_divergence(SHUFFLE_WIDTH, "shuffle with width 24"); }

static void expect_race(int pick, const char *rule) {
    expect(rule, "planted_order.cu", [=] { return planted_race(nullptr, pick, device(256, true)); });
}
Test(race, right) { expect_race(RACE_RIGHT, nullptr); }
Test(race, no_barrier) { expect_race(NO_BARRIER, "data race"); }
Test(race, no_barrier_after) { expect_race(NO_BARRIER_AFTER, "data race"); }
Test(race, same_word) { expect_race(SAME_WORD, "data race: write of tile, byte 20"); }
Test(race, within_warp) { expect_race(WITHIN_WARP, "data race"); }
Test(race, within_warp_shuffle) { expect_race(WITHIN_WARP_SHUFFLE, "data race"); }
Test(race, warp_barrier_between_warps) { expect_race(WARP_BARRIER_BETWEEN_WARPS, "data race"); }
Test(race, half_warp) { expect_race(HALF_WARP, "data race"); }
Test(race, atomic_and_plain) { expect_race(ATOMIC_AND_PLAIN, "data race"); }
Test(race, halves) { expect_race(HALVES, "data race: write of halves"); }
Test(race, ldmatrix) { expect_race(LDMATRIX_RACE, "data race: read of halves"); }

static void expect_block_race(int pick, const char *rule) {
    expect(rule, "planted_order.cu", [=] { return planted_block_race(nullptr, pick, device(256, true)); });
}
Test(block_race, right) { expect_block_race(BLOCKS_RIGHT, nullptr); }
Test(block_race, write) { expect_block_race(BLOCKS_WRITE, "data race between blocks: write"); }
Test(block_race, read) { expect_block_race(BLOCKS_READ, "data race between blocks"); }
Test(block_race, atomic_and_read) { expect_block_race(BLOCKS_ATOMIC_READ, "data race between blocks"); }
Test(block_race, halves) { expect_block_race(BLOCKS_HALVES, "data race between blocks: write"); }

static void expect_global_race(int pick, const char *rule) {
    expect(rule, "planted_order.cu", [=] { return planted_global_race(nullptr, pick, device(256, true)); });
}
Test(global_race, right) { expect_global_race(GLOBAL_RIGHT, nullptr); }
Test(global_race, no_barrier) { expect_global_race(GLOBAL_NO_BARRIER, "data race: "); }
Test(global_race, same_word) { expect_global_race(GLOBAL_SAME_WORD, "data race: write of byte 28"); }
Test(global_race, within_warp) { expect_global_race(GLOBAL_WITHIN_WARP, "data race: read"); }
Test(global_race, halves) { expect_global_race(GLOBAL_HALVES, "data race: write"); }
Test(global_race, atomic_and_read) { expect_global_race(GLOBAL_ATOMIC_READ, "data race: "); }

static void expect_copy(int pick, const char *rule) {
    expect(rule, "planted.cu", [=] { return planted_copy(nullptr, pick, device(1024, true), device(256, true)); });
}
Test(copy, right) { expect_copy(COPY_RIGHT, nullptr); }
Test(copy, no_wait) { expect_copy(NO_WAIT, "that no wait has completed"); }
Test(copy, no_commit) { expect_copy(NO_COMMIT, "that no wait has completed"); }
Test(copy, wait_too_few) { expect_copy(WAIT_TOO_FEW, "that no wait has completed"); }
Test(copy, no_barrier_after_wait) { expect_copy(NO_BARRIER_AFTER_WAIT, "of tile, byte"); }
Test(copy, misaligned) { expect_copy(COPY_MISALIGNED, "misaligned"); }
Test(copy, past_end) { expect_copy(COPY_PAST_END, "out of bounds: byte 1024"); }
Test(copy, reused_early) { expect_copy(COPY_REUSED_EARLY, "of tile, byte"); }

static void expect_launch(dim3 grid, dim3 block, size_t bytes, bool opt_in, const char *rule) {
    const int status = planted_launch(nullptr, grid, block, bytes, opt_in, device(256, true));
    cr_assert_eq(status == EAB_OK, !rule, "%s", eab_last_error());
    if (!rule) return;
    cr_assert(strstr(eab_last_error(), "kernel empty at "), "%s", eab_last_error());
    cr_assert(strstr(eab_last_error(), rule), "%s", eab_last_error());
    cr_assert_eq(cudaGetLastError(), cudaErrorInvalidConfiguration);
    cr_assert_eq(cudaGetLastError(), cudaSuccess, "a launch that did not begin poisons nothing");
}
Test(launch, right) { expect_launch(1, 1, 48 << 10, false, nullptr); }
Test(launch, threads) { expect_launch(1, 1025, 0, false, "1024"); }
Test(launch, threads_in_all_dimensions) { expect_launch(1, dim3(32, 32, 2), 0, false, "more than 1024 threads"); }
Test(launch, empty_grid) { expect_launch(0, 32, 0, false, "an empty grid"); }
Test(launch, wide_grid) { expect_launch(dim3(1, 65536), 32, 0, false, "65535"); }
Test(launch, dynamic_shared) { expect_launch(1, 32, (48 << 10) + 1, false, "cudaFuncSetAttribute"); }
Test(launch, dynamic_shared_opt_in) { expect_launch(1, 1, 227 << 10, true, nullptr); }
Test(launch, dynamic_shared_limit) { expect_launch(1, 32, (227 << 10) + 1, true, "cudaFuncSetAttribute"); }
Test(launch, bounds) {
#ifndef EAB_SIMT_LAUNCH_BOUNDS
    cr_skip_test("this clang cannot keep __launch_bounds__ in a type");
#endif
    for (const bool by_template : {false, true}) {
        float *const y = device(512, true);
        cr_assert_eq(planted_bound(nullptr, 64, by_template, y), EAB_OK, "%s", eab_last_error());
        cr_assert_eq(planted_bound(nullptr, 65, by_template, y), EAB_DEVICE_FAULT);
        cr_assert(strstr(eab_last_error(), "kernel bounded"), "%s", eab_last_error());
        cr_assert(strstr(eab_last_error(), "__launch_bounds__"), "%s", eab_last_error());
        cr_assert_eq(cudaGetLastError(), cudaErrorInvalidConfiguration);
    }
}
Test(launch, static_shared) {
    expect("static shared arrays of 60000 bytes", "planted.cu",
           [] { return planted_static_shared(nullptr, device(256, true)); });
}

/* What a fault leaves: every later call fails, with the same message, until the device is reset. */
Test(fault, is_sticky) {
    float *const y = device(256, true);
    cr_assert_eq(planted_race(nullptr, SAME_WORD, y), EAB_DEVICE_FAULT);
    cr_assert_eq(planted_race(nullptr, RACE_RIGHT, y), EAB_DEVICE_FAULT);
    cr_assert(strstr(eab_last_error(), "data race"));
    void *more;
    cr_assert_eq(cudaMalloc(&more, 16), cudaErrorLaunchFailure);
    cr_assert_eq(cudaStreamSynchronize(nullptr), cudaErrorLaunchFailure);
    cr_assert(strstr(cudaGetErrorString(cudaErrorLaunchFailure), "kernel race at "));
    cr_assert_eq(cudaDeviceReset(), cudaSuccess);
    cr_assert_eq(planted_race(nullptr, RACE_RIGHT, device(256, true)), EAB_OK, "%s", eab_last_error());
}

Test(fault, can_outlast_a_reset) {
    setenv("EAB_SIMT_FAULT", "1 for good", 1);
    cr_assert_eq(planted_race(nullptr, RACE_RIGHT, device(256, true)), EAB_DEVICE_FAULT);
    cr_assert_eq(cudaDeviceReset(), cudaErrorLaunchFailure);
    void *more;
    cr_assert_eq(cudaMalloc(&more, 16), cudaErrorLaunchFailure);
}

Test(fault, can_be_asked_for) {
    setenv("EAB_SIMT_FAULT", "2", 1);
    cr_assert_eq(planted_race(nullptr, RACE_RIGHT, device(256, true)), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(planted_race(nullptr, RACE_RIGHT, device(256, true)), EAB_DEVICE_FAULT);
    cr_assert(strstr(eab_last_error(), "EAB_SIMT_FAULT"));
    cr_assert_eq(cudaDeviceSynchronize(), cudaErrorLaunchFailure);
    cr_assert_eq(cudaDeviceReset(), cudaSuccess);
    cr_assert_eq(planted_race(nullptr, RACE_RIGHT, device(256, true)), EAB_OK, "%s", eab_last_error());
}

/* Seeds give other orders; the same seed gives the same one, counted from the last reset. */
Test(schedule, follows_the_seed) {
    unsigned orders[3][128];
    const char *const drawn[3] = {"1", "2", "1"};
    for (int i = 0; i < 3; i++) {
        setenv("EAB_SIMT_SEED", drawn[i], 1);
        cr_assert_eq(cudaDeviceReset(), cudaSuccess);
        unsigned *const seen = reinterpret_cast<unsigned *>(device(sizeof orders[i], true));
        cr_assert_eq(planted_order(nullptr, seen), EAB_OK, "%s", eab_last_error());
        cr_assert_eq(cudaMemcpy(orders[i], seen, sizeof orders[i], cudaMemcpyDeviceToHost), cudaSuccess);
    }
    cr_assert(memcmp(orders[0], orders[1], sizeof orders[0]), "two seeds, one order");
    cr_assert_eq(memcmp(orders[0], orders[2], sizeof orders[0]), 0, "one seed, two orders");
    cr_assert(memcmp(orders[0], orders[0] + 64, 64 * sizeof(unsigned)), "two blocks, one order");
}
