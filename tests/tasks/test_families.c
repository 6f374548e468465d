/* Properties of every family of the registry, on levels sampled from those that its descriptor allows. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "family_fixture.h"

enum { CONTEXT = 24, LEVELS = 40 };

Test(families, descriptors_are_complete) {
    for (int family = 0; family < eab_task_count(); family++) {
        const eab_task *task = eab_task_at(family);
        const eab_level level = eab_level_default(family);
        char message[256];
        cr_expect_eq(eab_task_from_name(task->name), family, "%s", task->name);
        cr_expect(task->summary && task->vocab && task->complexity_bits && task->chance_accuracy && task->check);
        cr_expect(task->check(&level, CONTEXT, message, sizeof message), "%s: %s", task->name, message);
        cr_expect(task->option_count > 0 && task->option_count <= EAB_TASK_MAX_OPTIONS);
        for (int i = 0; i < task->option_count; i++) {
            const eab_task_option *option = &task->options[i];
            cr_expect(option->minimum <= option->default_value && option->default_value <= option->maximum, "%s",
                      option->key);
            int choices = 0;
            while (option->choices && option->choices[choices]) choices++;
            cr_expect(!option->choices || (option->minimum == 0 && option->maximum == choices - 1), "%s", option->key);
        }
    }
}

Test(families, tokens_are_within_the_vocabulary_and_something_is_determined) {
    for (int family = 0; family < eab_task_count(); family++)
        for (uint32_t number = 0; number < LEVELS; number++) {
            const eab_level level = family_sample(family, CONTEXT, number, number % 2);
            const eab_task *task = eab_task_at(family);
            const int32_t vocab = task->vocab(&level);
            for (uint64_t index = 0; index < 60; index++) {
                family_sequence sequence;
                const uint32_t stream = (uint32_t)(index % 3);
                family_draw(&level, stream, index, CONTEXT + 1, &sequence);
                int determined = 0;
                for (int32_t t = 0; t <= CONTEXT; t++) {
                    cr_assert(sequence.tokens[t] >= 0 && sequence.tokens[t] < vocab, "%s: token %d", task->name,
                              sequence.tokens[t]);
                    cr_assert(sequence.determined[t] <= 1);
                    if (t > 0) determined += sequence.determined[t];
                }
                cr_assert(determined > 0 && !sequence.determined[0], "%s, level %u", task->name, number);
            }
        }
}

Test(families, token_names_are_distinct) {
    for (int family = 0; family < eab_task_count(); family++) {
        const eab_level level = eab_level_default(family);
        const int32_t vocab = eab_task_at(family)->vocab(&level);
        for (int32_t a = 0; a < vocab; a++)
            for (int32_t b = 0; b < a; b++) {
                char first[32], second[32];
                eab_token_name(&level, a, first, sizeof first);
                eab_token_name(&level, b, second, sizeof second);
                cr_expect_str_neq(first, second, "%s: tokens %d and %d", eab_task_at(family)->name, a, b);
                cr_expect(first[0] && !strchr(first, ' '));
            }
    }
}

/* For any length, also one too short for the level, nothing is written outside the arrays. */
Test(families, nothing_is_written_outside) {
    enum { GUARD = 16 };
    for (int family = 0; family < eab_task_count(); family++)
        for (uint32_t number = 0; number < LEVELS; number++) {
            const eab_level level = family_sample(family, CONTEXT, number, number % 2);
            for (int32_t length = 1; length <= CONTEXT + 1; length++) {
                int32_t tokens[CONTEXT + 1 + 2 * GUARD];
                uint8_t determined[CONTEXT + 1 + 2 * GUARD];
                for (int i = 0; i < CONTEXT + 1 + 2 * GUARD; i++) tokens[i] = -7, determined[i] = 201;
                eab_sequence_generate(&level, 3, number % 3, 0, 5, length, tokens + GUARD, determined + GUARD);
                for (int i = 0; i < CONTEXT + 1 + 2 * GUARD; i++) {
                    const bool inside = i >= GUARD && i < GUARD + length;
                    cr_assert_eq(tokens[i] != -7, inside, "%s, length %d, place %d", eab_task_at(family)->name, length,
                                 i);
                    cr_assert_eq(determined[i] != 201, inside);
                }
            }
        }
}

