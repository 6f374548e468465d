/* The peak's measurement: large square products, by cuBLAS where it is there. 4096^3 multiply-adds are 137 GFLOP, 2.1 ms
 * at 67 TFLOP/s (0.14 ms at 989 in bf16), against 201 MB of operands, 42 us: limited by the FMA units or the tensor cores. Numbers, not zeros: those draw less
 * power and run faster than real data. */
#include "operations.h"
#include "own.h"

namespace {

enum { SIDE = 4096, THREADS = 256 };

__global__ void __launch_bounds__(THREADS) fill(int64_t count, float *to) {
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) to[i] = (float)((uint32_t)i * 2654435761u >> 8) * 0x1p-24f - 0.5f;
}

__device__ void convert(float value, __nv_bfloat16 *to) { *to = __float2bfloat16_rn(value); }
__device__ void convert(float value, __half *to) { *to = __float2half_rn(value); }

/* The same in 16 bits, over what fill() left for float32. */
template <typename half> __global__ void __launch_bounds__(THREADS) fill_half(int64_t count, half *to) {
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) convert((float)((uint32_t)i * 2654435761u >> 8) * 0x1p-24f - 0.5f, &to[i]);
}

int burn_half(eab_device *device, int32_t dtype, double flop, double *done) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    const int64_t elements = (int64_t)SIDE * SIDE;
    uint16_t *operands = (uint16_t *)own->burn.memory;
    const dim3 grid((unsigned)(3 * elements / THREADS));
    if (!own->blas) return eab_fail(EAB_UNSUPPORTED, "no cuBLAS is here");
    if (own->burn_dtype != dtype) {
        if (dtype == EAB_BF16)
            EAB_TRY(EAB_LAUNCH(eab_cuda_stream(device), (fill_half<__nv_bfloat16>), grid, dim3(THREADS), 0,
                               3 * elements, (__nv_bfloat16 *)own->burn.memory));
        else
            EAB_TRY(EAB_LAUNCH(eab_cuda_stream(device), (fill_half<__half>), grid, dim3(THREADS), 0, 3 * elements,
                               (__half *)own->burn.memory));
        own->burn_dtype = dtype;
    }
    do {
        EAB_TRY(
            eab_cuda_blas_half_square(own->blas, dtype, SIDE, operands, operands + elements, operands + 2 * elements));
        *done += 2.0 * (double)elements * SIDE;
    } while (*done < flop);
    return eab_cuda_synchronize(device);
}

} // namespace

int eab_cuda_burn(eab_device *device, int32_t dtype, double flop, double *done) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    const cudaStream_t stream = eab_cuda_stream(device);
    const int64_t elements = (int64_t)SIDE * SIDE;
    const double each = 2.0 * (double)elements * SIDE;
    *done = 0;
    if (!own->burn.memory) {
        EAB_CUDA(cudaMalloc(&own->burn.memory, 3 * (size_t)elements * sizeof(float)));
        own->burn_dtype = -1;
    }
    if (dtype != EAB_F32) return burn_half(device, dtype, flop, done);
    if (own->burn_dtype != dtype)
        EAB_TRY(EAB_LAUNCH(stream, fill, dim3((unsigned)(3 * elements / THREADS)), dim3(THREADS), 0, 3 * elements,
                           (float *)own->burn.memory));
    own->burn_dtype = dtype;
    float *operands = (float *)own->burn.memory;
    eab_gemm gemm = {};
    gemm.members = 1;
    gemm.m = gemm.n = gemm.k = gemm.lda = gemm.ldb = gemm.ldc = SIDE;
    gemm.a.data = operands;
    gemm.b.data = operands + elements;
    gemm.c.data = operands + 2 * elements;
    do {
        EAB_TRY(eab_cuda_gemm(device, &gemm));
        *done += each;
    } while (*done < flop);
    return eab_cuda_synchronize(device);
}
