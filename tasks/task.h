/* The registry of task families, for the host. */
#ifndef EAB_TASKS_TASK_H
#define EAB_TASKS_TASK_H

#include "descriptor.h"
#include "sequence.h"

/* Family `index` of eab_task_count(), in the order of EAB_TASK_LIST; EAB_TASK_TEXT is one more. */
int eab_task_count(void);
const eab_task *eab_task_at(int index);

/* The family's index, or -1 if unknown. */
int eab_task_from_name(const char *name);

/* The family's level with every option at its default. */
eab_level eab_level_default(int family);

/* Writes a level's name, such as "basis=8 delay=4", into name[size]; options at their default are left out unless
 * they are always named. A text is named by the beginning of its digest. */
void eab_level_name(const eab_level *level, char *name, size_t size);

/* Writes a token's symbol, or its number where the family has none. */
void eab_token_name(const eab_level *level, int32_t token, char *name, size_t size);

/* Whether `heldout = auto` sets sequences of this level apart: it has at least 4,096 distinct ones, and the family does
 * not separate evaluation from training itself. */
bool eab_level_auto_held_out(const eab_level *level, int32_t context);

/* Whether at least one sequence is held out and one is left for training; decided by drawing 65,536 of each. */
bool eab_level_has_held_out(const eab_level *level, int32_t context);

#endif
