/* The kernels' elementary functions over every float, at each SIMD level, compared with the C library in float64. */
#ifndef EAB_TESTS_KERNELS_FLOAT_SWEEP_H
#define EAB_TESTS_KERNELS_FLOAT_SWEEP_H

#include <stdbool.h>
#include <stdint.h>

enum { SWEEP_BLOCK = 4096, SWEEP_RESULTS = 2 };

/* One level's functions, each for SWEEP_BLOCK numbers; compiled once per level (math_level.c). y2: a second result. */
typedef struct {
    const char *isa;
    void (*exponential)(const float *x, float *y, float *y2);
    void (*exponential_negative)(const float *x, float *y, float *y2);
    void (*logarithm)(const float *x, float *y, float *y2);
    void (*inverse_sqrt)(const float *x, float *y, float *y2);
    void (*gelu)(const float *x, float *y, float *y2); /* and its slope */
} math_level;

extern const math_level math_level_base;
#if defined(__x86_64__)
extern const math_level math_level_avx2, math_level_avx512;
#endif

typedef struct {
    double worst[SWEEP_RESULTS]; /* the largest error, in units of sweep_exact */
    float at[SWEEP_RESULTS];     /* the x of the largest error */
    int64_t count;
} sweep_result;

typedef void (*sweep_function)(const math_level *level, const float *x, float *y, float *y2);

/* exact[result] = f(x) in float64; unit[result]: the unit of its error; 0: not compared. */
typedef void (*sweep_exact)(double x, double exact[SWEEP_RESULTS], double unit[SWEEP_RESULTS]);

/* Compares f at all floats with bits first, first + step, ... up to last, at every level of this machine;
 * results[level]. */
void sweep_floats(uint32_t first, uint32_t last, uint32_t step, sweep_function function, sweep_exact exact,
                  sweep_result results[3]);

/* Level 0, 1, 2, or NULL where this machine lacks it. */
const math_level *math_level_at(int level);

/* EAB_FLOAT_STEP (default 7): every how many floats one is compared; 1: all. */
uint32_t sweep_step(void);

double ulp_of(double exact); /* the unit in the last place of a float of this size */

#endif
