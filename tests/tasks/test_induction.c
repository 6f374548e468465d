#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "family_fixture.h"

/* 3 follows the first trigger, so it follows each later one. */
Test(induction, by_hand) {
    const eab_level level = family_level("induction", "");
    family_expect_sequence(
        &level, EAB_STREAM_TRAINING, 1,
        "[1] [6] [1] [1] [!] [3] [!] 3 [5] [15] [5] [15] [15] [8] [!] 3 [5] [3] [9] [1] [0] [!] 3 [8] [12]");
}

/* With two triggers, of which the second is the last token before the answer: the first is at each of the other places
 * equally often, in 22,000 sequences of 25 tokens. */
Test(induction, the_last_trigger_at_the_end) {
    const eab_level level = family_level("induction", "triggers=2 last=1");
    int first[22] = {0}, symbol[16] = {0};
    for (uint64_t index = 0; index < 22000; index++) {
        family_sequence sequence;
        int t = 0;
        family_draw(&level, EAB_STREAM_TRAINING, index, 25, &sequence);
        while (sequence.tokens[t] != 16) t++;
        cr_assert(t < 22 && sequence.tokens[23] == 16);
        cr_assert_eq(sequence.tokens[24], sequence.tokens[t + 1]);
        for (int i = 0; i < 25; i++) cr_assert_eq(sequence.determined[i], i == 24);
        first[t]++;
        symbol[sequence.tokens[24]]++;
    }
    for (int i = 0; i < 22; i++) cr_expect(abs(first[i] - 1000) < 160, "%d", first[i]);
    for (int i = 0; i < 16; i++) cr_expect(abs(symbol[i] - 1375) < 190, "%d", symbol[i]);
    const eab_level small = family_level("induction", "triggers=2 symbols=2 last=1");
    cr_expect_float_eq(eab_task_at(small.family)->complexity_bits(&small, 5), log2(24), 1e-9); /* 2^3 * 3 places */
    cr_expect_eq(family_count_distinct(&small, EAB_STREAM_TRAINING, 6, 3000), 24);
    family_expect_bounds("induction", "last", 0, 1);
}

Test(induction, the_trigger_is_followed_by_the_same) {
    static const char *const levels[] = {"", "triggers=2 symbols=2", "triggers=12 symbols=1024", "triggers=5 last=1",
                                         "triggers=2 symbols=15 last=1"}; /* the last one as published, in 256 tokens */
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("induction", levels[i]);
        const int32_t length = i + 1 < sizeof levels / sizeof *levels ? 25 : 257;
        for (uint64_t index = 0; index < 300; index++) {
            family_sequence sequence;
            int32_t triggers = 0, answer = -1;
            family_draw(&level, EAB_STREAM_TRAINING, index, length, &sequence);
            for (int t = 0; t < length; t++) {
                const bool behind = t > 0 && sequence.tokens[t - 1] == level.option[0];
                cr_assert_eq(sequence.determined[t], behind && triggers > 1);
                if (behind) {
                    cr_assert_neq(sequence.tokens[t], level.option[0]);
                    cr_assert(answer < 0 || sequence.tokens[t] == answer);
                    answer = sequence.tokens[t];
                }
                triggers += sequence.tokens[t] == level.option[0];
            }
            cr_assert_eq(triggers, level.option[1]);
        }
    }
}

/* Seven tokens, two triggers: 5 slots, C(5, 2) places, 3 free symbols and one after the first trigger: 10 * 2^4. */
Test(induction, figures) {
    const eab_level level = family_level("induction", "symbols=2 triggers=2");
    const eab_task *task = eab_task_at(level.family);
    cr_expect_float_eq(task->complexity_bits(&level, 6), log2(160), 1e-9);
    cr_expect_eq(family_count_distinct(&level, EAB_STREAM_TRAINING, 7, 8000), 160);
    cr_expect_eq(task->vocab(&level), 3);
    cr_expect_float_eq(task->chance_accuracy(&level), 0.5, 1e-12);
}

Test(induction, bounds) {
    family_expect_bounds("induction", "symbols", 2, 1024);
    family_expect_bounds("induction", "triggers", 2, 4096);
    family_expect_refused("induction", "triggers=13", 24, "context = 24", "at least 25");
    family_expect_accepted("induction", "triggers=12", 24);
    family_expect_accepted("induction", "triggers=2", 3);
}
