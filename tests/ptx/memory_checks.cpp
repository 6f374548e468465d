/* Whether an access is within bounds, aligned, of what was written, and races with no other. */
#include "executor.h"

namespace ptx {

bool Executor::global_fits(const Instruction &i, uint64_t address, int bytes, const char *what, const Warp &w,
                           int lane) {
    const int thread = w.number * 32 + lane;
    const unsigned long long place = address;
    if (address % (uint64_t)bytes) {
        finding("misaligned", &f, i.line, "global %s of %d bytes at 0x%llx, thread %d of block %u", what, bytes, place,
                thread, block_number);
        failed = true;
        return false;
    }
    if (known && known->holds(address, (size_t)bytes)) return true;
    const Allocation *const found = memory.find(address);
    if (found && found->holds(address, (size_t)bytes)) {
        known = found;
        return true;
    }
    const char *const why = !found ? "no allocation" : found->freed ? "freed" : "past its end";
    finding("out of bounds", &f, i.line, "global %s of %d bytes at 0x%llx, thread %d of block %u: %s", what, bytes,
            place, thread, block_number, why);
    failed = true;
    return false;
}

/* The first and the last byte suffice: guard zones are wider than any access. */
bool Executor::shared_fits(const Instruction &i, uint64_t address, int bytes, const Warp &w, int lane) {
    const char *kind = nullptr;
    if (address % (uint64_t)bytes) kind = "misaligned";
    else if (address + (uint64_t)bytes > shared.size() || shared_state[address] == GUARD ||
             shared_state[address + (uint64_t)bytes - 1] == GUARD)
        kind = "out of bounds";
    if (!kind) return true;
    finding(kind, &f, i.line, "shared memory, %d bytes at %lld, thread %d of block %u", bytes, (long long)address,
            w.number * 32 + lane, block_number);
    failed = true;
    return false;
}

uint8_t *Executor::local_at(Warp &w, const Instruction &i, uint64_t address, int bytes, int lane) {
    if (address + (uint64_t)bytes > (uint64_t)f.local_bytes || address % (uint64_t)bytes) {
        finding("out of bounds", &f, i.line, "local memory, %d bytes at %lld of %d", bytes, (long long)address,
                f.local_bytes);
        failed = true;
        return nullptr;
    }
    return &w.local[(size_t)lane * (size_t)f.local_bytes + address];
}

void Executor::read_global(const Instruction &i, uint64_t address, int bytes, const Warp &w, int lane) {
    const uint8_t *const written = memory.written_at(address);
    for (int k = 0; k < bytes; k++) {
        if (!(i.used_bytes >> k & 1)) continue;
        if (!written[k])
            finding("uninitialized", &f, i.line,
                    "global memory at byte %llu of an allocation of %zu, thread %d of block %u",
                    (unsigned long long)(address - known->address) + (unsigned)k, known->bytes, w.number * 32 + lane,
                    block_number);
        if (!set_by.watch_races) continue;
        Accesses *const accesses = global_accesses(address + (uint64_t)k);
        if (i.read_only && accesses->written.launch == launch_number)
            finding("read-only load", &f, i.line, "ld.global.nc of memory that this launch writes");
        note(*accesses, address + (uint64_t)k, w, lane, READ, true, i);
    }
}

void Executor::write_global(const Instruction &i, uint64_t address, int bytes, const Warp &w, int lane,
                            AccessKind kind) {
    memset(memory.written_at(address), 1, (size_t)bytes);
    if (!set_by.watch_races) return;
    for (int k = 0; k < bytes; k++)
        note(*global_accesses(address + (uint64_t)k), address + (uint64_t)k, w, lane, kind, true, i);
}

void Executor::read_shared(const Instruction &i, uint64_t address, int bytes, const Warp &w, int lane) {
    const int thread = w.number * 32 + (lane < 0 ? 0 : lane);
    for (int k = 0; k < bytes; k++)
        if (i.used_bytes >> k & 1 && shared_state[address + (uint64_t)k] != WRITTEN) {
            finding("uninitialized", &f, i.line, "shared memory at %llu, thread %d of block %u",
                    (unsigned long long)address + (unsigned)k, thread, block_number);
            break;
        }
    for (int k = 0; k < bytes; k += cell_bytes) {
        Accesses &cell = shared_accesses[(address + (uint64_t)k) / (uint64_t)cell_bytes];
        const Access &written = cell.written;
        if (written.pending && written.launch == launch_number && written.block == block_number)
            finding("cp.async", &f, i.line, "read of shared memory at %llu before its copy was waited for, thread %d",
                    (unsigned long long)address, thread);
        if (set_by.watch_races) note(cell, address + (uint64_t)k, w, lane, READ, false, i);
    }
}

void Executor::write_shared(const Instruction &i, uint64_t address, int bytes, const Warp &w, int lane,
                            AccessKind kind) {
    memset(&shared_state[address], WRITTEN, (size_t)bytes);
    for (int k = 0; k < bytes; k += cell_bytes) {
        Accesses &cell = shared_accesses[(address + (uint64_t)k) / (uint64_t)cell_bytes];
        const Access &written = cell.written;
        if (written.pending && written.launch == launch_number && written.block == block_number)
            finding("cp.async", &f, i.line, "write over a copy that is not finished, at %llu",
                    (unsigned long long)address);
        if (set_by.watch_races) note(cell, address + (uint64_t)k, w, lane, kind, false, i);
    }
}

} // namespace ptx
