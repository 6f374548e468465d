/* recall: multi-query associative recall: pairs of a key and a value, then keys as queries, each followed by its value.
 *
 * Source: Arora et al., arXiv 2312.04927 (zoology), MQAR. There queries stand among fillers and each key is asked once.
 * Here the queries fill the rest of the sequence, so that most tokens after the pairs are scored.
 *
 * Tokens 0..keys-1 are keys (shown as k0, k1, ...), keys..keys+values-1 values (v0, ...). A sequence is
 *
 *   key value key value ... (`pairs` of them; keys distinct, values any), then repeatedly one of these keys, drawn
 *   uniformly, and its value.
 *
 * The value after a query is determined; everything else is free.
 */
#ifndef EAB_TASKS_RECALL_H
#define EAB_TASKS_RECALL_H

#include "draw.h"

enum { EAB_RECALL_PAIRS, EAB_RECALL_KEYS, EAB_RECALL_VALUES };

EAB_HOST_DEVICE static inline void eab_recall_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                       int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t pairs = level->option[EAB_RECALL_PAIRS], keys = level->option[EAB_RECALL_KEYS];
    int32_t asked = 0;
    (void)stream;
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
    return level->option[EAB_RECALL_KEYS] + level->option[EAB_RECALL_VALUES];
}

/* keys (keys - 1) ... (keys - pairs + 1) orders of distinct keys, values^pairs, and pairs^queries; a last query may
 * have no room for its value. */
static double recall_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t pairs = level->option[EAB_RECALL_PAIRS], queries = (context + 1 - 2 * pairs + 1) / 2;
    double bits = pairs * log2(level->option[EAB_RECALL_VALUES]) + queries * log2(pairs);
    for (int32_t i = 0; i < pairs; i++) bits += log2(level->option[EAB_RECALL_KEYS] - i);
    return bits;
}

/* A uniform guess among the values. */
static double recall_chance_accuracy(const eab_level *level) { return 1.0 / level->option[EAB_RECALL_VALUES]; }

static bool recall_check(const eab_level *level, int32_t context, char *message, size_t size) {
    const int32_t pairs = level->option[EAB_RECALL_PAIRS];
    if (pairs > level->option[EAB_RECALL_KEYS]) {
        snprintf(message, size, "pairs = %d, but only keys = %d distinct keys; allowed: pairs at most keys", pairs,
                 level->option[EAB_RECALL_KEYS]);
        return false;
    }
    return eab_check_length(2 * (int64_t)pairs + 2, context, "the pairs and one query", message, size);
}

static void recall_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const int32_t keys = level->option[EAB_RECALL_KEYS];
    if (token < keys) snprintf(name, size, "k%d", token);
    else snprintf(name, size, "v%d", token - keys);
}

/* The value that stood behind the asking key. */
static void recall_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    for (int32_t pair = 0; pair < level->option[EAB_RECALL_PAIRS]; pair++)
        if (tokens[2 * pair] == tokens[target - 1]) positions[2 * pair + 1] = 1;
}

static const eab_task recall_task = {
    .name = "recall",
    .summary =
        "multi-query associative recall: pairs of key and value, then keys as queries, each followed by its value",
    .options = {{"pairs", 4, 1, 512, true, "pairs of key and value", NULL},
                {"keys", 16, 1, 1024, true, "how many keys there are", NULL},
                {"values", 16, 2, 1024, true, "how many values there are", NULL}},
    .option_count = 3,
    .vocab = recall_vocab,
    .complexity_bits = recall_complexity_bits,
    .chance_accuracy = recall_chance_accuracy,
    .check = recall_check,
    .determining = recall_determining,
    .token_name = recall_token_name,
};
#endif

#endif
