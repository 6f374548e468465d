/* The functions of one SIMD level, with its suffix (simd.h); level.c puts them in the level's table. */
#ifndef EAB_KERNELS_CPU_LEVEL_H
#define EAB_KERNELS_CPU_LEVEL_H

#include "kernels.h"
#include "simd.h"

int EAB_ISA_NAME(eab_gemm)(eab_cpu_workspace *workspace, const eab_gemm *g, int32_t member);
int EAB_ISA_NAME(eab_attention_forward)(eab_cpu_workspace *workspace, const eab_attention_args *args, int32_t member,
                                        const float *q, const float *k, const float *v, float *out, float *row_stat);
int EAB_ISA_NAME(eab_attention_backward)(eab_cpu_workspace *workspace, const eab_attention_args *args, int32_t member,
                                         const float *q, const float *k, const float *v, const float *out,
                                         const float *row_stat, const float *dout, float *dq, float *dk, float *dv);
/* y = gelu(x) and slope = gelu'(x); x may be y. */
void EAB_ISA_NAME(eab_cpu_gelu)(int64_t count, const float *x, float *y, float *slope);
void EAB_ISA_NAME(eab_scores_forward)(const eab_attention_args *args, int32_t member, const float *scores,
                                      float *weights);
void EAB_ISA_NAME(eab_scores_backward)(const eab_attention_args *args, int32_t member, const float *scores,
                                       const float *weights, float *dweights);
double EAB_ISA_NAME(eab_peak_loop)(double flop);
void EAB_ISA_NAME(eab_cpu_loss)(const eab_loss_args *args, int32_t member);
void EAB_ISA_NAME(eab_cpu_optimizer_step)(const eab_optimizer_args *args, int32_t member);
void EAB_ISA_NAME(eab_cpu_qk_norm_forward)(const eab_qk_norm_args *args, int32_t member, float *qkv);
void EAB_ISA_NAME(eab_cpu_qk_norm_backward)(const eab_qk_norm_args *args, int32_t member, float *dqkv, float *dq_gain,
                                            float *dk_gain);
extern const eab_cpu_elementwise EAB_ISA_NAME(eab_cpu_elementwise_table);

#endif
