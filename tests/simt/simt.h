/* CUDA on a processor: what kernels/cuda/device.h includes where EAB_SIMT is defined. docs/simt.md tells how it works.
 *
 *   simt_types.h    dim3, float4, __half, __nv_bfloat16, and their conversions
 *   simt_math.h     min, max, __expf, __fmaf_rn, __popc, __float_as_uint, ...
 *   simt_device.h   threadIdx, __syncthreads, shuffles, votes, atomics, EAB_SHARED
 *   simt_runtime.h  cudaMalloc, streams, events, graphs, eab_launch
 */
#ifndef EAB_TESTS_SIMT_H
#define EAB_TESTS_SIMT_H

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
/* A bound becomes part of the kernel's type, an address space of its return type, so that a launch can be held against
 * it (simt_launch_bound); a compiler that knows no such type (tests/simt/CMakeLists.txt asks it) leaves bounds
 * unchecked. */
#ifdef EAB_SIMT_LAUNCH_BOUNDS
#define __launch_bounds__(threads, ...) __attribute__((address_space(threads)))
#else
#define __launch_bounds__(...)
#endif
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))

#include "simt_types.h"

#include "simt_math.h"

#include "simt_device.h"

#include "simt_runtime.h"

#define __noinline__ __attribute__((noinline)) /* the C++ library says it too: not before its headers */

#endif
