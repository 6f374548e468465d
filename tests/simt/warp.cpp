/* What a warp does together: __syncwarp, shuffles, votes, reductions, matrix instructions. */
#include "runtime.h"

namespace simt {

const char *operation_name(operation op) {
    static const char *const names[] = {"nothing",     "__syncthreads",    "__syncwarp", "a shuffle",
                                        "a warp vote", "a warp reduction", "mma",        "ldmatrix"};
    return names[static_cast<int>(op)];
}

enum vote { VOTE_BALLOT, VOTE_ANY, VOTE_ALL };
enum reduction { REDUCE_ADD, REDUCE_MAX, REDUCE_MIN, REDUCE_UNSIGNED_MAX, REDUCE_UNSIGNED_MIN };

/* The lane that `lane` reads (PTX ISA, shfl.sync): its own where the source lies outside its segment of `width`
 * lanes. */
static unsigned source_lane(simt_shuffle kind, unsigned lane, int argument, int width) {
    const unsigned first = lane & ~static_cast<unsigned>(width - 1), last = first + static_cast<unsigned>(width) - 1;
    const unsigned operand = static_cast<unsigned>(argument) & 31;
    switch (kind) {
        case SIMT_SHUFFLE_INDEX: return first | (operand & static_cast<unsigned>(width - 1));
        case SIMT_SHUFFLE_UP: return lane >= first + operand ? lane - operand : lane;
        case SIMT_SHUFFLE_DOWN: return lane + operand <= last ? lane + operand : lane;
        default: return (lane ^ operand) <= last ? lane ^ operand : lane;
    }
}

static void complete_shuffle(fiber *lanes, unsigned mask) {
    uint64_t values[WARP];
    for (unsigned lane = 0; lane < WARP; lane++)
        if (mask >> lane & 1) values[lane] = lanes[lane].value;
    for (unsigned lane = 0; lane < WARP; lane++) {
        if (!(mask >> lane & 1)) continue;
        fiber &f = lanes[lane];
        const unsigned source = source_lane(static_cast<simt_shuffle>(f.detail), lane, f.argument, f.width);
        if (!(mask >> source & 1)) {
            finding(f, f.at, "shuffle from lane %u, which the mask 0x%08x leaves out", source, mask);
            return;
        }
        f.value = values[source];
    }
}

static void complete_vote(fiber *lanes, unsigned mask) {
    unsigned ballot = 0;
    for (unsigned lane = 0; lane < WARP; lane++)
        if (mask >> lane & 1 && lanes[lane].value) ballot |= 1u << lane;
    for (unsigned lane = 0; lane < WARP; lane++) {
        if (!(mask >> lane & 1)) continue;
        fiber &f = lanes[lane];
        f.value = f.detail == VOTE_BALLOT ? ballot : f.detail == VOTE_ANY ? ballot != 0 : ballot == mask;
    }
}

static void complete_reduction(fiber *lanes, unsigned mask) {
    const fiber &first = lanes[__builtin_ctz(mask)];
    unsigned result = static_cast<unsigned>(first.value);
    for (unsigned lane = first.lane + 1; lane < WARP; lane++) {
        if (!(mask >> lane & 1)) continue;
        const unsigned value = static_cast<unsigned>(lanes[lane].value);
        const int a = static_cast<int>(result), b = static_cast<int>(value);
        switch (first.detail) {
            case REDUCE_ADD: result += value; break;
            case REDUCE_MAX: result = static_cast<unsigned>(max(a, b)); break;
            case REDUCE_MIN: result = static_cast<unsigned>(min(a, b)); break;
            case REDUCE_UNSIGNED_MAX: result = max(result, value); break;
            default: result = min(result, value); break;
        }
    }
    for (unsigned lane = 0; lane < WARP; lane++)
        if (mask >> lane & 1) lanes[lane].value = result;
}

/* Of what the lanes did before, each of them has now seen all; and all that they had seen. */
static void order_lanes(runner &r, warp &w, fiber *lanes, unsigned mask) {
    const uint32_t event = r.event++;
    const unsigned live = w.exists & ~w.done;
    if ((mask & live) == live) {
        w.full_stamp = event;
    } else {
        uint32_t seen[WARP];
        for (unsigned other = 0; other < WARP; other++) {
            seen[other] = mask >> other & 1 ? event : 0;
            for (unsigned lane = 0; lane < WARP; lane++)
                if (mask & live & 1u << lane && lanes[lane].seen[other] > seen[other])
                    seen[other] = lanes[lane].seen[other];
        }
        for (unsigned lane = 0; lane < WARP; lane++)
            for (unsigned other = 0; other < WARP && mask >> lane & 1; other++) lanes[lane].seen[other] = seen[other];
    }
    for (unsigned lane = 0; lane < WARP; lane++)
        if (mask >> lane & 1) lanes[lane].stamp = event;
}

static void complete(runner &r, warp &w, fiber *lanes, unsigned mask) {
    switch (lanes[__builtin_ctz(mask)].op) {
        case operation::sync_warp: order_lanes(r, w, lanes, mask); break;
        case operation::shuffle: complete_shuffle(lanes, mask); break;
        case operation::vote: complete_vote(lanes, mask); break;
        case operation::reduce: complete_reduction(lanes, mask); break;
        case operation::mma: complete_mma(r, lanes); break;
        default: complete_ldmatrix(r, lanes); break;
    }
    w.waiting &= ~mask;
    w.ready |= mask;
    for (unsigned lane = 0; lane < WARP; lane++)
        if (mask >> lane & 1) lanes[lane].op = operation::none;
}

void warp_resolve(runner &r, unsigned number) {
    warp &w = r.warps[number];
    fiber *const lanes = r.fibers + number * WARP;
    for (unsigned open = w.waiting; open && !r.stopped;) {
        fiber &first = lanes[__builtin_ctz(open)];
        const unsigned mask = first.mask, absent = mask & (w.done | ~w.exists);
        unsigned same = 0;
        for (unsigned rest = mask & w.waiting; rest; rest &= rest - 1) {
            const fiber &f = lanes[__builtin_ctz(rest)];
            if (f.op == first.op && f.mask == mask && f.detail == first.detail) same |= 1u << f.lane;
        }
        open &= ~(same | 1u << first.lane);
        if (same != (mask & ~absent)) continue; /* others may still come */
        if (absent && first.op != operation::sync_warp) {
            finding(first, first.at, "%s whose mask 0x%08x names lane %d, which has exited or never was",
                    operation_name(first.op), mask, __builtin_ctz(absent));
            return;
        }
        complete(r, w, lanes, same);
    }
}

void wait_for_warp(operation op, unsigned mask, const char *file, int line) {
    fiber &f = *current;
    f.op = op;
    f.mask = mask;
    f.at = {file, line, nullptr};
    if (!(mask >> f.lane & 1))
        finding(f, f.at, "%s whose mask 0x%08x leaves out the caller, lane %u", operation_name(op), mask, f.lane);
    f.owner->warps[f.warp].waiting |= 1u << f.lane;
    fiber_suspend(f);
}

static uint64_t together(operation op, int detail, unsigned mask, uint64_t value, const char *file, int line) {
    fiber &f = *current;
    f.detail = detail;
    f.value = value;
    wait_for_warp(op, mask, file, line);
    return f.value;
}

} // namespace simt

