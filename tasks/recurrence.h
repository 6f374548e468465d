/* recurrence: after `delay` random first tokens, each token follows from the previous one and the one `delay` back.
 *
 *   rule = linear    x_t = (a x_{t-1} + b x_{t-delay}) mod basis. With table_seed = 0, a and b are the options.
 *                    Any other table_seed draws both, uniformly among the numbers coprime to basis, so that neither
 *                    term vanishes.
 *   rule = product   x_t = (u(x_{t-1}) x_{t-delay} + b) mod basis; u(x) = x if x is coprime to basis, else 1. The plain
 *                    product would reach 0 and stay there. u is always invertible, so for delay >= 2 the map from
 *                    `delay` tokens to the next `delay` is one to one and the tokens stay uniform.
 *   rule = table     x_t = f(x_{t-1}, x_{t-delay}); f is a table of random entries that table_seed fixes. No table is
 *                    stored: an entry is a Philox draw at (table_seed, basis, both arguments).
 *
 * The first tokens are free, all later ones determined. A level has basis^delay distinct sequences: its complexity is
 * delay * log2(basis) bits. Integer arithmetic only, so every backend produces the same bits.
 */
#ifndef EAB_TASKS_RECURRENCE_H
#define EAB_TASKS_RECURRENCE_H

#include "draw.h"

enum {
    EAB_RECURRENCE_BASIS,
    EAB_RECURRENCE_DELAY,
    EAB_RECURRENCE_A,
    EAB_RECURRENCE_B,
    EAB_RECURRENCE_RULE,
    EAB_RECURRENCE_TABLE_SEED
};
enum { EAB_RECURRENCE_LINEAR, EAB_RECURRENCE_PRODUCT, EAB_RECURRENCE_TABLE };
enum { EAB_RECURRENCE_COEFFICIENTS_TAG = 1, EAB_RECURRENCE_ENTRIES_TAG = 2 }; /* two uses of one table_seed */

EAB_HOST_DEVICE static inline int eab_recurrence_coprime(int32_t x, int32_t basis) {
    while (x) {
        const int32_t rest = basis % x;
        basis = x;
        x = rest;
    }
    return basis == 1;
}

/* At least 0.22 of the numbers below 1024 are coprime to it, whatever the basis: 64 attempts miss with p < 1e-7. */
EAB_HOST_DEVICE static inline int32_t eab_recurrence_coefficient(eab_random *random, int32_t basis) {
    for (int attempt = 0; attempt < 64; attempt++) {
        const int32_t x = eab_random_below(random, basis);
        if (eab_recurrence_coprime(x, basis)) return x;
    }
    return 1;
}

/* a and b of a linear level. */
EAB_HOST_DEVICE static inline void eab_recurrence_coefficients(const eab_level *level, int32_t *a, int32_t *b) {
    const int32_t seed = level->option[EAB_RECURRENCE_TABLE_SEED], basis = level->option[EAB_RECURRENCE_BASIS];
    *a = level->option[EAB_RECURRENCE_A];
    *b = level->option[EAB_RECURRENCE_B];
    if (level->option[EAB_RECURRENCE_RULE] != EAB_RECURRENCE_LINEAR || seed == 0) return;
    eab_random random = eab_random_at((uint32_t)seed, EAB_RECURRENCE_COEFFICIENTS_TAG, (uint32_t)basis,
                                      (uint32_t)level->option[EAB_RECURRENCE_DELAY], 0);
    *a = eab_recurrence_coefficient(&random, basis);
    *b = eab_recurrence_coefficient(&random, basis);
}

EAB_HOST_DEVICE static inline int32_t eab_recurrence_entry(int32_t seed, int32_t basis, int32_t x, int32_t y) {
    eab_random random =
        eab_random_at((uint32_t)seed, EAB_RECURRENCE_ENTRIES_TAG, (uint32_t)basis, (uint32_t)x, (uint32_t)y);
    return eab_random_below(&random, basis);
}

