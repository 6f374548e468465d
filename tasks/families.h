/* The task families, listed once. To add one: write tasks/NAME.h after the pattern of recurrence.h, include it here
 * and add a line to EAB_TASK_LIST. The list becomes a switch, so that a device needs no function pointers. A family's
 * place in the list is part of its levels' draws: append, never insert. */
#ifndef EAB_TASKS_FAMILIES_H
#define EAB_TASKS_FAMILIES_H

#include "compression.h"
#include "congruential.h"
#include "counting.h"
#include "delay_copy.h"
#include "distance.h"
#include "flip_flop.h"
#include "group.h"
#include "induction.h"
#include "modular.h"
#include "noisy_recall.h"
#include "parity.h"
#include "recall.h"
#include "recurrence.h"
#include "selective_copy.h"
#include "task_switch.h"
#include "text.h"

#define EAB_TASK_LIST(X) \
    X(recurrence)        \
    X(task_switch)       \
    X(delay_copy)        \
    X(recall)            \
    X(modular)           \
    X(parity)            \
    X(selective_copy)    \
    X(induction)         \
    X(distance)          \
    X(flip_flop)         \
    X(counting)          \
    X(group)             \
    X(congruential)      \
    X(noisy_recall)      \
    X(compression)

enum {
#define EAB_TASK_ENUM(name) EAB_TASK_##name,
    EAB_TASK_LIST(EAB_TASK_ENUM)
#undef EAB_TASK_ENUM
        EAB_TASK_COUNT,
    EAB_TASK_TEXT = EAB_TASK_COUNT /* not in the list: text.h */
};

#endif
