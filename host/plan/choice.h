/* A choice of a plan's cells: `eabench sweep --cells FILE`. */
#ifndef EAB_PLAN_CHOICE_H
#define EAB_PLAN_CHOICE_H

#include "cells.h"

/* Reads a file of cell ids, one a line. *chosen: [plan->count], by a cell's index: whether the file has it; g_free.
 * EAB_BAD_INPUT for a line that is no cell's id, and for a file without lines; EAB_IO. */
int eab_choice_read(const char *path, const eab_plan *plan, bool **chosen);

#endif
