/* The peak of a level: multiply-adds on registers. 24 (of 32 registers) or 12 (of 16) independent sums: more than
 * latency times throughput on any current core (4 to 5 cycles, 2 a cycle), so that the units are the limit. Without
 * fused multiply-add (base on x86-64) a multiplication and an addition count as its two operations. */
#include "level.h"
#include "product.h"

enum { SUMS = EAB_TILE_ROWS * EAB_TILE_VECTORS, REPEATS = 8 };

double EAB_ISA_NAME(eab_peak_loop)(double flop) {
    eab_vec sum[SUMS], factor = eab_splat(0.5f), term = eab_splat(1);
    /* Unrolled here and below: a variable index would put the sums into memory. */
    EAB_UNROLL
    for (int i = 0; i < SUMS; i++) sum[i] = eab_splat((float)i);
    const double flop_per_round = 2.0 * EAB_LANES * SUMS * REPEATS;
    const int64_t rounds = (int64_t)(flop / flop_per_round) + 1;
    for (int64_t round = 0; round < rounds; round++) {
        __asm__ volatile("" : "+m"(factor), "+m"(term)); /* hides their values from the compiler */
        const eab_vec f = factor, t = term;
        EAB_UNROLL
        for (int repeat = 0; repeat < REPEATS; repeat++) {
            EAB_UNROLL
            for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * f + t;
        }
    }
    eab_vec total = sum[0];
    EAB_UNROLL
    for (int i = 1; i < SUMS; i++) total += sum[i];
    __asm__ volatile("" : "+m"(total)); /* keeps the results */
    return (double)rounds * flop_per_round;
}
