/* Measured peaks of a device, and its cache. Each call measures a peak again, for about half a second. Measure one at a
 * time, because measurements disturb each other. */
#ifndef EAB_BENCH_PEAK_H
#define EAB_BENCH_PEAK_H

#include "kernels/backend.h"

/* Peak GFLOP/s of a dtype (EAB_F32, ...): on "cpu" an FMA loop held in registers at the SIMD level in use, one core;
 * on a GPU the best cuBLAS product. 0 if the device has none. */
double eab_peak_gflop_per_s(eab_device *device, int32_t dtype);

/* GFLOP/s of the fastest of at most `bursts` bursts of `flop` each, within `longest_s` (at least one burst); 0 if the
 * device has none. Maximum, because noise only adds time. */
double eab_peak_burst_gflop_per_s(eab_device *device, int32_t dtype, double flop, int bursts, double longest_s);

/* Memory bandwidth in GB/s, bytes read plus bytes written: the better of a copy and of y += x, over buffers past the
 * caches (STREAM's copy and add, McCalpin 1995); 0 if the backend has no peak. */
double eab_peak_gbyte_per_s(eab_device *device);

/* Bytes of the largest cache in which a call could find its operands. */
size_t eab_bench_cache_bytes(const eab_device *device);

#endif
