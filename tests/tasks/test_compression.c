#include <criterion/criterion.h>
#include <math.h>

#include "family_fixture.h"

/* The symbols and the order of the positions were drawn; the answers are worked out by hand. */
Test(compression, by_hand) {
    const eab_level level = family_level("compression", "");
    family_expect_sequence(&level, EAB_STREAM_TRAINING, 0,
                           "[2] [2] [12] [2] [3] [0] [14] [10] [>] [@1] 2 [@4] 3 [@3] 2 [@2] 12 [@6] 14 [@0] 2 [@5] 0 "
                           "[@7] 10");
}

Test(compression, gives_the_symbol_at_each_position_once) {
    static const char *const levels[] = {"", "items=1 symbols=2", "items=3 symbols=1024", "items=31", "items=13"};
    enum { LENGTH = 100 };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("compression", levels[i]);
        const int32_t symbols = level.option[0], items = level.option[1], block = 3 * items + 1;
        for (uint64_t index = 0; index < 300; index++) {
            family_sequence sequence;
            family_draw(&level, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
            const int32_t *token = sequence.tokens;
            int32_t first = 0;
            for (; first + block <= LENGTH; first += block) {
                bool asked[100] = {false};
                for (int32_t t = first; t < first + items; t++) cr_assert_lt(token[t], symbols);
                cr_assert_eq(token[first + items], symbols + items);
                for (int32_t t = first + items + 1; t < first + block; t += 2) {
                    const int32_t position = token[t] - symbols;
                    cr_assert(position >= 0 && position < items && !asked[position]);
                    cr_assert_eq(token[t + 1], token[first + position]);
                    asked[position] = true;
                }
            }
            for (int32_t t = 0; t < LENGTH; t++) {
                cr_assert_eq(sequence.determined[t], t < first && t % block > items && (t % block - items) % 2 == 0);
                if (t >= first) cr_assert_eq(token[t], symbols + items);
            }
        }
    }
}

/* The settings of MAD, 31 symbols of 15: each symbol is as frequent at every position, and each position is asked for
 * as often in each turn. */
Test(compression, symbols_and_order_are_uniform) {
    enum { SEQUENCES = 6000, ITEMS = 31 };
    const eab_level level = family_level("compression", "items=31");
    static int shown[ITEMS][15], turn[ITEMS][ITEMS];
    for (uint64_t index = 0; index < SEQUENCES; index++) {
        family_sequence sequence;
        family_draw(&level, EAB_STREAM_TRAINING, index, 3 * ITEMS + 1, &sequence);
        for (int i = 0; i < ITEMS; i++) {
            shown[i][sequence.tokens[i]]++;
            turn[i][sequence.tokens[ITEMS + 1 + 2 * i] - 15]++;
        }
    }
    for (int i = 0; i < ITEMS; i++) {
        for (int symbol = 0; symbol < 15; symbol++) cr_expect_lt(fabs(shown[i][symbol] - 400.0), 5 * sqrt(400.0));
        for (int position = 0; position < ITEMS; position++)
            cr_expect_lt(fabs(turn[i][position] - SEQUENCES / 31.0), 5 * sqrt(SEQUENCES / 31.0));
    }
}

Test(compression, figures) {
    const eab_level level = family_level("compression", "symbols=2 items=3");
    const eab_task *task = eab_task_at(level.family);
    cr_expect_float_eq(task->complexity_bits(&level, 9), log2(48), 1e-9); /* 2^3 * 3! */
    cr_expect_float_eq(task->complexity_bits(&level, 19), 2 * log2(48), 1e-9);
    cr_expect_eq(family_count_distinct(&level, EAB_STREAM_TRAINING, 10, 3000), 48);
    cr_expect_eq(task->vocab(&level), 6);
    cr_expect_float_eq(task->chance_accuracy(&level), 0.5, 1e-12);
}

Test(compression, bounds) {
    family_expect_bounds("compression", "symbols", 2, 1024);
    family_expect_bounds("compression", "items", 1, 1024);
    family_expect_refused("compression", "", 23, "context = 23", "at least 24");
    family_expect_accepted("compression", "", 24);
    family_expect_accepted("compression", "items=31", 93);
}
