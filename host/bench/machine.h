/* The machine under the measurement: free memory, caches, cores. */
#ifndef EAB_BENCH_MACHINE_H
#define EAB_BENCH_MACHINE_H

#include "kernels/backend.h"

/* Bytes that can still be allocated on the device; 0 if unknown. */
double eab_bench_free_bytes(eab_device *device);

/* Bytes of the largest cache in which a call could find its operands. */
size_t eab_bench_cache_bytes(const eab_device *device);

#endif
