#include "throttle.h"

#include <dlfcn.h>
#include <glib.h>
#include <stdlib.h>

#include "base/module.h"
#include "peak.h"

enum { USUAL_BURSTS = 40, BURSTS = 4 };
static const double BURST_FLOP = 2e7, LONGEST_S = 1, LEAST_SHARE = 0.95;

/* ---- the processor ---------------------------------------------------------------------------------------------- */

static double best_burst(eab_device *device, int bursts) {
    return eab_peak_burst_gflop_per_s(device, EAB_F32, BURST_FLOP, bursts, LONGEST_S);
}

/* ---- NVML ------------------------------------------------------------------------------------------------------- */

/* The functions and constants used here, from NVIDIA's NVML API reference. Its header is not needed to build. */
typedef void *nvml_device;
enum { NVML_OK = 0 };
/* software power cap; hardware slowdown; thermal, by software and by hardware; power brake */
static const unsigned long long NVML_SLOWER = 0x4 | 0x8 | 0x20 | 0x40 | 0x80;

static struct {
    int (*init)(void);
    int (*by_index)(unsigned index, nvml_device *device);
    int (*by_uuid)(const char *uuid, nvml_device *device);
    int (*reasons)(nvml_device device, unsigned long long *reasons);
} nvml;

static bool load_nvml(void) {
    void *library = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
    return library && eab_module_find(library, "nvmlInit_v2", &nvml.init, sizeof nvml.init) &&
           eab_module_find(library, "nvmlDeviceGetHandleByIndex_v2", &nvml.by_index, sizeof nvml.by_index) &&
           eab_module_find(library, "nvmlDeviceGetHandleByUUID", &nvml.by_uuid, sizeof nvml.by_uuid) &&
           eab_module_find(library, "nvmlDeviceGetCurrentClocksThrottleReasons", &nvml.reasons, sizeof nvml.reasons) &&
           nvml.init() == NVML_OK;
}

/* NVML's handle of the device that CUDA numbers `index`. CUDA_VISIBLE_DEVICES may renumber them, by number or by
 * UUID. */
static void *find_gpu(int index) {
    nvml_device device = NULL;
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (!load_nvml()) return NULL;
    if (!visible || !*visible) return nvml.by_index((unsigned)index, &device) == NVML_OK ? device : NULL;
    char **entries = g_strsplit(visible, ",", -1), *end;
    int status = !NVML_OK;
    if (index < (int)g_strv_length(entries)) {
        const unsigned long number = strtoul(entries[index], &end, 10);
        const bool is_number = *end == '\0' && end != entries[index];
        status = is_number ? nvml.by_index((unsigned)number, &device) : nvml.by_uuid(entries[index], &device);
    }
    g_strfreev(entries);
    return status == NVML_OK ? device : NULL;
}

/* ---- both ------------------------------------------------------------------------------------------------------- */

void eab_bench_clocks_open(eab_bench_clocks *clocks, eab_device *device) {
    *clocks = (eab_bench_clocks){0, NULL};
    if (device->backend->capacity) clocks->gpu = find_gpu(device->index);
    else clocks->usual_gflop_per_s = best_burst(device, USUAL_BURSTS);
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
