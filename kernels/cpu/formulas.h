/* The formulas of mechanism.h, on vectors. */
#ifndef EAB_KERNELS_CPU_FORMULAS_H
#define EAB_KERNELS_CPU_FORMULAS_H

#include "simd_math.h"

#define EAB_REAL eab_vec
#define EAB_REAL_MIN(x, limit) eab_min_vec(x, eab_splat(limit))
#define EAB_REAL_WITHIN(x, limit) eab_max_vec(eab_splat(-(limit)), eab_min_vec(x, eab_splat(limit)))
#define EAB_REAL_IF_BELOW(x, limit, value) eab_keep((x) < (limit), value)
#define EAB_REAL_EXP(x) eab_exp_vec(x)
#define EAB_REAL_LOG(x) eab_log_vec(x)
#include "../mechanism.h"

#endif
