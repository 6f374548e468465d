#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "tasks/task.h"

static eab_level level_of(int32_t basis, int32_t delay, int32_t a, int32_t b) {
    eab_level level = eab_level_default(eab_task_from_name("recurrence"));
    level.option[0] = basis;
    level.option[1] = delay;
    level.option[2] = a;
    level.option[3] = b;
    return level;
}

Test(recurrence, follows_its_formula) {
    static const int32_t levels[][4] = {
        {8, 4, 1, 1}, {2, 1, 1, 1}, {16, 6, 3, 5}, {1024, 23, 1023, 1022}, {5, 2, 0, 1}};
    enum { LENGTH = 25 };
    int32_t tokens[LENGTH];
    uint8_t determined[LENGTH];
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        const eab_level level = level_of(levels[i][0], levels[i][1], levels[i][2], levels[i][3]);
        for (uint64_t index = 0; index < 50; index++) {
            eab_sequence_generate(&level, 3, EAB_STREAM_TRAINING, 0, index, LENGTH, tokens, determined);
            for (int t = 0; t < LENGTH; t++) {
                cr_assert(tokens[t] >= 0 && tokens[t] < levels[i][0]);
                cr_assert_eq(determined[t], t >= levels[i][1]);
                if (t >= levels[i][1])
                    cr_assert_eq(tokens[t], (levels[i][2] * tokens[t - 1] + levels[i][3] * tokens[t - levels[i][1]]) %
                                                levels[i][0]);
            }
        }
    }
}

/* The first sequence of the default level, pinned: data must stay the same from version to version. */
Test(recurrence, known_sequence) {
    enum { LENGTH = 12 };
    static const int32_t expected[LENGTH] = {2, 5, 1, 1, 3, 0, 1, 2, 5, 5, 6, 0};
    const eab_level level = eab_level_default(eab_task_from_name("recurrence"));
    int32_t tokens[LENGTH];
    uint8_t determined[LENGTH];
    eab_sequence_generate(&level, 1, EAB_STREAM_TRAINING, 1, 0, LENGTH, tokens, determined);
    for (int t = 0; t < LENGTH; t++) cr_expect_eq(tokens[t], expected[t], "token %d is %d", t, tokens[t]);
}

Test(recurrence, a_sequence_depends_on_stream_seed_index_and_level_only) {
    enum { LENGTH = 25 };
    const eab_level level = level_of(16, 6, 1, 1), other = level_of(16, 6, 1, 3);
    int32_t first[LENGTH], again[LENGTH];
    uint8_t determined[LENGTH];
    eab_sequence_generate(&level, 1, EAB_STREAM_TRAINING, 1, 7, LENGTH, first, determined);
    eab_sequence_generate(&level, 1, EAB_STREAM_TRAINING, 1, 7, LENGTH, again, determined);
    cr_expect_arr_eq(first, again, sizeof first);
    eab_sequence_generate(&level, 2, EAB_STREAM_TRAINING, 1, 7, LENGTH, again, determined);
    cr_expect_arr_neq(first, again, sizeof first);
    eab_sequence_generate(&level, 1, EAB_STREAM_TRAINING, 1, 8, LENGTH, again, determined);
    cr_expect_arr_neq(first, again, sizeof first);
    eab_sequence_generate(&level, 1, EAB_STREAM_VALIDATION, 1, 7, LENGTH, again, determined);
    cr_expect_arr_neq(first, again, sizeof first);
    eab_sequence_generate(&other, 1, EAB_STREAM_TRAINING, 1, 7, LENGTH, again, determined);
    cr_expect_arr_neq(first, again, sizeof first);
}

/* The hash of the free tokens decides what is held out: no held-out sequence may be drawn in training. */
Test(recurrence, held_out_sequences_are_never_trained_on) {
    enum { LENGTH = 25, COUNT = 4000 };
    const eab_level level = level_of(8, 4, 1, 1); /* 4,096 sequences: many repeats in 4,000 draws */
    int32_t tokens[LENGTH];
    uint8_t determined[LENGTH], trained[4096] = {0};
    cr_assert(eab_level_auto_held_out(&level, LENGTH - 1));
    for (int stream = EAB_STREAM_TRAINING; stream <= EAB_STREAM_HELD_OUT; stream++)
        for (uint64_t index = 0; index < COUNT; index++) {
            const uint64_t key =
                eab_sequence_generate(&level, 9, (uint32_t)stream, 1, index, LENGTH, tokens, determined);
            const int id = tokens[0] + 8 * (tokens[1] + 8 * (tokens[2] + 8 * tokens[3]));
            cr_assert_eq(key, eab_sequence_key(tokens, determined, LENGTH));
            cr_assert_eq(eab_sequence_is_held_out(key), stream != EAB_STREAM_TRAINING);
            if (stream == EAB_STREAM_TRAINING) trained[id] = 1;
            else cr_assert_not(trained[id]);
        }
}

Test(recurrence, about_one_sixteenth_is_held_out) {
    enum { LENGTH = 10 };
    const eab_level level = level_of(8, 4, 1, 1);
    int32_t tokens[LENGTH];
    uint8_t determined[LENGTH];
    int held_out = 0;
    for (uint64_t index = 0; index < 16000; index++)
        held_out += eab_sequence_is_held_out(
            eab_sequence_generate(&level, 0, EAB_STREAM_TRAINING, 0, index, LENGTH, tokens, determined));
    cr_expect(held_out > 850 && held_out < 1150, "%d of 16000", held_out);
}

Test(recurrence, figures) {
    const eab_level level = level_of(8, 4, 1, 1);
    const eab_task *task = eab_task_at(level.family);
    char name[64];
    cr_expect_float_eq(task->complexity_bits(&level, 24), 12.0, 1e-12);
    cr_expect_float_eq(task->chance_accuracy(&level), 0.125, 1e-12);
    cr_expect_eq(task->vocab(&level), 8);
    eab_level_name(&level, name, sizeof name);
    cr_expect_str_eq(name, "basis=8 delay=4");
    const eab_level named = level_of(8, 4, 3, 1);
    eab_level_name(&named, name, sizeof name);
    cr_expect_str_eq(name, "basis=8 delay=4 a=3");
    const eab_level easy = level_of(4, 3, 1, 1);
    cr_expect_not(eab_level_auto_held_out(&easy, 24));
}

Test(recurrence, small_levels_have_nothing_to_hold_out) {
    const eab_level many = level_of(8, 4, 1, 1), two = level_of(2, 1, 1, 1);
    cr_expect(eab_level_has_held_out(&many, 24));
    cr_expect_not(eab_level_has_held_out(&two, 24)); /* two sequences: both on one side */
}

Test(recurrence, refuses_bad_options) {
    const eab_task *task = eab_task_at(eab_task_from_name("recurrence"));
    char message[200];
    const eab_level late = level_of(8, 24, 1, 1), factor = level_of(4, 2, 1, 4);
    cr_expect_not(task->check(&late, 24, message, sizeof message));
    cr_expect(strstr(message, "delay = 24") && strstr(message, "1..23"), "%s", message);
    cr_expect_not(task->check(&factor, 24, message, sizeof message));
    cr_expect(strstr(message, "b = 4") && strstr(message, "0..3"), "%s", message);
    const eab_level good = level_of(8, 23, 7, 0);
    cr_expect(task->check(&good, 24, message, sizeof message));
}

Test(registry, names) {
    cr_expect_eq(eab_task_from_name("recurrence"), 0);
    cr_expect_eq(eab_task_from_name("no such family"), -1);
    cr_expect_str_eq(eab_task_at(0)->name, "recurrence");
}
