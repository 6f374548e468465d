#define _GNU_SOURCE /* sched_setaffinity */
#include "machine.h"

#include <glib.h>
#include <sched.h>
#include <string.h>

static double host_free_bytes(void) {
    char *text = NULL;
    double bytes = 0;
    if (!g_file_get_contents("/proc/meminfo", &text, NULL, NULL)) return 0;
    const char *line = strstr(text, "MemAvailable:");
    if (line) bytes = 1024.0 * (double)g_ascii_strtoull(line + strlen("MemAvailable:"), NULL, 10);
    g_free(text);
    return bytes;
}

double eab_bench_free_bytes(eab_device *device) {
    size_t bytes;
    int64_t threads;
    if (!device->backend->capacity) return host_free_bytes();
    return device->backend->capacity(device, &bytes, &threads) ? 0 : (double)bytes;
}

/* From Linux ("32768K"): in a virtual machine cpuid may describe the whole host. */
static size_t host_cache_bytes(void) {
    size_t largest = 0;
    for (int index = 0; index < 8; index++) {
        char path[80], *text = NULL, *end;
        g_snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
        if (!g_file_get_contents(path, &text, NULL, NULL)) break;
        size_t bytes = (size_t)g_ascii_strtoull(text, &end, 10);
        if (*end == 'K') bytes <<= 10;
        if (*end == 'M') bytes <<= 20;
        g_free(text);
        largest = MAX(largest, bytes);
    }
    return largest;
}

size_t eab_bench_cache_bytes(const eab_device *device) {
    static const size_t UNKNOWN = (size_t)32 << 20, LARGEST = (size_t)512 << 20, GPU = (size_t)128 << 20;
    if (device->backend->capacity) return GPU; /* above the L2 cache of every GPU so far (B200: 126 MB) */
    const size_t bytes = host_cache_bytes();
    return bytes == 0 ? UNKNOWN : MIN(bytes, LARGEST);
}

void eab_bench_pin_thread(void) {
    cpu_set_t one;
    const int core = sched_getcpu();
    if (core < 0 || core >= CPU_SETSIZE) return;
    CPU_ZERO(&one);
    CPU_SET((size_t)core, &one);
    sched_setaffinity(0, sizeof one, &one);
}
