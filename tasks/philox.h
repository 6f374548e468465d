/* Philox4x32-10, a counter-based random number generator.
 *
 * Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011: ten rounds, multipliers
 * 0xD2511F53 and 0xCD9E8D57, key increments 0x9E3779B9 (golden ratio) and 0xBB67AE85 (sqrt(3) - 1).
 *
 * A pure function of (key, counter): no state to carry, so any backend, worker or fleet that asks for the same
 * draw gets the same bits. Integer arithmetic only; usable from C and CUDA.
 */
#ifndef EAB_TASKS_PHILOX_H
#define EAB_TASKS_PHILOX_H

#include <stdint.h>

#ifdef __CUDACC__
#define EAB_HOST_DEVICE __host__ __device__
#else
#define EAB_HOST_DEVICE
#endif

typedef struct {
    uint32_t word[4];
} eab_philox_block;

/* The four output words for a 128-bit counter and a 64-bit key. */
EAB_HOST_DEVICE static inline eab_philox_block eab_philox(eab_philox_block counter, uint32_t key0, uint32_t key1) {
    for (int round = 0; round < 10; round++) {
        const uint64_t product0 = (uint64_t)0xD2511F53u * counter.word[0];
        const uint64_t product1 = (uint64_t)0xCD9E8D57u * counter.word[2];
        const eab_philox_block next = {{(uint32_t)(product1 >> 32) ^ counter.word[1] ^ key0, (uint32_t)product1,
                                        (uint32_t)(product0 >> 32) ^ counter.word[3] ^ key1, (uint32_t)product0}};
        counter = next;
        key0 += 0x9E3779B9u;
        key1 += 0xBB67AE85u;
    }
    return counter;
}

/* A cursor over the draws of one (key, counter prefix): word 0 of the counter numbers the blocks of four draws. */
typedef struct {
    eab_philox_block counter, output;
    uint32_t key0, key1;
    uint32_t used; /* words of `output` handed out; 4: a new block is due */
} eab_random;

EAB_HOST_DEVICE static inline eab_random eab_random_at(uint32_t key0, uint32_t key1, uint32_t counter1,
                                                       uint32_t counter2, uint32_t counter3) {
    const eab_random random = {{{0, counter1, counter2, counter3}}, {{0, 0, 0, 0}}, key0, key1, 4};
    return random;
}

EAB_HOST_DEVICE static inline uint32_t eab_random_word(eab_random *random) {
    if (random->used == 4) {
        random->output = eab_philox(random->counter, random->key0, random->key1);
        random->counter.word[0]++;
        random->used = 0;
    }
    return random->output.word[random->used++];
}

/* Uniform in 0..bound-1 by multiplication; the bias is at most bound / 2^32, that is below 2e-6 for bound <= 8192. */
EAB_HOST_DEVICE static inline int32_t eab_random_below(eab_random *random, int32_t bound) {
    return (int32_t)(((uint64_t)eab_random_word(random) * (uint64_t)(uint32_t)bound) >> 32);
}

#endif
