/* GELU and its derivative.
 *
 * gelu(x) = x/2 (1 + tanh(u)) = x s, s = 1 / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3): Hendrycks and Gimpel,
 * arXiv 1606.08415. f' = s + x s (1 - s) 2u'. With e = exp(-2u), 1 - s = e s, without cancellation. If e overflowed, s
 * would be 0 and e s NaN, so e is limited to 2^126. */
#ifndef EAB_KERNELS_CUDA_ACTIVATION_H
#define EAB_KERNELS_CUDA_ACTIVATION_H

#include "device.h"

__device__ static inline float eab_cuda_gelu_exp(float x) {
    const float e = expf(-1.5957691216057308f * x * (1 + 0.044715f * x * x));
    return e > 0x1p126f ? 0x1p126f : e;
}

__device__ static inline float eab_cuda_gelu(float x) { return x / (1 + eab_cuda_gelu_exp(x)); }

__device__ static inline float eab_cuda_gelu_derivative(float x) {
    const float e = eab_cuda_gelu_exp(x), s = 1 / (1 + e);
    const float slope = 1.5957691216057308f * (1 + 3 * 0.044715f * x * x);
    return s * (1 + x * slope * (e * s));
}

#endif
