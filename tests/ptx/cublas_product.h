/* What cublas.c, a library, calls in the program. */
#ifndef EAB_TESTS_PTX_CUBLAS_PRODUCT_H
#define EAB_TESTS_PTX_CUBLAS_PRODUCT_H

#ifdef __cplusplus
extern "C" {
#endif

typedef struct {
    const void *data;
    int type; /* cudaDataType */
    int ld;
    long long stride; /* from one matrix of the batch to the next */
    int transpose;
} ptx_matrix;

/* c = alpha a b + beta c, of m x k and k x n, for each of the batch. */
typedef struct {
    int m, n, k, batches;
    float alpha, beta;
    ptx_matrix a, b, c;
    int tf32;
} ptx_product;

/* A cublasStatus_t. */
__attribute__((visibility("default"))) int ptx_blas_product(void *stream, const ptx_product *product);

#ifdef __cplusplus
}
#endif

#endif
