/* Fused attention on NVIDIA GPUs. Pointers are device pointers unless stated otherwise.
 *
 * Two families. Neither stores a context x context matrix, and neither uses float atomics: the same run gives the same
 * bits.
 *   small (attention_small*.cu): float32 on the FMA units, for fleets of small models; any strides, head_dim 1..256
 *   flash (attention_flash*.cu): bf16 and fp16 on the tensor cores; contiguous tensors, head_dim 1..128
 * All calls are asynchronous on `stream` and return 0 or an eab_status with a line for eab_last_error(). They check
 * sizes and grid limits, but not whether pointers are on the device.
 */
#ifndef EAB_KERNELS_CUDA_ATTENTION_H
#define EAB_KERNELS_CUDA_ATTENTION_H

#include "device.h"

extern "C" {

#include "../backend.h"

/* A fleet's score functions on the device: mechanism, scale (never 0) and mix [members], slopes [heads] or NULL. They
 * are copies of args->scores and args->slopes, which are on the host. */
typedef struct {
    const int32_t *mechanism;
    const float *scale, *mix, *slopes;
} eab_cuda_scores;

/* float32. Tensors have the strides of eab_attention_args. row_stat: [batch][heads][context] a member, or data NULL.
 * Rows that are 16-byte aligned and multiples of 4 floats are accessed 16 bytes at a time, others float by float. */
int eab_cuda_attention_forward(cudaStream_t stream, const eab_attention_args *args, const eab_cuda_scores *scores,
                               eab_const_tensor q, eab_const_tensor k, eab_const_tensor v, eab_tensor out,
                               eab_tensor row_stat);

/* Writes dq, dk and dv in one launch; needs no scratch. */
int eab_cuda_attention_backward(cudaStream_t stream, const eab_attention_args *args, const eab_cuda_scores *scores,
                                eab_const_tensor q, eab_const_tensor k, eab_const_tensor v, eab_const_tensor out,
                                eab_const_tensor row_stat, eab_const_tensor dout, eab_tensor dq, eab_tensor dk,
                                eab_tensor dv);

/* bf16 and fp16 (attention->dtype); tensors [batch][heads][context][head_dim]. attention->slopes is only compared with
 * NULL; device_slopes [heads] has the values. attention->scale 0: the mechanism's default. row_stat may be NULL. */
int eab_cuda_flash_forward(cudaStream_t stream, const eab_attention *attention, const float *device_slopes,
                           const void *q, const void *k, const void *v, void *out, float *row_stat);

/* Floats of device memory that eab_cuda_flash_backward needs as `scratch`. */
int64_t eab_cuda_flash_scratch_floats(const eab_attention *attention);

int eab_cuda_flash_backward(cudaStream_t stream, const eab_attention *attention, const float *device_slopes,
                            const void *q, const void *k, const void *v, const void *out, const float *row_stat,
                            const void *dout, void *dq, void *dk, void *dv, float *scratch);

/* NULL if the flash family can compute `attention`, else the reason (one static line). */
const char *eab_cuda_flash_supports(const eab_attention *attention);

} /* extern "C" */

#endif
