/* The float32 kernels of the processor: one table of function pointers per SIMD level, chosen at run time.
 *
 * A level's files (gemm.c, attention*.c, elementwise.c, peak_loop.c) hold the functions, level.c the level's table,
 * isa.c the choice. Every function works on ONE member of a fleet, on the caller's thread, and gives the same bits
 * whatever the fleet, the batch and the padding around it.
 */
#ifndef EAB_KERNELS_CPU_KERNELS_H
#define EAB_KERNELS_CPU_KERNELS_H

#include "../backend.h"
#include "elementwise.h"

/* Memory that a device's kernels share: grown when a call needs more, never shrunk, aligned to 64 bytes. Once grown,
 * a step allocates nothing. Zero-initialise; contents are lost between calls. */
typedef struct {
    void *memory;
    size_t bytes;
} eab_cpu_workspace;

/* Makes workspace->memory at least `bytes` long; EAB_NO_MEMORY (and the old memory kept) if it cannot be. */
int eab_cpu_workspace_reserve(eab_cpu_workspace *workspace, size_t bytes);
void eab_cpu_workspace_free(eab_cpu_workspace *workspace);

typedef struct eab_cpu_kernels {
    const char *isa; /* "base", "avx2", "avx512" */
    int32_t lanes;   /* floats in a vector */

    /* Member `member` of the product: backend.h. Fails only for want of memory. */
    int (*gemm)(eab_cpu_workspace *, const eab_gemm *, int32_t member);

    /* Attention of one member; q, k, v, out, ... point at its own data, laid out as eab_attention_args says; row_stat
     * [batch][heads][context] may be NULL in the forward pass. Fails only for want of memory. */
    int (*attention_forward)(eab_cpu_workspace *, const eab_attention_args *, int32_t member, const float *q,
                             const float *k, const float *v, float *out, float *row_stat);
    int (*attention_backward)(eab_cpu_workspace *, const eab_attention_args *, int32_t member, const float *q,
                              const float *k, const float *v, const float *out, const float *row_stat,
                              const float *dout, float *dq, float *dk, float *dv);

    /* backend.h, of one member. */
    void (*scores_forward)(const eab_attention_args *, int32_t member, const float *scores, float *weights);
    void (*scores_backward)(const eab_attention_args *, int32_t member, const float *scores, const float *weights,
                            float *dweights);

    /* Runs fused multiply-adds held in registers and returns how many FLOPs they were, at least `flop`: over the time
     * it took, the level's peak. */
    double (*peak_loop)(double flop);

    const eab_cpu_elementwise *elementwise; /* what stands between the products */
} eab_cpu_kernels;

/* The kernels of the best level that this processor has, or of the one that EAB_ISA=base|avx2|avx512 names; NULL, with
 * a line for eab_last_error, if EAB_ISA is unknown or this processor lacks it. Decided once a process, thread-safe. */
const eab_cpu_kernels *eab_cpu_kernels_get(void);

/* The levels of this build, best last: level 0, 1, ...; NULL past the last, or where this processor lacks the level. */
const eab_cpu_kernels *eab_cpu_kernels_at(int level);

#endif
