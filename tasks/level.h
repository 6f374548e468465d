/* A level: one task family with values for its options. Plain data, so that it can be copied to a device. */
#ifndef EAB_TASKS_LEVEL_H
#define EAB_TASKS_LEVEL_H

#include "philox.h"

enum { EAB_TASK_MAX_OPTIONS = 9, EAB_MAX_EVALUATED = 255 };

struct eab_text;

typedef struct {
    int32_t family;                       /* index in EAB_TASK_LIST, or EAB_TASK_TEXT (families.h) */
    int32_t option[EAB_TASK_MAX_OPTIONS]; /* in the order of the family's option table */
    const struct eab_text *text;          /* of the family text: its file; else NULL */
} eab_level;

/* Streams of a level's sequences: no two share a draw. */
enum { EAB_STREAM_TRAINING = 0, EAB_STREAM_VALIDATION = 1, EAB_STREAM_HELD_OUT = 2 };

#endif
