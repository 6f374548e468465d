/* selective_copy: symbols among blanks are to be repeated in the same order, without the blanks.
 *
 * Source: the selective copying task of Gu and Dao, arXiv 2312.00752 (Mamba), after Jing et al., arXiv 1706.02761.
 *
 * Tokens 0..symbols-1 are symbols, then the blank `.` and the signal `>`. A block is `items` random symbols at random
 * places among `blanks` blanks, the signal, and the symbols again. A sequence is as many whole blocks as fit, then
 * blanks. The repeated symbols are determined, everything else is not scored.
 *
 *   places = any   All sets of places have the same probability.
 *   places = mad   As in MAD (Poli et al., arXiv 2403.17844; github.com/athms/mad-lab): each blank stands before one of
 *                  the symbols, drawn uniformly, so that a symbol stands directly before the signal.
 */
#ifndef EAB_TASKS_SELECTIVE_COPY_H
#define EAB_TASKS_SELECTIVE_COPY_H

#include "draw.h"

enum { EAB_SELECTIVE_COPY_SYMBOLS, EAB_SELECTIVE_COPY_ITEMS, EAB_SELECTIVE_COPY_BLANKS, EAB_SELECTIVE_COPY_PLACES };
enum { EAB_SELECTIVE_COPY_ANY, EAB_SELECTIVE_COPY_MAD };

/* Writes the symbols and blanks of a block by MAD's rule. The numbers of blanks stand in shown[0..items) until they are
 * replaced from the end: what comes up to symbol i ends at shown[i] or behind it. */
EAB_HOST_DEVICE static inline void eab_selective_copy_show_as_mad(const eab_level *level, eab_random *random,
                                                                  int32_t *shown) {
    const int32_t symbols = level->option[EAB_SELECTIVE_COPY_SYMBOLS], items = level->option[EAB_SELECTIVE_COPY_ITEMS];
    int32_t place = items + level->option[EAB_SELECTIVE_COPY_BLANKS];
    for (int32_t i = 0; i < items; i++) shown[i] = 0;
    for (int32_t i = items; i < place; i++) shown[eab_random_below(random, items)]++;
    for (int32_t i = items - 1; i >= 0; i--) {
        int32_t blanks = shown[i];
        shown[--place] = eab_random_below(random, symbols);
        while (blanks-- > 0) shown[--place] = symbols;
    }
}

EAB_HOST_DEVICE static inline void eab_selective_copy_generate(const eab_level *level, uint32_t stream,
                                                               eab_random *random, int32_t length, int32_t *tokens,
                                                               uint8_t *determined) {
    const int32_t symbols = level->option[EAB_SELECTIVE_COPY_SYMBOLS], items = level->option[EAB_SELECTIVE_COPY_ITEMS];
    const int32_t shown = items + level->option[EAB_SELECTIVE_COPY_BLANKS], block = shown + 1 + items;
    const int32_t end = length - length % block;
    const int as_mad = level->option[EAB_SELECTIVE_COPY_PLACES] == EAB_SELECTIVE_COPY_MAD;
    int32_t items_left = 0, source = 0; /* source: the next symbol to repeat, or a blank before it */
    (void)stream;
    for (int32_t t = 0; t < length; t++) {
        const int32_t place = t % block;
        if (place == 0) {
            items_left = items;
            source = t;
            if (as_mad && t < end) eab_selective_copy_show_as_mad(level, random, tokens + t);
        }
        determined[t] = t < end && place > shown;
        if (as_mad && t < end && place < shown) continue;
        tokens[t] = symbols;
        if (t >= end) continue;
        if (place < shown) {
            if (eab_random_mark(random, shown - place, items_left)) {
                tokens[t] = eab_random_below(random, symbols);
                items_left--;
            }
        } else if (place == shown) tokens[t] = symbols + 1;
        else {
            while (tokens[source] == symbols) source++;
            tokens[t] = tokens[source++];
        }
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t selective_copy_vocab(const eab_level *level) { return level->option[EAB_SELECTIVE_COPY_SYMBOLS] + 2; }

/* A block has symbols^items symbols and C(items + blanks, items) sets of places for them; drawn as in MAD, the last
 * symbol has one place only. */
static double selective_copy_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t items = level->option[EAB_SELECTIVE_COPY_ITEMS], blanks = level->option[EAB_SELECTIVE_COPY_BLANKS];
    const int32_t blocks = (context + 1) / (2 * items + blanks + 1);
    const int32_t fixed = level->option[EAB_SELECTIVE_COPY_PLACES] == EAB_SELECTIVE_COPY_MAD;
    return blocks * (items * log2(level->option[EAB_SELECTIVE_COPY_SYMBOLS]) +
                     eab_log2_choose(items + blanks - fixed, items - fixed));
}

/* A uniform guess among the symbols. */
static double selective_copy_chance_accuracy(const eab_level *level) {
    return 1.0 / level->option[EAB_SELECTIVE_COPY_SYMBOLS];
}

static bool selective_copy_check(const eab_level *level, int32_t context, char *message, size_t size) {
    return eab_check_length(2 * (int64_t)level->option[EAB_SELECTIVE_COPY_ITEMS] +
                                level->option[EAB_SELECTIVE_COPY_BLANKS] + 1,
                            context, "a block", message, size);
}

static void selective_copy_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const int32_t symbols = level->option[EAB_SELECTIVE_COPY_SYMBOLS];
    if (token < symbols) snprintf(name, size, "%d", token);
    else snprintf(name, size, "%s", token == symbols ? "." : ">");
}

/* The symbol that is repeated. */
static void selective_copy_determining(const eab_level *level, const int32_t *tokens, int32_t target,
                                       uint8_t *positions) {
    const int32_t items = level->option[EAB_SELECTIVE_COPY_ITEMS];
    const int32_t shown = items + level->option[EAB_SELECTIVE_COPY_BLANKS],
                  begin = target - target % (shown + 1 + items);
    int32_t repeated = target - begin - shown - 1; /* symbols repeated before the target */
    for (int32_t i = begin; i < begin + shown; i++)
        if (tokens[i] != level->option[EAB_SELECTIVE_COPY_SYMBOLS] && repeated-- == 0) positions[i] = 1;
}

static const char *const selective_copy_places[] = {"any", "mad", NULL};

static const eab_task selective_copy_task = {
    .name = "selective_copy",
    .summary = "symbols scattered among blanks, then the symbols again without the blanks",
    .options = {{"symbols", 8, 2, 1024, true, "how many symbols there are", NULL},
                {"items", 3, 1, 4096, true, "symbols of a block", NULL},
                {"blanks", 5, 0, 65535, true, "blanks among them", NULL},
                {"places", EAB_SELECTIVE_COPY_ANY, 0, 1, false, "where symbols may stand: anywhere, or as MAD draws it",
                 selective_copy_places}},
    .option_count = 4,
    .later_count = 1,
    .vocab = selective_copy_vocab,
    .complexity_bits = selective_copy_complexity_bits,
    .chance_accuracy = selective_copy_chance_accuracy,
    .check = selective_copy_check,
    .determining = selective_copy_determining,
    .token_name = selective_copy_token_name,
};
#endif

#endif
