/* The peak's measurement: large square products in float32, by cuBLAS where it is there. 4096^3 multiply-adds are 137 GFLOP,
 * about 2.5 ms at 55 TFLOP/s, against 201 MB of operands: limited by the FMA units. Numbers, not zeros: those draw less
 * power and run faster than real data. */
#include "operations.h"
#include "own.h"

namespace {

enum { SIDE = 4096, THREADS = 256 };

__global__ void __launch_bounds__(THREADS) fill(int64_t count, float *to) {
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < count) to[i] = (float)((uint32_t)i * 2654435761u >> 8) * 0x1p-24f - 0.5f;
}

} // namespace

int eab_cuda_burn(eab_device *device, double flop, double *done) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    const cudaStream_t stream = eab_cuda_stream(device);
    const int64_t elements = (int64_t)SIDE * SIDE;
    const double each = 2.0 * (double)elements * SIDE;
    *done = 0;
    if (!own->burn.memory) {
        EAB_CUDA(cudaMalloc(&own->burn.memory, 3 * (size_t)elements * sizeof(float)));
        EAB_TRY(EAB_LAUNCH(stream, fill, dim3((unsigned)(3 * elements / THREADS)), dim3(THREADS), 0, 3 * elements,
                           (float *)own->burn.memory));
    }
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
