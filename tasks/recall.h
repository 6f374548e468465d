/* recall: multi-query associative recall: pairs of a key and a value, then keys as queries, each followed by its value.
 *
 * Source: Arora et al., arXiv 2312.04927 (zoology), MQAR. There queries stand among fillers and each key is asked once:
 * that is `gaps = power`. By default the queries fill the rest of the sequence, so that most tokens after the pairs are
 * scored.
 *
 * Tokens 0..keys-1 are keys (shown as k0, k1, ...), keys..keys+values-1 values (v0, ...), then the blank `.` if fillers
 * are blank. A sequence is
 *
 *   key value key value ... (`pairs` of them; keys distinct, values any), then repeatedly one of these keys, drawn
 *   uniformly, and its value.
 *
 * With gaps, the values of the pairs are distinct, too, and behind the pairs there are slots 0, 1, ... of two tokens.
 * The first key is asked in a slot drawn with a probability proportional to 1 / (slot + 1) (`power`), or uniformly;
 * then the second, in one of the slots that are left, and so on. All other tokens are fillers: random keys or values,
 * or blanks. In zoology the weights are (slot + 1)^-0.99 and a query's value is its label only, with a filler behind
 * the query.
 *
 * The value after a query is determined; everything else is free.
 */
#ifndef EAB_TASKS_RECALL_H
#define EAB_TASKS_RECALL_H

#include "draw.h"

enum { EAB_RECALL_PAIRS, EAB_RECALL_KEYS, EAB_RECALL_VALUES, EAB_RECALL_GAPS, EAB_RECALL_FILLER };
enum { EAB_RECALL_NO_GAPS, EAB_RECALL_POWER_GAPS, EAB_RECALL_UNIFORM_GAPS };
enum { EAB_RECALL_RANDOM_FILLER, EAB_RECALL_BLANK_FILLER };

/* The weight of a slot; 2^24 bounds the sum, which is at most 2^24 (1 + ln 32768), and rounds the last of 32,768 slots
 * by less than 0.2 %. */
EAB_HOST_DEVICE static inline int32_t eab_recall_weight(const eab_level *level, int32_t slot) {
    return level->option[EAB_RECALL_GAPS] == EAB_RECALL_POWER_GAPS ? (1 << 24) / (slot + 1) : 1;
}

EAB_HOST_DEVICE static inline void eab_recall_generate_with_gaps(const eab_level *level, eab_random *random,
                                                                 int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t pairs = level->option[EAB_RECALL_PAIRS], keys = level->option[EAB_RECALL_KEYS];
    const int32_t values = level->option[EAB_RECALL_VALUES], slots = (length - 2 * pairs) / 2;
    int32_t *queries = tokens + 2 * pairs, weight = 0; /* of the slots that are left */
    for (int32_t t = 0; t < length; t++) {
        tokens[t] = -1;
        determined[t] = 0;
    }
    for (int32_t slot = 0; slot < slots; slot++) weight += eab_recall_weight(level, slot);
    for (int32_t i = 0; i < pairs && pairs <= slots; i++) {
        tokens[2 * i] = eab_random_unused(random, tokens, 2, i, keys);
        tokens[2 * i + 1] = eab_random_unused(random, tokens + 1, 2, i, values);
    }
    for (int32_t i = 0; i < pairs && pairs <= slots; i++) {
        int32_t left = eab_random_below(random, weight), slot = 0;
        tokens[2 * i + 1] += keys;
        for (;; slot++) {
            if (queries[2 * slot] >= 0) continue;
            left -= eab_recall_weight(level, slot);
            if (left < 0) break;
        }
        weight -= eab_recall_weight(level, slot);
        queries[2 * slot] = tokens[2 * i];
        queries[2 * slot + 1] = tokens[2 * i + 1];
        determined[2 * pairs + 2 * slot + 1] = 1;
    }
    const int blank = level->option[EAB_RECALL_FILLER] == EAB_RECALL_BLANK_FILLER;
    for (int32_t t = 0; t < length; t++)
        if (tokens[t] < 0) tokens[t] = blank ? keys + values : eab_random_below(random, keys + values);
}

