/* A launch's blocks, and which group executes an instruction. */
#include "executor.h"

#include <algorithm>
#include <cfenv>
#include <cstdio>
#include <cstdlib>
#include <random>

namespace ptx {

uint64_t instructions_run;

static uint32_t launches;

Executor::Executor(const Launch &of)
    : launch(of), f(*of.function), memory(device_memory()), launch_number(++launches),
      threads((int)(of.block[0] * of.block[1] * of.block[2])), constants32(f.constants32), constants64(f.constants64),
      warps((size_t)(threads + 31) / 32), cell_bytes(f.shared_cell_bytes) {
    const int guard = f.shared_extent ? 256 : 0;
    const int dynamic = (f.shared_extent + guard + 127) / 128 * 128;
    auto variables = f.shared_variables;
    variables.push_back({dynamic, (int)launch.dynamic_shared});
    for (const DynamicAddress &at : f.dynamic_addresses) {
        const size_t first = (size_t)at.constant.index * 32;
        const uint64_t address = (uint64_t)(dynamic + at.offset);
        if (at.constant.file == CONSTANT32) std::fill_n(&constants32[first], 32, (uint32_t)address);
        else std::fill_n(&constants64[first], 32, address);
    }
    const size_t extent = (size_t)dynamic + launch.dynamic_shared;
    shared.resize(extent);
    shared_state_at_start.assign(extent, GUARD);
    for (const auto &variable : variables)
        std::fill_n(shared_state_at_start.begin() + variable.first, variable.second, UNWRITTEN);
    shared_accesses.resize(extent / (size_t)cell_bytes + 1);
}

void Executor::missing(const Instruction &i) const {
    fflush(stdout);
    fprintf(stderr, "ptx: %s:%d: this form of the instruction is not implemented (op %d, type %d)\n", f.file.c_str(),
            i.line, i.op, i.type);
    abort();
}

void Executor::check_defined(const Warp &w, const Instruction &i, uint32_t lanes) {
    if (i.op == SELP) { /* each lane uses one of the sources */
        const uint32_t first = predicate(w, i.from[2]);
        if (!defined(w, i.from[2], lanes) || !defined(w, i.from[0], lanes & first) ||
            !defined(w, i.from[1], lanes & ~first))
            finding("uninitialized", &f, i.line, "a register");
        return;
    }
    for (const Operand &o : i.from)
        if (!defined(w, o, lanes))
            finding("uninitialized", &f, i.line, "a %s", o.file == PREDICATE ? "predicate" : "register");
}

void Executor::execute(Warp &w, const Instruction &i, uint32_t lanes) {
    check_defined(w, i, lanes);
    switch (i.op) {
        case MOV:
        case MOV_PACK:
        case MOV_UNPACK:
        case CVTA:
        case SELP:
        case CVT:
        case CVT_PACK:
        case SETP: execute_move(w, i, lanes); break;
        case ADD:
        case SUB:
        case MUL_LO:
        case MUL_HI:
        case MUL_WIDE:
        case MAD_LO:
        case MAD_HI:
        case DIV:
        case REM:
        case MIN:
        case MAX:
        case ABS:
        case NEG: execute_integer(w, i, lanes); break;
        case ADD_F:
        case SUB_F:
        case MUL_F:
        case FMA:
        case DIV_F:
        case MIN_F:
        case MAX_F:
        case ABS_F:
        case NEG_F:
        case EX2:
        case LG2:
        case RCP:
        case SQRT:
        case RSQRT: execute_float(w, i, lanes); break;
        case AND:
        case OR:
        case XOR:
        case NOT:
        case SHL:
        case SHR:
        case PRMT:
        case BFI:
        case BFE:
        case BFIND:
        case BREV:
        case CLZ:
        case POPC:
        case LOP3:
        case SHF: execute_bits(w, i, lanes); break;
        case LD: load(w, i, lanes); break;
        case ST: store(w, i, lanes); break;
        case ATOM_ADD: atomic_add(w, i, lanes); break;
        case FENCE: break;
        case CP_ASYNC:
        case CP_COMMIT:
        case CP_WAIT: execute_copy(w, i, lanes); break;
        case MMA: multiply_matrices(w, i, lanes); break;
        case LDMATRIX: load_matrices(w, i, lanes); break;
        case SHFL: shuffle(w, i, lanes); break;
        case VOTE_ANY:
        case VOTE_ALL:
        case VOTE_BALLOT: vote(w, i, lanes); break;
        case BAR_WARP: warp_barrier(w, lanes); break;
        case UNKNOWN:
        case BRA:
        case RET:
        case BAR:
        case BAR_RED:
        case TRAP: missing(i); /* schedule.cpp runs them */
    }
    for (const Operand &o : i.to) define(w, o, lanes);
}

bool run(const Launch &launch) {
    fesetround(FE_TONEAREST);
    Executor executor(launch);
    const uint64_t blocks = (uint64_t)launch.grid[0] * launch.grid[1] * launch.grid[2];
    const unsigned seed = settings().seed;
    std::vector<uint32_t> order;
    if (seed) {
        for (uint64_t b = 0; b < blocks; b++) order.push_back((uint32_t)b);
        std::shuffle(order.begin(), order.end(), std::mt19937(seed));
    }
    for (uint64_t n = 0; n < blocks && !executor.failed; n++) executor.run_block(seed ? order[n] : (uint32_t)n);
    return !executor.failed;
}

} // namespace ptx
