/* Choose a formula's kernels. One function for each element type and pass, each in its own file, so that they compile
 * in parallel. */
#ifndef EAB_KERNELS_CUDA_ATTENTION_FLASH_DISPATCH_H
#define EAB_KERNELS_CUDA_ATTENTION_FLASH_DISPATCH_H

#include "attention_flash.h"

int eab_flash_forward_bf16(cudaStream_t stream, eab_formula formula, const eab_flash_args &args);
int eab_flash_forward_f16(cudaStream_t stream, eab_formula formula, const eab_flash_args &args);
int eab_flash_backward_bf16(cudaStream_t stream, eab_formula formula, const eab_flash_args &args, float *mean_dp);
int eab_flash_backward_f16(cudaStream_t stream, eab_formula formula, const eab_flash_args &args, float *mean_dp);

#endif
