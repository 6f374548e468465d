#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "family_fixture.h"

/* The pairs and the queried keys were drawn; the values after the queries are worked out by hand. */
Test(recall, by_hand) {
    const eab_level level = family_level("recall", "");
    family_expect_sequence(
        &level, EAB_STREAM_TRAINING, 1,
        "[k0] [v5] [k6] [v8] [k13] [v0] [k9] [v9] [k0] v5 [k9] v9 [k6] v8 [k0] v5 [k0] v5 [k13] v0 [k13] "
        "v0 [k9] v9 [k13]");
}

Test(recall, asks_for_what_was_paired) {
    static const char *const levels[] = {"", "pairs=1 keys=1 values=2", "pairs=16 keys=16 values=1024",
                                         "pairs=5 keys=6 values=3"};
    enum { LENGTH = 50 };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("recall", levels[i]);
        const int32_t pairs = level.option[0], keys = level.option[1];
        for (uint64_t index = 0; index < 300; index++) {
            family_sequence sequence;
            int32_t value_of[1024];
            for (int32_t k = 0; k < keys; k++) value_of[k] = -1;
            family_draw(&level, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
            for (int t = 0; t < LENGTH; t += 2) {
                const int32_t key = sequence.tokens[t], value = sequence.tokens[t + 1];
                cr_assert(key < keys && value >= keys && value < keys + level.option[2]);
                cr_assert_eq(sequence.determined[t], 0);
                cr_assert_eq(sequence.determined[t + 1], t >= 2 * pairs);
                cr_assert_eq(value_of[key] < 0, t < 2 * pairs, "%s", levels[i]);
                cr_assert(value_of[key] < 0 || value_of[key] == value);
                value_of[key] = value;
            }
        }
    }
}

/* Every key is the first, second, ... equally often. */
Test(recall, keys_are_drawn_evenly) {
    const eab_level level = family_level("recall", "pairs=5 keys=6 values=2");
    int count[5][6] = {{0}};
    for (uint64_t index = 0; index < 6000; index++) {
        family_sequence sequence;
        family_draw(&level, EAB_STREAM_TRAINING, index, 12, &sequence);
        for (int i = 0; i < 5; i++) count[i][sequence.tokens[2 * i]]++;
    }
    for (int i = 0; i < 5; i++) /* 1,000 each, sigma 29 */
        for (int key = 0; key < 6; key++) cr_expect(abs(count[i][key] - 1000) < 130, "%d", count[i][key]);
}

/* ---- with gaps, as zoology draws it ------------------------------------------------------------------------------ */

/* The pairs, the slots of their queries and the fillers were drawn; the values after the queries are worked out by
 * hand. */
Test(recall, by_hand_with_gaps) {
    const eab_level blank = family_level("recall", "gaps=1 filler=1"), random = family_level("recall", "gaps=1");
    family_expect_sequence(
        &blank, EAB_STREAM_TRAINING, 0,
        "[k12] [v8] [k9] [v7] [k4] [v3] [k1] [v14] [.] [.] [k9] v7 [.] [.] [k12] v8 [k4] v3 [.] [.] [.] [.] [k1] v14 "
        "[.]");
    family_expect_sequence(
        &random, EAB_STREAM_TRAINING, 0,
        "[k10] [v11] [k8] [v6] [k3] [v13] [k1] [v10] [k10] v11 [k8] v6 [v15] [k3] [k3] v13 [k1] v10 [v1] [v9] [k0] "
        "[v9] [v2] [k5] [v9]");
}

/* The properties of zoology's example (2 pairs, 16 tokens, blanks): distinct keys and values, each key asked once, at
 * an even place behind the pairs, and only what follows the query scored. */
