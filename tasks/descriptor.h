/* What the host knows of a task family: its options, bounds and figures. A family's header fills one in. */
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
    bool always_named; /* part of a level's name even at its default */
    const char *help;
    const char *const *choices; /* NULL: a number; else the names of the values 0..maximum, and NULL behind them */
} eab_task_option;

typedef struct {
    const char *name, *summary;
    eab_task_option options[EAB_TASK_MAX_OPTIONS];
    int32_t option_count;
    int32_t (*vocab)(const eab_level *level);
    /* log2 of the number of distinct sequences that training may show, of `context` input positions: context + 1 tokens;
     * what `heldout` sets apart is counted too. */
    double (*complexity_bits)(const eab_level *level, int32_t context);
    /* Of a determined token, by a uniform guess among the tokens that can stand there. */
    double (*chance_accuracy)(const eab_level *level);
    /* False, with what is wrong and what is allowed in `message`, where the options do not fit each other or
     * `context` input positions. Each option's own range is checked before. */
    bool (*check)(const eab_level *level, int32_t context, char *message, size_t size);
    /* Optional: sets positions[i] (i < target, all 0 before) to 1 for the earlier tokens that determine tokens[target], which
     * is a determined one: its value follows from theirs, the rule and the places being known. For measuring where attention
     * goes; NULL: the family does not say. */
    void (*determining)(const eab_level *level, const int32_t *tokens, int32_t target, uint8_t *positions);
    /* Whether evaluation differs from training by the family's own rule, so that `heldout = auto` sets nothing apart.
     * NULL: never. */
    bool (*splits)(const eab_level *level);
    /* A token as people read it, such as "+"; NULL: its number. */
    void (*token_name)(const eab_level *level, int32_t token, char *name, size_t size);
} eab_task;

#endif
