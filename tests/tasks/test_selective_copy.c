#include <criterion/criterion.h>
#include <math.h>

#include "family_fixture.h"

Test(selective_copy, by_hand) {
    const eab_level level = family_level("selective_copy", "");
    family_expect_sequence(&level, EAB_STREAM_TRAINING, 0,
                           "[.] [3] [.] [.] [0] [.] [0] [.] [>] 3 0 0 [4] [3] [.] [.] [.] [5] [.] [.] [>] 4 3 5 [.]");
}

/* As MAD draws it: a symbol stands before the signal. */
Test(selective_copy, by_hand_as_mad) {
    const eab_level level = family_level("selective_copy", "places=1");
    family_expect_sequence(&level, EAB_STREAM_TRAINING, 0,
                           "[0] [.] [.] [.] [3] [.] [.] [0] [>] 0 3 0 [.] [3] [.] [.] [4] [.] [.] [7] [>] 3 4 7 [.]");
}

Test(selective_copy, repeats_the_symbols_in_order) {
    static const char *const levels[] = {"",
                                         "items=4 blanks=0 symbols=2",
                                         "items=1 blanks=9 symbols=1024",
                                         "places=1",
                                         "places=1 items=9 blanks=2",
                                         "places=1 items=16 blanks=223 symbols=14"}; /* the last one is MAD's */
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("selective_copy", levels[i]);
        const int32_t symbols = level.option[0], items = level.option[1], shown = items + level.option[2];
        const int32_t block = shown + 1 + items, length = block > 40 ? block : 40;
        for (uint64_t index = 0; index < 300; index++) {
            family_sequence sequence;
            family_draw(&level, EAB_STREAM_TRAINING, index, length, &sequence);
            int first = 0;
            for (; first + block <= length; first += block) {
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
            for (; first < length; first++) cr_assert(sequence.tokens[first] == symbols && !sequence.determined[first]);
        }
    }
}

/* The share of blocks with b blanks before the first, second, ... of 4 symbols among 6 blanks, in 20,000 blocks. Any
 * places: C(6 - b + 3, 3) of the C(10, 4) = 210 sets, and so behind the last one. As MAD: binomial, 6 blanks with
 * probability 1/4 each, and none behind the last. Symbols are uniform in both. */
Test(selective_copy, blanks_are_distributed_as_stated) {
    enum { BLOCKS = 20000, ITEMS = 4, BLANKS = 6 };
    for (int mad = 0; mad < 2; mad++) {
        const eab_level level = family_level("selective_copy", mad ? "items=4 blanks=6 places=1" : "items=4 blanks=6");
        int count[ITEMS + 1][BLANKS + 1] = {{0}}, symbol[8] = {0};
        for (uint64_t index = 0; index < BLOCKS; index++) {
            family_sequence sequence;
            int item = 0, blanks = 0;
            family_draw(&level, EAB_STREAM_TRAINING, index, 15, &sequence);
            for (int t = 0; t < ITEMS + BLANKS; t++) {
                if (sequence.tokens[t] == 8) {
                    blanks++;
                    continue;
                }
                symbol[sequence.tokens[t]]++;
                count[item++][blanks]++;
                blanks = 0;
            }
            count[item][blanks]++;
        }
        double choose = 1; /* C(6, b) */
        for (int b = 0; b <= BLANKS; b++) {
            const double any = (9.0 - b) * (8 - b) * (7 - b) / 6 / 210,
                         binomial = choose * pow(3, BLANKS - b) / pow(4, BLANKS);
            for (int item = 0; item <= ITEMS; item++) {
                const double p = !mad ? any : item < ITEMS ? binomial : b == 0;
                cr_expect_leq(fabs(count[item][b] - BLOCKS * p), 5 * sqrt(BLOCKS * p * (1 - p)) + 1e-9,
                              "mad %d, item %d, %d blanks: %d, not %g", mad, item, b, count[item][b], BLOCKS * p);
            }
            choose *= (BLANKS - b) / (b + 1.0);
        }
        for (int i = 0; i < 8; i++) cr_expect_lt(fabs(symbol[i] - 10000.0), 500);
    }
}

Test(selective_copy, figures) {
    const eab_level level = family_level("selective_copy", "symbols=3 items=2 blanks=2");
    const eab_task *task = eab_task_at(level.family);
    cr_expect_float_eq(task->complexity_bits(&level, 6), log2(54), 1e-9); /* 3^2 * C(4, 2) */
    cr_expect_eq(family_count_distinct(&level, EAB_STREAM_TRAINING, 7, 3000), 54);
    cr_expect_eq(task->vocab(&level), 5);
    cr_expect_float_eq(task->chance_accuracy(&level), 1.0 / 3, 1e-12);
    const eab_level mad = family_level("selective_copy", "symbols=3 items=2 blanks=2 places=1");
    cr_expect_float_eq(task->complexity_bits(&mad, 6), log2(27), 1e-9); /* 3^2 * C(3, 1) */
    cr_expect_eq(family_count_distinct(&mad, EAB_STREAM_TRAINING, 7, 3000), 27);
}

Test(selective_copy, bounds) {
    family_expect_bounds("selective_copy", "symbols", 2, 1024);
    family_expect_bounds("selective_copy", "items", 1, 4096);
    family_expect_bounds("selective_copy", "blanks", 0, 65535);
    family_expect_bounds("selective_copy", "places", 0, 1);
    family_expect_refused("selective_copy", "", 10, "context = 10", "at least 11");
    family_expect_accepted("selective_copy", "", 11);
    family_expect_accepted("selective_copy", "blanks=0 items=1", 2);
}
