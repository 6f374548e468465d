/* The recurrence with drawn coefficients, product and table. test_recurrence.c has the plain linear rule. */
#include <criterion/criterion.h>
#include <string.h>

#include "family_fixture.h"

enum { LENGTH = 25 };

/* basis 5 and delay 2, so u(x) = x but u(0) = 1: from 3 1 on, 1*3+1 = 4, 4*1+1 = 0, 1*4+1 = 0, 1*0+1 = 1, 1*0+1 = 1,
 * 1*1+1 = 2. */
Test(recurrence_rules, product_by_hand) {
    const eab_level level = family_level("recurrence", "basis=5 delay=2 rule=1");
    int found = 0;
    for (uint64_t index = 0; index < 1000 && !found; index++) {
        family_sequence sequence;
        family_draw(&level, EAB_STREAM_TRAINING, index, 8, &sequence);
        found = sequence.tokens[0] == 3 && sequence.tokens[1] == 1;
        if (found) family_expect_sequence(&level, EAB_STREAM_TRAINING, index, "[3] [1] 4 0 0 1 1 2");
    }
    cr_expect(found);
}

/* Different windows of `delay` tokens have different next windows, so no two sequences merge. */
Test(recurrence_rules, product_is_one_to_one) {
    static const char *const levels[] = {"basis=8 delay=2 rule=1", "basis=5 delay=3 rule=1",
                                         "basis=6 delay=2 rule=1 b=0"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("recurrence", levels[i]);
        const int32_t basis = level.option[0], delay = level.option[1];
        int32_t first_of[1024], windows = 1;
        for (int32_t k = 0; k < delay; k++) windows *= basis;
        for (int32_t k = 0; k < windows; k++) first_of[k] = -1;
        for (uint64_t index = 0; index < 5000; index++) {
            family_sequence sequence;
            family_draw(&level, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
            int32_t first = 0, last = 0;
            for (int32_t k = 0; k < delay; k++) {
                first = first * basis + sequence.tokens[k];
                last = last * basis + sequence.tokens[LENGTH - delay + k];
            }
            cr_assert(first_of[last] < 0 || first_of[last] == first, "%s", levels[i]);
            first_of[last] = first;
        }
    }
}

Test(recurrence_rules, a_table_is_a_function_of_two_tokens_and_its_seed) {
    const eab_level level = family_level("recurrence", "basis=8 delay=3 rule=2 table_seed=5");
    const eab_level other = family_level("recurrence", "basis=8 delay=3 rule=2 table_seed=6");
    int32_t table[8][8], different = 0, seen = 0;
    memset(table, -1, sizeof table);
    for (uint64_t index = 0; index < 500; index++) {
        family_sequence sequence;
        family_draw(&level, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
        for (int t = 3; t < LENGTH; t++) {
            int32_t *entry = &table[sequence.tokens[t - 1]][sequence.tokens[t - 3]];
            seen += *entry < 0;
            cr_assert(*entry < 0 || *entry == sequence.tokens[t]);
            *entry = sequence.tokens[t];
        }
        family_draw(&other, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
        for (int t = 3; t < LENGTH; t++)
            different += table[sequence.tokens[t - 1]][sequence.tokens[t - 3]] != sequence.tokens[t];
    }
    cr_expect_eq(seen, 64); /* every pair was drawn */
    cr_expect_gt(different, 5000);
}

/* Over many tables all entries are in range, and every value is about equally frequent. */
Test(recurrence_rules, table_entries_are_uniform) {
    int count[8] = {0};
    for (int32_t seed = 0; seed < 200; seed++)
        for (int32_t x = 0; x < 8; x++)
            for (int32_t y = 0; y < 8; y++) count[eab_recurrence_entry(seed, 8, x, y)]++;
    for (int i = 0; i < 8; i++)
        cr_expect(count[i] > 1450 && count[i] < 1750, "%d: %d", i, count[i]); /* 1,600 +- 4 sigma */
}

Test(recurrence_rules, drawn_coefficients_are_coprime_to_the_basis) {
    static const int32_t bases[] = {2, 5, 6, 8, 16, 210, 1024};
    for (size_t i = 0; i < sizeof bases / sizeof *bases; i++) {
        int distinct = 0;
        int32_t before = -1;
        for (int32_t seed = 1; seed <= 100; seed++) {
            eab_level level = family_level("recurrence", "");
            level.option[EAB_RECURRENCE_BASIS] = bases[i];
            level.option[EAB_RECURRENCE_TABLE_SEED] = seed;
            int32_t a, b;
            eab_recurrence_coefficients(&level, &a, &b);
            for (int32_t d = 2; d <= bases[i]; d++)
                cr_assert(bases[i] % d || (a % d && b % d), "basis %d: a = %d, b = %d", bases[i], a, b);
            family_sequence sequence;
            family_draw(&level, EAB_STREAM_TRAINING, 0, LENGTH, &sequence);
            for (int t = 4; t < LENGTH; t++)
                cr_assert_eq(sequence.tokens[t], (a * sequence.tokens[t - 1] + b * sequence.tokens[t - 4]) % bases[i]);
            distinct += a != before;
            before = a;
        }
        if (bases[i] > 2) cr_expect_gt(distinct, 30, "basis %d", bases[i]);
    }
}

Test(recurrence_rules, coefficients_without_a_seed_are_the_options) {
    const eab_level level = family_level("recurrence", "a=3 b=6");
    int32_t a, b;
    eab_recurrence_coefficients(&level, &a, &b);
    cr_expect(a == 3 && b == 6);
}

Test(recurrence_rules, bounds) {
    family_expect_bounds("recurrence", "basis", 2, 1024);
    family_expect_bounds("recurrence", "delay", 1, 65535);
    family_expect_bounds("recurrence", "rule", 0, 2);
    family_expect_bounds("recurrence", "table_seed", 0, 1000000);
    family_expect_refused("recurrence", "a=2 table_seed=1", 24, "a = 2", "table_seed = 0");
    family_expect_refused("recurrence", "b=2 table_seed=1", 24, "b = 2", "table_seed = 0");
    family_expect_refused("recurrence", "rule=1 a=2", 24, "rule = product", "a = 1");
    family_expect_refused("recurrence", "rule=1 table_seed=2", 24, "rule = product", "table_seed = 0");
    family_expect_refused("recurrence", "rule=2 b=2", 24, "rule = table", "b = 1");
    family_expect_refused("recurrence", "rule=2 delay=24", 24, "delay = 24", "1..23");
    family_expect_accepted("recurrence", "rule=2 table_seed=1000000 basis=1024 delay=23", 24);
    family_expect_accepted("recurrence", "rule=1 b=7", 24);
    family_expect_accepted("recurrence", "table_seed=1000000", 24);
}

Test(recurrence_rules, names) {
    char name[128];
    const eab_level table = family_level("recurrence", "rule=2 table_seed=5"), old = family_level("recurrence", "b=3");
    eab_level_name(&table, name, sizeof name);
    cr_expect_str_eq(name, "basis=8 delay=4 rule=table table_seed=5");
    eab_level_name(&old, name, sizeof name);
    cr_expect_str_eq(name, "basis=8 delay=4 b=3");
}
