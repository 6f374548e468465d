/* Takes the samples of one row: calls the operation, reads the clock around the calls, and stops by the rule.
 *
 * On the processor this is the monotonic clock; on devices with events (CUDA) the device's. A sample is the mean of
 * as many calls as take LEAST_SAMPLE_S together; each call works on the next set of operands. */
#ifndef EAB_BENCH_SAMPLER_H
#define EAB_BENCH_SAMPLER_H

#include "operation.h"
#include "statistics.h"

typedef struct {
    GArray *seconds; /* of double, the time of a call: one value per sample, in the order of sampling */
    int64_t calls;   /* in a sample */
    eab_bench_summary summary;
} eab_bench_samples;

/* Called from time to time with the current summary. */
typedef void (*eab_bench_watcher)(void *context, const eab_bench_summary *summary);

/* Samples an open task. watcher may be NULL. EAB_INTERRUPTED after a signal. Free the samples in any case. */
int eab_bench_sample(eab_bench_task *task, const eab_bench_rule *rule, eab_bench_watcher watcher, void *context,
                     eab_bench_samples *samples);
void eab_bench_samples_free(eab_bench_samples *samples);

/* The time of the harness itself on this device, measured with an empty call. */
int eab_bench_cost_measure(eab_device *device, eab_bench_cost *cost);

#endif
