#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "family_fixture.h"

/* 4 + 22 = 26, 3 + 28 = 31 = 0, 18 + 20 = 38 = 7, 4 + 3 = 7, 4 + 8 = 12 modulo 31; two tokens are left over. */
Test(modular, by_hand) {
    const eab_level level = family_level("modular", "");
    family_expect_sequence(
        &level, EAB_STREAM_TRAINING, 0,
        "[4] [+] [22] [=] 26 [3] [+] [28] [=] 0 [18] [+] [20] [=] 7 [4] [+] [3] [=] 7 [4] [+] [8] [=] 12 "
        "[=] [=]");
}

Test(modular, equations_hold_and_sides_do_not_mix) {
    static const char *const levels[] = {"", "operation=1 modulus=7", "operation=2 modulus=1024 test_percent=99",
                                         "modulus=2 test_percent=0", "operation=2 modulus=13 test_percent=10"};
    enum { LENGTH = 25 };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("modular", levels[i]);
        const int32_t modulus = level.option[0], operation = level.option[1];
        for (uint64_t index = 0; index < 600; index++) {
            const uint32_t stream = (uint32_t)(index % 3);
            family_sequence sequence;
            family_draw(&level, stream, index, LENGTH, &sequence);
            for (int t = 0; t < LENGTH; t += 5) {
                const int32_t *token = sequence.tokens + t, a = token[0], b = token[2];
                const int32_t c = operation == 0 ? a + b : operation == 1 ? a - b : a * b;
                cr_assert(token[1] == modulus && token[3] == modulus + 1);
                cr_assert_eq(token[4], (c % modulus + modulus) % modulus, "%d, %d: %d", a, b, token[4]);
                for (int k = 0; k < 5; k++) cr_assert_eq(sequence.determined[t + k], k == 4);
                if (level.option[2])
                    cr_assert_eq(eab_modular_is_test(&level, a, b), stream != EAB_STREAM_TRAINING, "%s", levels[i]);
            }
        }
    }
}

Test(modular, the_split_has_its_share_and_keeps_mirror_images_together) {
    const eab_level add = family_level("modular", "modulus=97 test_percent=30");
    const eab_level subtract = family_level("modular", "modulus=97 test_percent=30 operation=1");
    int test = 0, apart = 0;
    for (int32_t a = 0; a < 97; a++)
        for (int32_t b = 0; b < 97; b++) {
            test += eab_modular_is_test(&add, a, b);
            cr_assert_eq(eab_modular_is_test(&add, a, b), eab_modular_is_test(&add, b, a));
            apart += eab_modular_is_test(&subtract, a, b) != eab_modular_is_test(&subtract, b, a);
        }
    cr_expect(abs(test - 2823) < 250, "%d of 9409", test); /* 30 %; sigma about 62 */
    cr_expect_gt(apart, 3000);                             /* 2 * 0.3 * 0.7 of them */
}

/* A larger share keeps the pairs of a smaller one: the hash of a pair does not depend on it. */
Test(modular, the_split_grows_with_its_share) {
    const eab_level less = family_level("modular", "test_percent=20"),
                    more = family_level("modular", "test_percent=60");
    for (int32_t a = 0; a < 31; a++)
        for (int32_t b = 0; b < 31; b++)
            cr_assert(!eab_modular_is_test(&less, a, b) || eab_modular_is_test(&more, a, b));
}

Test(modular, figures) {
    const eab_level all = family_level("modular", "modulus=4 test_percent=0"),
                    half = family_level("modular", "modulus=6");
    const eab_task *task = eab_task_at(all.family);
    cr_expect_float_eq(task->complexity_bits(&all, 4), 4, 1e-12);
    cr_expect_float_eq(task->complexity_bits(&all, 12), 8, 1e-12); /* 13 tokens hold two equations */
    const int64_t train = family_count_distinct(&half, EAB_STREAM_TRAINING, 5, 2000);
    const int64_t test = family_count_distinct(&half, EAB_STREAM_HELD_OUT, 5, 2000);
    cr_expect_eq(train + test, 36);
    cr_expect_float_eq(task->complexity_bits(&half, 4), log2((double)train), 1e-12);
    cr_expect_eq(task->vocab(&half), 8);
    /* a level with a split of its pairs holds out no sequences */
    const eab_level large = family_level("modular", "modulus=97"),
                    unsplit = family_level("modular", "modulus=97 test_percent=0");
    cr_expect_not(eab_level_auto_held_out(&large, 4));
    cr_expect(eab_level_auto_held_out(&unsplit, 4));
}

Test(modular, bounds) {
    family_expect_bounds("modular", "modulus", 2, 1024);
    family_expect_bounds("modular", "operation", 0, 2);
    family_expect_bounds("modular", "test_percent", 0, 99);
    family_expect_refused("modular", "", 3, "context = 3", "at least 4");
    family_expect_refused("modular", "modulus=2 test_percent=1", 24, "test_percent = 1", "to ask");
    family_expect_refused("modular", "modulus=2 test_percent=99", 24, "test_percent = 99", "to train on");
    family_expect_accepted("modular", "", 4);
    family_expect_accepted("modular", "modulus=2 test_percent=0", 4);
    family_expect_accepted("modular", "modulus=1024 test_percent=1", 4);
}
