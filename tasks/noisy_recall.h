/* noisy_recall: pairs of a key and its value among pairs of noise; a key that returns is followed by its value.
 *
 * Source: the noisy in-context recall task of MAD (Poli et al., arXiv 2403.17844; github.com/athms/mad-lab) with
 * several queries. There: 8 keys, 8 values, 16 noise tokens, 128 tokens, noise_percent = 20; without noise it is MAD's
 * in-context recall.
 *
 * Tokens are the keys (shown as k0, k1, ...), then the values (v0, ...), then the noise (n0, ...). A sequence is as
 * many pairs of tokens as fit. Each but the last is with probability noise_percent two random noise tokens, otherwise
 * a uniformly drawn key and its value. The value of a key is drawn uniformly when the key first occurs and then stays.
 * One pair at a random place, not the last, is never noise. The last pair is one of the keys that occurred, each with
 * the same probability, and its value. A token left over is n0.
 *
 * The values of keys that occurred before are determined, everything else is free.
 */
#ifndef EAB_TASKS_NOISY_RECALL_H
#define EAB_TASKS_NOISY_RECALL_H

#include "draw.h"

enum { EAB_NOISY_RECALL_KEYS, EAB_NOISY_RECALL_VALUES, EAB_NOISY_RECALL_NOISE, EAB_NOISY_RECALL_NOISE_PERCENT };

EAB_HOST_DEVICE static inline void eab_noisy_recall_generate(const eab_level *level, uint32_t stream,
                                                             eab_random *random, int32_t length, int32_t *tokens,
                                                             uint8_t *determined) {
    const int32_t keys = level->option[EAB_NOISY_RECALL_KEYS], values = level->option[EAB_NOISY_RECALL_VALUES];
    const int32_t noise = level->option[EAB_NOISY_RECALL_NOISE];
    const int32_t percent = level->option[EAB_NOISY_RECALL_NOISE_PERCENT], last = length / 2 - 1;
    (void)stream;
    for (int32_t t = 0; t < length; t++) {
        tokens[t] = keys + values;
        determined[t] = 0;
    }
    if (last < 1) return;
    const int32_t never_noise = eab_random_below(random, last);
    int32_t occurred = 0; /* different keys */
    for (int32_t pair = 0; pair < last; pair++) {
        int32_t *here = tokens + 2 * pair, first = 0;
        if (pair != never_noise && eab_random_below(random, 100) < percent) {
            here[0] += eab_random_below(random, noise);
            here[1] += eab_random_below(random, noise);
            continue;
        }
        here[0] = eab_random_below(random, keys);
        while (tokens[2 * first] != here[0]) first++;
        determined[2 * pair + 1] = first < pair;
        occurred += first == pair;
        here[1] = first < pair ? tokens[2 * first + 1] : keys + eab_random_below(random, values);
    }
    int32_t others = eab_random_below(random, occurred), asked = 0; /* the first occurrence of the last key */
    while (tokens[2 * asked] >= keys || determined[2 * asked + 1] || others-- > 0) asked++;
    tokens[2 * last] = tokens[2 * asked];
    tokens[2 * last + 1] = tokens[2 * asked + 1];
    determined[2 * last + 1] = 1;
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t noisy_recall_vocab(const eab_level *level) {
    return level->option[EAB_NOISY_RECALL_KEYS] + level->option[EAB_NOISY_RECALL_VALUES] +
           level->option[EAB_NOISY_RECALL_NOISE];
}

/* ways[n]: beginnings in which n different keys occurred. The next pair is noise^2 of noise, one of the n keys, or one
 * of keys - n new ones with one of `values`; the last pair is one of the n keys. Scaled at each pair, as the number
 * exceeds a double. */
static double noisy_recall_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t keys = level->option[EAB_NOISY_RECALL_KEYS], values = level->option[EAB_NOISY_RECALL_VALUES];
    const double noise = level->option[EAB_NOISY_RECALL_NOISE_PERCENT] ? level->option[EAB_NOISY_RECALL_NOISE] : 0;
    double ways[1024 + 1] = {1}, bits = 0, last = 0;
    for (int32_t pair = 0; pair < (context + 1) / 2 - 1; pair++) {
        double sum = 0;
        for (int32_t n = keys; n >= 0; n--) {
            ways[n] = ways[n] * (noise * noise + n) + (n ? ways[n - 1] * (keys - n + 1) * values : 0);
            sum += ways[n];
        }
        for (int32_t n = 0; n <= keys; n++) ways[n] /= sum;
        bits += log2(sum);
    }
    for (int32_t n = 1; n <= keys; n++) last += ways[n] * n;
    return bits + log2(last);
}

/* A uniform guess among the values. */
static double noisy_recall_chance_accuracy(const eab_level *level) {
    return 1.0 / level->option[EAB_NOISY_RECALL_VALUES];
}

static bool noisy_recall_check(const eab_level *level, int32_t context, char *message, size_t size) {
    (void)level;
    return eab_check_length(4, context, "a pair and its repetition", message, size);
}

static void noisy_recall_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const int32_t keys = level->option[EAB_NOISY_RECALL_KEYS], values = level->option[EAB_NOISY_RECALL_VALUES];
    if (token < keys) snprintf(name, size, "k%d", token);
    else if (token < keys + values) snprintf(name, size, "v%d", token - keys);
    else snprintf(name, size, "n%d", token - keys - values);
}

/* The value behind the key's first occurrence. */
static void noisy_recall_determining(const eab_level *level, const int32_t *tokens, int32_t target,
                                     uint8_t *positions) {
    int32_t first = 0;
    (void)level;
    while (tokens[first] != tokens[target - 1]) first += 2;
    positions[first + 1] = 1;
}

static const eab_task noisy_recall_task = {
    .name = "noisy_recall",
    .summary = "pairs of a key and its value among noise: a key that returns is followed by its value",
    .options = {{"keys", 8, 1, 1024, true, "how many keys there are", NULL},
                {"values", 8, 2, 1024, true, "how many values there are", NULL},
                {"noise", 16, 1, 1024, true, "how many noise tokens there are", NULL},
                {"noise_percent", 20, 0, 99, true, "probability of a pair of noise, in percent", NULL}},
    .option_count = 4,
    .later_count = 2,
    .vocab = noisy_recall_vocab,
    .complexity_bits = noisy_recall_complexity_bits,
    .chance_accuracy = noisy_recall_chance_accuracy,
    .check = noisy_recall_check,
    .determining = noisy_recall_determining,
    .token_name = noisy_recall_token_name,
};
#endif

#endif
