/* Attention for short contexts: one (batch, head) in each vector lane, instead of one query (attention_tile.h).
 *
 * A group of EAB_LANES problems is gathered into [time][dim][lane], worked off without any broadcast or shuffle, with
 * causal masking exact to the pair, and scattered back. Times and dims are padded to multiples of BLOCK with zeros.
 * Measured (AVX-512), it takes 0.3 to 0.6 of the other kernel's time at context 24 and head_dim 8, 0.8 at 32 and 16, and more
 * than it at 32 and 32. In a model the choice depends on context and head_dim only, so that a result's bits do not depend on
 * the batch; with 4 heads of 64 x 16 a step takes 0.98 of what it takes with the other kernel. A call of its own takes the other one if
 * this would leave more than five eighths of the lanes empty (one head of 64 x 16: a seventh of the time), and near the largest
 * size, as the other one asks for its operands ahead (32 heads of 64 x 16: 0.83 to 0.93 of the time, 0.73 to 0.82 of
 * operands in memory).
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
