#include "throttle.h"

#include <dlfcn.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/clock.h"

enum { USUAL_BURSTS = 40, BURSTS = 4 };
static const double BURST_FLOP = 2e7, LEAST_SHARE = 0.95;

/* ---- the processor ------------------------------------------------------------------------------------------- */

/* The best of some bursts: neighbours and interrupts only ever take away. */
static double best_burst(eab_device *device, int bursts) {
    double best = 0;
    for (int i = 0; i < bursts; i++) {
        double done = 0;
        const double before_s = eab_now_s();
        if (device->backend->burn(device, EAB_F32, BURST_FLOP, &done)) return 0;
        const double rate = 1e-9 * done / (eab_now_s() - before_s);
        if (rate > best) best = rate;
    }
    return best;
}

/* ---- NVML ---------------------------------------------------------------------------------------------------- */

/* The few calls and numbers that are used, from NVIDIA's NVML API reference; no header of theirs is needed to build. */
typedef void *nvml_device;
enum { NVML_OK = 0 };
static const unsigned long long NVML_SLOWER = 0x4 | 0x8 | 0x20 | 0x40 | 0x80; /* software power cap; hardware slowdown;
                                                                     thermal, software and hardware; power brake */

static struct {
    int (*init)(void);
    int (*by_index)(unsigned index, nvml_device *device);
    int (*by_uuid)(const char *uuid, nvml_device *device);
    int (*reasons)(nvml_device device, unsigned long long *reasons);
} nvml;

static void *find(void *library, const char *name) { return dlsym(library, name); }

static int load_nvml(void) {
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return 0;
    void *functions[] = {find(library, "nvmlInit_v2"), find(library, "nvmlDeviceGetHandleByIndex_v2"),
                         find(library, "nvmlDeviceGetHandleByUUID"),
                         find(library, "nvmlDeviceGetCurrentClocksThrottleReasons")};
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!functions[i]) return 0;
    memcpy(&nvml.init, &functions[0], sizeof nvml.init); /* ISO C has no cast from data to code */
    memcpy(&nvml.by_index, &functions[1], sizeof nvml.by_index);
    memcpy(&nvml.by_uuid, &functions[2], sizeof nvml.by_uuid);
    memcpy(&nvml.reasons, &functions[3], sizeof nvml.reasons);
    return nvml.init() == NVML_OK;
}

/* The device that CUDA calls `index`: CUDA_VISIBLE_DEVICES may have renumbered them, by number or by UUID. */
static void *find_gpu(int index) {
    nvml_device device = NULL;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!load_nvml()) return NULL;
    if (!visible || !*visible) return nvml.by_index((unsigned)index, &device) == NVML_OK ? device : NULL;
    for (; index > 0 && visible; index--) {
        visible = strchr(visible, ',');
        if (visible) visible++;
    }
    if (!visible) return NULL;
    char entry[96];
    const size_t length = strcspn(visible, ",");
    if (length >= sizeof entry) return NULL;
    memcpy(entry, visible, length);
    entry[length] = '\0';
    char *end;
    const unsigned long number = strtoul(entry, &end, 10);
    const int status =
        *end == '\0' && end != entry ? nvml.by_index((unsigned)number, &device) : nvml.by_uuid(entry, &device);
    return status == NVML_OK ? device : NULL;
}

/* ---- both ---------------------------------------------------------------------------------------------------- */

void eab_bench_clocks_open(eab_bench_clocks *clocks, eab_device *device) {
    *clocks = (eab_bench_clocks){0, NULL};
    if (device->backend->capacity) clocks->gpu = find_gpu(device->index);
    else if (device->backend->burn) clocks->usual_gflop_per_s = best_burst(device, USUAL_BURSTS);
}

int eab_bench_clocks_throttled(const eab_bench_clocks *clocks, eab_device *device) {
    if (clocks->gpu) {
        unsigned long long reasons;
        if (nvml.reasons(clocks->gpu, &reasons) != NVML_OK) return -1;
        return (reasons & NVML_SLOWER) != 0;
    }
    if (!(clocks->usual_gflop_per_s > 0)) return -1;
    return best_burst(device, BURSTS) < LEAST_SHARE * clocks->usual_gflop_per_s;
}
