#include "float_sweep.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/kernels.h"

const math_level *math_level_at(int level) {
    static const math_level *const levels[] = {
        &math_level_base,
#if defined(__x86_64__)
        &math_level_avx2,
        &math_level_avx512,
#endif
    };
    return eab_cpu_kernels_at(level) ? levels[level] : NULL;
}

uint32_t sweep_step(void) {
    const char *text = getenv("EAB_FLOAT_STEP");
    const long step = text ? strtol(text, NULL, 10) : 0;
    return step > 0 && step <= 1000000 ? (uint32_t)step : 7;
}

double ulp_of(double exact) {
    const double size = fabs(exact);
    uint64_t bits;
    memcpy(&bits, &size, sizeof bits);
    bits &= 0x7FF0000000000000u; /* a power of two */
    double power;
    memcpy(&power, &bits, sizeof power);
    return fmax(power, 0x1p-126) * 0x1p-23;
}

static void compare(const float *x, const float *y, const double *exact, const double *unit, int count,
                    sweep_result *result, int which) {
    for (int i = 0; i < count; i++) {
        const double difference = fabs((double)y[i] - exact[i]);
        /* !(<=): an unexpected NaN is an error over every bound */
        if (unit[i] > 0 && !(difference <= result->worst[which] * unit[i])) {
            result->worst[which] = difference >= 0 ? difference / unit[i] : (double)INFINITY;
            result->at[which] = x[i];
        }
    }
}

void sweep_floats(uint32_t first, uint32_t last, uint32_t step, sweep_function function, sweep_exact exact,
                  sweep_result results[3]) {
    static float x[SWEEP_BLOCK], y[SWEEP_RESULTS][SWEEP_BLOCK];
    static double expected[SWEEP_RESULTS][SWEEP_BLOCK], unit[SWEEP_RESULTS][SWEEP_BLOCK];
    for (uint64_t from = first; from <= last; from += (uint64_t)step * SWEEP_BLOCK) {
        int count = 0;
        for (uint64_t bits = from; count < SWEEP_BLOCK && bits <= last; bits += step) {
            const uint32_t word = (uint32_t)bits;
            memcpy(&x[count++], &word, sizeof word);
        }
        for (int i = count; i < SWEEP_BLOCK; i++) x[i] = x[0];
        for (int i = 0; i < count; i++) {
            double values[SWEEP_RESULTS] = {0}, units[SWEEP_RESULTS] = {0};
            exact((double)x[i], values, units);
            for (int which = 0; which < SWEEP_RESULTS; which++) {
                expected[which][i] = values[which];
                unit[which][i] = units[which];
            }
        }
        for (int level = 0; level < 3; level++) {
            const math_level *functions = math_level_at(level);
            if (!functions) continue;
            function(functions, x, y[0], y[1]);
            for (int which = 0; which < SWEEP_RESULTS; which++)
                compare(x, y[which], expected[which], unit[which], count, &results[level], which);
            results[level].count += count;
        }
    }
}
