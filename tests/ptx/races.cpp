#include "races.h"

#include <unordered_map>

#include "executor.h"

namespace ptx {

namespace {

const uint64_t page_bytes = 4096;

struct Pages {
    std::unordered_map<uint64_t, std::vector<Accesses>> all;
    uint64_t last = ~0ull;
    std::vector<Accesses> *page = nullptr; /* of `last` */
};
Pages &pages() {
    static Pages *const made = new Pages;
    return *made;
}

} // namespace

Accesses *global_accesses(uint64_t address) {
    static Pages &p = pages();
    if (address / page_bytes != p.last) {
        p.last = address / page_bytes;
        p.page = &p.all[p.last];
        if (p.page->empty()) p.page->resize(page_bytes);
    }
    return &(*p.page)[address % page_bytes];
}

void forget_global_accesses(uint64_t from, uint64_t to) {
    Pages &p = pages();
    for (uint64_t page = from / page_bytes; page < to / page_bytes; page++) p.all.erase(page);
    p.last = ~0ull;
}

/* Lane -1 stands for all lanes. */
bool Executor::ordered_by_parts(const Access &other, const Warp &w, int lane) const {
    for (int a = 0; a < 32; a++) {
        if (lane >= 0 ? a != lane : !(w.alive >> a & 1)) continue;
        for (int b = 0; b < 32; b++) {
            const bool theirs = other.thread & SEVERAL_LANES ? w.alive >> b & 1 : other.thread % 32 == b;
            if (theirs && w.order.met[a][b] <= other.part_barrier) return false;
        }
    }
    return true;
}

/* Whether nothing orders an access before what the lane does now. */
bool Executor::conflicts(const Access &other, const Warp &w, int lane, bool global) const {
    if (other.launch != launch_number) return false;
    if (other.block != block_number) return global;
    if (other.barrier != barriers) return false;
    if (lane >= 0 && other.thread == w.number * 32 + lane) return false;
    if (other.thread == SEVERAL_WARPS) return true;
    const int warp = other.thread & SEVERAL_LANES ? other.thread & 0x7FFF : other.thread / 32;
    if (warp != w.number) return true;
    if (other.warp_barrier != w.full_barriers) return false;
    return !w.parts || !ordered_by_parts(other, w, lane);
}

Access Executor::access_now(const Warp &w, int lane, AccessKind kind) const {
    Access now;
    now.launch = launch_number;
    now.block = block_number;
    now.barrier = barriers;
    now.warp_barrier = w.full_barriers;
    now.thread = (uint16_t)(lane < 0 ? SEVERAL_LANES | w.number : w.number * 32 + lane);
    now.part_barrier = (uint8_t)(w.parts && lane >= 0 ? w.order.met[lane][lane] : 0);
    now.atomic = kind == ATOMIC;
    now.pending = 0;
    return now;
}

/* Joins the read with the earlier ones that nothing orders before it: a later write races with any of them. */
void Executor::note_read(Access &read, const Warp &w, int lane, bool global) {
    Access now = access_now(w, lane, READ);
    if (read.launch == launch_number && read.block != block_number && global) now.block = SEVERAL_BLOCKS;
    if (read.launch == launch_number && read.block == block_number && read.barrier == barriers &&
        read.thread != now.thread) {
        const int warp = read.thread & SEVERAL_LANES ? read.thread & 0x7FFF : read.thread / 32;
        if (read.thread == SEVERAL_WARPS || warp != w.number) now.thread = SEVERAL_WARPS;
        else if (read.warp_barrier == w.full_barriers) now.thread = (uint16_t)(SEVERAL_LANES | w.number);
        if (read.part_barrier > now.part_barrier) now.part_barrier = read.part_barrier;
    }
    read = now;
}

void Executor::note(Accesses &a, uint64_t address, const Warp &w, int lane, AccessKind kind, bool global,
                    const Instruction &i) {
    if (!(kind == ATOMIC && a.written.atomic) && conflicts(a.written, w, lane, global))
        report_race(kind == READ ? "read after write" : "write after write", i, address, a.written, w, lane);
    if (kind == READ) {
        note_read(a.read, w, lane, global);
        return;
    }
    if (conflicts(a.read, w, lane, global)) report_race("write after read", i, address, a.read, w, lane);
    a.written = access_now(w, lane, kind);
}

void Executor::report_race(const char *what, const Instruction &i, uint64_t address, const Access &other, const Warp &w,
                           int lane) {
    char who[60];
    if (other.block == SEVERAL_BLOCKS) snprintf(who, sizeof who, "several blocks");
    else if (other.thread == SEVERAL_WARPS) snprintf(who, sizeof who, "several warps of block %u", other.block);
    else if (other.thread & SEVERAL_LANES)
        snprintf(who, sizeof who, "several lanes of warp %d of block %u", other.thread & 0x7FFF, other.block);
    else snprintf(who, sizeof who, "thread %d of block %u", other.thread, other.block);
    finding("race", &f, i.line, "%s at 0x%llx: thread %d of block %u and %s, no barrier between", what,
            (unsigned long long)address, w.number * 32 + (lane < 0 ? 0 : lane), block_number, who);
}

} // namespace ptx
