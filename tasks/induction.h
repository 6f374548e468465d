/* induction: the symbol after the first trigger follows every later trigger.
 *
 * Source: the induction heads task as in Gu and Dao, arXiv 2312.00752 (Mamba), after Olsson et al., arXiv 2209.11895.
 * There the trigger returns once, as the last token: triggers = 2 and last = end. Here it appears `triggers` times.
 *
 * Tokens 0..symbols-1 are symbols, `symbols` is the trigger (shown as `!`). A sequence is random symbols and, at random
 * places, `triggers` pairs of the trigger and a symbol: after the first trigger any symbol, after each later one the
 * same symbol. That symbol is determined from the second trigger on; everything else is free. With last = end, the
 * last trigger and its symbol end the sequence.
 */
#ifndef EAB_TASKS_INDUCTION_H
#define EAB_TASKS_INDUCTION_H

#include "draw.h"

enum { EAB_INDUCTION_SYMBOLS, EAB_INDUCTION_TRIGGERS, EAB_INDUCTION_LAST };

EAB_HOST_DEVICE static inline void eab_induction_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                          int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t symbols = level->option[EAB_INDUCTION_SYMBOLS];
    int32_t triggers_left = level->option[EAB_INDUCTION_TRIGGERS];
    int32_t slots_left = length - triggers_left;            /* a slot is one symbol, or a trigger with its symbol */
    const int32_t kept = level->option[EAB_INDUCTION_LAST]; /* slots and triggers that are kept for the end */
    int32_t answer = -1;                                    /* unknown until the first trigger */
    int after_trigger = 0;
    (void)stream;
    for (int32_t t = 0; t < length; t++) {
        determined[t] = 0;
        if (after_trigger) {
            determined[t] = answer >= 0;
            if (answer < 0) answer = eab_random_below(random, symbols);
            tokens[t] = answer;
            after_trigger = 0;
        } else if (slots_left-- <= kept || eab_random_mark(random, slots_left + 1 - kept, triggers_left - kept)) {
            tokens[t] = symbols;
            triggers_left--;
            after_trigger = 1;
        } else tokens[t] = eab_random_below(random, symbols);
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t induction_vocab(const eab_level *level) { return level->option[EAB_INDUCTION_SYMBOLS] + 1; }

/* Of length - triggers slots, `triggers` hold a trigger with its symbol, one of them the last where that is fixed. The
 * other slots hold any symbol, and so does the place after the first trigger. */
static double induction_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t triggers = level->option[EAB_INDUCTION_TRIGGERS], slots = context + 1 - triggers;
    const int32_t fixed = level->option[EAB_INDUCTION_LAST];
    return (slots - triggers + 1) * log2(level->option[EAB_INDUCTION_SYMBOLS]) +
           eab_log2_choose(slots - fixed, triggers - fixed);
}

/* A uniform guess among the symbols. */
static double induction_chance_accuracy(const eab_level *level) { return 1.0 / level->option[EAB_INDUCTION_SYMBOLS]; }

static bool induction_check(const eab_level *level, int32_t context, char *message, size_t size) {
    return eab_check_length(2 * (int64_t)level->option[EAB_INDUCTION_TRIGGERS], context,
                            "the triggers with their symbols", message, size);
}

static void induction_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    if (token == level->option[EAB_INDUCTION_SYMBOLS]) snprintf(name, size, "!");
    else snprintf(name, size, "%d", token);
}

/* The symbol after the first trigger. */
static void induction_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    int32_t first = 0;
    while (first + 1 < target && tokens[first] != level->option[EAB_INDUCTION_SYMBOLS]) first++;
    positions[first + 1] = 1;
}

static const char *const induction_lasts[] = {"any", "end", NULL};

static const eab_task induction_task = {
    .name = "induction",
    .summary =
        "random symbols with a trigger among them: each trigger is followed by the symbol that followed the first",
    .options = {{"symbols", 16, 2, 1024, true, "how many symbols there are", NULL},
                {"triggers", 4, 2, 4096, true, "how many triggers a sequence has", NULL},
                {"last", 0, 0, 1, false, "where the last trigger stands: anywhere, or at the end", induction_lasts}},
    .option_count = 3,
    .later_count = 1,
    .vocab = induction_vocab,
    .complexity_bits = induction_complexity_bits,
    .chance_accuracy = induction_chance_accuracy,
    .check = induction_check,
    .determining = induction_determining,
    .token_name = induction_token_name,
};
#endif

#endif
