/* task_switch: numbers modulo N under a rule that control tokens switch (the IARC tasks).
 *
 * Source: Gros, arXiv 2508.04461. Only its abstract and its first equation were available; the definition here is our
 * own.
 *
 * Tokens 0..modulus-1 are numbers; modulus + 0, 1, 2, 3 are the controls I, A, R, C. Let y_1, y_2, ... be the numbers
 * in their order, without the controls. A sequence begins with two random numbers and a control. After that, a control
 * follows a number with probability switch_percent / 100, and never another control. A control is drawn uniformly from
 * `ops` (so it may repeat the current rule) and is in force until the next one:
 *
 *   I, increment:    y_n = (y_{n-1} + 1) mod N
 *   A, addition:     y_n = (y_{n-1} + y_{n-2}) mod N
 *   R, reverse copy: the k-th number after the control is y_{m+1-k}, where m numbers come before it: they are replayed
 *                    backwards; after y_1 the replay starts again at y_m
 *   C, context:      I, A or R if the number right before the control is 0, 1 or 2 modulo 3
 *
 * `ops` = I, IA, IAR or IARC. The first two numbers and the controls are free and not scored; every other number is
 * determined, given that it is a number.
 */
#ifndef EAB_TASKS_TASK_SWITCH_H
#define EAB_TASKS_TASK_SWITCH_H

#include "draw.h"

enum { EAB_TASK_SWITCH_MODULUS, EAB_TASK_SWITCH_OPS, EAB_TASK_SWITCH_PERCENT };
enum { EAB_TASK_SWITCH_I, EAB_TASK_SWITCH_A, EAB_TASK_SWITCH_R, EAB_TASK_SWITCH_C };

EAB_HOST_DEVICE static inline void eab_task_switch_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                            int32_t length, int32_t *tokens, uint8_t *determined) {
    const int32_t modulus = level->option[EAB_TASK_SWITCH_MODULUS], ops = level->option[EAB_TASK_SWITCH_OPS] + 1;
    const int32_t percent = level->option[EAB_TASK_SWITCH_PERCENT];
    int32_t last = 0, before_last = 0;     /* y_{n-1}, y_{n-2} */
    int32_t rule = EAB_TASK_SWITCH_I;      /* never C, which is resolved at once */
    int32_t control_place = 0, replay = 0; /* R: the position of the control, and the one last replayed */
    int after_number = 1;
    (void)stream;
    for (int32_t t = 0; t < length; t++) {
        const int is_control = t >= 2 && after_number && (t == 2 || eab_random_below(random, 100) < percent);
        after_number = !is_control;
        determined[t] = t > 2 && !is_control;
        if (is_control) {
            const int32_t control = eab_random_below(random, ops);
            rule = control == EAB_TASK_SWITCH_C ? last % 3 : control;
            tokens[t] = modulus + control;
            control_place = replay = t;
            continue;
        }
        int32_t number = 0;
        if (t < 2) number = eab_random_below(random, modulus);
        else if (rule == EAB_TASK_SWITCH_I) number = (last + 1) % modulus;
        else if (rule == EAB_TASK_SWITCH_A) number = (last + before_last) % modulus;
        else { /* the first token is a number, so the walk ends there */
            if (replay == 0) replay = control_place;
            do replay--;
            while (tokens[replay] >= modulus);
            number = tokens[replay];
        }
        tokens[t] = number;
        before_last = last;
        last = number;
    }
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */

static int32_t task_switch_vocab(const eab_level *level) {
    return level->option[EAB_TASK_SWITCH_MODULUS] + level->option[EAB_TASK_SWITCH_OPS] + 1;
}

/* N^2 first numbers times the ways to place and choose the controls. Count sequences that end in a number and in a
 * control: numbers' = numbers + controls, controls' = ops * numbers, starting from the control at position 2. The
 * counts are kept as fractions of their sum, so that they do not overflow. A percentage of 0 or 100 leaves one way to
 * place the controls. */
static double task_switch_complexity_bits(const eab_level *level, int32_t context) {
    const int32_t percent = level->option[EAB_TASK_SWITCH_PERCENT];
    const double ops = level->option[EAB_TASK_SWITCH_OPS] + 1;
    double numbers = 0, controls = 1, bits = 2 * log2(level->option[EAB_TASK_SWITCH_MODULUS]) + log2(ops);
    for (int32_t t = 3; t <= context; t++) {
        const double next = controls + (percent < 100 ? numbers : 0);
        controls = percent > 0 ? ops * numbers : 0;
        numbers = next;
        const double sum = numbers + controls;
        bits += log2(sum);
        numbers /= sum;
        controls /= sum;
    }
    return bits;
}

/* A uniform guess among the numbers: a scored token is never a control. */
static double task_switch_chance_accuracy(const eab_level *level) {
    return 1.0 / level->option[EAB_TASK_SWITCH_MODULUS];
}

static bool task_switch_check(const eab_level *level, int32_t context, char *message, size_t size) {
    (void)level;
    return eab_check_length(4, context, "two numbers, a control and an answer", message, size);
}

static void task_switch_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const int32_t modulus = level->option[EAB_TASK_SWITCH_MODULUS];
    if (token >= modulus) snprintf(name, size, "%c", "IARC"[(token - modulus) & 3]);
    else snprintf(name, size, "%d", token);
}

static const char *const task_switch_ops[] = {"I", "IA", "IAR", "IARC", NULL};

/* The control in force and the numbers that its rule uses: I the last one, A the last two, R the replayed one; with C
 * also the number before the control. */
static void task_switch_determining(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions) {
    const int32_t modulus = level->option[EAB_TASK_SWITCH_MODULUS];
    int32_t control = target - 1;
    while (tokens[control] < modulus) control--; /* position 2 is a control, and the target comes after it */
    int32_t rule = tokens[control] - modulus;
    if (rule == EAB_TASK_SWITCH_C) {
        positions[control - 1] = 1;
        rule = tokens[control - 1] % 3;
    }
    positions[control] = 1;
    if (rule == EAB_TASK_SWITCH_R) {
        int32_t replay = 0;
        for (int32_t played = control; played < target; played++) { /* as the generator does */
            if (replay == 0) replay = control;
            do replay--;
            while (tokens[replay] >= modulus);
        }
        positions[replay] = 1;
        return;
    }
    for (int32_t i = target - 1, numbers = rule == EAB_TASK_SWITCH_A ? 2 : 1; i >= 0 && numbers > 0; i--)
        if (tokens[i] < modulus) {
            positions[i] = 1;
            numbers--;
        }
}

static const eab_task task_switch_task = {
    .name = "task_switch",
    .summary = "numbers under a rule that control tokens switch: increment, addition, reverse copy, context",
    .options = {{"modulus", 16, 2, 1024, true, "numbers are taken modulo this", NULL},
                {"ops", 3, 0, 3, true, "the rules: I increment, A addition, R reverse copy, C context",
                 task_switch_ops},
                {"switch_percent", 20, 0, 100, true, "probability of a control after a number, in percent", NULL}},
    .option_count = 3,
    .vocab = task_switch_vocab,
    .complexity_bits = task_switch_complexity_bits,
    .chance_accuracy = task_switch_chance_accuracy,
    .check = task_switch_check,
    .determining = task_switch_determining,
    .token_name = task_switch_token_name,
};
#endif

#endif
