/* The float32 kernels of the processor: one table of function pointers per SIMD level, chosen at run time.
 *
 * The functions of a level are compiled from gemm.c, attention*.c, elementwise.c and so on; level.c has the level's
 * table, isa.c chooses. Every function works on ONE member of a fleet, on the caller's thread, and gives the same bits
 * for any fleet, batch and padding.
 */
#ifndef EAB_KERNELS_CPU_KERNELS_H
#define EAB_KERNELS_CPU_KERNELS_H

#include "../backend.h"
#include "elementwise.h"

/* Scratch memory of a device's kernels, aligned to 64 bytes: grows when a call needs more and never shrinks, so that
 * steps stop allocating. Zero-initialise; contents are lost between calls. */
typedef struct {
    void *memory;
    size_t bytes;
} eab_cpu_workspace;

/* Makes workspace->memory at least `bytes` long. EAB_NO_MEMORY: the old memory is kept. */
int eab_cpu_workspace_reserve(eab_cpu_workspace *workspace, size_t bytes);
void eab_cpu_workspace_free(eab_cpu_workspace *workspace);

typedef struct eab_cpu_kernels {
    const char *isa; /* "base", "avx2", "avx512" */
    int32_t lanes;   /* floats in a vector */

    /* One member of the product (backend.h). EAB_NO_MEMORY is the only error. */
    int (*gemm)(eab_cpu_workspace *, const eab_gemm *, int32_t member);

    /* Attention of one member: q, k, v, out, ... point at that member's data, laid out as in eab_attention_args;
     * row_stat [batch][heads][context] may be NULL in the forward pass. EAB_NO_MEMORY is the only error. */
    int (*attention_forward)(eab_cpu_workspace *, const eab_attention_args *, int32_t member, const float *q,
                             const float *k, const float *v, float *out, float *row_stat);
    int (*attention_backward)(eab_cpu_workspace *, const eab_attention_args *, int32_t member, const float *q,
                              const float *k, const float *v, const float *out, const float *row_stat,
                              const float *dout, float *dq, float *dk, float *dv);

    /* One member of bench.h's operations. */
    void (*scores_forward)(const eab_attention_args *, int32_t member, const float *scores, float *weights);
    void (*scores_backward)(const eab_attention_args *, int32_t member, const float *scores, const float *weights,
                            float *dweights);

    /* Does at least `flop` FLOPs of multiply-adds in registers; returns their exact number. Divided by the time
     * taken, that is the level's peak. */
    double (*peak_loop)(double flop);

    const eab_cpu_elementwise *elementwise;
} eab_cpu_kernels;

/* The kernels of this processor's best level, or of the level EAB_ISA=base|avx2|avx512; NULL, with a line for
 * eab_last_error, if EAB_ISA is unknown or this processor lacks it. Decided once per process; thread-safe. */
const eab_cpu_kernels *eab_cpu_kernels_get(void);

/* Level 0, 1, ... of this build, best last; NULL past the last, or if this processor lacks it. */
const eab_cpu_kernels *eab_cpu_kernels_at(int level);

#endif