Test(families, a_sequence_depends_on_level_seed_stream_and_index_alone) {
    for (int family = 0; family < eab_task_count(); family++) {
        const eab_task *task = eab_task_at(family);
        const eab_level level = eab_level_default(family);
        int32_t first[CONTEXT + 1], again[CONTEXT + 1];
        uint8_t determined[CONTEXT + 1];
        for (uint64_t index = 0; index < 20; index++) {
            const uint64_t far = index + (1ull << 40);
            const size_t bytes = sizeof first;
            eab_sequence_generate(&level, 1, EAB_STREAM_TRAINING, 1, index, CONTEXT + 1, first, determined);
            eab_sequence_generate(&level, 2, EAB_STREAM_TRAINING, 1, index, CONTEXT + 1, again, determined);
            const bool by_seed = memcmp(first, again, bytes) != 0;
            eab_sequence_generate(&level, 1, EAB_STREAM_VALIDATION, 1, index, CONTEXT + 1, again, determined);
            const bool by_stream = memcmp(first, again, bytes) != 0;
            eab_sequence_generate(&level, 1, EAB_STREAM_TRAINING, 1, far, CONTEXT + 1, again, determined);
            const bool by_index = memcmp(first, again, bytes) != 0;
            cr_expect(by_seed && by_stream && by_index, "%s, index %d: %d %d %d", task->name, (int)index, by_seed,
                      by_stream, by_index);
            eab_sequence_generate(&level, 1, EAB_STREAM_TRAINING, 1, index, CONTEXT + 1, again, determined);
            cr_expect_eq(memcmp(first, again, bytes), 0, "%s", task->name);
        }
    }
}

/* ---- a determined token follows from the tokens before it ------------------------------------------------------- */

enum { PREFIX_ROOM = 1 << 19 };
typedef struct {
    uint64_t hash;
    int32_t token; /* the determined one after this prefix */
} prefix_entry;

/* The entry of a prefix, or the empty entry for it. */
static prefix_entry *find_prefix(prefix_entry *table, uint64_t hash) {
    uint64_t place = hash % PREFIX_ROOM;
    while (table[place].hash && table[place].hash != hash) place = (place + 1) % PREFIX_ROOM;
    return &table[place];
}

static int64_t count_conflicts(const eab_level *level, int32_t length, int64_t draws, int64_t *repeats) {
    prefix_entry *table = calloc(PREFIX_ROOM, sizeof *table);
    int64_t conflicts = 0, entries = 0;
    cr_assert_not_null(table);
    for (int64_t i = 0; i < draws && entries < PREFIX_ROOM / 2; i++) {
        family_sequence sequence;
        family_draw(level, (uint32_t)(i % 3), (uint64_t)i, length, &sequence);
        uint64_t hash = 0x9E3779B97F4A7C15u;
        for (int32_t t = 0; t < length; t++) {
            if (sequence.determined[t]) {
                prefix_entry *entry = find_prefix(table, hash);
                if (entry->hash) {
                    ++*repeats;
                    conflicts += entry->token != sequence.tokens[t];
                } else {
                    *entry = (prefix_entry){hash, sequence.tokens[t]};
                    entries++;
                }
            }
            hash = (hash ^ (uint64_t)(sequence.tokens[t] + 1)) * 0xD6E8FEB86659FD93u;
            hash ^= hash >> 29;
            hash += hash == 0;
        }
    }
    free(table);
    return conflicts;
}

Test(families, the_same_beginning_has_the_same_determined_token) {
    for (int family = 0; family < eab_task_count(); family++) {
        int64_t repeats = 0;
        for (uint32_t number = 0; number < LEVELS; number++) {
            const int32_t context = 6 + (int32_t)number % 9;
            const eab_level level = family_sample(family, context, number, true);
            char name[128];
            eab_level_name(&level, name, sizeof name);
            cr_expect_eq(count_conflicts(&level, context + 1, 3000, &repeats), 0, "%s %s, context %d",
                         eab_task_at(family)->name, name, context);
        }
        cr_expect_gt(repeats, 20000, "%s: only %lld prefixes came twice", eab_task_at(family)->name,
                     (long long)repeats);
    }
}

/* The same tokens at the same determining positions always give the same determined token. */
Test(families, determining_positions_determine_the_token) {
    for (int family = 0; family < eab_task_count(); family++) {
        const eab_task *task = eab_task_at(family);
        prefix_entry *table = calloc(PREFIX_ROOM, sizeof *table);
        int64_t conflicts = 0, repeats = 0, marked = 0;
        cr_assert_not_null(table);
        cr_assert_not_null(task->determining, "%s", task->name);
        for (uint32_t number = 0; number < LEVELS; number++) {
            const eab_level level = family_sample(family, CONTEXT, number, true);
            memset(table, 0, PREFIX_ROOM * sizeof *table);
            for (uint64_t index = 0; index < 1500; index++) {
                family_sequence sequence;
                family_draw(&level, (uint32_t)(index % 3), index, CONTEXT + 1, &sequence);
                for (int32_t t = 1; t <= CONTEXT; t++) {
                    uint8_t positions[CONTEXT + 2] = {0};
                    uint64_t hash = (uint64_t)(t + 1) * 0x9E3779B97F4A7C15u;
                    if (!sequence.determined[t]) continue;
                    task->determining(&level, sequence.tokens, t, positions);
                    for (int32_t i = t; i <= CONTEXT + 1; i++) cr_assert_eq(positions[i], 0, "%s", task->name);
                    for (int32_t i = 0; i < t; i++) {
                        if (!positions[i]) continue;
                        marked++;
                        hash = (hash ^ (uint64_t)(i * 4096 + sequence.tokens[i] + 1)) * 0xD6E8FEB86659FD93u;
                        hash ^= hash >> 29;
                    }
                    prefix_entry *entry = find_prefix(table, hash + (hash == 0));
                    repeats += entry->hash != 0;
                    conflicts += entry->hash && entry->token != sequence.tokens[t];
                    *entry = (prefix_entry){hash + (hash == 0), sequence.tokens[t]};
                }
            }
        }
        free(table);
        cr_expect_eq(conflicts, 0, "%s: %lld of %lld", task->name, (long long)conflicts, (long long)repeats);
        cr_expect_gt(repeats, 20000, "%s", task->name);
        cr_expect_gt(marked, 20000, "%s", task->name);
    }
}

