"""Each bug that is planted in a kernel or a launch (tests/ptx/planted.h) is found under several orders of warps and
blocks, and the same kernel without it passes."""

from __future__ import annotations

import pytest

SEEDS = (0, 1, 2)
# The kinds of which one must be among the findings; none: the kernel is right.
BUGS = {
    "MEMORY_RIGHT": (), "UNWRITTEN_SHARED": ("uninitialized",), "UNWRITTEN_DYNAMIC": ("uninitialized",),
    "UNWRITTEN_HALF": ("uninitialized",), "UNWRITTEN_LAST_BLOCK": ("uninitialized",),
    "UNWRITTEN_GLOBAL": ("uninitialized",), "UNWRITTEN_ADDED": ("uninitialized",), "PAST_STATIC": ("out of bounds",),
    "PAST_STATIC_POINTER": ("out of bounds",), "BEFORE_STATIC": ("out of bounds",), "PAST_DYNAMIC": ("out of bounds",),
    "PAST_GLOBAL": ("out of bounds",), "BEFORE_GLOBAL": ("out of bounds",), "WRITE_PAST_GLOBAL": ("out of bounds",),
    "HOST_MEMORY": ("out of bounds",), "NULL_POINTER": ("out of bounds",), "COPY_PAST_GLOBAL": ("out of bounds",),
    "FREED": ("out of bounds",), "MISALIGNED_VECTOR": ("misaligned",), "MISALIGNED_SHARED": ("misaligned",),
    "SHIFT_LEFT": ("shift",), "SHIFT_RIGHT": ("shift",),
    "DIVERGENCE_RIGHT": (), "BARRIER_EXIT": ("divergence",), "BARRIER_ELSEWHERE": ("divergence",),
    "BARRIER_HALF": ("divergence",), "SHUFFLE_EXITED": ("divergence",), "SHUFFLE_OUTSIDE_MASK": ("shuffle",),
    "SHUFFLE_NOT_IN_MASK": ("divergence",), "SHUFFLE_DIVERGED": ("deadlock",), "VOTE_EXITED": ("divergence",),
    "WARP_BARRIER_DIVERGED": ("deadlock",), "MMA_DIVERGED": ("divergence",), "SHUFFLE_AND_BARRIER": ("deadlock",),
    "SHUFFLE_WIDTH": ("shuffle",),
    "RACE_RIGHT": (), "NO_BARRIER": ("race",), "NO_BARRIER_AFTER": ("race",), "SAME_WORD": ("race",),
    "WITHIN_WARP": ("race",), "WITHIN_WARP_SHUFFLE": ("race",), "WARP_BARRIER_BETWEEN_WARPS": ("race",),
    "HALF_WARP": ("race",), "ATOMIC_AND_PLAIN": ("race",), "HALVES": ("race",), "LDMATRIX_RACE": ("race",),
    "BLOCKS_RIGHT": (), "BLOCKS_WRITE": ("race",), "BLOCKS_READ": ("race",), "BLOCKS_ATOMIC_READ": ("race",),
    "BLOCKS_HALVES": ("race",),
    "GLOBAL_RIGHT": (), "GLOBAL_NO_BARRIER": ("race",), "GLOBAL_SAME_WORD": ("race",), "GLOBAL_WITHIN_WARP": ("race",),
    "GLOBAL_HALVES": ("race",), "GLOBAL_ATOMIC_READ": ("race",),
    "COPY_RIGHT": (), "NO_WAIT": ("cp.async",), "NO_COMMIT": ("cp.async",), "WAIT_TOO_FEW": ("cp.async",),
    "NO_BARRIER_AFTER_WAIT": ("race",), "COPY_MISALIGNED": ("misaligned",), "COPY_PAST_END": ("out of bounds",),
    "COPY_REUSED_EARLY": ("race",),
    "LAUNCH_RIGHT": (), "THREADS": ("launch",), "THREADS_IN_ALL_DIMENSIONS": ("launch",), "EMPTY_GRID": ("launch",),
    "WIDE_GRID": ("launch",), "DYNAMIC_SHARED": ("launch",), "DYNAMIC_SHARED_OPT_IN": (),
    "DYNAMIC_SHARED_LIMIT": ("launch",), "BOUNDS_RIGHT": (), "BOUNDS": ("launch",), "STATIC_SHARED": ("launch",),
    "HOST_RIGHT": (), "FREED_TWICE": ("free",), "FILLED_PAST_THE_END": ("out of bounds",),
    "COPIED_AS_ANOTHER_KIND": ("copy",), "COPIED_OVER_ITSELF": ("copy",), "DOWNLOADED_UNWRITTEN": ("uninitialized",),
    "WAITED_WHILE_CAPTURING": ("capture",), "ALLOCATED_WHILE_CAPTURING": ("capture",),
}


def test_all_are_known(emulate):
    names = [line.split(".")[1] for line in emulate("planted_bugs").stdout.splitlines()]
    assert set(names) == {*BUGS, "ORDER", "FAULT"}


@pytest.mark.parametrize("name", BUGS)
def test_is_found(emulate, name):
    for seed in SEEDS:
        done = emulate("planted_bugs", name, EAB_PTX_SEED=seed)
        if BUGS[name]:
            assert done.kinds() & set(BUGS[name]), f"seed {seed}: {done.findings or 'nothing was found'}"
            assert done.returncode == 99
        else:
            assert not done.findings and done.returncode == 0, f"seed {seed}: {done.findings}"
            assert "status 0" in done.stdout


def test_the_order_follows_the_seed(emulate):
    orders = [emulate("planted_bugs", "ORDER", EAB_PTX_SEED=seed).stdout for seed in (1, 2, 1)]
    assert orders[0] == orders[2] != orders[1]


@pytest.mark.parametrize(("fault", "expected"), [("0", "0 0 1"), ("1", "5 1 1"), ("1 for good", "5 1 0")])
def test_a_fault_lasts_until_a_reset(emulate, fault, expected):
    done = emulate("planted_bugs", "FAULT", EAB_PTX_FAULT=fault)
    assert done.stdout.splitlines()[0] == expected and not done.findings
