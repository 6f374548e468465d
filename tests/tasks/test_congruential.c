#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "family_fixture.h"

/* x_0, x_1 and x_2 were drawn; the rest is worked out by hand: differences -22 and 14 give a = 5 and so c = 2. */
Test(congruential, by_hand) {
    const eab_level level = family_level("congruential", "");
    family_expect_sequence(&level, EAB_STREAM_TRAINING, 0,
                           "[25] [3] [17] 25 3 17 25 3 17 25 3 17 25 3 17 25 3 17 25 3 17 25 3 17 25");
}

/* Modulo 8 the only factor of full period is 5, and 5 x + 3 from 1 gives 1 0 3 2 5 4 7 6 1. */
Test(congruential, a_sequence_of_full_period) {
    static const int32_t expected[] = {1, 0, 3, 2, 5, 4, 7, 6, 1};
    const eab_level level = family_level("congruential", "modulus=8 period=1 test_percent=0");
    int found = 0;
    for (uint64_t index = 0; index < 1000; index++) {
        family_sequence sequence;
        family_draw(&level, EAB_STREAM_TRAINING, index, 9, &sequence);
        if (sequence.tokens[0] != 1 || sequence.tokens[1] != 0) continue;
        cr_expect_arr_eq(sequence.tokens, expected, sizeof expected);
        found++;
    }
    cr_expect_gt(found, 10);
}

/* Every a and c that gives the first three numbers gives all others: the fourth and later ones are determined. The
 * third is not: some other factor gives another one. */
Test(congruential, three_numbers_determine_the_rest) {
    static const int32_t moduli[] = {3, 7, 8, 12, 30, 31, 36};
    for (size_t i = 0; i < sizeof moduli / sizeof *moduli; i++) {
        const int32_t m = moduli[i];
        eab_level level = family_level("congruential", "test_percent=0");
        level.option[EAB_CONGRUENTIAL_MODULUS] = m;
        int open = 0;
        for (uint64_t index = 0; index < 200; index++) {
            family_sequence sequence;
            int generators = 0, other_third = 0;
            family_draw(&level, EAB_STREAM_TRAINING, index, 20, &sequence);
            const int32_t *x = sequence.tokens;
            for (int32_t a = 0; a < m; a++)
                for (int32_t c = 0; c < m; c++) {
                    if ((a * x[0] + c) % m != x[1]) continue;
                    other_third += (a * x[1] + c) % m != x[2];
                    if ((a * x[1] + c) % m != x[2]) continue;
                    generators++;
                    for (int t = 3; t < 20; t++) cr_assert_eq((a * x[t - 1] + c) % m, x[t]);
                }
            cr_assert_gt(generators, 0);
            open += other_third > 0;
            for (int t = 0; t < 20; t++) cr_assert_eq(sequence.determined[t], t > 2);
        }
        cr_expect_gt(open, 50);
    }
}

/* A sequence of full period passes through all numbers and then starts again. */
Test(congruential, full_period) {
    static const int32_t moduli[] = {8, 9, 16, 18, 27, 36, 72, 100};
    for (size_t i = 0; i < sizeof moduli / sizeof *moduli; i++) {
        const int32_t m = moduli[i];
        eab_level level = family_level("congruential", "period=1 test_percent=0");
        level.option[EAB_CONGRUENTIAL_MODULUS] = m;
        for (uint64_t index = 0; index < 200; index++) {
            family_sequence sequence;
            bool seen[100] = {false};
            family_draw(&level, EAB_STREAM_TRAINING, index, m + 1, &sequence);
            for (int32_t t = 0; t < m; t++) {
                cr_assert_not(seen[sequence.tokens[t]], "modulus %d", m);
                seen[sequence.tokens[t]] = true;
            }
            cr_assert_eq(sequence.tokens[m], sequence.tokens[0]);
        }
    }
}

