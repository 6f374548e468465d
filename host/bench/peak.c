#include "peak.h"

#include <glib.h>
#include <math.h>

#include "base/system.h"
#include "kernels/bench.h"
#include "kernels/clock.h"

enum { REPEATS = 5, BURSTS = 40 };
/* Well past the caches; on a GPU so large that the time to start the copy does not count. */
static const size_t HOST_COPY_BYTES = 64 << 20, GPU_COPY_BYTES = 1 << 30;
/* About 1 ms of a core: short, so that one of the bursts runs undisturbed. About 10 ms of a GPU's tensor cores, so
 * that the time to start the products does not count. */
static const double BURST_FLOP = 3e8, GPU_BURST_FLOP = 5e12;
/* An emulated processor (qemu, valgrind) takes seconds for one burst. */
static const double LONGEST_S = 0.5;

double eab_peak_burst_gflop_per_s(eab_device *device, int32_t dtype, double flop, int bursts, double longest_s) {
    double best = 0;
    if (!eab_backend_has_peaks(device->backend)) return 0;
    const double begin_s = eab_now_s();
    for (int i = 0; i < bursts && (i == 0 || eab_now_s() - begin_s < longest_s); i++) {
        double done = 0;
        const double before_s = eab_now_s();
        if (device->backend->bench->burn(device, dtype, flop, &done)) return 0;
        best = fmax(best, 1e-9 * done / (eab_now_s() - before_s));
    }
    return best;
}

double eab_peak_gflop_per_s(eab_device *device, int32_t dtype) {
    const double flop = device->backend->capacity ? GPU_BURST_FLOP : BURST_FLOP;
    return eab_peak_burst_gflop_per_s(device, dtype, flop, BURSTS, LONGEST_S);
}

/* GB/s of a pass with `bytes` of traffic: the fastest of REPEATS. */
static double best_rate(eab_device *device, double bytes, int (*pass)(eab_device *, void *, void *, size_t), void *to,
                        void *from, size_t size) {
    double best = 0;
    for (int i = 0; i < REPEATS; i++) {
        const double before_s = eab_now_s();
        if (pass(device, to, from, size) || device->backend->synchronize(device)) return best;
        best = fmax(best, 1e-9 * bytes / (eab_now_s() - before_s));
    }
    return best;
}

static int copy_pass(eab_device *device, void *to, void *from, size_t size) {
    return device->backend->copy(device, to, from, size);
}

static int add_pass(eab_device *device, void *to, void *from, size_t size) {
    const int64_t count = (int64_t)(size / device->backend->real_bytes);
    return device->backend->add(device, 1, count, (eab_tensor){from, 0}, (eab_tensor){to, 0});
}

size_t eab_bench_cache_bytes(const eab_device *device) {
    static const size_t UNKNOWN = (size_t)32 << 20, LARGEST = (size_t)512 << 20, GPU = (size_t)128 << 20;
    if (device->backend->capacity) return GPU; /* above the L2 cache of every GPU so far (B200: 126 MB) */
    const size_t bytes = eab_system_cache_bytes();
    return bytes == 0 ? UNKNOWN : MIN(bytes, LARGEST);
}

/* y += x can be faster than a copy: a processor's copy also reads what it overwrites, unless its stores bypass the
 * caches, which the C library decides. */
double eab_peak_gbyte_per_s(eab_device *device) {
    const eab_backend *backend = device->backend;
    const size_t bytes = MAX(2 * eab_bench_cache_bytes(device), backend->capacity ? GPU_COPY_BYTES : HOST_COPY_BYTES);
    void *from = NULL, *to = NULL;
    double best = 0;
    if (!eab_backend_has_peaks(backend)) return 0; /* the reference: no hardware limit to compare with */
    if (!backend->allocate(device, bytes, &from) && !backend->allocate(device, bytes, &to) &&
        !backend->zero(device, from, bytes) && !backend->zero(device, to, bytes))
        best = fmax(best_rate(device, 2.0 * (double)bytes, copy_pass, to, from, bytes),
                    best_rate(device, 3.0 * (double)bytes, add_pass, to, from, bytes));
    if (from) backend->release(device, from);
    if (to) backend->release(device, to);
    return best;
}
