/* delay_copy: symbols, then blanks, then the symbols are to be repeated.
 *
 * Source: copying at a distance as in arXiv 2609.11913; the definition here is our own.
 *
 * Tokens 0..symbols-1 are symbols; with mode = selective, symbols..2*symbols-1 are the same symbols with a mark. The
 * last two tokens are the blank `.` and the signal `>`. A sequence holds one copy:
 *
 *   `items` random symbols, `distance` blanks, the signal, the symbols again in the same order, blanks up to the end.
 *
 *   mode = full        all symbols are repeated
 *   mode = selective   (items + 1) / 2 of the symbols, at random places, are marked and repeated, without the mark
 *
 * Each sequence draws its number of blanks: in training from distance_min..distance_max, in evaluation from
 * test_distance_min..test_distance_max where these are given (0: as in training). So an evaluation can use distances
 * that training never showed. The repeated symbols are determined; symbols, blanks and the signal are not scored.
 */
#ifndef EAB_TASKS_DELAY_COPY_H
#define EAB_TASKS_DELAY_COPY_H

#include "draw.h"

enum {
    EAB_DELAY_COPY_SYMBOLS,
    EAB_DELAY_COPY_ITEMS,
    EAB_DELAY_COPY_MODE,
    EAB_DELAY_COPY_DISTANCE_MIN,
    EAB_DELAY_COPY_DISTANCE_MAX,
    EAB_DELAY_COPY_TEST_MIN,
    EAB_DELAY_COPY_TEST_MAX
};

EAB_HOST_DEVICE static inline void eab_delay_copy_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                           int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t symbols = level->option[EAB_DELAY_COPY_SYMBOLS], items = level->option[EAB_DELAY_COPY_ITEMS];
    const int selective = level->option[EAB_DELAY_COPY_MODE];
    const int other = stream != EAB_STREAM_TRAINING && level->option[EAB_DELAY_COPY_TEST_MAX];
    const int32_t least = level->option[other ? EAB_DELAY_COPY_TEST_MIN : EAB_DELAY_COPY_DISTANCE_MIN];
    const int32_t most = level->option[other ? EAB_DELAY_COPY_TEST_MAX : EAB_DELAY_COPY_DISTANCE_MAX];
    const int32_t blank = selective ? 2 * symbols : symbols;
    const int32_t signal = items + least + eab_random_below(random, most - least + 1); /* its position */
    int32_t marks_left = (items + 1) / 2, source = 0;
    for (int32_t t = 0; t < length; t++) {
        int32_t token = t == signal ? blank + 1 : blank;
        determined[t] = 0;
        if (t < items) {
            token = eab_random_below(random, symbols);
            if (selective && eab_random_mark(random, items - t, marks_left)) {
                token += symbols;
                marks_left--;
            }
        } else if (t > signal) {
            while (selective && source < items && tokens[source] < symbols) source++;
            if (source < items) {
                token = tokens[source++] % symbols;
                determined[t] = 1;
            }
        }
        tokens[t] = token;
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t delay_copy_vocab(const eab_level *level) {
    return level->option[EAB_DELAY_COPY_SYMBOLS] * (level->option[EAB_DELAY_COPY_MODE] ? 2 : 1) + 2;
}

/* symbols^items * (distances of training) * (choices of the marked places). */
static double delay_copy_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t items = level->option[EAB_DELAY_COPY_ITEMS];
    (void)context;
    return items * log2(level->option[EAB_DELAY_COPY_SYMBOLS]) +
           log2(level->option[EAB_DELAY_COPY_DISTANCE_MAX] - level->option[EAB_DELAY_COPY_DISTANCE_MIN] + 1) +
           (level->option[EAB_DELAY_COPY_MODE] ? eab_log2_choose(items, (items + 1) / 2) : 0);
}

/* A uniform guess among the symbols. */
static double delay_copy_chance_accuracy(const eab_level *level) { return 1.0 / level->option[EAB_DELAY_COPY_SYMBOLS]; }

