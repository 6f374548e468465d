/* Device memory: one large reserved range of addresses, from which cudaMalloc takes whole pages with a page between
 * any two. A freed range is not handed out again until all addresses have been, so that a use of it is seen.
 *
 * The shadow holds two 32-bit marks for each word: who wrote it last and who has read it in this launch, as launch (11
 * bits), block (20 bits) and whether by an atomic. Words that nothing has written hold 0. Accesses of one or two bytes
 * go to a shadow of their own, two marks for each two bytes. Blocks run on several threads, hence relaxed atomics. */
#include "runtime.h"

#include <mutex>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <vector>

namespace simt {

typedef std::atomic<uint32_t> mark;
struct marks {
    mark written, read;
};
static_assert(sizeof(marks) == 8, "marks are read and cleared in bulk");

struct record {
    uintptr_t begin;
    size_t bytes;
    bool live;
    std::atomic<bool> has_halves;
    record(uintptr_t begin_, size_t bytes_) : begin(begin_), bytes(bytes_), live(true), has_halves(false) {}
};

static constexpr uint32_t ATOMIC = 1, BLOCK_BITS = 20, SEVERAL = (1u << BLOCK_BITS) - 1, WRITTEN_EARLIER = 2;

static uintptr_t range_begin;
static size_t range_bytes, next_page, live_bytes;
static size_t total_bytes;
static uint32_t *page_owner; /* of each page, its record's number plus 1; 0: none */
static marks *words, *halves;
static std::vector<record *> records;
static std::mutex lock;
static uint32_t launch_number;

static void *reserve(size_t bytes) {
    void *memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? nullptr : memory;
}

static bool ready() {
    if (range_begin) return true;
    const char *limit = getenv("EAB_SIMT_MEMORY_MIB");
    total_bytes = limit ? strtoull(limit, nullptr, 10) << 20 : size_t(4) << 30;
    for (size_t bytes = size_t(64) << 30; bytes >= size_t(1) << 30; bytes /= 2) {
        char *memory = static_cast<char *>(reserve(bytes * 7 + bytes / PAGE * sizeof *page_owner));
        if (!memory) continue;
        range_bytes = bytes;
        words = reinterpret_cast<marks *>(memory + bytes);
        halves = reinterpret_cast<marks *>(memory + 3 * bytes);
        page_owner = reinterpret_cast<uint32_t *>(memory + 7 * bytes);
        range_begin = reinterpret_cast<uintptr_t>(memory);
        return true;
    }
    return false;
}

/* `pages` pages that belong to nobody, from the next page on and then from the start. */
static bool find_pages(size_t pages, size_t *first) {
    const size_t count = range_bytes / PAGE;
    for (int round = 0; round < 2; round++) {
        size_t run = 0;
        for (size_t page = round ? 0 : next_page; page < count; page++) {
            const uint32_t owner = page_owner[page];
            run = owner && records[owner - 1]->live ? 0 : run + 1;
            if (run == pages) {
                *first = page + 1 - pages;
                return true;
            }
        }
    }
    return false;
}

cudaError_t global_allocate(void **memory, size_t bytes) {
    const std::lock_guard<std::mutex> guard(lock);
    *memory = nullptr;
    if (!bytes) return cudaSuccess;
    size_t first;
    const size_t pages = (bytes + PAGE - 1) / PAGE + 2; /* a page before and after that is nobody's */
    if (!ready() || live_bytes + bytes > total_bytes || !find_pages(pages, &first)) return cudaErrorMemoryAllocation;
    next_page = first + pages - 1;
    const uintptr_t begin = range_begin + (first + 1) * PAGE;
    records.push_back(new record(begin, bytes));
    for (size_t page = first + 1; page + 1 < first + pages; page++)
        page_owner[page] = static_cast<uint32_t>(records.size());
    live_bytes += bytes;
    *memory = reinterpret_cast<void *>(begin);
    memset(*memory, 0xff, bytes < (size_t(64) << 20) ? bytes : size_t(64) << 20); /* NaNs */
    return cudaSuccess;
}

static record *find(uintptr_t address) {
    if (address - range_begin >= range_bytes) return nullptr;
    const uint32_t owner = page_owner[(address - range_begin) / PAGE];
    return owner ? records[owner - 1] : nullptr;
}

static void discard(const record &r) {
    const size_t offset = r.begin - range_begin, bytes = (r.bytes + PAGE - 1) / PAGE * PAGE;
    madvise(reinterpret_cast<void *>(r.begin), bytes, MADV_DONTNEED);
    madvise(words + offset / 4, bytes * 2, MADV_DONTNEED);
    if (r.has_halves) madvise(halves + offset / 2, bytes * 4, MADV_DONTNEED);
}

cudaError_t global_release(void *memory) {
    const std::lock_guard<std::mutex> guard(lock);
    if (!memory) return cudaSuccess;
    record *r = find(reinterpret_cast<uintptr_t>(memory));
    if (!r || !r->live || r->begin != reinterpret_cast<uintptr_t>(memory)) return cudaErrorInvalidValue;
    r->live = false;
    live_bytes -= r->bytes;
    discard(*r);
    return cudaSuccess;
}

void global_release_all() {
    const std::lock_guard<std::mutex> guard(lock);
    for (record *r : records) {
        if (r->live) discard(*r);
        r->live = false;
    }
    live_bytes = 0;
}

void global_size(size_t *free_bytes, size_t *all_bytes) {
    const std::lock_guard<std::mutex> guard(lock);
    ready();
    *free_bytes = total_bytes - live_bytes;
    *all_bytes = total_bytes;
}

bool global_is_device(uintptr_t address) { return range_begin && address - range_begin < range_bytes; }

const char *global_describe(uintptr_t address, size_t bytes, char *text, size_t size) {
    const record *r = global_is_device(address) ? find(address) : nullptr;
    if (!r) {
        /* Past the end or before the start of what lies nearest. */
        const record *nearest = nullptr;
        for (const record *other : records)
            if (other->live && other->begin <= address && (!nearest || other->begin > nearest->begin)) nearest = other;
        if (global_is_device(address) && nearest)
            snprintf(text, size, "out of bounds: %zu bytes past the end of an allocation of %zu bytes",
                     address - nearest->begin - nearest->bytes, nearest->bytes);
        else
            snprintf(text, size, "%s",
                     global_is_device(address) ? "out of bounds: in no allocation" : "not device memory");
        return text;
    }
    const size_t offset = address - r->begin;
    if (!r->live) snprintf(text, size, "use of freed memory: byte %zu of an allocation of %zu bytes", offset, r->bytes);
    else if (bytes > r->bytes || offset > r->bytes - bytes)
        snprintf(text, size, "out of bounds: byte %zu of an allocation of %zu bytes", offset, r->bytes);
    else return nullptr;
    return text;
}

/* Launches are numbered 1..MAX_LAUNCH; before numbers come again, all marks become "written earlier". */
uint32_t global_next_launch() {
    if (launch_number < MAX_LAUNCH) return ++launch_number;
    const std::lock_guard<std::mutex> guard(lock);
    for (const record *r : records) {
        if (!r->live) continue;
        const size_t offset = r->begin - range_begin;
        for (size_t i = offset / 4; i < (offset + r->bytes + 3) / 4; i++) {
            if (words[i].written.load(std::memory_order_relaxed)) words[i].written.store(WRITTEN_EARLIER);
            words[i].read.store(0, std::memory_order_relaxed);
        }
        if (r->has_halves) madvise(halves + offset / 2, (r->bytes + PAGE - 1) / PAGE * PAGE * 4, MADV_DONTNEED);
    }
    return launch_number = 1;
}

void global_mark_written(const void *address, size_t bytes) {
    const uintptr_t begin = reinterpret_cast<uintptr_t>(address);
    if (!bytes || !global_is_device(begin)) return;
    const size_t offset = begin - range_begin;
    for (size_t i = offset / 4; i < (offset + bytes + 3) / 4; i++)
        words[i].written.store(WRITTEN_EARLIER, std::memory_order_relaxed);
}

static inline uint32_t mark_of(const runner &r, access kind) {
    return r.launch->number << (BLOCK_BITS + 1) | static_cast<uint32_t>(r.block_number % SEVERAL) << 1 |
           (kind == access::atomic ? ATOMIC : 0);
}

static bool report_race(fiber &f, uintptr_t address, access kind, uint32_t other, const char *did, const site &at) {
    const uint32_t block = other >> 1 & SEVERAL;
    const dim3 grid = f.owner->launch->launch->grid;
    char who[64];
    if (block == SEVERAL) snprintf(who, sizeof who, "several blocks have");
    else
        snprintf(who, sizeof who, "block (%u, %u, %u) has", block % grid.x, block / grid.x % grid.y,
                 block / grid.x / grid.y);
    const record *r = find(address);
    return finding(f, at,
                   "data race between blocks: %s of byte %zu of an allocation of %zu bytes, which %s %s in this launch",
                   access_name(kind), address - r->begin, r->bytes, who, did);
}

/* Races of an access with one pair of marks, which it then changes if `own`. */
static inline bool check_marks(fiber &f, marks &m, uintptr_t address, access kind, uint32_t mine, bool own,
                               const site &at) {
    constexpr uint32_t LAUNCH = ~((1u << (BLOCK_BITS + 1)) - 1);
    const uint32_t written = m.written.load(std::memory_order_relaxed), read = m.read.load(std::memory_order_relaxed);
    if (!((written ^ mine) & LAUNCH) && (written ^ mine) >> 1 && !(written & mine & ATOMIC))
        return report_race(f, address, kind, written, "written", at);
    if (kind == access::read) {
        if ((read ^ mine) & ~ATOMIC && own)
            m.read.store((read ^ mine) & LAUNCH ? mine : mine | SEVERAL << 1, std::memory_order_relaxed);
        return true;
    }
    if (!((read ^ mine) & LAUNCH) && (read ^ mine) >> 1) return report_race(f, address, kind, read, "read", at);
    if (own) m.written.store(mine, std::memory_order_relaxed);
    return true;
}

static bool report_thread_race(fiber &f, uint64_t key, access kind, unsigned thread, const char *did, const site &at) {
    const uintptr_t address = range_begin + (key & ~uint64_t(1));
    const record *r = find(address);
    char text[64];
    return finding(f, at,
                   "data race: %s of byte %zu of an allocation of %zu bytes, which %s %s, with no barrier between",
                   access_name(kind), address - r->begin, r->bytes, thread_name(*f.owner, thread, text), did);
}

/* Races within the block, which the marks don't tell: each write is kept with its thread and stamp, and held against
 * later accesses. Of reads only the last one after a write is kept; a write that comes too early after a read of what
 * an earlier launch left is seen under the seeds that turn the two around. */
static inline bool check_block(fiber &f, const marks &m, uint64_t key, access kind, uint32_t mine, const site &at) {
    global_write &last = f.owner->global_writes[key * 0x9E3779B97F4A7C15u >> 50];
    static_assert(GLOBAL_WRITES == 1 << 14, "the hash has as many bits");
    const bool written_here = (m.written.load(std::memory_order_relaxed) | ATOMIC) == (mine | ATOMIC);
    const bool known = written_here && last.key == key;
    if (known && !(last.is_atomic && kind == access::atomic) && !ordered(f, last.writer, last.stamp))
        return report_thread_race(f, key, kind, last.writer, "wrote", at);
    if (known && kind != access::read && !ordered(f, last.reader, last.read_stamp))
        return report_thread_race(f, key, kind, last.reader, "read", at);
    if (kind != access::read) {
        const bool joins = known && !ordered(f, last.writer, last.stamp); /* other atomic operations */
        const uint16_t writer = joins ? static_cast<uint16_t>(SEVERAL_THREADS) : static_cast<uint16_t>(f.thread);
        last = {key, joins && last.stamp > f.stamp ? last.stamp : f.stamp, 0, writer, 0, kind == access::atomic};
    } else if (known) {
        last.reader = static_cast<uint16_t>(f.thread);
        last.read_stamp = f.stamp;
    }
    return true;
}

static bool access_words(fiber &f, record &r, uintptr_t address, size_t bytes, access kind, uint32_t mine,
                         const site &at) {
    const bool mixed = r.has_halves.load(std::memory_order_relaxed);
    for (const uintptr_t end = address + bytes; address < end; address += 4) {
        marks &m = words[(address - range_begin) / 4];
        if (kind != access::write && !m.written.load(std::memory_order_relaxed))
            return finding(f, at, "%s of byte %zu of an allocation of %zu bytes, which nothing has written",
                           access_name(kind), address - r.begin, r.bytes);
        if (mixed)
            for (size_t i = 0; i < 2; i++)
                if (!check_marks(f, halves[(address - range_begin) / 2 + i], address, kind, mine, false, at))
                    return false;
        if (!check_block(f, m, address - range_begin, kind, mine, at)) return false;
        if (!check_marks(f, m, address, kind, mine, true, at)) return false;
    }
    return true;
}

/* Bytes are taken for their halves: two blocks may write the bytes of one, so that they are not held against each
 * other. */
static bool access_halves(fiber &f, record &r, uintptr_t address, size_t bytes, access kind, uint32_t mine,
                          const site &at) {
    r.has_halves.store(true, std::memory_order_relaxed);
    const bool aligned = !(address & 1) && !(bytes & 1);
    for (const uintptr_t end = address + bytes; address < end; address += aligned ? 2 : 1) {
        marks &m = words[(address - range_begin) / 4];
        const uint32_t written = m.written.load(std::memory_order_relaxed);
        if (kind != access::write && !written)
            return finding(f, at, "%s of byte %zu of an allocation of %zu bytes, which nothing has written",
                           access_name(kind), address - r.begin, r.bytes);
        if (!check_marks(f, m, address, kind, mine, false, at)) return false;
        marks &half = halves[(address - range_begin) / 2];
        if (aligned && !check_block(f, half, (address - range_begin) | 1, kind, mine, at)) return false;
        if (aligned && !check_marks(f, half, address, kind, mine, true, at)) return false;
        if (kind != access::read && !written) m.written.store(WRITTEN_EARLIER, std::memory_order_relaxed);
    }
    return true;
}

bool global_access(fiber &f, uintptr_t address, size_t bytes, access kind, const site &at) {
    record *r = find(address);
    if (!r || !r->live || bytes > r->bytes || address - r->begin > r->bytes - bytes) {
        char text[160];
        return finding(f, at, "%s of %zu bytes of global memory: %s", access_name(kind), bytes,
                       global_describe(address, bytes, text, sizeof text));
    }
    const uint32_t mine = mark_of(*f.owner, kind);
    return (address | bytes) & 3 ? access_halves(f, *r, address, bytes, kind, mine, at)
                                 : access_words(f, *r, address, bytes, kind, mine, at);
}

} // namespace simt