Test(recall, with_gaps_each_key_is_asked_once) {
    static const char *const levels[] = {
        "gaps=1",
        "gaps=2",
        "gaps=1 filler=1 pairs=2 keys=5 values=6",
        "gaps=2 filler=1 pairs=1 keys=1 values=2",
        "gaps=1 pairs=8 keys=8 values=8",
        "gaps=1 filler=1 pairs=4 keys=4095 values=4096"}; /* the last one is zoology's */
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("recall", levels[i]);
        const int32_t pairs = level.option[0], keys = level.option[1], values = level.option[2];
        const int32_t filler = keys + values;
        for (uint64_t index = 0; index < 400; index++) {
            family_sequence sequence;
            const int32_t length = keys == 4095 ? 64 : 4 * pairs + (int32_t)index % 20, *token = sequence.tokens;
            int32_t asked[512] = {0};
            family_draw(&level, EAB_STREAM_TRAINING, index, length, &sequence);
            for (int32_t p = 0; p < pairs; p++) {
                cr_assert(token[2 * p] < keys && token[2 * p + 1] >= keys && token[2 * p + 1] < filler);
                for (int32_t q = 0; q < p; q++)
                    cr_assert(token[2 * p] != token[2 * q] && token[2 * p + 1] != token[2 * q + 1]);
            }
            for (int32_t t = 0; t < length; t++) {
                const bool query = t + 1 < length && sequence.determined[t + 1];
                if (t < 2 * pairs) cr_assert_not(sequence.determined[t]);
                else if (query) {
                    int32_t pair = 0;
                    while (pair < pairs && token[2 * pair] != token[t]) pair++;
                    cr_assert(pair < pairs && t % 2 == 0 && token[t + 1] == token[2 * pair + 1]);
                    asked[pair]++;
                } else if (!sequence.determined[t] && level.option[EAB_RECALL_FILLER]) cr_assert_eq(token[t], filler);
                else cr_assert(token[t] >= 0 && token[t] < filler);
            }
            for (int32_t p = 0; p < pairs; p++) cr_assert_eq(asked[p], 1);
        }
    }
}

/* Where the first and the second of two keys are asked, among 10 slots, in 40,000 sequences: slot s with weight
 * 1 / (s + 1), the second among those that are left. zoology's weight (s + 1)^-0.99 gives the same to 0.004. */
Test(recall, gaps_follow_the_power_law) {
    enum { SEQUENCES = 40000, SLOTS = 10 };
    for (int uniform = 0; uniform < 2; uniform++) {
        const eab_level level = family_level("recall", uniform ? "gaps=2 pairs=2 filler=1" : "gaps=1 pairs=2 filler=1");
        int count[2][SLOTS] = {{0}};
        double weight[SLOTS], theirs[SLOTS], sum = 0, sum_of_theirs = 0;
        for (uint64_t index = 0; index < SEQUENCES; index++) {
            family_sequence sequence;
            family_draw(&level, EAB_STREAM_TRAINING, index, 4 + 2 * SLOTS, &sequence);
            for (int slot = 0; slot < SLOTS; slot++)
                for (int pair = 0; pair < 2; pair++)
                    count[pair][slot] += sequence.tokens[4 + 2 * slot] == sequence.tokens[2 * pair];
        }
        for (int slot = 0; slot < SLOTS; slot++) {
            sum += weight[slot] = uniform ? 1 : 1.0 / (slot + 1);
            sum_of_theirs += theirs[slot] = uniform ? 1 : pow(slot + 1, -0.99);
        }
        for (int slot = 0; slot < SLOTS; slot++) {
            double expected[2] = {weight[slot] / sum, 0};
            for (int first = 0; first < SLOTS; first++)
                if (first != slot) expected[1] += weight[first] / sum * weight[slot] / (sum - weight[first]);
            for (int pair = 0; pair < 2; pair++) {
                const double share = (double)count[pair][slot] / SEQUENCES, p = expected[pair];
                cr_expect_lt(fabs(share - p), 5 * sqrt(p * (1 - p) / SEQUENCES), "pair %d, slot %d: %g, not %g", pair,
                             slot, share, p);
            }
            cr_expect_lt(fabs(expected[0] - theirs[slot] / sum_of_theirs), 0.004);
        }
    }
}

