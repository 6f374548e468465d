/* The task families, listed once. To add one: write tasks/NAME.h after the pattern of recurrence.h, include it here
 * and add a line to EAB_TASK_LIST. The list becomes a switch, so that a device needs no function pointers. */
#ifndef EAB_TASKS_FAMILIES_H
#define EAB_TASKS_FAMILIES_H

#include "recurrence.h"

#define EAB_TASK_LIST(X) X(recurrence)

enum {
#define EAB_TASK_ENUM(name) EAB_TASK_##name,
    EAB_TASK_LIST(EAB_TASK_ENUM)
#undef EAB_TASK_ENUM
        EAB_TASK_COUNT
};

#endif
