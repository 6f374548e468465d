/* What a cell's sequences look like, for eabench tasks. */
#ifndef EAB_COMMANDS_TASK_EXAMPLES_H
#define EAB_COMMANDS_TASK_EXAMPLES_H

#include "spec/config.h"

/* Prints the first `count` training sequences of the cell's context on standard output, and ends where that fails.
 * EAB_NO_MEMORY if there is none for a sequence. */
int eab_task_examples_print(const eab_config *config, int32_t count, uint32_t seed);

#endif