/* Random fillers are any keys and values, as zoology's are any tokens; keys and values of pairs are uniform. */
Test(recall, with_gaps_tokens_are_uniform) {
    enum { SEQUENCES = 4000 };
    const eab_level level = family_level("recall", "gaps=1");
    int filler[32] = {0}, key[16] = {0}, value[16] = {0}, fillers = 0;
    for (uint64_t index = 0; index < SEQUENCES; index++) {
        family_sequence sequence;
        family_draw(&level, EAB_STREAM_TRAINING, index, 25, &sequence);
        for (int t = 0; t < 8; t += 2) {
            key[sequence.tokens[t]]++;
            value[sequence.tokens[t + 1] - 16]++;
        }
        for (int t = 8; t < 25; t++) {
            if (sequence.determined[t] || (t < 24 && sequence.determined[t + 1])) continue;
            filler[sequence.tokens[t]]++;
            fillers++;
        }
    }
    cr_expect_eq(fillers, 9 * SEQUENCES);
    for (int i = 0; i < 32; i++) cr_expect_lt(fabs(filler[i] - fillers / 32.0), 5 * sqrt(fillers / 32.0));
    for (int i = 0; i < 16; i++) cr_expect(abs(key[i] - 1000) < 160 && abs(value[i] - 1000) < 160);
}

/* Blanks, 2 pairs, 3 slots: 3 * 2 keys, 2 values in two orders, 3 * 2 places. Random, one pair of one key and two
 * values, 2 slots: 2 pairs, and of the 9^2 fillings of the slots 9^2 - 8^2 have the pair; 3 for a token left over. */
Test(recall, figures_with_gaps) {
    const eab_level blank = family_level("recall", "pairs=2 keys=3 values=2 gaps=1 filler=1");
    const eab_level random = family_level("recall", "pairs=1 keys=1 values=2 gaps=2");
    const eab_task *task = eab_task_at(blank.family);
    cr_expect_float_eq(task->complexity_bits(&blank, 9), log2(72), 1e-9);
    cr_expect_float_eq(task->complexity_bits(&random, 5), log2(34), 1e-9);
    cr_expect_float_eq(task->complexity_bits(&random, 6), log2(102), 1e-9);
    cr_expect_eq(family_count_distinct(&blank, EAB_STREAM_TRAINING, 10, 10000), 72);
    cr_expect_eq(family_count_distinct(&random, EAB_STREAM_TRAINING, 7, 10000), 102);
    cr_expect(task->vocab(&blank) == 6 && task->vocab(&random) == 3);
    /* 512 pairs in as many slots of one order each: 512! fillings, a share of 2048^-1024 of all */
    const eab_level large = family_level("recall", "pairs=512 keys=1024 values=1024 gaps=1");
    double bits = lgamma(513) / log(2);
    for (int i = 0; i < 512; i++) bits += 2 * log2(1024 - i);
    cr_expect_float_eq(task->complexity_bits(&large, 2047), bits, 1e-6);
}

/* ---- figures and bounds ------------------------------------------------------------------------------------------ */

/* Two of three keys in order, 2^2 values, 2 queries of which the last has no answer: 6 * 4 * 2^2. */
Test(recall, figures) {
    const eab_level level = family_level("recall", "pairs=2 keys=3 values=2");
    const eab_task *task = eab_task_at(level.family);
    cr_expect_float_eq(task->complexity_bits(&level, 6), log2(96), 1e-12);
    cr_expect_float_eq(task->complexity_bits(&level, 5), log2(48), 1e-12);
    cr_expect_eq(family_count_distinct(&level, EAB_STREAM_TRAINING, 7, 5000), 96);
    cr_expect_eq(task->vocab(&level), 5);
    cr_expect_float_eq(task->chance_accuracy(&level), 0.5, 1e-12);
}

Test(recall, bounds) {
    family_expect_bounds("recall", "pairs", 1, 512);
    family_expect_bounds("recall", "keys", 1, 4096);
    family_expect_bounds("recall", "values", 2, 4096);
    family_expect_bounds("recall", "gaps", 0, 2);
    family_expect_bounds("recall", "filler", 0, 1);
    family_expect_refused("recall", "filler=1", 24, "filler = blank", "gaps = power");
    family_expect_refused("recall", "gaps=1 values=3", 24, "pairs = 4", "values = 3");
    family_expect_refused("recall", "gaps=1 pairs=7", 24, "context = 24", "at least 27");
    family_expect_accepted("recall", "gaps=1 pairs=6", 24);
    family_expect_refused("recall", "pairs=17", 64, "pairs = 17", "keys = 16");
    family_expect_refused("recall", "pairs=12", 24, "context = 24", "at least 25");
    family_expect_accepted("recall", "pairs=11", 24);
    family_expect_accepted("recall", "pairs=512 keys=512", 1025);
}
