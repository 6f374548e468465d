#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "family_fixture.h"

enum { W = EAB_FLIP_FLOP_WRITE, R = EAB_FLIP_FLOP_READ, I = EAB_FLIP_FLOP_IGNORE };

/* The example of the paper: w 0 w 1 i 1 i 0 r 1. Its read returns the bit of the second write. */
Test(flip_flop, example_of_the_source) {
    static const int32_t example[] = {W, 0, W, 1, I, 1, I, 0, R, 1};
    const eab_level level = family_level("flip_flop", "ignore_percent=50");
    bool found = false;
    for (uint64_t index = 0; index < 20000 && !found; index++) {
        family_sequence sequence;
        family_draw(&level, EAB_STREAM_TRAINING, index, 10, &sequence);
        int equal = 0;
        while (equal < 9 && sequence.tokens[equal] == example[equal]) equal++;
        if (equal < 9) continue;
        found = true;
        cr_expect_eq(sequence.tokens[9], example[9]);
        for (int t = 0; t < 10; t++) cr_expect_eq(sequence.determined[t], t == 9);
    }
    cr_expect(found);
}

/* The instructions and the bits after w and i were drawn; the bits after r are worked out by hand. */
Test(flip_flop, by_hand) {
    const eab_level level = family_level("flip_flop", "");
    family_expect_sequence(
        &level, EAB_STREAM_TRAINING, 0,
        "[w] [0] [i] [0] [i] [0] [i] [0] [i] [0] [w] [1] [w] [1] [i] [1] [i] [0] [i] [0] [w] [0] [r] "
        "0 [i]");
}

Test(flip_flop, reads_return_the_bit_written_last) {
    static const char *const levels[] = {"", "ignore_percent=1", "ignore_percent=99 test_ignore=10"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("flip_flop", levels[i]);
        for (uint64_t index = 0; index < 600; index++) {
            family_sequence sequence;
            const int32_t length = 20 + (int32_t)(index % 2), end = 20;
            int32_t memory = -1;
            family_draw(&level, (uint32_t)(index % 3), index, length, &sequence);
            cr_assert_eq(sequence.tokens[0], W);
            cr_assert_eq(sequence.tokens[end - 2], R);
            for (int t = 0; t < end; t += 2) {
                const int32_t instruction = sequence.tokens[t], bit = sequence.tokens[t + 1];
                cr_assert(instruction >= W && instruction <= I && (bit == 0 || bit == 1));
                if (instruction == W) memory = bit;
                if (instruction == R) cr_assert_eq(bit, memory);
                cr_assert_eq(sequence.determined[t], 0);
                cr_assert_eq(sequence.determined[t + 1], instruction == R);
            }
            if (length > end) cr_assert(sequence.tokens[end] == I && !sequence.determined[end]);
        }
    }
}

/* Shares of 18 free instructions and of bits in 4,000 sequences, against the source's FFL(p): i with probability p, w
 * and r with (1 - p) / 2 each, bits after w and i even. Five standard deviations. */
Test(flip_flop, frequencies_are_those_of_the_source) {
    static const struct {
        const char *settings;
        uint32_t stream;
        double ignore;
    } cases[] = {{"", 0, 0.8},
                 {"", 2, 0.8},
                 {"test_ignore=98", 0, 0.8},
                 {"test_ignore=98", 1, 0.98},
                 {"test_ignore=10", 2, 0.1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const eab_level level = family_level("flip_flop", cases[i].settings);
        int64_t instructions[5] = {0}, ones = 0, bits = 0, all = 0;
        for (uint64_t index = 0; index < 4000; index++) {
            family_sequence sequence;
            family_draw(&level, cases[i].stream, index, 40, &sequence);
            for (int t = 2; t < 38; t += 2, all++) {
                instructions[sequence.tokens[t]]++;
                if (sequence.tokens[t] == R) continue;
                ones += sequence.tokens[t + 1];
                bits++;
            }
        }
        const double expected[] = {(1 - cases[i].ignore) / 2, (1 - cases[i].ignore) / 2, cases[i].ignore};
        for (int k = 0; k < 3; k++) {
            const double share = (double)instructions[W + k] / (double)all, p = expected[k];
            cr_expect_lt(fabs(share - p), 5 * sqrt(p * (1 - p) / (double)all), "%s: %g, not %g", cases[i].settings,
                         share, p);
        }
        cr_expect_lt(fabs((double)ones / (double)bits - 0.5), 2.5 / sqrt((double)bits));
    }
}

/* w b, one of w0 w1 i0 i1 r, then r: 2 * 5 sequences of 6 or 7 tokens. */
Test(flip_flop, figures) {
    const eab_level level = family_level("flip_flop", "ignore_percent=50");
    const eab_task *task = eab_task_at(level.family);
    cr_expect_float_eq(task->complexity_bits(&level, 5), log2(10), 1e-12);
    cr_expect_float_eq(task->complexity_bits(&level, 8), log2(50), 1e-12);
    cr_expect_eq(family_count_distinct(&level, EAB_STREAM_TRAINING, 6, 1000), 10);
    cr_expect_eq(family_count_distinct(&level, EAB_STREAM_TRAINING, 9, 5000), 50);
    cr_expect_eq(task->vocab(&level), 5);
    cr_expect_float_eq(task->chance_accuracy(&level), 0.5, 1e-12);
}

Test(flip_flop, bounds) {
    family_expect_bounds("flip_flop", "ignore_percent", 1, 99);
    family_expect_bounds("flip_flop", "test_ignore", 0, 99);
    family_expect_refused("flip_flop", "", 2, "context = 2", "at least 3");
    family_expect_accepted("flip_flop", "", 3);
}
