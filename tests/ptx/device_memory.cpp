#include "device_memory.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sys/mman.h>

#include "races.h"

namespace ptx {

static uint64_t reserve(uint64_t hint, uint64_t bytes, int protection) {
    void *const range = mmap((void *)hint, bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED) {
        perror("ptx: mmap");
        abort();
    }
    return (uint64_t)range;
}

DeviceMemory::DeviceMemory() {
    base = reserve(0x200000000000ull, range_bytes, PROT_NONE);
    to_bytes = (int64_t)(reserve(0, range_bytes, PROT_READ | PROT_WRITE) - base);
    to_written = (int64_t)(reserve(0, range_bytes, PROT_READ | PROT_WRITE) - base);
    next = base + 4096;
}

uint64_t DeviceMemory::allocate(size_t bytes, size_t align) {
    const size_t gap = 512; /* belongs to no allocation */
    const uint64_t address = (next + align - 1) / align * align;
    next = address + bytes + gap;
    if (next > base + range_bytes) {
        fprintf(stderr, "ptx: out of addresses\n");
        abort();
    }
    allocations[address] = {address, bytes, false};
    in_use += bytes;
    memset(bytes_at(address), 0xFB, bytes);
    return address;
}

/* Gives the pages that lie within the allocation back to the system. */
void DeviceMemory::release(Allocation *allocation) {
    allocation->freed = true;
    in_use -= allocation->bytes;
    memset(written_at(allocation->address), 0, allocation->bytes);
    const uint64_t page = 4096, from = (allocation->address + page - 1) / page * page,
                   to = (allocation->address + allocation->bytes) / page * page;
    if (to <= from) return;
    madvise(bytes_at(from), to - from, MADV_DONTNEED);
    madvise(written_at(from), to - from, MADV_DONTNEED);
    forget_global_accesses(from, to);
}

Allocation *DeviceMemory::find(uint64_t address) {
    auto at = allocations.upper_bound(address);
    if (at == allocations.begin()) return nullptr;
    Allocation *const allocation = &(--at)->second;
    const size_t bytes = allocation->bytes ? allocation->bytes : 1;
    return address - allocation->address < bytes ? allocation : nullptr;
}

const Allocation *DeviceMemory::find(uint64_t address, size_t bytes) {
    const Allocation *const allocation = find(address);
    return allocation && allocation->holds(address, bytes) ? allocation : nullptr;
}

bool DeviceMemory::written(uint64_t address, size_t bytes) const {
    return !bytes || !memchr(written_at(address), 0, bytes);
}

void DeviceMemory::fill(uint64_t address, int value, size_t bytes) {
    memset(bytes_at(address), value, bytes);
    memset(written_at(address), 1, bytes);
}

void DeviceMemory::upload(uint64_t to, const void *from, size_t bytes) {
    memcpy(bytes_at(to), from, bytes);
    memset(written_at(to), 1, bytes);
}

void DeviceMemory::copy(uint64_t to, uint64_t from, size_t bytes) {
    memmove(bytes_at(to), bytes_at(from), bytes);
    memmove(written_at(to), written_at(from), bytes);
}

DeviceMemory &device_memory() {
    static DeviceMemory *const memory = new DeviceMemory;
    return *memory;
}

} // namespace ptx
