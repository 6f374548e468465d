/* The device's memory. Its addresses are not mapped, so that host code that reads them crashes, as with a GPU. A second
 * range holds the bytes, a third one a flag for each byte: whether it was written. */
#ifndef EAB_TESTS_PTX_DEVICE_MEMORY_H
#define EAB_TESTS_PTX_DEVICE_MEMORY_H

#include <cstddef>
#include <cstdint>
#include <map>

namespace ptx {

struct Allocation {
    uint64_t address;
    size_t bytes;
    bool freed;

    bool holds(uint64_t at, size_t count) const {
        return !freed && at >= address && count <= bytes && at - address <= bytes - count;
    }
};

class DeviceMemory {
  public:
    DeviceMemory();
    /* Its contents are -1.3e36 as floats, and count as unwritten. Addresses are never reused. */
    uint64_t allocate(size_t bytes, size_t align);
    void release(Allocation *allocation);
    /* The allocation that contains an address, also a freed one; null. */
    Allocation *find(uint64_t address);
    /* The same, if it contains all of the bytes and is not freed. */
    const Allocation *find(uint64_t address, size_t bytes);

    uint8_t *bytes_at(uint64_t address) const { return (uint8_t *)(address + (uint64_t)to_bytes); }
    uint8_t *written_at(uint64_t address) const { return (uint8_t *)(address + (uint64_t)to_written); }
    /* Whether each of the bytes was written. */
    bool written(uint64_t address, size_t bytes) const;
    void fill(uint64_t address, int value, size_t bytes);
    void upload(uint64_t to, const void *from, size_t bytes);
    void copy(uint64_t to, uint64_t from, size_t bytes);
    bool in_range(const void *pointer) const { return (uint64_t)pointer - base < range_bytes; }
    size_t in_use = 0;

  private:
    static constexpr uint64_t range_bytes = (uint64_t)64 << 30;
    uint64_t base, next;
    int64_t to_bytes, to_written;
    std::map<uint64_t, Allocation> allocations; /* by address */
};

DeviceMemory &device_memory();

} // namespace ptx

#endif
