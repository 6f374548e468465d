/* cuBLAS, loaded when a device is opened, so that the program also starts where only a driver is installed. Without it,
 * or with EAB_CUDA_PRODUCT=own, our own kernel computes all products (gemm.cu). */
#ifndef EAB_KERNELS_CUDA_BLAS_H
#define EAB_KERNELS_CUDA_BLAS_H

#include "context.h"

typedef struct eab_cuda_blas eab_cuda_blas;

/* *blas is NULL, with EAB_OK, if there is no cuBLAS. Allocates the workspace, so that products can be recorded. */
int eab_cuda_blas_open(cudaStream_t stream, eab_cuda_blas **blas);
void eab_cuda_blas_close(eab_cuda_blas *blas);
int eab_cuda_blas_set_stream(eab_cuda_blas *blas, cudaStream_t stream);

/* Text like "cuBLAS 13.1"; "own products" for NULL. */
void eab_cuda_blas_describe(const eab_cuda_blas *blas, char *text, size_t size);

/* c = op(a) op(b) (+ c), without bias and finish. c is float32. a and b are float32 too, or, in bf16 products, bf16
 * with their own strides and rows. */
int eab_cuda_blas_product(eab_cuda_blas *blas, const eab_gemm *gemm);

/* The device's cuBLAS, or NULL. */
eab_cuda_blas *eab_cuda_blas_of(const eab_device *device);

/* c = a b for square matrices in bf16 or fp16, summed in float32 on tensor cores, to measure the peak. */
int eab_cuda_blas_half_square(eab_cuda_blas *blas, int32_t dtype, int32_t side, const void *a, const void *b, void *c);

#endif
