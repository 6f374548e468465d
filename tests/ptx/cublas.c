/* libcublas for the emulator: the functions that kernels/cuda/blas.cu calls, by cuBLAS's manual. Alpha and beta are on
 * the host. */
#include <stddef.h>
#include <stdlib.h>

#include "cublas_product.h"

#define EXPORT __attribute__((visibility("default")))

enum { SUCCESS = 0, NOT_INITIALIZED = 1, ALLOC_FAILED = 3, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum { FAST_TF32 = 77 }; /* CUBLAS_COMPUTE_32F_FAST_TF32 */

typedef struct {
    void *stream, *workspace;
} handle;

/* EAB_PTX_BLAS_FAILS: cuBLAS cannot be used, as on a device whose memory is full. */
EXPORT int cublasCreate_v2(handle **created) {
    if (getenv("EAB_PTX_BLAS_FAILS")) return ALLOC_FAILED;
    *created = calloc(1, sizeof **created);
    return *created ? SUCCESS : ALLOC_FAILED;
}

EXPORT int cublasDestroy_v2(handle *h) {
    free(h);
    return SUCCESS;
}

/* Also resets the workspace. */
EXPORT int cublasSetStream_v2(handle *h, void *stream) {
    h->stream = stream;
    h->workspace = NULL;
    return SUCCESS;
}

EXPORT int cublasSetWorkspace_v2(handle *h, void *workspace, size_t bytes) {
    (void)bytes;
    h->workspace = workspace;
    return (size_t)workspace % 256 ? INVALID_VALUE : SUCCESS;
}

EXPORT int cublasSetMathMode(handle *h, int mode) {
    (void)h;
    return mode ? INVALID_VALUE : SUCCESS;
}

EXPORT int cublasGetVersion_v2(handle *h, int *version) {
    (void)h;
    *version = 130000;
    return SUCCESS;
}

EXPORT int cublasGemmEx(void) { return NOT_SUPPORTED; } /* only the peak of `bench` needs it */

EXPORT int cublasGemmStridedBatchedEx(handle *h, int trans_a, int trans_b, int m, int n, int k, const void *alpha,
                                      const void *a, int a_type, int lda, long long a_stride, const void *b, int b_type,
                                      int ldb, long long b_stride, const void *beta, void *c, int c_type, int ldc,
                                      long long c_stride, int batches, int compute, int algorithm) {
    (void)algorithm;
    if (!h->workspace) return NOT_INITIALIZED; /* a graph could not capture an allocation */
    const ptx_product product = {.m = m,
                                 .n = n,
                                 .k = k,
                                 .batches = batches,
                                 .alpha = *(const float *)alpha,
                                 .beta = *(const float *)beta,
                                 .a = {a, a_type, lda, a_stride, trans_a},
                                 .b = {b, b_type, ldb, b_stride, trans_b},
                                 .c = {c, c_type, ldc, c_stride, 0},
                                 .tf32 = compute == FAST_TF32};
    return ptx_blas_product(h->stream, &product);
}
