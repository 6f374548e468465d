/* Attention for short contexts: one problem, that is one (batch, head), in each vector lane, where attention_tile.h has
 * one query.
 *
 * A group of EAB_LANES problems is gathered into [time][dim][lane], computed without any broadcast or shuffle, with
 * exact causal masking, and scattered back. Times and dims are padded with zeros to multiples of BLOCK.
 *
 * Measured (AVX-512), as a share of the other kernel's time: 0.3 to 0.6 at context 24 and head_dim 8, 0.8 at 32 and 16,
 * more than 1 at 32 and 32. In a model the choice depends on context and head_dim only, so that a result's bits do not
 * depend on the batch; with 4 heads of 64 x 16 a step takes 0.98 of its time with the other kernel. A standalone call
 * uses the other kernel if this one would leave more than five eighths of the lanes empty (one head of 64 x 16 then
 * takes a seventh of the time), and near the largest size, because the other one prefetches (32 heads of 64 x 16: 0.83
 * to 0.93 of the time; 0.73 to 0.82 with operands in memory).
 */
#ifndef EAB_KERNELS_CPU_ATTENTION_SMALL_H
#define EAB_KERNELS_CPU_ATTENTION_SMALL_H

#include "carver.h"
#include "formulas.h"
#include "kernels.h"
#include "level.h"

enum { BLOCK = 4, SMALL_CONTEXT = 64, SMALL_HEAD_DIM = 16, SMALL_ALONE = 896 /* context * head_dim */ };

EAB_INLINE bool eab_attention_is_small(const eab_attention_args *args) {
    if (args->context > SMALL_CONTEXT || args->head_dim > SMALL_HEAD_DIM) return false;
    return !args->standalone ||
           ((int64_t)args->batch * args->heads >= EAB_LANES * 3 / 8 && args->context * args->head_dim <= SMALL_ALONE);
}

int EAB_ISA_NAME(eab_attention_small_forward)(eab_cpu_workspace *workspace, const eab_attention_args *args,
                                              int32_t member, const float *q, const float *k, const float *v,
                                              float *out, float *row_stat);
int EAB_ISA_NAME(eab_attention_small_backward)(eab_cpu_workspace *workspace, const eab_attention_args *args,
                                               int32_t member, const float *q, const float *k, const float *v,
                                               const float *out, const float *row_stat, const float *dout, float *dq,
                                               float *dk, float *dv);

#endif
