/* The calls that only Linux or glibc has. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "system.h"

#include <sched.h>
#include <unistd.h>

void eab_time_print(time_t moment, char *text, size_t size) {
    struct tm utc = {0};
    gmtime_r(&moment, &utc);
    if (!strftime(text, size, "%Y-%m-%dT%H:%M:%SZ", &utc)) text[0] = '\0';
}

/* The cores that this process may run on, as a mask for CPU_FREE of *size bytes; NULL: not known. */
static cpu_set_t *core_mask(size_t *size) {
    for (size_t bits = 1024; bits <= 1 << 20; bits *= 4) { /* the kernel's mask may be wider than cpu_set_t */
        cpu_set_t *set = CPU_ALLOC(bits);
        *size = CPU_ALLOC_SIZE(bits);
        if (!set) break;
        CPU_ZERO_S(*size, set);
        if (sched_getaffinity(0, *size, set) == 0 && CPU_COUNT_S(*size, set) > 0) return set;
        CPU_FREE(set);
    }
    return NULL;
}

int eab_system_cores(void) {
    size_t size;
    cpu_set_t *set = core_mask(&size);
    if (set) {
        const int cores = CPU_COUNT_S(size, set);
        CPU_FREE(set);
        return cores;
    }
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 && online < 1 << 20 ? (int)online : 1;
}

uint64_t eab_system_core_hash(void) {
    size_t size;
    cpu_set_t *set = core_mask(&size);
    uint64_t mark = UINT64_C(14695981039346656037); /* FNV-1a */
    for (size_t i = 0; set && i < size; i++) mark = (mark ^ ((const unsigned char *)set)[i]) * UINT64_C(1099511628211);
    if (set) CPU_FREE(set);
    return mark;
}
