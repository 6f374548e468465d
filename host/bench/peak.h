/* Measured peaks of this machine, for peak_fraction. */
#ifndef EAB_BENCH_PEAK_H
#define EAB_BENCH_PEAK_H

#include "kernels/backend.h"

/* Peak GFLOP/s of the device for float32: on "cpu" an FMA loop held in registers at the SIMD level in use, one core;
 * measured once per process (0.1 s), cached in $XDG_CACHE_HOME/eabench for a day. 0 where it is not known. */
double eab_peak_gflop_per_s(eab_device *device);

/* The same of another dtype (EAB_BF16, ...): on a GPU the best cuBLAS product; 0 where the device has none. */
double eab_peak_dtype_gflop_per_s(eab_device *device, int32_t dtype);

/* Memory bandwidth in GB/s, bytes read plus bytes written: the better of a copy and of y += x, over buffers past the caches
 * (STREAM's copy and add, McCalpin 1995); 0 where it is not known. */
double eab_peak_gbyte_per_s(eab_device *device);

#endif