/* The factor of a sequence modulo a prime, or 0 where the first two numbers are equal. */
static int32_t factor_of(const int32_t *x, int32_t m) {
    for (int32_t a = 1; a < m && x[0] != x[1]; a++)
        if ((a * (x[1] - x[0] + m) + x[1]) % m == x[2]) return a;
    return 0;
}

/* Modulo 31, of 30 factors and 31 increments: training and evaluation share no factor, use all of theirs equally
 * often, and begin anywhere. */
Test(congruential, factors_are_split_and_uniform) {
    const eab_level level = family_level("congruential", "test_percent=40");
    int count[2][31] = {{0}}, first[31] = {0}, used[2] = {0};
    for (uint64_t index = 0; index < 60000; index++) {
        family_sequence sequence;
        const uint32_t stream = (uint32_t)(index % 3);
        family_draw(&level, stream, index, 4, &sequence);
        count[stream != EAB_STREAM_TRAINING][factor_of(sequence.tokens, 31)]++;
        first[sequence.tokens[0]]++;
    }
    for (int a = 1; a < 31; a++) {
        cr_expect((count[0][a] > 0) != (count[1][a] > 0), "factor %d: %d and %d", a, count[0][a], count[1][a]);
        for (int side = 0; side < 2; side++) used[side] += count[side][a] > 0;
    }
    cr_expect(used[0] + used[1] == 30 && used[1] >= 6 && used[1] <= 18, "%d for evaluation", used[1]);
    for (int a = 1; a < 31; a++)
        for (int side = 0; side < 2; side++) {
            const double n = (side ? 40000 : 20000) - count[side][0], p = 1.0 / used[side];
            if (count[side][a]) cr_expect_lt(fabs(count[side][a] - n * p), 5 * sqrt(n * p * (1 - p)));
        }
    for (int x = 0; x < 31; x++) cr_expect_lt(fabs(first[x] - 60000 / 31.0), 5 * sqrt(60000 / 31.0));
}

/* Any period modulo 4, a = 1, 2 or 3: d_0 = 0 (one value) gives d_1 = 0; d_0 = 2 gives 0 or 2; d_0 = 1 and 3 give 3
 * values each: 4 * (1 + 2 + 3 + 3). Full period modulo 9: 9 x_0, 6 d_0 coprime to 9, factors 4 and 7. */
Test(congruential, figures) {
    const eab_level any = family_level("congruential", "modulus=4 test_percent=0");
    const eab_level full = family_level("congruential", "modulus=9 period=1 test_percent=0");
    const eab_task *task = eab_task_at(any.family);
    cr_expect_float_eq(task->complexity_bits(&any, 24), log2(36), 1e-9);
    cr_expect_float_eq(task->complexity_bits(&full, 24), log2(108), 1e-9);
    cr_expect_eq(family_count_distinct(&any, EAB_STREAM_TRAINING, 4, 4000), 36);
    cr_expect_eq(family_count_distinct(&full, EAB_STREAM_TRAINING, 4, 4000), 108);
    cr_expect_eq(task->vocab(&full), 9);
    cr_expect_float_eq(task->chance_accuracy(&any), 0.25, 1e-12);
    cr_expect(task->splits && !task->splits(&any));
    const eab_level split = family_level("congruential", "");
    cr_expect(task->splits(&split) && !eab_level_auto_held_out(&split, 24));
}

Test(congruential, bounds) {
    family_expect_bounds("congruential", "modulus", 3, 1024);
    family_expect_bounds("congruential", "period", 0, 1);
    family_expect_bounds("congruential", "test_percent", 0, 99);
    family_expect_refused("congruential", "modulus=30 period=1", 24, "modulus = 30", "odd prime");
    family_expect_refused("congruential", "modulus=12 period=1", 24, "modulus = 12", "odd prime");
    family_expect_accepted("congruential", "modulus=8 period=1 test_percent=0", 24);
    family_expect_refused("congruential", "modulus=8 period=1", 24, "test_percent = 25", "of the 1");
    family_expect_refused("congruential", "", 2, "context = 2", "at least 3");
    family_expect_accepted("congruential", "", 3);
}
