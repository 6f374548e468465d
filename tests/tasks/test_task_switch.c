#include <criterion/criterion.h>
#include <math.h>

#include "family_fixture.h"

/* Worked out by hand from the definition in task_switch.h, with the free tokens as drawn. The data must not change
 * between versions.
 * First: I from 14: 15 0 1. C after 1: 1 mod 3 = 1, A: 0+1 1+1 1+2 2+3. I: 6. I: 7 8 9. C after 9: 9 mod 3 = 0, I.
 * Second: C after 0: I: 1. R: 3 0 1 backwards, repeatedly. A: 3+1 1+4 4+5 5+9 9+14 (7) 14+7 (5).
 * Third: C after 10: 1, A: 12 6 2 8 10 2 12 14 10 8 2. A: 10 12 6 2. C after 2: 2, R: 2 6 12 10 2. */
Test(task_switch, by_hand) {
    const eab_level level = family_level("task_switch", "");
    family_expect_sequence(&level, EAB_STREAM_TRAINING, 0,
                           "[11] [14] [I] 15 0 1 [C] 1 2 3 5 [I] 6 [I] 7 8 9 [C] 10 11 12 13 14 15 [R]");
    family_expect_sequence(&level, EAB_STREAM_TRAINING, 1,
                           "[3] [0] [C] 1 [R] 1 0 3 1 0 3 1 0 3 1 0 3 1 [A] 4 5 9 14 7 5");
    family_expect_sequence(&level, EAB_STREAM_TRAINING, 2,
                           "[2] [10] [C] 12 6 2 8 10 2 12 14 10 8 2 [A] 10 12 6 2 [C] 2 6 12 10 2");
}

/* Checks the definition on many sequences, computed from the list of numbers. */
Test(task_switch, follows_its_definition) {
    static const char *const levels[] = {"", "ops=2 modulus=5 switch_percent=50", "ops=1 modulus=2 switch_percent=100",
                                         "ops=0 modulus=1024 switch_percent=0", "ops=3 modulus=7 switch_percent=35"};
    enum { LENGTH = 60 };
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("task_switch", levels[i]);
        const int32_t modulus = level.option[0];
        for (uint64_t index = 0; index < 300; index++) {
            family_sequence sequence;
            int32_t numbers[LENGTH], n = 0, m = 0;
            char rule = '?';
            family_draw(&level, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
            for (int t = 0; t < LENGTH; t++) {
                const int32_t token = sequence.tokens[t];
                if (token >= modulus) {
                    cr_assert(t >= 2 && token - modulus <= level.option[1]);
                    cr_assert(t == 2 || sequence.tokens[t - 1] < modulus, "two controls in a row");
                    rule = "IARC"[token - modulus];
                    if (rule == 'C') rule = "IAR"[numbers[n - 1] % 3];
                    m = n;
                } else {
                    cr_assert_neq(t, 2);
                    const int32_t expected = t < 2         ? token
                                             : rule == 'I' ? (numbers[n - 1] + 1) % modulus
                                             : rule == 'A' ? (numbers[n - 1] + numbers[n - 2]) % modulus
                                                           : numbers[m - 1 - (n - m) % m];
                    cr_assert_eq(token, expected, "%s, sequence %d, place %d, rule %c", levels[i], (int)index, t, rule);
                    numbers[n++] = token;
                }
                cr_assert_eq(sequence.determined[t], t > 2 && token < modulus);
            }
        }
    }
}

Test(task_switch, controls_have_their_frequency) {
    const eab_level level = family_level("task_switch", "switch_percent=30");
    int chances = 0, controls = 0, kind[4] = {0};
    for (uint64_t index = 0; index < 2000; index++) {
        family_sequence sequence;
        family_draw(&level, EAB_STREAM_TRAINING, index, 25, &sequence);
        for (int t = 4; t < 25; t++) {
            if (sequence.tokens[t - 1] >= 16) continue;
            chances++;
            if (sequence.tokens[t] < 16) continue;
            controls++;
            kind[sequence.tokens[t] - 16]++;
        }
    }
    cr_expect_float_eq((double)controls / chances, 0.3, 0.01);
    for (int i = 0; i < 4; i++) cr_expect_float_eq((double)kind[i] / controls, 0.25, 0.02);
}

/* Five tokens, one op: y y I n, then a number or a control: 4 * 2. Six: n n, n I, I n: 4 * 3. */
Test(task_switch, figures) {
    const eab_level level = family_level("task_switch", "modulus=2 ops=0 switch_percent=50");
    const eab_task *task = eab_task_at(level.family);
    cr_expect_float_eq(task->complexity_bits(&level, 4), 3, 1e-12);
    cr_expect_float_eq(task->complexity_bits(&level, 5), log2(12), 1e-12);
    cr_expect_eq(task->vocab(&level), 3);
    cr_expect_float_eq(task->chance_accuracy(&level), 0.5, 1e-12);
    const eab_level full = family_level("task_switch", "");
    cr_expect_eq(task->vocab(&full), 20);
    cr_expect(isfinite(task->complexity_bits(&full, 65536)));
}

Test(task_switch, bounds) {
    family_expect_bounds("task_switch", "modulus", 2, 1024);
    family_expect_bounds("task_switch", "ops", 0, 3);
    family_expect_bounds("task_switch", "switch_percent", 0, 100);
    family_expect_refused("task_switch", "", 2, "context = 2", "at least 3");
    family_expect_accepted("task_switch", "modulus=1024 switch_percent=100", 3);
}
