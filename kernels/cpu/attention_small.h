/* Attention for short contexts: one (batch, head) in each vector lane, instead of one query (attention_tile.h).
 *
 * A group of EAB_LANES problems is gathered into [time][dim][lane], worked off without any broadcast or shuffle, with
 * causal masking exact to the pair, and scattered back. Times and dims are padded to multiples of BLOCK with zeros.
 * Measured (batch 32, heads 4, AVX-512), it takes 0.4 to 0.65 of the other kernel's time at context 24 and head_dim 8,
 * 0.9 at 64 and 16, and more than it at 32 and 32. In a model the choice depends on context and head_dim only, so that a
 * result's bits do not depend on the batch. A call of its own that would leave more than five eighths of the lanes empty takes
 * the other kernel (one head of context 64 and head_dim 16: a seventh of the time).
 */
#ifndef EAB_KERNELS_CPU_ATTENTION_SMALL_H
#define EAB_KERNELS_CPU_ATTENTION_SMALL_H

#include "carver.h"
#include "formulas.h"
#include "kernels.h"
#include "level.h"

enum { BLOCK = 4, SMALL_CONTEXT = 64, SMALL_HEAD_DIM = 16 };

EAB_INLINE bool eab_attention_is_small(const eab_attention_args *args) {
    const bool sparse = args->standalone && (int64_t)args->batch * args->heads < EAB_LANES * 3 / 8;
    return args->context <= SMALL_CONTEXT && args->head_dim <= SMALL_HEAD_DIM && !sparse;
}

int EAB_ISA_NAME(eab_attention_small_forward)(eab_cpu_workspace *workspace, const eab_attention_args *args,
                                              int32_t member, const float *q, const float *k, const float *v,
                                              float *out, float *row_stat);
int EAB_ISA_NAME(eab_attention_small_backward)(eab_cpu_workspace *workspace, const eab_attention_args *args,
                                               int32_t member, const float *q, const float *k, const float *v,
                                               const float *out, const float *row_stat, const float *dout, float *dq,
                                               float *dk, float *dv);

#endif
