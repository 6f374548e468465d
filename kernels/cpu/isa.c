#include "isa.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

static const char *const names[EAB_ISA_COUNT] = {"base", "avx2", "avx512"};

bool eab_isa_available(eab_isa isa) {
    switch (isa) {
        case EAB_ISA_BASE: return true;
#if defined(__x86_64__)
        case EAB_ISA_AVX2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        case EAB_ISA_AVX512:
#ifdef EAB_EMULATE_AVX512
            return eab_isa_available(EAB_ISA_AVX2);
#else
            return eab_isa_available(EAB_ISA_AVX2) && __builtin_cpu_supports("avx512f") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512vl");
#endif
#endif
        default: return false;
    }
}

const char *eab_isa_name(eab_isa isa) { return names[isa]; }

int eab_isa_choose(const char *wanted, eab_isa *chosen) {
    const bool any = !wanted || !*wanted;
    for (int isa = EAB_ISA_COUNT - 1; isa >= 0; isa--) {
        if (!any && strcmp(wanted, names[isa])) continue;
        if (eab_isa_available((eab_isa)isa)) {
            *chosen = (eab_isa)isa;
            return EAB_OK;
        }
        if (!any) return eab_fail(EAB_BAD_INPUT, "EAB_ISA=%s: this processor or build lacks it", wanted);
    }
    return eab_fail(EAB_BAD_INPUT, "EAB_ISA=%.40s is unknown; allowed: base, avx2, avx512", wanted);
}

extern const eab_cpu_kernels eab_cpu_kernels_base;
#if defined(__x86_64__)
extern const eab_cpu_kernels eab_cpu_kernels_avx2, eab_cpu_kernels_avx512;
#endif

const eab_cpu_kernels *eab_cpu_kernels_at(int level) {
    static const eab_cpu_kernels *const tables[] = {
        &eab_cpu_kernels_base,
#if defined(__x86_64__)
        &eab_cpu_kernels_avx2,
        &eab_cpu_kernels_avx512,
#endif
    };
    const int count = (int)(sizeof tables / sizeof *tables);
    return level >= 0 && level < count && eab_isa_available((eab_isa)level) ? tables[level] : NULL;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char wanted[64]; /* EAB_ISA at the first call; a longer value is unknown even when cut */
static const eab_cpu_kernels *kernels;

static void decide(void) {
    eab_isa isa = EAB_ISA_BASE;
    const char *text = getenv("EAB_ISA");
    if (text) strncpy(wanted, text, sizeof wanted - 1);
    if (!eab_isa_choose(wanted, &isa)) kernels = eab_cpu_kernels_at((int)isa);
}

const eab_cpu_kernels *eab_cpu_kernels_get(void) {
    pthread_once(&once, decide);
    eab_isa isa;
    if (!kernels) eab_isa_choose(wanted, &isa); /* sets eab_last_error of this thread */
    return kernels;
}
