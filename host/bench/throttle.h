/* Whether the machine runs at its usual clock. */
#ifndef EAB_BENCH_THROTTLE_H
#define EAB_BENCH_THROTTLE_H

#include "kernels/backend.h"

typedef struct {
    double usual_gflop_per_s; /* of a burst of multiply-adds on the processor; 0: not known */
    void *gpu;                /* NVML's handle of the device, or NULL */
} eab_bench_clocks;

/* Measures the processor's usual rate (about 20 ms), or finds the GPU in NVML, which is loaded at run time. */
void eab_bench_clocks_open(eab_bench_clocks *clocks, eab_device *device);

/* At this moment: 1: throttled, or slower than usual by more than 5 %; 0: not; -1: not known. On the processor
 * bursts of 0.1 ms compared with the usual rate; on a GPU NVML's reasons to lower the clocks. */
int eab_bench_clocks_throttled(const eab_bench_clocks *clocks, eab_device *device);

#endif
