/* cp.async: a copy is done when a wait of its thread names its group, not earlier, so that a missing wait shows. */
#include "banks.h"
#include "executor.h"

namespace ptx {

const int copy_bytes = 16;

void Executor::write_copy(const Copy &copy) {
    uint8_t data[copy_bytes] = {};
    if (copy.bytes) memcpy(data, memory.bytes_at(copy.from), (size_t)copy.bytes);
    memcpy(&shared[copy.to], data, copy_bytes);
    memset(&shared_state[copy.to], WRITTEN, copy_bytes);
}

void Executor::begin_copy(Warp &w, const Instruction &i, int lane) {
    const uint64_t to = get(w, i.from[0], lane), from = get(w, i.from[1], lane);
    const int bytes = i.from.size() > 2 ? (int)get32(w, i.from[2], lane) : copy_bytes;
    if (bytes < 0 || bytes > copy_bytes) {
        finding("cp.async", &f, i.line, "of %d bytes", bytes);
        return;
    }
    if (!shared_fits(i, to, copy_bytes, w, lane)) return;
    if (bytes && !global_fits(i, from, copy_bytes, "copy", w, lane)) return;
    if (from % copy_bytes) finding("misaligned", &f, i.line, "the source of a copy of no bytes");
    if (bytes && !memory.written(from, (size_t)bytes))
        finding("uninitialized", &f, i.line, "global memory that cp.async copies");
    if (set_by.watch_races)
        for (int k = 0; k < bytes; k++)
            note(*global_accesses(from + (uint64_t)k), from + (uint64_t)k, w, lane, READ, true, i);
    write_shared(i, to, copy_bytes, w, lane, WRITE);
    memset(&shared_state[to], UNWRITTEN, copy_bytes);
    for (int k = 0; k < copy_bytes; k += cell_bytes) {
        Access &written = shared_accesses[(to + (uint64_t)k) / (uint64_t)cell_bytes].written;
        written.launch = launch_number;
        written.block = block_number;
        written.pending = 1;
    }
    const Copy copy = {lane, (uint32_t)to, from, bytes, w.committed[lane]};
    if (set_by.early_copies) write_copy(copy);
    w.copies.push_back(copy);
}

/* All but the newest groups of each thread, as many as the instruction says. */
void Executor::finish_copies(Warp &w, const Instruction &i, uint32_t lanes) {
    std::vector<Copy> left;
    for (const Copy &copy : w.copies) {
        if (!(lanes >> copy.lane & 1) || (int64_t)copy.group >= (int64_t)w.committed[copy.lane] - i.offset) {
            left.push_back(copy);
            continue;
        }
        /* An allocation may be freed only after the kernel: the source still fits. */
        write_copy(copy);
        for (uint32_t k = 0; k < copy_bytes; k += (uint32_t)cell_bytes) {
            Accesses &cell = shared_accesses[(copy.to + k) / (uint32_t)cell_bytes];
            cell.written.pending = 0;
            if (set_by.watch_races) note(cell, copy.to + k, w, copy.lane, WRITE, false, i);
        }
    }
    w.copies.swap(left);
}

void Executor::execute_copy(Warp &w, const Instruction &i, uint32_t lanes) {
    if (i.op == CP_COMMIT) {
        each(lanes, [&](int l) { w.committed[l]++; });
        return;
    }
    if (i.op == CP_WAIT) {
        finish_copies(w, i, lanes);
        return;
    }
    each(lanes, [&](int l) { begin_copy(w, i, l); });
    if (!set_by.count_banks) return;
    uint64_t addresses[32];
    for (int l = 0; l < 32; l++) addresses[l] = get(w, i.from[0], l);
    count_shared(f, i, addresses, lanes, copy_bytes, 8);
    for (int l = 0; l < 32; l++) addresses[l] = get(w, i.from[1], l);
    count_global(f, i, addresses, lanes, copy_bytes);
}

} // namespace ptx
