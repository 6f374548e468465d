/* Shared memory and its shadow: for each word, which bytes were written, who wrote last, and who has read since.
 * Accesses of one or two bytes are noted in a byte's cell, as two threads may write the halves of a word; words that
 * have such are marked.
 *
 * Nothing is cleared between blocks: stamps grow, and a cell whose stamps are older than the block's start says
 * nothing. */
#include "runtime.h"

namespace simt {

static inline uintptr_t base_of(const runner &r) { return reinterpret_cast<uintptr_t>(r.arena); }

bool ordered(const fiber &f, unsigned thread, uint32_t stamp) {
    const runner &r = *f.owner;
    if (stamp < r.barrier_stamp || thread == f.thread) return true;
    if (thread / WARP != f.warp) return false;
    return stamp < r.warps[f.warp].full_stamp || stamp < f.seen[thread % WARP];
}

static bool report_race(fiber &f, unsigned thread, const char *did, const char *what, const char *name, size_t offset,
                        const site &at) {
    char text[64];
    return finding(f, at, "data race: %s of %s, byte %zu, which %s %s, with no barrier between", what, name, offset,
                   thread_name(*f.owner, thread, text), did);
}

static unsigned a_reader(const fiber &f, const cell &c) {
    if (c.read_warp == SEVERAL_WARPS) return SEVERAL_THREADS;
    const unsigned lanes = c.read_warp == f.warp ? c.read_lanes & ~(1u << f.lane) : c.read_lanes;
    return c.read_warp * WARP + static_cast<unsigned>(__builtin_ctz(lanes));
}

/* Whether all reads since the last write are ordered before what f does now. */
static inline bool reads_ordered(const fiber &f, const cell &c) {
    const runner &r = *f.owner;
    if (c.read_stamp < r.barrier_stamp) return true;
    if (c.read_warp != f.warp) return false;
    unsigned others = c.read_lanes & ~(1u << f.lane);
    if (!others || c.read_stamp < r.warps[f.warp].full_stamp) return true;
    for (; others; others &= others - 1)
        if (c.read_stamp >= f.seen[__builtin_ctz(others)]) return false;
    return true;
}

static inline void note_read(const fiber &f, cell &c) {
    if (c.read_stamp < f.owner->barrier_stamp || reads_ordered(f, c)) {
        c.read_warp = static_cast<uint8_t>(f.warp);
        c.read_lanes = 1u << f.lane;
        c.read_stamp = f.stamp;
        return;
    }
    if (c.read_warp == f.warp) c.read_lanes |= 1u << f.lane;
    else c.read_warp = SEVERAL_WARPS;
    if (c.read_stamp < f.stamp) c.read_stamp = f.stamp;
}

static inline void note_write(const fiber &f, cell &c, access kind) {
    const bool joins = kind == access::atomic && !ordered(f, c.writer, c.write_stamp); /* other atomic operations */
    c.writer = joins ? static_cast<uint16_t>(SEVERAL_THREADS) : static_cast<uint16_t>(f.thread);
    c.write_stamp = joins && c.write_stamp > f.stamp ? c.write_stamp : f.stamp;
    c.read_stamp = 0;
    c.flags = static_cast<uint8_t>((c.flags & ~CELL_ATOMIC) | (kind == access::atomic ? CELL_ATOMIC : 0));
}

/* The races of an access with what a cell remembers. */
static inline bool check_races(fiber &f, const cell &c, access kind, const shared_array &array, uintptr_t address,
                               const site &at) {
    const bool both_atomic = kind == access::atomic && c.flags & CELL_ATOMIC;
    if (!both_atomic && !ordered(f, c.writer, c.write_stamp))
        return report_race(f, c.writer, "wrote", access_name(kind), array.name, address - array.begin, at);
    if (kind != access::read && !reads_ordered(f, c))
        return report_race(f, a_reader(f, c), "read", access_name(kind), array.name, address - array.begin, at);
    return true;
}

static inline void refresh(const runner &r, cell &c) {
    if (c.write_stamp < r.block_start) c = {r.block_start, 0, 0, 0, 0, 0};
}

/* Cells in common use: written in this block, nothing unusual. */
static inline bool access_word(fiber &f, uintptr_t address, access kind, const shared_array &array, const site &at) {
    runner &r = *f.owner;
    const uintptr_t offset = address - base_of(r);
    cell &c = r.words[offset / 4];
    refresh(r, c);
    if (c.flags & CELL_PENDING)
        return finding(f, at, "%s of %s, byte %zu, into which a cp.async copies that no wait has completed",
                       access_name(kind), array.name, address - array.begin);
    if (kind != access::write && (c.flags & CELL_WRITTEN) != CELL_WRITTEN)
        return finding(f, at, "%s of %s, byte %zu, which nothing has written in this block", access_name(kind),
                       array.name, address - array.begin);
    if (!check_races(f, c, kind, array, address, at)) return false;
    if (c.flags & CELL_BYTES)
        for (unsigned i = 0; i < 4; i++) {
            cell &b = r.bytes[offset + i];
            refresh(r, b);
            if (!check_races(f, b, kind, array, address + i, at)) return false;
        }
    if (kind == access::read) {
        note_read(f, c);
    } else {
        note_write(f, c, kind);
        c.flags = static_cast<uint8_t>((c.flags & ~CELL_BYTES) | CELL_WRITTEN);
    }
    return true;
}

static bool access_byte(fiber &f, uintptr_t address, access kind, const shared_array &array, const site &at) {
    runner &r = *f.owner;
    const uintptr_t offset = address - base_of(r);
    cell &c = r.words[offset / 4], &b = r.bytes[offset];
    refresh(r, c);
    refresh(r, b);
    if (c.flags & CELL_PENDING)
        return finding(f, at, "%s of %s, byte %zu, into which a cp.async copies that no wait has completed",
                       access_name(kind), array.name, address - array.begin);
    const uint8_t bit = static_cast<uint8_t>(1u << (offset & 3));
    if (kind != access::write && !(c.flags & bit))
        return finding(f, at, "%s of %s, byte %zu, which nothing has written in this block", access_name(kind),
                       array.name, address - array.begin);
    if (!check_races(f, c, kind, array, address, at)) return false;
    if (!(c.flags & CELL_BYTES)) /* what the bytes' cells say is older than the word's last write */
        for (unsigned i = 0; i < 4; i++) r.bytes[(offset & ~uintptr_t(3)) + i] = {r.block_start, 0, 0, 0, 0, 0};
    if (!check_races(f, b, kind, array, address, at)) return false;
    c.flags = static_cast<uint8_t>(c.flags | CELL_BYTES | (kind == access::read ? 0 : bit));
    if (kind == access::read) note_read(f, b);
    else note_write(f, b, kind);
    return true;
}

/* The array that an access lies in; null (and a finding) if in none. */
static const shared_array *find_array(fiber &f, uintptr_t address, size_t bytes, access kind, const site &at) {
    runner &r = *f.owner;
    const shared_array *array = &r.arrays[r.last_array];
    if (address - array->begin < array->bytes && bytes <= array->bytes - (address - array->begin)) return array;
    const shared_array *nearest = nullptr;
    for (unsigned i = 0; i < r.array_count; i++) {
        array = &r.arrays[i];
        if (address - array->begin < array->bytes && bytes <= array->bytes - (address - array->begin)) {
            r.last_array = i;
            return array;
        }
        if (array->bytes && array->begin <= address && (!nearest || array->begin > nearest->begin)) nearest = array;
    }
    if (nearest)
        finding(f, at, "out of bounds: %s of %zu bytes at byte %zu of %s, which has %zu", access_name(kind), bytes,
                address - nearest->begin, nearest->name, nearest->bytes);
    else finding(f, at, "out of bounds: %s of %zu bytes before all shared arrays", access_name(kind), bytes);
    return nullptr;
}

bool shared_access(fiber &f, uintptr_t address, size_t bytes, access kind, const site &at) {
    const shared_array *array = find_array(f, address, bytes, kind, at);
    if (!array) return false;
    const uintptr_t end = address + bytes;
    while (address < end) {
        const bool whole = !(address & 3) && end - address >= 4;
        if (!(whole ? access_word(f, address, kind, *array, at) : access_byte(f, address, kind, *array, at)))
            return false;
        address += whole ? 4 : 1;
    }
    return true;
}

bool shared_copy_begin(fiber &f, uintptr_t address, const site &at) {
    if (!shared_access(f, address, 16, access::write, at)) return false;
    for (unsigned i = 0; i < 4; i++) f.owner->words[(address - base_of(*f.owner)) / 4 + i].flags |= CELL_PENDING;
    return true;
}

void shared_copy_end(fiber &f, uintptr_t address) {
    for (unsigned i = 0; i < 4; i++) {
        cell &c = f.owner->words[(address - base_of(*f.owner)) / 4 + i];
        c.flags &= static_cast<uint8_t>(~CELL_PENDING);
        note_write(f, c, access::write);
    }
}

} // namespace simt

