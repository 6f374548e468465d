/* modular: equations a + b = c modulo a number, with a fixed split of all pairs (a, b).
 *
 * Source: the setting of Power et al., arXiv 2201.02177 (grokking): a model trains on some of the equations and is
 * evaluated on the others. Tokens 0..modulus-1 are numbers, then one token for the operation (`+`, `-` or `*`) and `=`.
 *
 * A sequence is as many whole equations of five tokens, a + b = c, as fit; the remaining tokens are `=`. With context =
 * 4 it is one equation. c is determined, everything else is not scored. (In a sequence of several equations a pair may
 * occur twice; its second answer can then be copied.)
 *
 * A hash fixed by the level selects test_percent of the pairs for evaluation: evaluation uses these pairs only,
 * training the others only. A pair and its mirror image are on the same side where the operation is commutative. With 0
 * there is no such split.
 */
#ifndef EAB_TASKS_MODULAR_H
#define EAB_TASKS_MODULAR_H

#include "draw.h"

enum { EAB_MODULAR_MODULUS, EAB_MODULAR_OPERATION, EAB_MODULAR_TEST_PERCENT };
enum { EAB_MODULAR_ADD, EAB_MODULAR_SUBTRACT, EAB_MODULAR_MULTIPLY };
enum {
    EAB_MODULAR_LENGTH = 5, /* of an equation */
    EAB_MODULAR_TAG = 3,
    /* check() sees to it that each side has a pair; it is one of at most about 100 in `test_percent`, or one of
     * modulus^2. */
    EAB_MODULAR_MAX_ATTEMPTS = 1 << 16
};

/* Whether the pair is kept for evaluation. */
EAB_HOST_DEVICE static inline int eab_modular_is_test(const eab_level *level, int32_t a, int32_t b) {
    const int32_t operation = level->option[EAB_MODULAR_OPERATION], percent = level->option[EAB_MODULAR_TEST_PERCENT];
    const int mirror = operation != EAB_MODULAR_SUBTRACT && a > b;
    eab_random random = eab_random_at((uint32_t)level->option[EAB_MODULAR_MODULUS], EAB_MODULAR_TAG,
                                      (uint32_t)operation, (uint32_t)(mirror ? b : a), (uint32_t)(mirror ? a : b));
    return eab_random_below(&random, 100) < percent;
}

EAB_HOST_DEVICE static inline void eab_modular_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                        int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t modulus = level->option[EAB_MODULAR_MODULUS], operation = level->option[EAB_MODULAR_OPERATION];
    const int split = level->option[EAB_MODULAR_TEST_PERCENT] > 0, wants_test = stream != EAB_STREAM_TRAINING;
    for (int32_t t = 0; t < length; t++) {
        tokens[t] = modulus + 1;
        determined[t] = 0;
    }
    for (int32_t first = 0; first + EAB_MODULAR_LENGTH <= length; first += EAB_MODULAR_LENGTH) {
        int32_t a = 0, b = 0;
        for (int32_t attempt = 0; attempt < EAB_MODULAR_MAX_ATTEMPTS; attempt++) {
            a = eab_random_below(random, modulus);
            b = eab_random_below(random, modulus);
            if (!split || eab_modular_is_test(level, a, b) == wants_test) break;
        }
        tokens[first] = a;
        tokens[first + 1] = modulus;
        tokens[first + 2] = b;
        tokens[first + 4] = (operation == EAB_MODULAR_ADD        ? a + b
                             : operation == EAB_MODULAR_SUBTRACT ? a - b + modulus
                                                                 : a * b) %
                            modulus;
        determined[first + 4] = 1;
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t modular_vocab(const eab_level *level) { return level->option[EAB_MODULAR_MODULUS] + 2; }

/* Each equation has one of the pairs that training may show: all modulus^2, or with a split as many as are counted
 * here. */
static double modular_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t modulus = level->option[EAB_MODULAR_MODULUS];
    const int32_t equations = (context + 1) / EAB_MODULAR_LENGTH;
    int32_t pairs = modulus * modulus;
    if (level->option[EAB_MODULAR_TEST_PERCENT] > 0)
        for (int32_t a = 0; a < modulus; a++)
            for (int32_t b = 0; b < modulus; b++) pairs -= eab_modular_is_test(level, a, b);
    return equations * log2(pairs);
}

/* A uniform guess among the numbers. */
static double modular_chance_accuracy(const eab_level *level) { return 1.0 / level->option[EAB_MODULAR_MODULUS]; }

static bool modular_check(const eab_level *level, int32_t context, char *message, size_t size) {
    const int32_t modulus = level->option[EAB_MODULAR_MODULUS], percent = level->option[EAB_MODULAR_TEST_PERCENT];
    bool side[2] = {percent == 0, percent == 0};
    for (int32_t a = 0; a < modulus && !(side[0] && side[1]); a++)
        for (int32_t b = 0; b < modulus; b++) side[eab_modular_is_test(level, a, b)] = true;
    if (!(side[0] && side[1])) {
        snprintf(message, size, "test_percent = %d leaves no pair %s of the %d; allowed: 0, or a share nearer to 50",
                 percent, side[0] ? "to ask" : "to train on", modulus * modulus);
        return false;
    }
    return eab_check_length(EAB_MODULAR_LENGTH, context, "an equation", message, size);
}

static bool modular_splits(const eab_level *level) { return level->option[EAB_MODULAR_TEST_PERCENT] > 0; }

static void modular_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const int32_t modulus = level->option[EAB_MODULAR_MODULUS];
    if (token < modulus) snprintf(name, size, "%d", token);
    else snprintf(name, size, "%c", token == modulus ? "+-*"[level->option[EAB_MODULAR_OPERATION]] : '=');
}

static const char *const modular_operations[] = {"add", "subtract", "multiply", NULL};

/* a and b. */
static void modular_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    (void)level, (void)tokens;
    positions[target - 4] = positions[target - 2] = 1;
}

static const eab_task modular_task = {
    .name = "modular",
    .summary = "equations a + b = c modulo a number; evaluation uses pairs that training never shows",
    .options = {{"modulus", 31, 2, 1024, true, "numbers are taken modulo this", NULL},
                {"operation", EAB_MODULAR_ADD, 0, 2, true, "the operation on a and b", modular_operations},
                {"test_percent", 50, 0, 99, true, "share of all pairs that only evaluation uses; 0: no split", NULL}},
    .option_count = 3,
    .vocab = modular_vocab,
    .complexity_bits = modular_complexity_bits,
    .chance_accuracy = modular_chance_accuracy,
    .check = modular_check,
    .determining = modular_determining,
    .splits = modular_splits,
    .token_name = modular_token_name,
};
#endif

#endif
