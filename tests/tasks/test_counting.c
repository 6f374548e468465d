#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "family_fixture.h"

/* The lists were drawn; the counts are worked out by hand. */
Test(counting, by_hand) {
    const eab_level level = family_level("counting", "");
    family_expect_sequence(&level, EAB_STREAM_TRAINING, 0,
                           "[s4] [s3] [s4] [s4] [s4] [s4] [s4] [s4] [>] [s4] 7 [s3] 1 [.] [.] [.] [.] [.] [.] [.] [.] "
                           "[.] [.] [.] [.]");
    family_expect_sequence(&level, EAB_STREAM_TRAINING, 2,
                           "[s5] [s7] [s0] [s4] [s7] [s1] [s6] [s0] [>] [s5] 1 [s7] 2 [s0] 2 [s4] 1 [s1] 1 [s6] 1 [.] "
                           "[.] [.] [.]");
}

/* The histogram of A C D C is 1 2 1 2: of A, C and D it is 1, 2, 1. */
Test(counting, example_of_the_source) {
    const eab_level level = family_level("counting", "items=4 symbols=4");
    int found = 0;
    for (uint64_t index = 0; index < 2000; index++) {
        family_sequence sequence;
        family_draw(&level, EAB_STREAM_TRAINING, index, 13, &sequence);
        const int32_t *token = sequence.tokens, a = token[0], c = token[1], d = token[2];
        if (a == c || a == d || c == d || token[3] != c) continue;
        const int32_t expected[] = {a, 1 - 1, c, 2 - 1, d, 1 - 1};
        cr_expect_arr_eq(token + 5, expected, sizeof expected);
        found++;
    }
    cr_expect_gt(found, 10);
}

Test(counting, counts_each_symbol_of_the_list_once) {
    static const char *const levels[] = {
        "", "draw=1", "items=1 symbols=2", "items=12 symbols=3", "items=10 symbols=32", "items=12 symbols=1024 draw=1"};
    enum { LENGTH = 40 };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("counting", levels[i]);
        const int32_t symbols = level.option[0], items = level.option[1];
        for (uint64_t index = 0; index < 300; index++) {
            family_sequence sequence;
            int32_t times[1024] = {0}, t = items + 1, left = items;
            family_draw(&level, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
            for (int32_t j = 0; j < items; j++) {
                cr_assert(sequence.tokens[j] >= items && sequence.tokens[j] < items + symbols);
                times[sequence.tokens[j] - items]++;
            }
            cr_assert_eq(sequence.tokens[items], items + symbols);
            for (int32_t j = 0; left > 0; t += 2) {
                while (times[sequence.tokens[j] - items] == 0) j++; /* asked before */
                int32_t *expected = &times[sequence.tokens[j] - items];
                cr_assert_eq(sequence.tokens[t], sequence.tokens[j]);
                cr_assert_eq(sequence.tokens[t + 1], *expected - 1);
                left -= *expected;
                *expected = 0;
            }
            for (int32_t j = 0; j < LENGTH; j++) {
                cr_assert_eq(sequence.determined[j], j > items && j < t && (j - items) % 2 == 0);
                if (j >= t) cr_assert_eq(sequence.tokens[j], items + symbols + 1);
            }
        }
    }
}

/* How many symbols occur k times, on average of 20,000 lists of 10. Partition: 1/k, as of the cycles of a random
 * permutation. Uniform with 32 symbols: 32 C(10, k) (1/32)^k (31/32)^(10-k). */
Test(counting, frequencies_of_counts) {
    enum { LISTS = 20000, ITEMS = 10 };
    for (int32_t draw = 0; draw < 2; draw++) {
        const eab_level level = family_level("counting", draw ? "symbols=32 items=10 draw=1" : "symbols=32 items=10");
        double sum[ITEMS + 1] = {0}, square[ITEMS + 1] = {0}, choose = 1;
        int64_t symbol_used[32] = {0}, used = 0;
        for (uint64_t index = 0; index < LISTS; index++) {
            family_sequence sequence;
            int32_t number[ITEMS + 1] = {0};
            family_draw(&level, EAB_STREAM_TRAINING, index, 31, &sequence);
            for (int t = ITEMS + 2; t < 31; t += 2)
                if (sequence.determined[t]) {
                    number[sequence.tokens[t] + 1]++;
                    symbol_used[sequence.tokens[t - 1] - ITEMS]++;
                    used++;
                }
            for (int k = 1; k <= ITEMS; k++) {
                sum[k] += number[k];
                square[k] += number[k] * number[k];
            }
        }
        for (int k = 1; k <= ITEMS; k++) {
            choose *= (ITEMS - k + 1.0) / k;
            const double expected = draw ? 32 * choose * pow(31, ITEMS - k) / pow(32, ITEMS) : 1.0 / k;
            const double mean = sum[k] / LISTS, deviation = sqrt((square[k] / LISTS - mean * mean) / LISTS);
            cr_expect_lt(fabs(mean - expected), 5 * deviation + 1e-3, "draw %d: %g symbols occur %d times, not %g",
                         draw, mean, k, expected);
        }
        for (int symbol = 0; symbol < 32; symbol++)
            cr_expect_lt(fabs((double)symbol_used[symbol] / (double)used - 1.0 / 32),
                         5 * sqrt(1.0 / 32 / (double)used));
    }
}

Test(counting, figures) {
    const eab_level level = family_level("counting", "symbols=3 items=4"),
                    uniform = family_level("counting", "symbols=3 items=4 draw=1");
    const eab_task *task = eab_task_at(level.family);
    cr_expect_float_eq(task->complexity_bits(&level, 24), log2(81), 1e-9);
    cr_expect_eq(family_count_distinct(&level, EAB_STREAM_TRAINING, 11, 20000), 81);
    cr_expect_eq(family_count_distinct(&uniform, EAB_STREAM_TRAINING, 11, 5000), 81);
    cr_expect_eq(task->vocab(&level), 9);
    cr_expect_float_eq(task->chance_accuracy(&level), 0.25, 1e-12);
}

Test(counting, bounds) {
    family_expect_bounds("counting", "symbols", 2, 1024);
    family_expect_bounds("counting", "items", 1, 1024);
    family_expect_bounds("counting", "draw", 0, 1);
    family_expect_refused("counting", "", 23, "context = 23", "at least 24");
    family_expect_accepted("counting", "", 24);
    family_expect_accepted("counting", "symbols=32 items=10", 30);
    family_expect_refused("counting", "symbols=4 items=30", 37, "context = 37", "at least 38");
}
