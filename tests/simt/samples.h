/* Small kernels that show the runtime at work, and that it finds nothing where nothing is wrong. */
#ifndef EAB_TESTS_SIMT_SAMPLES_H
#define EAB_TESTS_SIMT_SAMPLES_H

#include "../../kernels/cuda/tensor_core.h"

/* Each returns an eab_status; pointers are device memory. */
int sample_add(cudaStream_t stream, const float *x, const float *y, float *sum, int count);
int sample_block_sum(cudaStream_t stream, const float *x, float *sums, int blocks, int per_block); /* one sum a block */
int sample_transpose(cudaStream_t stream, const float *x, float *y, int rows, int columns);
int sample_warp_scan(cudaStream_t stream, const int *x, int *sums, int count);
/* c (16 x 8) = a (16 x k) b (k x 8, stored transposed: 8 x k), 16-bit operands, through ldmatrix and mma. */
int sample_product(cudaStream_t stream, const uint16_t *a, const uint16_t *b, float *c, int k, bool is_bf16);
/* As sample_product, with b as k x 8: ldmatrix transposes it. */
int sample_product_transposed(cudaStream_t stream, const uint16_t *a, const uint16_t *b, float *c, int k, bool is_bf16);
int sample_async_copy(cudaStream_t stream, const float *x, float *y,
                      int count); /* double-buffered; a ragged end is zeros */
int sample_histogram(cudaStream_t stream, const int *x, int *counts, int count, int bins);
/* `rounds` barriers in each of `blocks` blocks: for measuring speed. */
int sample_barriers(cudaStream_t stream, float *out, int blocks, int threads, int rounds);
int sample_shuffles(cudaStream_t stream, float *out, int blocks, int threads, int rounds);

#endif
