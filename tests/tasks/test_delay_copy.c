#include <criterion/criterion.h>
#include <math.h>

#include "family_fixture.h"

Test(delay_copy, by_hand) {
    const eab_level full = family_level("delay_copy", "");
    family_expect_sequence(&full, EAB_STREAM_TRAINING, 0,
                           "[7] [4] [2] [3] [.] [.] [.] [.] [.] [.] [.] [.] [>] 7 4 2 3 [.] [.]");
}

/* The answer repeats the shown or the marked symbols, and the signal comes after the drawn distance. */
Test(delay_copy, repeats_the_shown_symbols) {
    enum { LENGTH = 40 };
    for (int mode = 0; mode < 2; mode++) {
        const eab_level level =
            family_level("delay_copy", mode ? "mode=1 items=7 distance_min=2 distance_max=6 test_distance_min=9 "
                                              "test_distance_max=12"
                                            : "items=7 distance_min=2 distance_max=6 test_distance_min=9 "
                                              "test_distance_max=12");
        const int32_t blank = mode ? 16 : 8;
        int count[20] = {0};
        for (uint64_t index = 0; index < 3000; index++) {
            const uint32_t stream = (uint32_t)(index % 3);
            family_sequence sequence;
            family_draw(&level, stream, index, LENGTH, &sequence);
            int32_t wanted[7], n = 0, t = 7;
            for (int i = 0; i < 7; i++) {
                cr_assert_lt(sequence.tokens[i], blank);
                if (!mode || sequence.tokens[i] >= 8) wanted[n++] = sequence.tokens[i] % 8;
            }
            cr_assert_eq(n, mode ? 4 : 7);
            while (sequence.tokens[t] == blank) t++;
            const int32_t distance = t - 7;
            cr_assert(stream == EAB_STREAM_TRAINING ? distance >= 2 && distance <= 6 : distance >= 9 && distance <= 12);
            count[distance]++;
            cr_assert_eq(sequence.tokens[t], blank + 1);
            for (int i = 0; i <= t; i++) cr_assert_not(sequence.determined[i]);
            for (int i = 0; i < n; i++) {
                cr_assert_eq(sequence.tokens[t + 1 + i], wanted[i]);
                cr_assert(sequence.determined[t + 1 + i] == 1);
            }
            for (int i = t + 1 + n; i < LENGTH; i++) cr_assert(sequence.tokens[i] == blank && !sequence.determined[i]);
        }
        for (int d = 2; d <= 6; d++) cr_expect(count[d] > 130 && count[d] < 270, "%d: %d", d, count[d]);  /* 200 */
        for (int d = 9; d <= 12; d++) cr_expect(count[d] > 400 && count[d] < 600, "%d: %d", d, count[d]); /* 500 */
    }
}

Test(delay_copy, figures) {
    const eab_level full = family_level("delay_copy", "symbols=4 items=3 distance_min=1 distance_max=4");
    const eab_level selective = family_level("delay_copy", "symbols=4 items=3 mode=1 distance_min=2 distance_max=2");
    const eab_task *task = eab_task_at(full.family);
    cr_expect_float_eq(task->complexity_bits(&full, 24), 8, 1e-12);                /* 4^3 * 4 */
    cr_expect_float_eq(task->complexity_bits(&selective, 24), 6 + log2(3), 1e-12); /* 4^3 * C(3, 2) */
    cr_expect(task->vocab(&full) == 6 && task->vocab(&selective) == 10);
    cr_expect_float_eq(task->chance_accuracy(&selective), 0.25, 1e-12);
}

/* Without common distances evaluation needs no held-out sequences; with one it does. */
Test(delay_copy, holds_out_sequences_only_if_distances_overlap) {
    const eab_level none = family_level("delay_copy", "");
    const eab_level longer = family_level("delay_copy", "items=3 test_distance_min=9 test_distance_max=12");
    const eab_level meeting = family_level("delay_copy", "items=4 test_distance_min=8 test_distance_max=12");
    cr_expect(eab_level_auto_held_out(&none, 24));
    cr_expect_not(eab_level_auto_held_out(&longer, 24));
    cr_expect(eab_level_auto_held_out(&meeting, 24));
}

Test(delay_copy, bounds) {
    family_expect_bounds("delay_copy", "symbols", 2, 1024);
    family_expect_bounds("delay_copy", "items", 1, 4096);
    family_expect_bounds("delay_copy", "mode", 0, 1);
    family_expect_bounds("delay_copy", "distance_min", 1, 65535);
    family_expect_bounds("delay_copy", "distance_max", 1, 65535);
    family_expect_bounds("delay_copy", "test_distance_min", 0, 65535);
    family_expect_bounds("delay_copy", "test_distance_max", 0, 65535);
    family_expect_refused("delay_copy", "distance_min=9", 24, "distance_min = 9", "distance_max = 8");
    family_expect_refused("delay_copy", "test_distance_min=3", 24, "test_distance_min = 3", "both 0");
    family_expect_refused("delay_copy", "test_distance_max=3", 24, "test_distance_max = 3", "both 0");
    family_expect_refused("delay_copy", "test_distance_min=4 test_distance_max=3", 24, "= 4", "at most");
    family_expect_refused("delay_copy", "", 15, "context = 15", "at least 16"); /* 4 + 8 + 1 + 4 = 17 tokens */
    family_expect_refused("delay_copy", "test_distance_min=9 test_distance_max=17", 24, "context = 24", "at least 25");
    family_expect_accepted("delay_copy", "test_distance_min=9 test_distance_max=16", 24);
    family_expect_accepted("delay_copy", "", 16);
    family_expect_accepted("delay_copy", "mode=1", 14);
}