using namespace simt;

void *simt_shared_array(const void *key, size_t bytes, size_t alignment, const char *name, const char *file, int line) {
    fiber &f = *current;
    runner &r = *f.owner;
    for (unsigned i = 1; i < r.array_count; i++)
        if (r.arrays[i].key == key) return reinterpret_cast<void *>(r.arrays[i].begin);
    const site at = {file, line, nullptr};
    r.static_bytes += (bytes + 15) & ~size_t(15);
    if (r.static_bytes > SHARED_DEFAULT)
        finding(f, at, "static shared arrays of %zu bytes, of %zu that a block may have", r.static_bytes,
                SHARED_DEFAULT);
    if (r.static_bytes + r.arrays[0].bytes > r.launch->shared_limit)
        finding(f, at, "%zu bytes of static and %zu of dynamic shared memory, of %zu that this launch may have",
                r.static_bytes, r.arrays[0].bytes, r.launch->shared_limit);
    if (r.array_count == MAX_ARRAYS) finding(f, at, "simt knows %u shared arrays at most", MAX_ARRAYS);
    /* Aligned to 16 bytes, as on the device, and on purpose not to 32. */
    const uintptr_t begin = alignment > 16 ? (r.arena_next + alignment - 1) & ~(alignment - 1)
                                           : ((r.arena_next + 31) & ~uintptr_t(31)) + 16;
    if (begin + bytes + ARENA_GUARD > base_of(r) + ARENA_BYTES)
        finding(f, at, "simt has no room for this shared array");
    r.arrays[r.array_count++] = {key, begin, bytes, name};
    r.arena_next = begin + bytes + ARENA_GUARD;
    return reinterpret_cast<void *>(begin);
}

unsigned char *simt_dynamic_shared(const char *, int) {
    return reinterpret_cast<unsigned char *>(current->owner->arrays[0].begin);
}
