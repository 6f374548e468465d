/* Loads, stores and atomics. */
#include "banks.h"
#include "executor.h"

namespace ptx {

/* Null: the access was refused. */
const uint8_t *Executor::load_from(Warp &w, const Instruction &i, uint64_t address, int bytes, int lane) {
    switch (i.space) {
        case GLOBAL:
        case GENERIC:
            if (!global_fits(i, address, bytes, "read", w, lane)) return nullptr;
            read_global(i, address, bytes, w, lane);
            return memory.bytes_at(address);
        case SHARED:
            if (!shared_fits(i, address, bytes, w, lane)) return nullptr;
            read_shared(i, address, bytes, w, lane);
            return &shared[address];
        case LOCAL: {
            const uint8_t *const at = local_at(w, i, address, bytes, lane);
            if (at && memchr(&w.local_written[(size_t)(at - w.local.data())], 0, (size_t)bytes))
                finding("uninitialized", &f, i.line, "local memory at %llu", (unsigned long long)address);
            return at;
        }
        case PARAM: break;
    }
    if (address + (uint64_t)bytes <= launch.parameters.size() && address % (uint64_t)bytes == 0)
        return &launch.parameters[address];
    finding("out of bounds", &f, i.line, "parameter at %llu of %zu bytes", (unsigned long long)address,
            launch.parameters.size());
    failed = true;
    return nullptr;
}

/* Lanes of 16 bytes reach the banks in groups of 8, of 8 bytes in groups of 16. */
static int lanes_per_request(int bytes) { return bytes == 16 ? 8 : bytes == 8 ? 16 : 32; }

static void count_access(const Function &f, const Instruction &i, const uint64_t *addresses, uint32_t lanes,
                         int bytes) {
    if (i.space == SHARED) count_shared(f, i, addresses, lanes, bytes, lanes_per_request(bytes));
    if (i.space == GLOBAL || i.space == GENERIC) count_global(f, i, addresses, lanes, bytes);
}

void Executor::load(Warp &w, const Instruction &i, uint32_t lanes) {
    const int size = size_of(i.type), bytes = size * i.width;
    uint64_t addresses[32] = {};
    each(lanes, [&](int l) {
        addresses[l] = get(w, i.from[0], l) + (uint64_t)i.offset;
        const uint8_t *const at = load_from(w, i, addresses[l], bytes, l);
        if (!at) return;
        for (int k = 0; k < i.width; k++) {
            uint64_t value = 0;
            memcpy(&value, at + k * size, (size_t)size);
            if (is_signed(i.type) && size < 8 && value >> (8 * size - 1) & 1) value |= ~0ull << 8 * size;
            set(w, i.to[(size_t)k], l, value);
        }
    });
    if (set_by.count_banks) count_access(f, i, addresses, lanes, bytes);
}

uint8_t *Executor::store_to(Warp &w, const Instruction &i, uint64_t address, int bytes, int lane) {
    switch (i.space) {
        case GLOBAL:
        case GENERIC:
            if (!global_fits(i, address, bytes, "write", w, lane)) return nullptr;
            write_global(i, address, bytes, w, lane, WRITE);
            return memory.bytes_at(address);
        case SHARED:
            if (!shared_fits(i, address, bytes, w, lane)) return nullptr;
            write_shared(i, address, bytes, w, lane, WRITE);
            return &shared[address];
        case LOCAL: {
            uint8_t *const at = local_at(w, i, address, bytes, lane);
            if (at) memset(&w.local_written[(size_t)(at - w.local.data())], 1, (size_t)bytes);
            return at;
        }
        case PARAM: break;
    }
    missing(i);
}

void Executor::store(Warp &w, const Instruction &i, uint32_t lanes) {
    const int size = size_of(i.type), bytes = size * i.width;
    uint64_t addresses[32] = {};
    each(lanes, [&](int l) {
        addresses[l] = get(w, i.from[0], l) + (uint64_t)i.offset;
        uint8_t *const at = store_to(w, i, addresses[l], bytes, l);
        if (!at) return;
        for (int k = 0; k < i.width; k++) {
            const uint64_t value = get(w, i.from[(size_t)k + 1], l);
            memcpy(at + k * size, &value, (size_t)size);
        }
    });
    if (set_by.count_banks) count_access(f, i, addresses, lanes, bytes);
}

void Executor::atomic_add(Warp &w, const Instruction &i, uint32_t lanes) {
    const int bytes = size_of(i.type);
    if (i.space == GENERIC) missing(i);
    each(lanes, [&](int l) {
        const uint64_t address = get(w, i.from[0], l) + (uint64_t)i.offset;
        uint8_t *at;
        bool written;
        if (i.space == SHARED) {
            if (!shared_fits(i, address, bytes, w, l)) return;
            at = &shared[address];
            written = shared_state[address] == WRITTEN;
            write_shared(i, address, bytes, w, l, ATOMIC);
        } else {
            if (!global_fits(i, address, bytes, "atomic", w, l)) return;
            at = memory.bytes_at(address);
            written = memory.written(address, (size_t)bytes);
            write_global(i, address, bytes, w, l, ATOMIC);
        }
        if (!written) finding("uninitialized", &f, i.line, "memory of an atomic");
        uint64_t old = 0;
        memcpy(&old, at, (size_t)bytes);
        const uint64_t sum = old + get(w, i.from[1], l);
        memcpy(at, &sum, (size_t)bytes);
        if (!i.to.empty()) set(w, i.to[0], l, old);
    });
}

} // namespace ptx