/* Writes tokens[0..length) and determined[0..length) (0 or 1). The same for every stream. */
EAB_HOST_DEVICE static inline void eab_recurrence_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                           int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t basis = level->option[EAB_RECURRENCE_BASIS], delay = level->option[EAB_RECURRENCE_DELAY];
    const int32_t rule = level->option[EAB_RECURRENCE_RULE], seed = level->option[EAB_RECURRENCE_TABLE_SEED];
    int32_t a, b;
    (void)stream;
    eab_recurrence_coefficients(level, &a, &b);
    for (int32_t t = 0; t < length; t++) {
        determined[t] = t >= delay;
        if (t < delay) {
            tokens[t] = eab_random_below(random, basis);
            continue;
        }
        const int32_t last = tokens[t - 1], delayed = tokens[t - delay];
        if (rule == EAB_RECURRENCE_LINEAR) tokens[t] = (a * last + b * delayed) % basis;
        else if (rule == EAB_RECURRENCE_PRODUCT)
            tokens[t] = ((eab_recurrence_coprime(last, basis) ? last : 1) * delayed + b) % basis;
        else tokens[t] = eab_recurrence_entry(seed, basis, last, delayed);
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t recurrence_vocab(const eab_level *level) { return level->option[EAB_RECURRENCE_BASIS]; }

/* The first `delay` tokens are any, and all others follow from them. */
static double recurrence_complexity_bits(const eab_level *level, int32_t context) {
    (void)context;
    return level->option[EAB_RECURRENCE_DELAY] * log2(level->option[EAB_RECURRENCE_BASIS]);
}

static double recurrence_chance_accuracy(const eab_level *level) { return 1.0 / level->option[EAB_RECURRENCE_BASIS]; }

/* What a rule does not use stays at its default, so that no two names mean one level. */
static bool recurrence_check_rule(const eab_level *level, char *message, size_t size) {
    const int32_t *option = level->option, seed = option[EAB_RECURRENCE_TABLE_SEED];
    const bool default_a = option[EAB_RECURRENCE_A] == 1, default_b = option[EAB_RECURRENCE_B] == 1;
    switch (option[EAB_RECURRENCE_RULE]) {
        case EAB_RECURRENCE_LINEAR:
            if (seed == 0 || (default_a && default_b)) return true;
            snprintf(message, size,
                     "a = %d, b = %d, table_seed = %d: the seed draws a and b; allowed: table_seed = 0, or "
                     "a = 1 and b = 1",
                     option[EAB_RECURRENCE_A], option[EAB_RECURRENCE_B], seed);
            return false;
        case EAB_RECURRENCE_PRODUCT:
            if (seed == 0 && default_a) return true;
            snprintf(message, size,
                     "rule = product has neither a (= %d) nor table_seed (= %d); allowed: a = 1 and "
                     "table_seed = 0",
                     option[EAB_RECURRENCE_A], seed);
            return false;
        default:
            if (default_a && default_b) return true;
            snprintf(message, size, "rule = table has neither a (= %d) nor b (= %d); allowed: a = 1 and b = 1",
                     option[EAB_RECURRENCE_A], option[EAB_RECURRENCE_B]);
            return false;
    }
}

static bool recurrence_check(const eab_level *level, int32_t context, char *message, size_t size) {
    const int32_t basis = level->option[EAB_RECURRENCE_BASIS];
    if (level->option[EAB_RECURRENCE_DELAY] >= context) {
        snprintf(message, size, "delay = %d leaves nothing to predict in context = %d; allowed: 1..%d",
                 level->option[EAB_RECURRENCE_DELAY], context, context - 1);
        return false;
    }
    for (int i = EAB_RECURRENCE_A; i <= EAB_RECURRENCE_B; i++)
        if (level->option[i] >= basis) {
            snprintf(message, size, "%s = %d; allowed: 0..%d (basis - 1)", i == EAB_RECURRENCE_A ? "a" : "b",
                     level->option[i], basis - 1);
            return false;
        }
    return recurrence_check_rule(level, message, size);
}

/* The two tokens of the formula; one whose factor is 0 says nothing. */
static void recurrence_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    (void)tokens;
    const bool linear = level->option[EAB_RECURRENCE_RULE] == EAB_RECURRENCE_LINEAR;
    if (!linear || level->option[EAB_RECURRENCE_A]) positions[target - 1] = 1;
    if (!linear || level->option[EAB_RECURRENCE_B]) positions[target - level->option[EAB_RECURRENCE_DELAY]] = 1;
}

static const char *const recurrence_rules[] = {"linear", "product", "table", NULL};

static const eab_task recurrence_task = {
    .name = "recurrence",
    .summary =
        "x_t = (a x_{t-1} + b x_{t-delay}) mod basis, or another rule of the two, after `delay` random first tokens",
    .options = {{"basis", 8, 2, 1024, true, "tokens are numbers modulo basis", NULL},
                {"delay", 4, 1, 65535, true, "how far back the recurrence reaches; below context", NULL},
                {"a", 1, 0, 1023, false, "factor of the previous token; below basis", NULL},
                {"b", 1, 0, 1023, false, "factor of the delayed token (product: what is added); below basis", NULL},
                {"rule", EAB_RECURRENCE_LINEAR, 0, 2, false, "how the two tokens make the next", recurrence_rules},
                {"table_seed", 0, 0, 1000000, false, "linear: above 0 it draws a and b; table: which table", NULL}},
    .option_count = 6,
    .vocab = recurrence_vocab,
    .complexity_bits = recurrence_complexity_bits,
    .chance_accuracy = recurrence_chance_accuracy,
    .check = recurrence_check,
    .determining = recurrence_determining,
};
#endif

#endif
