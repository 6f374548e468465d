/* congruential: linear congruential sequences, whose factor and increment each sequence draws anew.
 *
 * Source: Tao, Doshi, Kalra, He, Barkeshli, arXiv 2502.10390: x_{t+1} = a x_t + c modulo m. A model can only infer a
 * and c from the sequence, and is evaluated on factors that it was not trained on.
 *
 * Tokens are the numbers 0..modulus-1. x_0 is uniform, and so are a and c among
 *
 *   period = any    1 <= a < modulus, 0 <= c < modulus
 *   period = full   those whose sequences pass through all numbers (Hull and Dobell 1962: c coprime to the modulus, a-1
 *                   divisible by each prime that divides it, and by 4 if 4 divides it), except a = 1
 *
 * The source trains on any a and c above 0 and evaluates on a few with full period.
 *
 * All tokens from the fourth on are determined. The differences d_t = x_{t+1} - x_t obey d_{t+1} = a d_t. Two of them
 * give a modulo m / gcd(d_0, m), and all later ones are multiples of d_0, so this much of a suffices.
 *
 * A hash fixed by the level keeps test_percent of the factors for evaluation: evaluation uses these only, training the
 * others only. (A sequence may still be in both where gcd(d_0, m) > 1, most of all a constant one.) With 0 there is no
 * such split.
 */
#ifndef EAB_TASKS_CONGRUENTIAL_H
#define EAB_TASKS_CONGRUENTIAL_H

#include "draw.h"

enum { EAB_CONGRUENTIAL_MODULUS, EAB_CONGRUENTIAL_PERIOD, EAB_CONGRUENTIAL_TEST_PERCENT };
enum { EAB_CONGRUENTIAL_ANY, EAB_CONGRUENTIAL_FULL };
enum {
    EAB_CONGRUENTIAL_FREE = 3, /* tokens before the first determined one */
    EAB_CONGRUENTIAL_TAG = 4,
    EAB_CONGRUENTIAL_MAX_ATTEMPTS = 1 << 16 /* check() sees to it that each side has one of at most 1,023 factors */
};