static bool delay_copy_check(const eab_level *level, int32_t context, char *message, size_t size) {
    const int32_t *option = level->option, items = option[EAB_DELAY_COPY_ITEMS];
    const int32_t least = option[EAB_DELAY_COPY_DISTANCE_MIN], most = option[EAB_DELAY_COPY_DISTANCE_MAX];
    const int32_t test_least = option[EAB_DELAY_COPY_TEST_MIN], test_most = option[EAB_DELAY_COPY_TEST_MAX];
    if (least > most) {
        snprintf(message, size, "distance_min = %d, distance_max = %d; allowed: distance_min at most distance_max",
                 least, most);
        return false;
    }
    if (test_least > test_most || (test_least == 0) != (test_most == 0)) {
        snprintf(message, size,
                 "test_distance_min = %d, test_distance_max = %d; allowed: both 0, or both above it and "
                 "test_distance_min at most test_distance_max",
                 test_least, test_most);
        return false;
    }
    const int64_t answers = option[EAB_DELAY_COPY_MODE] ? (items + 1) / 2 : items;
    return eab_check_length(items + (int64_t)(most > test_most ? most : test_most) + 1 + answers, context,
                            "a copy at the longest distance", message, size);
}

/* Disjoint ranges of distances separate evaluation from training. Where they overlap, the hash has to. */
static bool delay_copy_splits(const eab_level *level) {
    const int32_t *option = level->option;
    return option[EAB_DELAY_COPY_TEST_MAX] && (option[EAB_DELAY_COPY_TEST_MIN] > option[EAB_DELAY_COPY_DISTANCE_MAX] ||
                                               option[EAB_DELAY_COPY_TEST_MAX] < option[EAB_DELAY_COPY_DISTANCE_MIN]);
}

static void delay_copy_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const int32_t symbols = level->option[EAB_DELAY_COPY_SYMBOLS], blank = delay_copy_vocab(level) - 2;
    if (token >= blank) snprintf(name, size, "%s", token == blank ? "." : ">");
    else if (token >= symbols) snprintf(name, size, "%d*", token - symbols);
    else snprintf(name, size, "%d", token);
}

static const char *const delay_copy_modes[] = {"full", "selective", NULL};

/* The symbol that is repeated. */
static void delay_copy_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    const int32_t symbols = level->option[EAB_DELAY_COPY_SYMBOLS], signal = delay_copy_vocab(level) - 1;
    int32_t repeated = target - 1; /* becomes the number of symbols repeated before the target */
    while (repeated > 0 && tokens[repeated] != signal) repeated--;
    repeated = target - 1 - repeated;
    for (int32_t i = 0; i < level->option[EAB_DELAY_COPY_ITEMS]; i++) {
        if (level->option[EAB_DELAY_COPY_MODE] && tokens[i] < symbols) continue; /* not marked */
        if (repeated-- == 0) positions[i] = 1;
    }
}

static const eab_task delay_copy_task = {
    .name = "delay_copy",
    .summary = "symbols, a stretch of blanks, the symbols again; evaluation may ask for other distances than training",
    .options = {{"symbols", 8, 2, 1024, true, "how many symbols there are", NULL},
                {"items", 4, 1, 4096, true, "symbols to copy; selective: half of them, rounded up, are marked", NULL},
                {"mode", 0, 0, 1, true, "copy all symbols, or the marked ones", delay_copy_modes},
                {"distance_min", 8, 1, 65535, true, "fewest blanks in training", NULL},
                {"distance_max", 8, 1, 65535, true, "most blanks in training", NULL},
                {"test_distance_min", 0, 0, 65535, false, "fewest blanks in evaluation; 0: as in training", NULL},
                {"test_distance_max", 0, 0, 65535, false, "most blanks in evaluation; 0: as in training", NULL}},
    .option_count = 7,
    .vocab = delay_copy_vocab,
    .complexity_bits = delay_copy_complexity_bits,
    .chance_accuracy = delay_copy_chance_accuracy,
    .check = delay_copy_check,
    .determining = delay_copy_determining,
    .splits = delay_copy_splits,
    .token_name = delay_copy_token_name,
};
#endif

#endif
