/* The order in which warps and lanes run. By PTX ISA for sm_70 and newer, lanes of a warp that have parted run on their
 * own, and a .sync instruction waits for all lanes that its mask names. Of lanes at different instructions those at the
 * lowest run first, until they reach the next ones. */
#include <algorithm>
#include <random>

#include "executor.h"

namespace ptx {

/* Whether lanes must come together for it. */
static bool is_warp_wide(Op op) {
    return op == SHFL || op == VOTE_ANY || op == VOTE_ALL || op == VOTE_BALLOT || op == BAR_WARP || op == MMA ||
           op == LDMATRIX;
}

/* The operand that has the mask; the tensor cores' instructions need all lanes. */
static const Operand *mask_of(const Instruction &i) {
    switch (i.op) {
        case SHFL: return &i.from[3];
        case VOTE_ANY:
        case VOTE_ALL:
        case VOTE_BALLOT: return &i.from[1];
        case BAR_WARP: return &i.from[0];
        default: return nullptr;
    }
}

uint32_t Executor::initial_lanes(int warp) const {
    const int count = threads - warp * 32;
    return count >= 32 ? ALL_LANES : (1u << count) - 1;
}

void Executor::start_special_registers(Warp &w) {
    for (int l = 0; l < 32; l++) {
        const uint32_t thread = (uint32_t)(w.number * 32 + l), *const n = launch.block;
        const uint32_t values[SPECIALS] = {thread % n[0],
                                           thread / n[0] % n[1],
                                           thread / (n[0] * n[1]),
                                           n[0],
                                           n[1],
                                           n[2],
                                           ctaid[0],
                                           ctaid[1],
                                           ctaid[2],
                                           launch.grid[0],
                                           launch.grid[1],
                                           launch.grid[2],
                                           (uint32_t)l,
                                           (uint32_t)w.number};
        for (int s = 0; s < SPECIALS; s++) {
            if (f.special[s] < 0) continue;
            w.registers32[(size_t)f.special[s] * 32 + (size_t)l] = values[s];
            w.defined32[(size_t)f.special[s]] = ALL_LANES;
        }
    }
}

/* What is not written yet holds values that stand out. */
void Executor::start(Warp &w, int number) {
    w.number = number;
    w.registers32.assign((size_t)f.count32 * 32 + 32, 0xDEADBEEFu);
    w.registers64.assign((size_t)f.count64 * 32 + 32, 0xDEADBEEFDEADBEEFull);
    w.predicates.assign((size_t)f.count_predicates + 1, 0x5A5A5A5Au);
    w.defined32.assign((size_t)f.count32 + 1, 0);
    w.defined64.assign((size_t)f.count64 + 1, 0);
    w.defined_predicates.assign((size_t)f.count_predicates + 1, 0);
    w.local.assign((size_t)f.local_bytes * 32, 0xAB);
    w.local_written.assign((size_t)f.local_bytes * 32, 0);
    w.alive = initial_lanes(number);
    w.at_barrier = w.waiting = w.carry = 0;
    w.full_barriers = 0;
    w.parts = false;
    memset(&w.order, 0, sizeof w.order);
    w.copies.clear();
    std::fill_n(w.pc, 32, 0);
    std::fill_n(w.committed, 32, 0);
    start_special_registers(w);
}

void Executor::run_block(uint32_t number) {
    block_number = number;
    ctaid[0] = number % launch.grid[0];
    ctaid[1] = number / launch.grid[0] % launch.grid[1];
    ctaid[2] = number / launch.grid[0] / launch.grid[1];
    shared_state = shared_state_at_start;
    std::fill(shared.begin(), shared.end(), 0xCD);
    barriers = 0;
    std::vector<size_t> order(warps.size());
    for (size_t k = 0; k < warps.size(); k++) {
        order[k] = k;
        start(warps[k], (int)k);
    }
    std::mt19937 random(set_by.seed * 7919u + number);
    while (!failed) {
        if (set_by.seed) std::shuffle(order.begin(), order.end(), random);
        for (const size_t k : order) run_warp(warps[k]);
        const bool ended = std::none_of(warps.begin(), warps.end(), [](const Warp &w) { return w.alive; });
        if (failed || ended || !all_at_barrier()) return;
        release_barrier();
    }
}

/* Until all of its lanes have ended or wait. */
void Executor::run_warp(Warp &w) {
    while (!failed) {
        const uint32_t ready = w.alive & ~w.at_barrier & ~w.waiting;
        if (!ready) return;
        uint32_t pc = ~0u, next_pc = ~0u, lanes = 0;
        for (int l = 0; l < 32; l++)
            if (ready >> l & 1) pc = std::min(pc, w.pc[l]);
        for (int l = 0; l < 32; l++) {
            if (!(ready >> l & 1)) continue;
            if (w.pc[l] == pc) lanes |= 1u << l;
            else next_pc = std::min(next_pc, w.pc[l]);
        }
        run_together(w, lanes, pc, next_pc);
    }
}

/* Until they part, wait, end or reach next_pc, where others are. */
void Executor::run_together(Warp &w, uint32_t lanes, uint32_t pc, uint32_t next_pc) {
    while (!failed) {
        const Instruction &i = f.code[pc];
        uint32_t active = lanes;
        instructions_run++;
        if (i.guard.file == PREDICATE) {
            if (!defined(w, i.guard, lanes)) finding("uninitialized", &f, i.line, "a predicate that guards");
            active &= predicate(w, i.guard);
        }
        const uint32_t inactive = lanes & ~active;
        switch (i.op) {
            case BRA:
                if (active && inactive) {
                    if (i.uniform) finding("divergence", &f, i.line, "bra.uni of lanes that part");
                    set_pc(w, active, i.target);
                    set_pc(w, inactive, pc + 1);
                    return;
                }
                pc = active ? i.target : pc + 1;
                break;
            case RET:
                end_lanes(w, active, i);
                lanes = inactive;
                pc++;
                break;
            case TRAP:
                if (active) {
                    finding("trap", &f, i.line, "trap");
                    failed = true;
                }
                pc++;
                break;
            case BAR:
            case BAR_RED:
                set_pc(w, lanes, pc);
                wait_at_barrier(w, i, lanes, active);
                return;
            default:
                if (is_warp_wide(i.op)) {
                    if (inactive) finding("divergence", &f, i.line, "a guarded warp-wide instruction");
                    lanes = meet(w, i, lanes, pc);
                } else if (active) {
                    execute(w, i, active);
                }
                pc++;
        }
        if (!lanes) return;
        if (pc < next_pc) continue;
        set_pc(w, lanes, pc);
        return;
    }
}

/* Lanes at a warp-wide instruction: those whose mask is complete execute it and are returned, with the ones that had
 * waited for them; the others wait. Lanes may have different masks. */
uint32_t Executor::meet(Warp &w, const Instruction &i, uint32_t lanes, uint32_t pc) {
    set_pc(w, lanes, pc);
    uint32_t here = lanes, done = 0;
    for (int l = 0; l < 32; l++)
        if (w.waiting >> l & 1 && w.pc[l] == pc) here |= 1u << l;
    const Operand *const operand = mask_of(i);
    while (here) {
        const uint32_t mask = operand ? get32(w, *operand, __builtin_ctz(here)) : ALL_LANES;
        uint32_t members = 0;
        for (int l = 0; l < 32; l++)
            if (here >> l & 1 && (!operand || get32(w, *operand, l) == mask)) members |= 1u << l;
        here &= ~members;
        if (members_are_here(w, i, mask, members)) {
            w.waiting &= ~members;
            execute(w, i, members & mask);
            done |= members;
        } else {
            w.waiting |= members;
        }
    }
    return done;
}

bool Executor::members_are_here(Warp &w, const Instruction &i, uint32_t mask, uint32_t members) {
    if (mask & w.alive & ~members) return false;
    const uint32_t ended = mask & ~w.alive;
    /* bar.warp.sync waits only for lanes that are left. */
    if (ended && i.op != BAR_WARP && (!mask_of(i) || ended & initial_lanes(w.number)))
        finding("divergence", &f, i.line, "a warp-wide instruction of lanes 0x%08x, of which 0x%08x have ended", mask,
                ended);
    if (members & ~mask) finding("divergence", &f, i.line, "a lane that is not in its mask, 0x%08x", mask);
    return true;
}

void Executor::end_lanes(Warp &w, uint32_t lanes, const Instruction &i) {
    w.alive &= ~lanes;
    w.waiting = 0; /* who waits for a lane that has ended sees it */
    for (const Copy &copy : w.copies)
        if (lanes >> copy.lane & 1) finding("cp.async", &f, i.line, "a thread ends with a copy that is not finished");
}

void Executor::wait_at_barrier(Warp &w, const Instruction &i, uint32_t lanes, uint32_t active) {
    if (active != lanes) finding("divergence", &f, i.line, "a guarded barrier");
    check_defined(w, i, lanes);
    w.at_barrier |= lanes;
}

/* False, with a finding: lanes wait for others that do not come. */
bool Executor::all_at_barrier() {
    for (const Warp &w : warps) {
        const uint32_t elsewhere = w.alive & ~w.at_barrier;
        if (!elsewhere) continue;
        const int lane = __builtin_ctz(elsewhere);
        finding("deadlock", &f, f.code[w.pc[lane]].line, "thread %d of block %u waits for lanes that do not come",
                w.number * 32 + lane, block_number);
        failed = true;
        return false;
    }
    return true;
}

void Executor::release_barrier() {
    const Instruction *first = nullptr;
    uint32_t count = 0;
    bool ended = false;
    for (const Warp &w : warps) {
        ended = ended || w.alive != initial_lanes(w.number);
        each(w.alive, [&](int l) {
            const Instruction &i = f.code[w.pc[l]];
            if (!first) first = &i;
            if (first != &i) finding("divergence", &f, i.line, "threads at different barriers");
            if (get(w, i.from[0], l) != 0) finding("divergence", &f, i.line, "another barrier than 0");
            if (i.op == BAR_RED) count += predicate(w, i.from[1]) >> l & 1;
        });
    }
    if (ended) finding("divergence", &f, first->line, "a barrier after threads of the block have ended");
    for (Warp &w : warps) {
        each(w.alive, [&](int l) {
            const Instruction &i = f.code[w.pc[l]++];
            if (i.op != BAR_RED) return;
            set(w, i.to[0], l, count);
            define(w, i.to[0], 1u << l);
        });
        w.at_barrier = 0;
        w.full_barriers = 0;
        if (w.parts) memset(&w.order, 0, sizeof w.order);
        w.parts = false;
    }
    barriers++;
}

} // namespace ptx