EAB_HOST_DEVICE static inline int32_t eab_congruential_gcd(int32_t a, int32_t b) {
    while (b) {
        const int32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The factors are 1 + step, 1 + 2 step, ... below the modulus, and with any period also 1. */
EAB_HOST_DEVICE static inline int32_t eab_congruential_step(const eab_level *level) {
    const int32_t modulus = level->option[EAB_CONGRUENTIAL_MODULUS];
    int32_t step = modulus % 4 == 0 ? 2 : 1;
    if (level->option[EAB_CONGRUENTIAL_PERIOD] == EAB_CONGRUENTIAL_ANY) return 1;
    for (int32_t prime = 2, rest = modulus; rest > 1; prime++) {
        if (rest % prime) continue;
        step *= prime;
        while (rest % prime == 0) rest /= prime;
    }
    return step;
}

/* How many factors there are; 0 for a full period where 1 is the only one. */
EAB_HOST_DEVICE static inline int32_t eab_congruential_factors(const eab_level *level) {
    return level->option[EAB_CONGRUENTIAL_MODULUS] / eab_congruential_step(level) - 1;
}

/* Factor `index` of them. */
EAB_HOST_DEVICE static inline int32_t eab_congruential_factor(const eab_level *level, int32_t step, int32_t index) {
    return level->option[EAB_CONGRUENTIAL_PERIOD] == EAB_CONGRUENTIAL_ANY ? 1 + index : 1 + step * (1 + index);
}

/* Whether the factor is kept for evaluation. */
EAB_HOST_DEVICE static inline int eab_congruential_is_test(const eab_level *level, int32_t factor) {
    eab_random random =
        eab_random_at((uint32_t)level->option[EAB_CONGRUENTIAL_MODULUS], EAB_CONGRUENTIAL_TAG, (uint32_t)factor, 0, 0);
    return eab_random_below(&random, 100) < level->option[EAB_CONGRUENTIAL_TEST_PERCENT];
}

EAB_HOST_DEVICE static inline void eab_congruential_generate(const eab_level *level, uint32_t stream,
                                                             eab_random *random, int32_t length, int32_t *tokens,
                                                             uint8_t *determined) {
    const int32_t modulus = level->option[EAB_CONGRUENTIAL_MODULUS], step = eab_congruential_step(level);
    const int full = level->option[EAB_CONGRUENTIAL_PERIOD] == EAB_CONGRUENTIAL_FULL;
    const int split = level->option[EAB_CONGRUENTIAL_TEST_PERCENT] > 0, wants_test = stream != EAB_STREAM_TRAINING;
    int32_t a = 1, c = 1;
    for (int32_t attempt = 0; attempt < EAB_CONGRUENTIAL_MAX_ATTEMPTS; attempt++) {
        a = eab_congruential_factor(level, step, eab_random_below(random, eab_congruential_factors(level)));
        if (!split || eab_congruential_is_test(level, a) == wants_test) break;
    }
    for (int32_t attempt = 0; attempt < EAB_CONGRUENTIAL_MAX_ATTEMPTS; attempt++) {
        c = eab_random_below(random, modulus);
        if (!full || eab_congruential_gcd(c, modulus) == 1) break;
    }
    for (int32_t t = 0; t < length; t++) {
        tokens[t] = t ? (a * tokens[t - 1] + c) % modulus : eab_random_below(random, modulus);
        determined[t] = t >= EAB_CONGRUENTIAL_FREE;
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t congruential_vocab(const eab_level *level) { return level->option[EAB_CONGRUENTIAL_MODULUS]; }

/* A sequence is x_0, d_0 and d_1 = a d_0. Any period: c makes d_0 uniform; phi(n) values of d_0 have gcd(d_0, m) = m /
 * n, for each n that divides m, and then d_1 is one of as many values as the training factors have modulo n. Full
 * period: a - 1 and m share their primes, so d_0 is coprime to m, one of phi(m), and each factor gives another d_1. */
static double congruential_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t modulus = level->option[EAB_CONGRUENTIAL_MODULUS], step = eab_congruential_step(level);
    const int32_t factors = eab_congruential_factors(level);
    const bool full = level->option[EAB_CONGRUENTIAL_PERIOD] == EAB_CONGRUENTIAL_FULL;
    double sequences = 0;
    (void)context;
    for (int32_t n = full ? modulus : 1; n <= modulus; n++) {
        bool seen[1024] = {false};
        int32_t totient = 0, residues = 0;
        if (modulus % n) continue;
        for (int32_t i = 1; i <= n; i++) totient += eab_congruential_gcd(i, n) == 1;
        for (int32_t i = 0; i < factors; i++) {
            const int32_t factor = eab_congruential_factor(level, step, i), residue = factor % n;
            if (seen[residue] || eab_congruential_is_test(level, factor)) continue;
            seen[residue] = true;
            residues++;
        }
        sequences += (double)totient * residues;
    }
    return log2(sequences * modulus);
}

/* A uniform guess among the numbers. */
static double congruential_chance_accuracy(const eab_level *level) {
    return 1.0 / level->option[EAB_CONGRUENTIAL_MODULUS];
}

static bool congruential_check(const eab_level *level, int32_t context, char *message, size_t size) {
    const int32_t modulus = level->option[EAB_CONGRUENTIAL_MODULUS], step = eab_congruential_step(level);
    const int32_t factors = eab_congruential_factors(level), percent = level->option[EAB_CONGRUENTIAL_TEST_PERCENT];
    bool side[2] = {percent == 0, percent == 0};
    if (factors < 1) {
        snprintf(message, size,
                 "period = full, but modulus = %d has no factor besides 1; allowed: a modulus that 8 or the square of "
                 "an odd prime divides",
                 modulus);
        return false;
    }
    for (int32_t i = 0; i < factors; i++)
        side[eab_congruential_is_test(level, eab_congruential_factor(level, step, i))] = true;
    if (!(side[0] && side[1])) {
        snprintf(message, size, "test_percent = %d leaves no factor %s of the %d; allowed: 0, or a share nearer to 50",
                 percent, side[0] ? "to ask" : "to train on", factors);
        return false;
    }
    return eab_check_length(EAB_CONGRUENTIAL_FREE + 1, context, "a determined number", message, size);
}

static bool congruential_splits(const eab_level *level) { return level->option[EAB_CONGRUENTIAL_TEST_PERCENT] > 0; }

/* The three numbers before it. */
static void congruential_determining(const eab_level *level, const int32_t *tokens, int32_t target,
                                     uint8_t *positions) {
    (void)level, (void)tokens;
    for (int32_t back = 1; back <= EAB_CONGRUENTIAL_FREE; back++) positions[target - back] = 1;
}

static const char *const congruential_periods[] = {"any", "full", NULL};

static const eab_task congruential_task = {
    .name = "congruential",
    .summary =
        "x = a x + c modulo a number, with a and c drawn for each sequence; evaluation uses factors a of its own",
    .options = {{"modulus", 31, 3, 1024, true, "numbers are taken modulo this", NULL},
                {"period", EAB_CONGRUENTIAL_ANY, 0, 1, true, "a and c of any, or only of full period",
                 congruential_periods},
                {"test_percent", 25, 0, 99, true, "share of the factors that only evaluation uses; 0: no split", NULL}},
    .option_count = 3,
    .later_count = 2,
    .vocab = congruential_vocab,
    .complexity_bits = congruential_complexity_bits,
    .chance_accuracy = congruential_chance_accuracy,
    .check = congruential_check,
    .determining = congruential_determining,
    .splits = congruential_splits,
};
#endif

#endif
