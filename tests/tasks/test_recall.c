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
    family_expect_bounds("recall", "keys", 1, 1024);
    family_expect_bounds("recall", "values", 2, 1024);
    family_expect_refused("recall", "pairs=17", 64, "pairs = 17", "keys = 16");
    family_expect_refused("recall", "pairs=12", 24, "context = 24", "at least 25");
    family_expect_accepted("recall", "pairs=11", 24);
    family_expect_accepted("recall", "pairs=512 keys=512", 1025);
}