EAB_HOST_DEVICE static inline void eab_recall_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                       int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t pairs = level->option[EAB_RECALL_PAIRS], keys = level->option[EAB_RECALL_KEYS];
    int32_t asked = 0;
    (void)stream;
    if (level->option[EAB_RECALL_GAPS] != EAB_RECALL_NO_GAPS) {
        eab_recall_generate_with_gaps(level, random, length, tokens, determined);
        return;
    }
    for (int32_t t = 0; t < length; t++) {
        const int is_key = t % 2 == 0, is_query = t >= 2 * pairs;
        determined[t] = is_query && !is_key;
        if (is_query) {
            if (is_key) asked = eab_random_below(random, pairs);
            tokens[t] = tokens[2 * asked + !is_key];
        } else if (is_key) tokens[t] = eab_random_unused(random, tokens, 2, t / 2, keys);
        else tokens[t] = keys + eab_random_below(random, level->option[EAB_RECALL_VALUES]);
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t recall_vocab(const eab_level *level) {
    return level->option[EAB_RECALL_KEYS] + level->option[EAB_RECALL_VALUES] +
           (level->option[EAB_RECALL_FILLER] == EAB_RECALL_BLANK_FILLER);
}

/* log2 of the number of fillings of the slots, and of a token left over, in which each pair occurs. Blank: the places
 * of the pairs in order. Random: a slot is one of all^2 pairs of tokens; share[n] of the beginnings lack n of `pairs`
 * given ones. The shares are scaled at each slot, as they get small. */
static double recall_filling_bits(const eab_level *level, int32_t tokens) {
    const int32_t pairs = level->option[EAB_RECALL_PAIRS], slots = tokens / 2;
    const double all = level->option[EAB_RECALL_KEYS] + level->option[EAB_RECALL_VALUES];
    double share[512 + 2] = {0}, bits = tokens * log2(all);
    if (level->option[EAB_RECALL_FILLER] == EAB_RECALL_BLANK_FILLER) {
        bits = eab_log2_choose(slots, pairs);
        for (int32_t i = 2; i <= pairs; i++) bits += log2(i);
        return bits;
    }
    share[pairs] = 1;
    for (int32_t slot = 0; slot < slots; slot++) {
        double most = 0;
        const int32_t slots_left = slots - slot - 1;
        for (int32_t n = 0; n <= pairs; n++) {
            share[n] = share[n] * (1 - n / (all * all)) + share[n + 1] * ((n + 1) / (all * all));
            if (n > slots_left) share[n] = 0; /* too many to come */
            if (share[n] > most) most = share[n];
        }
        for (int32_t n = 0; n <= pairs; n++) share[n] /= most;
        bits += log2(most);
    }
    return bits + log2(share[0]);
}

/* keys (keys - 1) ... (keys - pairs + 1) orders of distinct keys, values^pairs, and pairs^queries; a last query may
 * have no room for its value. With gaps the values are distinct like the keys. */
static double recall_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t pairs = level->option[EAB_RECALL_PAIRS], queries = (context + 1 - 2 * pairs + 1) / 2;
    const bool gaps = level->option[EAB_RECALL_GAPS] != EAB_RECALL_NO_GAPS;
    double bits = gaps ? recall_filling_bits(level, context + 1 - 2 * pairs)
                       : pairs * log2(level->option[EAB_RECALL_VALUES]) + queries * log2(pairs);
    for (int32_t i = 0; i < pairs; i++) bits += log2(level->option[EAB_RECALL_KEYS] - i);
    for (int32_t i = 0; i < pairs && gaps; i++) bits += log2(level->option[EAB_RECALL_VALUES] - i);
    return bits;
}

/* A uniform guess among the values. */
static double recall_chance_accuracy(const eab_level *level) { return 1.0 / level->option[EAB_RECALL_VALUES]; }

static bool recall_check(const eab_level *level, int32_t context, char *message, size_t size) {
    const int32_t pairs = level->option[EAB_RECALL_PAIRS], values = level->option[EAB_RECALL_VALUES];
    const bool gaps = level->option[EAB_RECALL_GAPS] != EAB_RECALL_NO_GAPS;
    if (pairs > level->option[EAB_RECALL_KEYS]) {
        snprintf(message, size, "pairs = %d, but only keys = %d distinct keys; allowed: pairs at most keys", pairs,
                 level->option[EAB_RECALL_KEYS]);
        return false;
    }
    if (gaps && pairs > values) {
        snprintf(message, size, "pairs = %d with gaps, but only values = %d distinct values; allowed: pairs at most %d",
                 pairs, values, values);
        return false;
    }
    if (!gaps && level->option[EAB_RECALL_FILLER] != EAB_RECALL_RANDOM_FILLER) {
        snprintf(message, size,
                 "filler = blank, but gaps = none leaves no room for it; allowed: gaps = power, uniform");
        return false;
    }
    if (gaps) return eab_check_length(4 * (int64_t)pairs, context, "the pairs and their queries", message, size);
    return eab_check_length(2 * (int64_t)pairs + 2, context, "the pairs and one query", message, size);
}

static void recall_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const int32_t keys = level->option[EAB_RECALL_KEYS], values = level->option[EAB_RECALL_VALUES];
    if (token < keys) snprintf(name, size, "k%d", token);
    else if (token < keys + values) snprintf(name, size, "v%d", token - keys);
    else snprintf(name, size, ".");
}

/* The value that stood behind the asking key. */
static void recall_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    for (int32_t pair = 0; pair < level->option[EAB_RECALL_PAIRS]; pair++)
        if (tokens[2 * pair] == tokens[target - 1]) positions[2 * pair + 1] = 1;
}

static const char *const recall_gaps[] = {"none", "power", "uniform", NULL};
static const char *const recall_fillers[] = {"random", "blank", NULL};

static const eab_task recall_task = {
    .name = "recall",
    .summary =
        "multi-query associative recall: pairs of key and value, then keys as queries, each followed by its value",
    .options = {{"pairs", 4, 1, 512, true, "pairs of key and value", NULL},
                {"keys", 16, 1, 4096, true, "how many keys there are", NULL},
                {"values", 16, 2, 4096, true, "how many values there are", NULL},
                {"gaps", EAB_RECALL_NO_GAPS, 0, 2, false, "before queries: none, by a power law as zoology's, uniform",
                 recall_gaps},
                {"filler", EAB_RECALL_RANDOM_FILLER, 0, 1, false, "in the gaps: random keys and values, or blanks",
                 recall_fillers}},
    .option_count = 5,
    .later_count = 2,
    .vocab = recall_vocab,
    .complexity_bits = recall_complexity_bits,
    .chance_accuracy = recall_chance_accuracy,
    .check = recall_check,
    .determining = recall_determining,
    .token_name = recall_token_name,
};
#endif

#endif
