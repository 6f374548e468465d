/* Measures the peak: large square products, by cuBLAS if it is there. 4096^3 multiply-adds are 137 GFLOP, 2.1 ms at 67
 * TFLOP/s (0.14 ms at 989 in bf16), with 201 MB of operands, 42 us: the FMA units or the tensor cores are the limit.
 * The operands are random, because zeros draw less power and run faster than real data. */
#include "operations.h"
#include "own.h"

namespace {

enum { SIDE = 4096, THREADS = 256 };
const int64_t ELEMENTS = (int64_t)SIDE * SIDE;

__device__ void convert(float value, float *to) { *to = value; }
__device__ void convert(float value, __nv_bfloat16 *to) { *to = __float2bfloat16_rn(value); }
__device__ void convert(float value, __half *to) { *to = __float2half_rn(value); }

template <typename Real> __global__ void __launch_bounds__(THREADS) fill(int64_t count, Real *to) {
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) convert((float)((uint32_t)i * 2654435761u >> 8) * 0x1p-24f - 0.5f, &to[i]);
}

template <typename Real> int launch_fill(eab_device *device, void *to) {
    const dim3 grid((unsigned)(3 * ELEMENTS / THREADS));
    return EAB_LAUNCH(eab_cuda_stream(device), fill<Real>, grid, dim3(THREADS), 0, 3 * ELEMENTS, (Real *)to);
}

/* Allocates and fills the operands, unless an earlier call has. */
int prepare(eab_device *device, int32_t dtype) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    if (!own->burn) {
        EAB_CUDA(cudaMalloc(&own->burn, 3 * (size_t)ELEMENTS * sizeof(float)));
        own->burn_dtype = -1;
    }
    if (own->burn_dtype == dtype) return EAB_OK;
    EAB_TRY(dtype == EAB_F32    ? launch_fill<float>(device, own->burn)
            : dtype == EAB_BF16 ? launch_fill<__nv_bfloat16>(device, own->burn)
                                : launch_fill<__half>(device, own->burn));
    own->burn_dtype = dtype;
    return EAB_OK;
}

int multiply(eab_device *device, int32_t dtype) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    if (dtype != EAB_F32) {
        uint16_t *operands = (uint16_t *)own->burn;
        return eab_cuda_blas_half_square(own->blas, dtype, SIDE, operands, operands + ELEMENTS,
                                         operands + 2 * ELEMENTS);
    }
    float *operands = (float *)own->burn;
    eab_gemm gemm = {};
    gemm.members = 1;
    gemm.m = gemm.n = gemm.k = gemm.lda = gemm.ldb = gemm.ldc = SIDE;
    gemm.a.data = operands;
    gemm.b.data = operands + ELEMENTS;
    gemm.c.data = operands + 2 * ELEMENTS;
    return eab_cuda_gemm(device, &gemm);
}

} // namespace

int eab_cuda_burn(eab_device *device, int32_t dtype, double flop, double *done) {
    *done = 0;
    if (dtype != EAB_F32 && !eab_cuda_own_of(device)->blas) return eab_fail(EAB_UNSUPPORTED, "there is no cuBLAS");
    eab_cuda_stream(device);
    EAB_TRY(prepare(device, dtype));
    do {
        EAB_TRY(multiply(device, dtype));
        *done += 2.0 * (double)ELEMENTS * SIDE;
    } while (*done < flop);
    return eab_cuda_synchronize(device);
}
