/* simd_math.h at one SIMD level. */
#include <math.h>

#include "float_sweep.h"
#include "kernels/cpu/simd_math.h"

static void exponential(const float *x, float *y, float *y2) {
    for (int i = 0; i < SWEEP_BLOCK; i += EAB_LANES) eab_store(y + i, eab_exp_vec(eab_load(x + i)));
    for (int i = 0; i < SWEEP_BLOCK; i++) y2[i] = eab_expf_lane(x[i]);
}

static void exponential_negative(const float *x, float *y, float *y2) {
    (void)y2;
    for (int i = 0; i < SWEEP_BLOCK; i += EAB_LANES) eab_store(y + i, eab_exp_negative_vec(eab_load(x + i)));
}

static void logarithm(const float *x, float *y, float *y2) {
    (void)y2;
    for (int i = 0; i < SWEEP_BLOCK; i += EAB_LANES) eab_store(y + i, eab_log_vec(eab_load(x + i)));
}

static void inverse_sqrt(const float *x, float *y, float *y2) {
    (void)y2;
    for (int i = 0; i < SWEEP_BLOCK; i++) y[i] = eab_inverse_sqrt(x[i]);
}

static void gelu(const float *x, float *y, float *y2) {
    for (int i = 0; i < SWEEP_BLOCK; i += EAB_LANES) {
        eab_vec value = eab_load(x + i), slope;
        eab_gelu_vecs(1, &value, &slope);
        eab_store(y + i, value);
        eab_store(y2 + i, slope);
    }
}

extern const math_level EAB_ISA_NAME(math_level);
const math_level EAB_ISA_NAME(math_level) = {EAB_ISA_TEXT, exponential,  exponential_negative,
                                             logarithm,    inverse_sqrt, gelu};
