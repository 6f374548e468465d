/* The descriptor of a task family: its options, bounds and figures. The family's header defines it. */
#ifndef EAB_TASKS_DESCRIPTOR_H
#define EAB_TASKS_DESCRIPTOR_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "level.h"

typedef struct {
    const char *key;
    int32_t default_value, minimum, maximum;
    bool always_named; /* in the level's name even at its default */
    const char *help;
    const char *const *choices; /* NULL: a number; else the names of the values 0..maximum, and NULL behind them */
} eab_task_option;

typedef struct {
    const char *name, *summary;
    eab_task_option options[EAB_TASK_MAX_OPTIONS];
    int32_t option_count;
    int32_t later_count; /* of them, the last ones: accuracy.csv has such a column only where a cell uses the option */
    int32_t (*vocab)(const eab_level *level);
    /* log2 of the number of distinct training sequences with `context` input positions (context + 1 tokens); those that
     * `heldout` sets apart are counted too. */
    double (*complexity_bits)(const eab_level *level, int32_t context);
    /* Accuracy of a uniform guess among the tokens that are possible at a determined position. */
    double (*chance_accuracy)(const eab_level *level);
    /* False, with the problem and what is allowed in `message`, where the options do not fit each other or the context.
     * The range of each option is checked before. */
    bool (*check)(const eab_level *level, int32_t context, char *message, size_t size);
    /* Optional: sets positions[i] (i < target, all 0 before) to 1 for the earlier tokens that determine tokens[target],
     * a determined token: its value follows from theirs, given the rule. Used to measure where attention goes. */
    void (*determining)(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions);
    /* Optional: whether the family itself separates evaluation from training, so that `heldout = auto` sets nothing
     * apart. */
    bool (*splits)(const eab_level *level);
    /* Optional: other levels that a model of this one is evaluated at, each with a row in accuracy.csv. Returns how
     * many there are, at most EAB_MAX_EVALUATED, and writes the one of this index to *evaluated, which may be NULL.
     * Their tokens are those of the level or some of them, and check() covers them. */
    int32_t (*evaluated)(const eab_level *level, int32_t index, eab_level *evaluated);
    /* A token's symbol, such as "+"; NULL: its number. */
    void (*token_name)(const eab_level *level, int32_t token, char *name, size_t size);
} eab_task;

#endif
