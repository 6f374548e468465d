#include "peak.h"

#include <pthread.h>

#include "kernels/clock.h"
#include "peak_cache.h"
#include "sampler.h"

enum { REPEATS = 5, BURSTS = 40 };
/* Well past the caches; on a GPU long enough that starting the copy does not count. */
static const size_t HOST_COPY_BYTES = 64 << 20, GPU_COPY_BYTES = 1 << 30;
/* About 1 ms of a core: short, so that one of them has the core to itself; and some 10 ms of a GPU's tensor cores, so that
 * starting the products and waiting for them does not count. */
static const double burn_flop = 3e8, gpu_burn_flop = 5e12;

/* An emulated processor (qemu, valgrind) takes seconds for a burst, and one of them has to do. */
static const double longest_burning_s = 0.5;

/* The best of a few: a shared machine can only be slower than it is. */
static double measure_gflop_per_s(eab_device *device, int32_t dtype) {
    double best = 0;
    if (!device->backend->burn) return 0;
    const double begin_s = eab_now_s(), flop = device->backend->capacity ? gpu_burn_flop : burn_flop;
    for (int i = 0; i < BURSTS && (i == 0 || eab_now_s() - begin_s < longest_burning_s); i++) {
        double done = 0;
        const double before_s = eab_now_s();
        if (device->backend->burn(device, dtype, flop, &done)) return 0;
        const double rate = done / (eab_now_s() - before_s) / 1e9;
        if (rate > best) best = rate;
    }
    return best;
}

/* GB/s of a pass with `bytes` of traffic, the best of a few. */
static double best_rate(eab_device *device, double bytes, int (*pass)(eab_device *, void *, void *, size_t), void *to,
                        void *from, size_t size) {
    double best = 0;
    for (int i = 0; i < REPEATS; i++) {
        const double before_s = eab_now_s();
        if (pass(device, to, from, size) || device->backend->synchronize(device)) return best;
        const double rate = bytes / (eab_now_s() - before_s) / 1e9;
        if (rate > best) best = rate;
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

/* A copy, or y += x where that is faster: a processor's copy also reads what it is about to overwrite, unless it goes past
 * the caches, which the C library decides. */
static double measure_gbyte_per_s(eab_device *device, int32_t dtype) {
    (void)dtype;
    const eab_backend *backend = device->backend;
    const size_t past_caches = 2 * eab_bench_cache_bytes(device);
    const size_t least = backend->capacity ? GPU_COPY_BYTES : HOST_COPY_BYTES;
    const size_t bytes = past_caches > least ? past_caches : least;
    void *from = NULL, *to = NULL;
    double best = 0;
    if (!backend->burn) return 0; /* no hardware whose limits speeds are held against: reference, simt */
    if (!backend->allocate(device, bytes, &from) && !backend->allocate(device, bytes, &to) &&
        !backend->zero(device, from, bytes) && !backend->zero(device, to, bytes)) {
        best = best_rate(device, 2.0 * (double)bytes, copy_pass, to, from, bytes);
        const double added = best_rate(device, 3.0 * (double)bytes, add_pass, to, from, bytes);
        if (added > best) best = added;
    }
    if (from) backend->release(device, from);
    if (to) backend->release(device, to);
    return best;
}

typedef double (*measurement)(eab_device *device, int32_t dtype);

/* A figure from the cache, else measured and cached; one at a time, as measurements disturb each other. */
static double cached(eab_device *device, const char *key, int32_t dtype, measurement measure) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    char description[256];
    pthread_mutex_lock(&lock);
    device->backend->describe(device, description, sizeof description);
    double value = eab_peak_cache_find(description, key);
    if (value <= 0) {
        value = measure(device, dtype);
        eab_peak_cache_keep(description, key, value);
    }
    pthread_mutex_unlock(&lock);
    return value;
}

double eab_peak_gflop_per_s(eab_device *device) { return eab_peak_dtype_gflop_per_s(device, EAB_F32); }

double eab_peak_dtype_gflop_per_s(eab_device *device, int32_t dtype) {
    static const char *const keys[] = {
        [EAB_F32] = "gflop_per_s", [EAB_BF16] = "bf16_gflop_per_s", [EAB_F16] = "fp16_gflop_per_s"};
    return cached(device, keys[dtype], dtype, measure_gflop_per_s);
}

double eab_peak_gbyte_per_s(eab_device *device) {
    return cached(device, "stream_gbyte_per_s", EAB_F32, measure_gbyte_per_s);
}