using namespace simt;

void __syncwarp(unsigned mask, const char *file, int line) { together(operation::sync_warp, 0, mask, 0, file, line); }

uint64_t simt_shuffle_bits(simt_shuffle kind, unsigned mask, uint64_t value, int argument, int width, const char *file,
                           int line) {
    fiber &f = *current;
    if (width < 1 || width > 32 || (width & (width - 1)))
        finding(f, {file, line, nullptr}, "shuffle with width %d: it must be 1, 2, 4, 8, 16 or 32", width);
    f.argument = argument;
    f.width = width;
    return together(operation::shuffle, kind, mask, value, file, line);
}

unsigned __ballot_sync(unsigned mask, int predicate, const char *file, int line) {
    return static_cast<unsigned>(together(operation::vote, VOTE_BALLOT, mask, predicate != 0, file, line));
}
int __any_sync(unsigned mask, int predicate, const char *file, int line) {
    return static_cast<int>(together(operation::vote, VOTE_ANY, mask, predicate != 0, file, line));
}
int __all_sync(unsigned mask, int predicate, const char *file, int line) {
    return static_cast<int>(together(operation::vote, VOTE_ALL, mask, predicate != 0, file, line));
}

static unsigned reduce(reduction kind, unsigned mask, unsigned value, const char *file, int line) {
    return static_cast<unsigned>(together(operation::reduce, kind, mask, value, file, line));
}
int __reduce_add_sync(unsigned mask, int value, const char *file, int line) {
    return static_cast<int>(reduce(REDUCE_ADD, mask, static_cast<unsigned>(value), file, line));
}
unsigned __reduce_add_sync(unsigned mask, unsigned value, const char *file, int line) {
    return reduce(REDUCE_ADD, mask, value, file, line);
}
int __reduce_max_sync(unsigned mask, int value, const char *file, int line) {
    return static_cast<int>(reduce(REDUCE_MAX, mask, static_cast<unsigned>(value), file, line));
}
unsigned __reduce_max_sync(unsigned mask, unsigned value, const char *file, int line) {
    return reduce(REDUCE_UNSIGNED_MAX, mask, value, file, line);
}
int __reduce_min_sync(unsigned mask, int value, const char *file, int line) {
    return static_cast<int>(reduce(REDUCE_MIN, mask, static_cast<unsigned>(value), file, line));
}
unsigned __reduce_min_sync(unsigned mask, unsigned value, const char *file, int line) {
    return reduce(REDUCE_UNSIGNED_MIN, mask, value, file, line);
}

unsigned __activemask() {
    const warp &w = current->owner->warps[current->warp];
    return w.exists & ~w.done;
}
