/* cuBLAS, loaded when a device is opened, so that the program starts where only a driver is; without it, or where
 * EAB_CUDA_PRODUCT=own, our own products do everything (gemm.cu). */
#ifndef EAB_KERNELS_CUDA_BLAS_H
#define EAB_KERNELS_CUDA_BLAS_H

#include "context.h"

typedef struct eab_cuda_blas eab_cuda_blas;

/* *blas is NULL, with EAB_OK, where there is no cuBLAS. Workspace is allocated here, so that products can be recorded.
 * Under simt a stand-in takes its place where EAB_CUDA_PRODUCT=cublas, so that what surrounds it is tested. */
int eab_cuda_blas_open(cudaStream_t stream, eab_cuda_blas **blas);
void eab_cuda_blas_close(eab_cuda_blas *blas);
int eab_cuda_blas_set_stream(eab_cuda_blas *blas, cudaStream_t stream);

/* Such as "cuBLAS 13.1"; "own products" for NULL. */
void eab_cuda_blas_describe(const eab_cuda_blas *blas, char *text, size_t size);

/* c = op(a) op(b) (+ c); the bias is the caller's. c is float32; so are a and b, or bf16 (with their own strides and rows)
 * where the product's precision is. */
int eab_cuda_blas_product(eab_cuda_blas *blas, const eab_gemm *gemm);

/* The device's, or NULL. */
eab_cuda_blas *eab_cuda_blas_of(const eab_device *device);

/* c = a b of square matrices in bf16 or fp16 (EAB_BF16, EAB_F16), sums in float32, on tensor cores: for the peak. */
int eab_cuda_blas_half_square(eab_cuda_blas *blas, int32_t dtype, int32_t side, const void *a, const void *b, void *c);

#endif
