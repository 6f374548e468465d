/* Takes the samples of one row: calls an operation, reads the clock around it, and stops by the rule.
 *
 * On the processor the clock is the monotonic one and the thread stays on one core; on devices with events (CUDA) it is
 * the device's. A sample is the mean of so many calls that it lasts at least LEAST_SAMPLE_S; each call works on the next set
 * of operands.
 */
#ifndef EAB_BENCH_SAMPLER_H
#define EAB_BENCH_SAMPLER_H

#include "operation.h"
#include "statistics.h"

typedef struct {
    double *seconds; /* of a call, one per sample, in the order they were taken; freed by eab_bench_samples_free */
    size_t count, room;
    int64_t calls; /* in a sample */
    eab_bench_summary summary;
    bool interrupted; /* by a signal: what is there is void */
} eab_bench_samples;

/* Called now and then with what is known; may be NULL. */
typedef void (*eab_bench_watcher)(void *context, const eab_bench_summary *summary);

int eab_bench_sample(eab_bench_task *task, const eab_bench_rule *rule, eab_bench_watcher watcher, void *context,
                     eab_bench_samples *samples);
/* What the harness itself takes on this device, from an empty call. */
int eab_bench_cost_measure(eab_device *device, eab_bench_cost *cost);

void eab_bench_samples_free(eab_bench_samples *samples);

/* Keeps the calling thread on the core where it is, and lets it go again. */
typedef struct {
    void *before; /* the mask, or NULL */
    size_t size;
} eab_bench_pin;
void eab_bench_pin_take(eab_bench_pin *pin);
void eab_bench_pin_release(eab_bench_pin *pin);

/* Bytes of the largest cache that the device's calls could find their operands in. */
size_t eab_bench_cache_bytes(const eab_device *device);

#endif
