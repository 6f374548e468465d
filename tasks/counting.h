/* counting: a list of symbols, then each of its symbols once and how often the list has it (its histogram).
 *
 * Source: the histogram task of Behrens, Biggio, Zdeborova, arXiv 2407.11542: lists of 10 tokens of an alphabet of 32,
 * and as output at each place of the list the count of its token. There attention sees the whole list from every place;
 * here it is causal, so the counts come after the list. A symbol is asked for once, or later answers could be copied.
 *
 * Tokens 0..items-1 are the counts 1..items, then come the symbols (shown as s0, s1, ...), the signal `>` and the
 * padding `.`. A sequence is `items` symbols, the signal, and in the order of their first occurrence each symbol of the
 * list and its count; then padding. Counts are determined, everything else is not scored.
 *
 *   draw = partition   Counts are drawn first, as in the source: a symbol occurs 1..n times with equal probability,
 *                      where n items are left; then the list is shuffled. The last of `symbols` takes all that is left.
 *                      (These are the cycles of a random permutation: the number of symbols that occur k times is 1/k
 *                      on average, if there are at least `items` symbols.)
 *   draw = uniform     Each item is uniform among the symbols: with many symbols almost all counts are 1.
 */
#ifndef EAB_TASKS_COUNTING_H
#define EAB_TASKS_COUNTING_H

#include "draw.h"

enum { EAB_COUNTING_SYMBOLS, EAB_COUNTING_ITEMS, EAB_COUNTING_DRAW };
enum { EAB_COUNTING_PARTITION, EAB_COUNTING_UNIFORM };

/* A list, its signal, and as many queries as it may have different symbols. */
EAB_HOST_DEVICE static inline int32_t eab_counting_length(const eab_level *level) {
    const int32_t symbols = level->option[EAB_COUNTING_SYMBOLS], items = level->option[EAB_COUNTING_ITEMS];
    return items + 1 + 2 * (symbols < items ? symbols : items);
}

/* list[items]: shuffled groups of equal symbols, counted from 0. group[0], group[2], ...: room for their symbols. */
EAB_HOST_DEVICE static inline void eab_counting_partition(const eab_level *level, eab_random *random, int32_t *list,
                                                          int32_t *group) {
    const int32_t symbols = level->option[EAB_COUNTING_SYMBOLS], items = level->option[EAB_COUNTING_ITEMS];
    for (int32_t groups = 0, begin = 0; begin < items; groups++) {
        const int32_t left = items - begin;
        const int32_t end = begin + (groups + 1 == symbols ? left : 1 + eab_random_below(random, left));
        group[2 * groups] = eab_random_unused(random, group, 2, groups, symbols);
        for (; begin < end; begin++) list[begin] = group[2 * groups];
    }
    for (int32_t i = items - 1; i > 0; i--) {
        const int32_t other = eab_random_below(random, i + 1), symbol = list[i];
        list[i] = list[other];
        list[other] = symbol;
    }
}

EAB_HOST_DEVICE static inline void eab_counting_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                         int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t symbols = level->option[EAB_COUNTING_SYMBOLS], items = level->option[EAB_COUNTING_ITEMS];
    int32_t query = items + 1;
    (void)stream;
    for (int32_t t = 0; t < length; t++) {
        tokens[t] = items + symbols + 1;
        determined[t] = 0;
    }
    if (length < eab_counting_length(level)) return;
    if (level->option[EAB_COUNTING_DRAW] == EAB_COUNTING_PARTITION)
        eab_counting_partition(level, random, tokens, tokens + items + 1);
    else
        for (int32_t i = 0; i < items; i++) tokens[i] = eab_random_below(random, symbols);
    for (int32_t i = 0; i < items; i++) tokens[i] += items;
    tokens[items] = items + symbols;
    for (int32_t i = 0; i < items; i++) {
        int32_t count = 0, earlier = 0;
        for (int32_t j = 0; j < items; j++) {
            count += tokens[j] == tokens[i];
            earlier += j < i && tokens[j] == tokens[i];
        }
        if (earlier) continue;
        tokens[query] = tokens[i];
        tokens[query + 1] = count - 1;
        determined[query + 1] = 1;
        query += 2;
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t counting_vocab(const eab_level *level) {
    return level->option[EAB_COUNTING_ITEMS] + level->option[EAB_COUNTING_SYMBOLS] + 2;
}

/* symbols^items lists, each possible with either draw. */
static double counting_complexity_bits(const eab_level *level, int32_t context) {
    (void)context;
    return level->option[EAB_COUNTING_ITEMS] * log2(level->option[EAB_COUNTING_SYMBOLS]);
}

/* A uniform guess among the counts 1..items. */
static double counting_chance_accuracy(const eab_level *level) { return 1.0 / level->option[EAB_COUNTING_ITEMS]; }

static bool counting_check(const eab_level *level, int32_t context, char *message, size_t size) {
    return eab_check_length(eab_counting_length(level), context, "the list with its counts", message, size);
}

static void counting_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const int32_t items = level->option[EAB_COUNTING_ITEMS], symbols = level->option[EAB_COUNTING_SYMBOLS];
    if (token < items) snprintf(name, size, "%d", token + 1);
    else if (token < items + symbols) snprintf(name, size, "s%d", token - items);
    else snprintf(name, size, "%s", token == items + symbols ? ">" : ".");
}

/* The symbol's places in the list. */
static void counting_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    for (int32_t i = 0; i < level->option[EAB_COUNTING_ITEMS]; i++) positions[i] = tokens[i] == tokens[target - 1];
}

static const char *const counting_draws[] = {"partition", "uniform", NULL};

static const eab_task counting_task = {
    .name = "counting",
    .summary = "a list of symbols, then each of its symbols once, followed by how often the list has it",
    .options = {{"symbols", 8, 2, 1024, true, "how many symbols there are", NULL},
                {"items", 8, 1, 1024, true, "length of the list", NULL},
                {"draw", EAB_COUNTING_PARTITION, 0, 1, false, "draw the counts and shuffle, or each item uniformly",
                 counting_draws}},
    .option_count = 3,
    .later_count = 1,
    .vocab = counting_vocab,
    .complexity_bits = counting_complexity_bits,
    .chance_accuracy = counting_chance_accuracy,
    .check = counting_check,
    .determining = counting_determining,
    .token_name = counting_token_name,
};
#endif

#endif
