#include "machine.h"

#include <glib.h>

#include "base/system.h"

double eab_bench_free_bytes(eab_device *device) {
    size_t bytes;
    int64_t threads;
    if (!device->backend->capacity) return eab_system_free_bytes();
    return device->backend->capacity(device, &bytes, &threads) ? 0 : (double)bytes;
}

size_t eab_bench_cache_bytes(const eab_device *device) {
    static const size_t UNKNOWN = (size_t)32 << 20, LARGEST = (size_t)512 << 20, GPU = (size_t)128 << 20;
    if (device->backend->capacity) return GPU; /* above the L2 cache of every GPU so far (B200: 126 MB) */
    const size_t bytes = eab_system_cache_bytes();
    return bytes == 0 ? UNKNOWN : MIN(bytes, LARGEST);
}
