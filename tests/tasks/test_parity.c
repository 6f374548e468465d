#include <criterion/criterion.h>
#include <math.h>

#include "family_fixture.h"

/* Marked: 0 1 1, so 0 1 0; then 0 0 0, so 0 0 0. */
Test(parity, by_hand) {
    const eab_level level = family_level("parity", "");
    family_expect_sequence(
        &level, EAB_STREAM_TRAINING, 1,
        "[0] [0*] [0] [0] [1*] [0] [0] [1*] [>] 0 1 0 [1] [0] [0*] [0] [0] [0] [0*] [0*] [>] 0 0 0 [.]");
}

Test(parity, counts_the_marked_bits) {
    static const char *const levels[] = {"", "bits=5 marked=5", "bits=9 marked=1", "answer=1",
                                         "bits=1 marked=1 answer=1"};
    enum { LENGTH = 33 };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("parity", levels[i]);
        const int32_t bits = level.option[0], marked = level.option[1], final = level.option[2];
        const int32_t block = bits + 1 + (final ? 1 : marked);
        for (uint64_t index = 0; index < 300; index++) {
            family_sequence sequence;
            family_draw(&level, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
            int first = 0;
            for (; first + block <= LENGTH; first += block) {
                const int32_t *token = sequence.tokens + first;
                int32_t parity = 0, seen = 0;
                cr_assert_eq(token[bits], 4);
                for (int place = 0; place <= bits; place++) cr_assert_eq(sequence.determined[first + place], 0);
                for (int place = 0; place < bits; place++) {
                    cr_assert_lt(token[place], 4);
                    if (token[place] < 2) continue;
                    parity ^= token[place] & 1;
                    seen++;
                    if (!final) cr_assert_eq(token[bits + seen], parity);
                }
                cr_assert_eq(seen, marked);
                cr_assert_eq(token[block - 1], parity);
                for (int place = bits + 1; place < block; place++) cr_assert_eq(sequence.determined[first + place], 1);
            }
            for (; first < LENGTH; first++) cr_assert(sequence.tokens[first] == 5 && !sequence.determined[first]);
        }
    }
}

Test(parity, figures) {
    const eab_level level = family_level("parity", "bits=4 marked=2");
    const eab_task *task = eab_task_at(level.family);
    cr_expect_float_eq(task->complexity_bits(&level, 6), log2(96), 1e-9); /* 2^4 * C(4, 2); 7 tokens hold one block */
    cr_expect_float_eq(task->complexity_bits(&level, 13), 2 * log2(96), 1e-9);
    cr_expect_eq(family_count_distinct(&level, EAB_STREAM_TRAINING, 7, 5000), 96);
    cr_expect_eq(task->vocab(&level), 6);
    cr_expect_float_eq(task->chance_accuracy(&level), 0.5, 1e-12);
}

Test(parity, bounds) {
    family_expect_bounds("parity", "bits", 1, 4096);
    family_expect_bounds("parity", "marked", 1, 4096);
    family_expect_bounds("parity", "answer", 0, 1);
    family_expect_refused("parity", "bits=3 marked=4", 24, "marked = 4", "bits = 3");
    family_expect_refused("parity", "", 10, "context = 10", "at least 11");
    family_expect_accepted("parity", "", 11);
    family_expect_accepted("parity", "answer=1", 9);
    family_expect_accepted("parity", "bits=4096 marked=4096", 8192);
}
