/* Statements that reach memory or the other lanes: loads and stores, copies, matrices, barriers, shuffles. */
#include "compiler.h"

#include <cstdlib>

namespace ptx {

void Compiler::load_or_store(Parsed &parsed) {
    Instruction &instruction = parsed.instruction;
    const bool load = parsed.base != "st";
    instruction.op = load ? LD : ST;
    instruction.space = parsed.take("global")   ? GLOBAL
                        : parsed.take("shared") ? SHARED
                        : parsed.take("local")  ? LOCAL
                        : parsed.take("param")  ? PARAM
                                                : GENERIC;
    instruction.read_only = parsed.take("nc");
    parsed.take("volatile");
    instruction.width = parsed.take("v2") ? 2 : parsed.take("v4") ? 4 : 1;
    if (load) {
        instruction.used_bytes = next_used_bytes;
        next_used_bytes = ~0ull;
    }
    address(instruction, parsed.operands.at(load ? 1 : 0));
    for (const auto &text : elements(parsed.operands.at(load ? 0 : 1)))
        if (load) instruction.to.push_back(target(text));
        else instruction.from.push_back(source(text, instruction.type));
    if ((load ? instruction.to.size() : instruction.from.size() - 1) != instruction.width)
        refuse_here("another number of elements");
}

/* atom.add and, without a result, red.add. */
void Compiler::atomic_add(Parsed &parsed) {
    Instruction &instruction = parsed.instruction;
    const bool result = parsed.base == "atom";
    instruction.op = ATOM_ADD;
    instruction.space = parsed.take("global") ? GLOBAL : parsed.take("shared") ? SHARED : GENERIC;
    parsed.take("relaxed");
    parsed.take("gpu");
    const Type type = instruction.type;
    if (!parsed.take("add") || (type != U32 && type != S32 && type != U64)) refuse_here("unknown atomic");
    if (result) instruction.to.push_back(target(parsed.operands.at(0)));
    address(instruction, parsed.operands.at(result ? 1 : 0));
    instruction.from.push_back(source(parsed.operands.at(result ? 2 : 1), type));
}

bool Compiler::memory_statement(Parsed &parsed) {
    if (parsed.base == "ld" || parsed.base == "st" || parsed.base == "ldu") {
        load_or_store(parsed);
    } else if (parsed.base == "atom" || parsed.base == "red") {
        atomic_add(parsed);
    } else if (parsed.base == "membar" || parsed.base == "fence") {
        for (const char *known : {"sc", "acq_rel", "cta", "gpu", "sys", "gl"}) parsed.take(known);
        parsed.instruction.op = FENCE;
    } else {
        return false;
    }
    return true;
}

/* cp.async of 16 bytes; cp.async.commit_group; cp.async.wait_group n. */
bool Compiler::copy_statement(Parsed &parsed) {
    if (parsed.base != "cp") return false;
    Instruction &instruction = parsed.instruction;
    if (!parsed.take("async")) refuse_here("unknown copy");
    if (parsed.take("commit_group")) {
        instruction.op = CP_COMMIT;
        return true;
    }
    if (parsed.take("wait_group")) {
        instruction.op = CP_WAIT;
        instruction.offset = strtoll(parsed.operands.at(0).c_str(), nullptr, 0);
        return true;
    }
    instruction.op = CP_ASYNC;
    const bool known = (parsed.take("cg") || parsed.take("ca")) && parsed.take("shared") && parsed.take("global");
    uint64_t bytes;
    if (!known || !number(parsed.operands.at(2), U32, &bytes) || bytes != 16) refuse_here("a copy of an unknown form");
    address(instruction, parsed.operands[0]);
    const int64_t offset = instruction.offset;
    address(instruction, parsed.operands[1]);
    if (offset || instruction.offset) refuse_here("a copy with offsets");
    if (parsed.operands.size() > 3) instruction.from.push_back(source(parsed.operands[3], U32));
    return true;
}

bool Compiler::matrix_statement(Parsed &parsed) {
    Instruction &instruction = parsed.instruction;
    const auto &types = parsed.types;
    if (parsed.base == "mma") {
        for (const char *wanted : {"sync", "aligned", "m16n8k16", "row", "col"})
            if (!parsed.take(wanted)) refuse_here("a product of an unknown form");
        if (types.size() != 4 || types[0] != F32 || types[3] != F32 || types[1] != types[2] ||
            (types[1] != F16 && types[1] != BF16))
            refuse_here("a product of unknown types");
        instruction.op = MMA;
        instruction.from_type = types[1];
        for (const auto &text : elements(parsed.operands.at(0))) instruction.to.push_back(target(text));
        for (size_t k = 1; k <= 3; k++)
            for (const auto &text : elements(parsed.operands.at(k))) instruction.from.push_back(source(text, B32));
        if (instruction.to.size() != 4 || instruction.from.size() != 10) refuse_here("another number of registers");
    } else if (parsed.base == "ldmatrix") {
        for (const char *wanted : {"sync", "aligned", "m8n8"})
            if (!parsed.take(wanted)) refuse_here("matrices of an unknown form");
        if (!parsed.take("shared") && !parsed.take("shared::cta")) refuse_here("matrices outside shared memory");
        if (instruction.type != B16) refuse_here("matrices of an unknown type");
        instruction.op = LDMATRIX;
        instruction.space = SHARED;
        instruction.width = parsed.take("x4") ? 4 : parsed.take("x2") ? 2 : parsed.take("x1") ? 1 : 0;
        instruction.transpose = parsed.take("trans");
        for (const auto &text : elements(parsed.operands.at(0))) instruction.to.push_back(target(text));
        if (instruction.to.size() != instruction.width) refuse_here("another number of matrices");
        address(instruction, parsed.operands.at(1));
    } else {
        return false;
    }
    return true;
}

bool Compiler::warp_statement(Parsed &parsed) {
    Instruction &instruction = parsed.instruction;
    const auto &operands = parsed.operands;
    if (parsed.base == "bar" || parsed.base == "barrier") {
        parsed.take("cta");
        parsed.take("aligned");
        const bool warp = parsed.take("warp");
        if (parsed.take("sync")) {
            if (operands.size() != 1) refuse_here("a barrier of a part of the block");
            instruction.op = warp ? BAR_WARP : BAR;
            instruction.from.push_back(source(operands[0], U32));
        } else if (parsed.take("red") && parsed.take("popc")) {
            typed(parsed, BAR_RED, {U32, PRED});
        } else {
            refuse_here("a barrier of an unknown form");
        }
    } else if (parsed.base == "shfl") {
        if (!parsed.take("sync")) refuse_here("a shuffle without a mask");
        if (parsed.take("bfly")) instruction.shuffle = BUTTERFLY;
        else if (parsed.take("up")) instruction.shuffle = SHUFFLE_UP;
        else if (parsed.take("down")) instruction.shuffle = SHUFFLE_DOWN;
        else if (parsed.take("idx")) instruction.shuffle = SHUFFLE_INDEX;
        else refuse_here("a shuffle of an unknown form");
        instruction.op = SHFL;
        for (const auto &text : split(operands.at(0), '|')) instruction.to.push_back(target(text));
        for (size_t k = 1; k <= 4; k++) instruction.from.push_back(source(operands.at(k), U32));
    } else if (parsed.base == "vote") {
        if (!parsed.take("sync")) refuse_here("a vote without a mask");
        const Op op = parsed.take("any") ? VOTE_ANY : parsed.take("all") ? VOTE_ALL : VOTE_BALLOT;
        if (op == VOTE_BALLOT && !parsed.take("ballot")) refuse_here("a vote of an unknown form");
        typed(parsed, op, {PRED, U32});
    } else {
        return false;
    }
    return true;
}

} // namespace ptx
