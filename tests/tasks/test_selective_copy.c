#include <criterion/criterion.h>
#include <math.h>

#include "family_fixture.h"

Test(selective_copy, by_hand) {
    const eab_level level = family_level("selective_copy", "");
    family_expect_sequence(&level, EAB_STREAM_TRAINING, 0,
                           "[.] [3] [.] [.] [0] [.] [0] [.] [>] 3 0 0 [4] [3] [.] [.] [.] [5] [.] [.] [>] 4 3 5 [.]");
}

Test(selective_copy, repeats_the_symbols_in_order) {
    static const char *const levels[] = {"", "items=4 blanks=0 symbols=2", "items=1 blanks=9 symbols=1024"};
    enum { LENGTH = 40 };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("selective_copy", levels[i]);
        const int32_t symbols = level.option[0], items = level.option[1], shown = items + level.option[2];
        const int32_t block = shown + 1 + items;
        for (uint64_t index = 0; index < 300; index++) {
            family_sequence sequence;
            family_draw(&level, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
            int first = 0;
            for (; first + block <= LENGTH; first += block) {
                int said = 0;
                for (int place = 0; place < shown; place++) {
                    const int32_t token = sequence.tokens[first + place];
                    cr_assert_leq(token, symbols);
                    if (token < symbols) cr_assert_eq(sequence.tokens[first + shown + 1 + said++], token);
                }
                cr_assert_eq(said, items);
                cr_assert_eq(sequence.tokens[first + shown], symbols + 1);
                for (int place = 0; place < block; place++)
                    cr_assert_eq(sequence.determined[first + place], place > shown);
            }
            for (; first < LENGTH; first++) cr_assert(sequence.tokens[first] == symbols && !sequence.determined[first]);
        }
    }
}

Test(selective_copy, figures) {
    const eab_level level = family_level("selective_copy", "symbols=3 items=2 blanks=2");
    const eab_task *task = eab_task_at(level.family);
    cr_expect_float_eq(task->complexity_bits(&level, 6), log2(54), 1e-9); /* 3^2 * C(4, 2) */
    cr_expect_eq(family_count_distinct(&level, EAB_STREAM_TRAINING, 7, 3000), 54);
    cr_expect_eq(task->vocab(&level), 5);
    cr_expect_float_eq(task->chance_accuracy(&level), 1.0 / 3, 1e-12);
}

Test(selective_copy, bounds) {
    family_expect_bounds("selective_copy", "symbols", 2, 1024);
    family_expect_bounds("selective_copy", "items", 1, 4096);
    family_expect_bounds("selective_copy", "blanks", 0, 65535);
    family_expect_refused("selective_copy", "", 10, "context = 10", "at least 11");
    family_expect_accepted("selective_copy", "", 11);
    family_expect_accepted("selective_copy", "blanks=0 items=1", 2);
}