/* The test of equal beginnings must find a conflict between sequences of two rules. */
Test(families, a_token_that_is_not_determined_is_found) {
    const eab_level level = family_level("recurrence", "basis=2 delay=2");
    eab_level other = level; /* another rule after the same beginnings */
    other.option[EAB_RECURRENCE_A] = 0;
    prefix_entry *table = calloc(PREFIX_ROOM, sizeof *table);
    int conflicts = 0;
    cr_assert_not_null(table);
    for (uint64_t i = 0; i < 100; i++) {
        family_sequence sequence;
        family_draw(i % 2 ? &level : &other, 0, i, 3, &sequence);
        prefix_entry *entry = find_prefix(table, (uint64_t)(1 + sequence.tokens[0] + 2 * sequence.tokens[1]));
        if (entry->hash) conflicts += entry->token != sequence.tokens[2];
        *entry = (prefix_entry){(uint64_t)(1 + sequence.tokens[0] + 2 * sequence.tokens[1]), sequence.tokens[2]};
    }
    free(table);
    cr_expect_gt(conflicts, 10);
}

/* ---- figures ---------------------------------------------------------------------------------------------------- */

/* A lower bound of the probability of the level's rarest sequence, of which there are `count`; 0: too rare to find. */
static double rarest(const eab_level *level, int32_t context, double count) {
    const int32_t *option = level->option, pairs = (context + 1) / 2;
    switch (level->family) {
        case EAB_TASK_task_switch: {
            const int32_t percent = option[EAB_TASK_SWITCH_PERCENT];
            return percent % 100 == 0 || (percent >= 20 && percent <= 80) ? 1 / count : 0;
        }
        case EAB_TASK_recall: { /* each slot has at least this share of the weights 1, 1/2, 1/3, ... */
            const int32_t slots = pairs - option[EAB_RECALL_PAIRS];
            const double share = 1 / (slots * (1 + log(slots))), fillings = pow(slots, option[EAB_RECALL_PAIRS]);
            return option[EAB_RECALL_GAPS] ? fillings * pow(share, option[EAB_RECALL_PAIRS]) / count : 1 / count;
        }
        case EAB_TASK_selective_copy: { /* all blanks of a block before the same symbol */
            const int32_t items = option[EAB_SELECTIVE_COPY_ITEMS], blanks = option[EAB_SELECTIVE_COPY_BLANKS];
            const int32_t blocks = (context + 1) / (2 * items + blanks + 1);
            const double symbols = pow(option[EAB_SELECTIVE_COPY_SYMBOLS], items);
            return option[EAB_SELECTIVE_COPY_PLACES] ? pow(symbols * pow(items, blanks), -blocks) : 1 / count;
        }
        case EAB_TASK_flip_flop: { /* `i` with one of two bits, or `w` with one of two */
            const double ignore = option[EAB_FLIP_FLOP_IGNORE_PERCENT] / 100.0;
            return pow(fmin(ignore / 2, (1 - ignore) / 4), pairs - 2) / 2;
        }
        case EAB_TASK_counting: /* one way to draw the groups, their symbols, and their order */
            return option[EAB_COUNTING_DRAW] == EAB_COUNTING_UNIFORM
                       ? 1 / count
                       : pow(tgamma(option[EAB_COUNTING_ITEMS] + 1), -2) / tgamma(option[EAB_COUNTING_SYMBOLS] + 1);
        case EAB_TASK_congruential: return pow(option[EAB_CONGRUENTIAL_MODULUS], -3);
        case EAB_TASK_noisy_recall: { /* only new keys, or only noise but for one pair */
            const double noise = option[EAB_NOISY_RECALL_NOISE_PERCENT] / 100.0;
            const double key = 1.0 / (option[EAB_NOISY_RECALL_KEYS] * option[EAB_NOISY_RECALL_VALUES]);
            const double other =
                noise > 0 ? fmin((1 - noise) * key, noise / pow(option[EAB_NOISY_RECALL_NOISE], 2)) : key;
            return key * pow(other, pairs - 2) / pow(pairs - 1, 2);
        }
        default: return 1 / count;
    }
}

