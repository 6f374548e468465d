/* The SIMD levels, and which of them this processor has. */
#ifndef EAB_KERNELS_CPU_ISA_H
#define EAB_KERNELS_CPU_ISA_H

#include <stdbool.h>

/* Levels in rising order: "base" always; on x86-64 "avx2" (with FMA) and "avx512" (F, BW, DQ, VL). */
typedef enum { EAB_ISA_BASE, EAB_ISA_AVX2, EAB_ISA_AVX512, EAB_ISA_COUNT } eab_isa;

/* Whether this build has the level, and this processor and operating system can run it. */
bool eab_isa_available(eab_isa isa);

const char *eab_isa_name(eab_isa isa);

/* The level for EAB_ISA = `wanted`, or the best if it is NULL or empty. Returns 0 or EAB_BAD_INPUT. */
int eab_isa_choose(const char *wanted, eab_isa *chosen);

#endif
