/* Fused attention on NVIDIA GPUs: what the CUDA backend calls. Device pointers throughout, unless said otherwise.
 *
 * Two families, both without a context x context matrix in memory and without float atomics (the same run gives the same bits):
 *   small (attention_small*.cu): float32 on the FMA units, for fleets of small models; any strides, head_dim 1..256
 *   flash (attention_flash*.cu): bf16 and fp16 on the tensor cores; contiguous tensors, head_dim 1..128
 * All calls are asynchronous on `stream` and return 0 or an eab_status with a line for eab_last_error(). They check what the
 * kernels rely on (sizes, grid limits), not whether pointers are on the device.
 */
#ifndef EAB_KERNELS_CUDA_ATTENTION_H
#define EAB_KERNELS_CUDA_ATTENTION_H

#include "device.h"

extern "C" {

#include "../backend.h"

/* The score functions of a fleet, on the device: mechanism[members], scale[members] (never 0), slopes[heads] or NULL.
 * They hold what args->scores and args->slopes hold on the host, which the kernels never read. */
typedef struct {
    const int32_t *mechanism;
    const float *scale, *slopes;
} eab_cuda_scores;

/* float32. Tensors as eab_attention_args says (member strides and all); row_stat [batch][heads][context] a member,
 * or data NULL. Rows of 16-byte aligned multiples of 4 floats are moved 16 bytes at a time, others float by float. */
int eab_cuda_attention_forward(cudaStream_t stream, const eab_attention_args *args, const eab_cuda_scores *scores,
                               eab_const_tensor q, eab_const_tensor k, eab_const_tensor v, eab_tensor out,
                               eab_tensor row_stat);

/* Writes dq, dk and dv in one launch; needs no scratch. */
int eab_cuda_attention_backward(cudaStream_t stream, const eab_attention_args *args, const eab_cuda_scores *scores,
                                eab_const_tensor q, eab_const_tensor k, eab_const_tensor v, eab_const_tensor out,
                                eab_const_tensor row_stat, eab_const_tensor dout, eab_tensor dq, eab_tensor dk,
                                eab_tensor dv);

/* bf16 and fp16 (attention->dtype), [batch][heads][context][head_dim]. attention->slopes only says whether there are
 * any; device_slopes [heads] holds them. attention->scale 0 means the mechanism's default. row_stat may be NULL. */
int eab_cuda_flash_forward(cudaStream_t stream, const eab_attention *attention, const float *device_slopes,
                           const void *q, const void *k, const void *v, void *out, float *row_stat);

/* Floats of device memory that eab_cuda_flash_backward needs beside its arguments. */
int64_t eab_cuda_flash_scratch_floats(const eab_attention *attention);

int eab_cuda_flash_backward(cudaStream_t stream, const eab_attention *attention, const float *device_slopes,
                            const void *q, const void *k, const void *v, const void *out, const float *row_stat,
                            const void *dout, void *dq, void *dk, void *dv, float *scratch);

/* NULL if the flash family can compute `attention`, else why not (one static line). */
const char *eab_cuda_flash_supports(const eab_attention *attention);

} /* extern "C" */

#endif
