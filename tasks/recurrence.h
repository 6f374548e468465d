/* recurrence: x_t = (a x_{t-1} + b x_{t-delay}) mod basis, after `delay` random first tokens.
 *
 * The first tokens are free, all later ones determined. A level has basis^delay distinct sequences, so its
 * complexity is delay * log2(basis) bits. Integer arithmetic only: the same bits on every backend.
 */
#ifndef EAB_TASKS_RECURRENCE_H
#define EAB_TASKS_RECURRENCE_H

#include "level.h"

enum { EAB_RECURRENCE_BASIS, EAB_RECURRENCE_DELAY, EAB_RECURRENCE_A, EAB_RECURRENCE_B };

/* Writes tokens[0..length) and determined[0..length) (0 or 1). */
EAB_HOST_DEVICE static inline void eab_recurrence_generate(const eab_level *level, eab_random *random, int32_t length,
                                                           int32_t *tokens, uint8_t *determined) {
    const int32_t basis = level->option[EAB_RECURRENCE_BASIS], delay = level->option[EAB_RECURRENCE_DELAY];
    const int32_t a = level->option[EAB_RECURRENCE_A], b = level->option[EAB_RECURRENCE_B];
    for (int32_t t = 0; t < length; t++) {
        determined[t] = t >= delay;
        tokens[t] = t >= delay ? (a * tokens[t - 1] + b * tokens[t - delay]) % basis : eab_random_below(random, basis);
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */
#include "descriptor.h"

static int32_t recurrence_vocab(const eab_level *level) { return level->option[EAB_RECURRENCE_BASIS]; }

static double recurrence_complexity_bits(const eab_level *level) {
    return level->option[EAB_RECURRENCE_DELAY] * log2(level->option[EAB_RECURRENCE_BASIS]);
}

static double recurrence_chance_accuracy(const eab_level *level) { return 1.0 / level->option[EAB_RECURRENCE_BASIS]; }

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
    return true;
}

/* The two tokens of the formula; one whose factor is 0 says nothing. */
static void recurrence_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    (void)tokens;
    if (level->option[EAB_RECURRENCE_A]) positions[target - 1] = 1;
    if (level->option[EAB_RECURRENCE_B]) positions[target - level->option[EAB_RECURRENCE_DELAY]] = 1;
}

static const eab_task recurrence_task = {
    .name = "recurrence",
    .summary = "x_t = (a x_{t-1} + b x_{t-delay}) mod basis, after `delay` random first tokens",
    .options = {{"basis", 8, 2, 1024, true, "tokens are numbers modulo basis"},
                {"delay", 4, 1, 65535, true, "how far back the recurrence reaches; below context"},
                {"a", 1, 0, 1023, false, "factor of the previous token; below basis"},
                {"b", 1, 0, 1023, false, "factor of the delayed token; below basis"}},
    .option_count = 4,
    .vocab = recurrence_vocab,
    .complexity_bits = recurrence_complexity_bits,
    .chance_accuracy = recurrence_chance_accuracy,
    .check = recurrence_check,
    .determining = recurrence_determining,
};
#endif

#endif