Test(families, complexity_is_the_number_of_distinct_sequences) {
    for (int family = 0; family < eab_task_count(); family++) {
        if (family == EAB_TASK_distance) continue; /* an estimate: test_distance.c */
        int counted = 0;
        for (uint32_t number = 0; number < 200 && counted < 12; number++) {
            const int32_t context = 4 + (int32_t)number % 9;
            const eab_level level = family_sample(family, context, number, true);
            const eab_task *task = eab_task_at(family);
            const double bits = task->complexity_bits(&level, context);
            char name[128];
            eab_level_name(&level, name, sizeof name);
            cr_expect(bits >= -1e-9 && bits < 1e4, "%s %s: %g bits", task->name, name, bits);
            const double draws = 25 / rarest(&level, context, exp2(bits)) + 100;
            if (bits > 10 || draws > 1e6) continue;
            const int64_t expected = llround(exp2(bits));
            const int64_t found = family_count_distinct(&level, EAB_STREAM_TRAINING, context + 1, (int64_t)draws);
            cr_expect_eq(found, expected, "%s %s, context %d: %lld of %lld", task->name, name, context,
                         (long long)found, (long long)expected);
            cr_expect_lt(fabs(exp2(bits) - (double)expected), 1e-6 * (double)expected);
            counted++;
        }
        cr_expect_geq(counted, 5, "%s: %d levels counted", eab_task_at(family)->name, counted);
    }
}

/* A uniform guess among the 1 / chance tokens that can be an answer has the accuracy `chance`. */
Test(families, chance_is_that_of_a_uniform_guess) {
    for (int family = 0; family < eab_task_count(); family++)
        for (uint32_t number = 0; number < 10; number++) {
            const eab_level level = number ? family_sample(family, CONTEXT, number, true) : eab_level_default(family);
            const eab_task *task = eab_task_at(family);
            const double chance = task->chance_accuracy(&level);
            const int32_t answers = (int32_t)lround(1 / chance);
            const int32_t first = family == EAB_TASK_recall         ? level.option[EAB_RECALL_KEYS]
                                  : family == EAB_TASK_noisy_recall ? level.option[EAB_NOISY_RECALL_KEYS]
                                                                    : 0;
            eab_random random = eab_random_at(1, 2, 3, 4, number);
            int64_t right = 0, all = 0;
            for (uint64_t index = 0; all < 20000; index++) {
                family_sequence sequence;
                family_draw(&level, (uint32_t)(index % 3), index, CONTEXT + 1, &sequence);
                for (int32_t t = 1; t <= CONTEXT; t++) {
                    if (!sequence.determined[t]) continue;
                    const int32_t answer = sequence.tokens[t] - first;
                    cr_assert(answer >= 0 && answer < answers, "%s: %d of %d", task->name, answer, answers);
                    right += answer == eab_random_below(&random, answers);
                    all++;
                }
            }
            const double error = fabs((double)right / (double)all - chance);
            cr_expect_leq(error, 5 * sqrt(chance * (1 - chance) / (double)all), "%s: %g off %g", task->name, error,
                          chance);
        }
}

/* ---- held-out sequences ----------------------------------------------------------------------------------------- */

Test(families, held_out_sequences_are_never_trained_on) {
    for (int family = 0; family < eab_task_count(); family++)
        for (uint32_t number = 0; number < 8; number++) {
            const eab_level level = number ? family_sample(family, CONTEXT, number, false) : eab_level_default(family);
            if (!eab_level_has_held_out(&level, CONTEXT)) continue;
            for (int stream = EAB_STREAM_TRAINING; stream <= EAB_STREAM_HELD_OUT; stream++)
                for (uint64_t index = 0; index < 200; index++) {
                    int32_t tokens[CONTEXT + 1];
                    uint8_t determined[CONTEXT + 1];
                    const uint64_t key =
                        eab_sequence_generate(&level, 4, (uint32_t)stream, 1, index, CONTEXT + 1, tokens, determined);
                    cr_assert_eq(eab_sequence_is_held_out(key), stream != EAB_STREAM_TRAINING, "%s",
                                 eab_task_at(family)->name);
                }
        }
    for (int family = 0; family < eab_task_count(); family++) {
        const eab_level level = eab_level_default(family);
        cr_expect(eab_level_has_held_out(&level, CONTEXT), "%s", eab_task_at(family)->name);
    }
}
