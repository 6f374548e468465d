/* This SIMD level's table. Compiled once per level. */
#include "level.h"

extern const eab_cpu_kernels EAB_ISA_NAME(eab_cpu_kernels);

const eab_cpu_kernels EAB_ISA_NAME(eab_cpu_kernels) = {
    .isa = EAB_ISA_TEXT,
    .lanes = EAB_LANES,
    .gemm = EAB_ISA_NAME(eab_gemm),
    .attention_forward = EAB_ISA_NAME(eab_attention_forward),
    .attention_backward = EAB_ISA_NAME(eab_attention_backward),
    .scores_forward = EAB_ISA_NAME(eab_scores_forward),
    .scores_backward = EAB_ISA_NAME(eab_scores_backward),
    .peak_loop = EAB_ISA_NAME(eab_peak_loop),
    .elementwise = &EAB_ISA_NAME(eab_cpu_elementwise_table),
};
