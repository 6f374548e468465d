#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "family_fixture.h"

/* Keys, new values and noise were drawn; the values of keys that return are worked out by hand. */
Test(noisy_recall, by_hand) {
    const eab_level level = family_level("noisy_recall", "");
    family_expect_sequence(&level, EAB_STREAM_TRAINING, 2,
                           "[k7] [v2] [k6] [v4] [k7] v2 [k3] [v1] [k0] [v4] [n10] [n11] [k6] v4 [k3] v1 [k3] v1 [k2] "
                           "[v5] [n10] [n14] [k7] v2 [n0]");
}

Test(noisy_recall, a_key_that_returns_has_its_value) {
    static const char *const levels[] = {"", "noise_percent=0", "noise_percent=99 noise=1", "keys=1 values=2",
                                         "keys=1024 values=1024 noise=1024"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = family_level("noisy_recall", levels[i]);
        const int32_t keys = level.option[0], values = level.option[1], noise = level.option[2];
        for (uint64_t index = 0; index < 400; index++) {
            family_sequence sequence;
            int32_t value_of[1024];
            const int32_t length = 4 + (int32_t)index % 40, end = length / 2 * 2;
            memset(value_of, -1, sizeof value_of);
            family_draw(&level, EAB_STREAM_TRAINING, index, length, &sequence);
            for (int32_t t = 0; t < end; t += 2) {
                const int32_t key = sequence.tokens[t], value = sequence.tokens[t + 1];
                cr_assert_eq(sequence.determined[t], 0);
                if (key >= keys) { /* noise */
                    cr_assert(key >= keys + values && key < keys + values + noise);
                    cr_assert(value >= keys + values && value < keys + values + noise);
                    cr_assert(!sequence.determined[t + 1] && t < end - 2 && level.option[3] > 0);
                    continue;
                }
                cr_assert(value >= keys && value < keys + values);
                cr_assert_eq(sequence.determined[t + 1], value_of[key] >= 0);
                cr_assert(value_of[key] < 0 || value_of[key] == value);
                value_of[key] = value;
            }
            cr_assert(sequence.determined[end - 1]);
            if (length > end) cr_assert(sequence.tokens[end] == keys + values && !sequence.determined[end]);
        }
    }
}

/* The settings of MAD: 128 tokens, 8 keys, 8 values, 16 noise tokens. Of the 63 pairs before the last one is never
 * noise, so the share of noise is 0.2 * 62/63. Keys, first values and noise tokens are uniform, and the last key is
 * each of those that occurred with the same probability. The gap between two pairs with one key is geometric. */
Test(noisy_recall, frequencies_are_those_of_mad) {
    enum { SEQUENCES = 3000, PAIRS = 63 };
    const eab_level level = family_level("noisy_recall", "");
    int64_t key[8] = {0}, value[8] = {0}, noise[16] = {0}, pairs = 0, firsts = 0, noises = 0, last_is_first = 0;
    int64_t gap[4] = {0}, followed = 0; /* the next pair with the same key is 1, 2 or 3 pairs behind */
    double expected_first = 0;
    for (uint64_t index = 0; index < SEQUENCES; index++) {
        family_sequence sequence;
        int32_t first = -1, occurred = 0;
        family_draw(&level, EAB_STREAM_TRAINING, index, 128, &sequence);
        for (int32_t t = 0; t < 2 * PAIRS; t += 2) {
            if (sequence.tokens[t] >= 16) {
                noise[sequence.tokens[t] - 16]++;
                noise[sequence.tokens[t + 1] - 16]++;
                noises++;
                continue;
            }
            key[sequence.tokens[t]]++;
            pairs++;
            if (t + 6 < 2 * PAIRS) {
                followed++;
                for (int g = 1; g < 4; g++)
                    if (sequence.tokens[t + 2 * g] == sequence.tokens[t]) {
                        gap[g]++;
                        break;
                    }
            }
            if (sequence.determined[t + 1]) continue;
            if (first < 0) first = sequence.tokens[t];
            value[sequence.tokens[t + 1] - 8]++;
            firsts++;
            occurred++;
        }
        last_is_first += sequence.tokens[126] == first;
        expected_first += 1.0 / occurred;
    }
    const double all = (double)SEQUENCES * PAIRS, p = 0.2 * 62 / 63;
    const double same = (1 - p) / 8;
    for (int g = 1; g < 4; g++) {
        const double share = same * pow(1 - same, g - 1);
        cr_expect_lt(fabs((double)gap[g] / (double)followed - share), 5 * sqrt(share / (double)followed), "gap %d", g);
    }
    cr_expect_lt(fabs((double)noises / all - p), 5 * sqrt(p * (1 - p) / all));
    for (int i = 0; i < 8; i++) {
        cr_expect_lt(fabs((double)key[i] / (double)pairs - 1.0 / 8), 5 * sqrt(7.0 / 64 / (double)pairs));
        cr_expect_lt(fabs((double)value[i] / (double)firsts - 1.0 / 8), 5 * sqrt(7.0 / 64 / (double)firsts));
    }
    for (int i = 0; i < 16; i++)
        cr_expect_lt(fabs((double)noise[i] / (2.0 * (double)noises) - 1.0 / 16), 5 * sqrt(15.0 / 512 / (double)noises));
    cr_expect_lt(fabs((double)last_is_first - expected_first), 5 * sqrt(expected_first));
}

/* Two pairs before the last, 2 keys, 2 values, no noise. First pair: 4. Second: the same key (1 way), then 1 way for
 * the last; or the other key with one of 2 values, then 2 ways: 4 (1 + 2 * 2). One noise token adds noise before or
 * behind one pair: 4 + 4, each with 1 way for the last. */
Test(noisy_recall, figures) {
    const eab_level none = family_level("noisy_recall", "keys=2 values=2 noise_percent=0");
    const eab_level some = family_level("noisy_recall", "keys=2 values=2 noise=1 noise_percent=50");
    const eab_task *task = eab_task_at(none.family);
    cr_expect_float_eq(task->complexity_bits(&none, 5), log2(20), 1e-9);
    cr_expect_float_eq(task->complexity_bits(&some, 6), log2(28), 1e-9);
    cr_expect_eq(family_count_distinct(&none, EAB_STREAM_TRAINING, 6, 4000), 20);
    cr_expect_eq(family_count_distinct(&some, EAB_STREAM_TRAINING, 7, 4000), 28);
    cr_expect_eq(task->vocab(&some), 5);
    cr_expect_float_eq(task->chance_accuracy(&none), 0.5, 1e-12);
}

Test(noisy_recall, bounds) {
    family_expect_bounds("noisy_recall", "keys", 1, 1024);
    family_expect_bounds("noisy_recall", "values", 2, 1024);
    family_expect_bounds("noisy_recall", "noise", 1, 1024);
    family_expect_bounds("noisy_recall", "noise_percent", 0, 99);
    family_expect_refused("noisy_recall", "", 2, "context = 2", "at least 3");
    family_expect_accepted("noisy_recall", "", 3);
    family_expect_accepted("noisy_recall", "keys=1024 noise_percent=99", 4095);
}
