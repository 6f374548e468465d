/* Whether cells can be trained. */
#ifndef EAB_PLAN_VALIDATE_H
#define EAB_PLAN_VALIDATE_H

#include "cells.h"
#include "kernels/backend.h"

/* Whether the checks below need only one of the two: they differ in lr and seed at most, as neighbours in a plan often
 * do. */
bool eab_config_checks_alike(const eab_config *a, const eab_config *b);

/* Checks a model, whatever its task: d_model against heads, an even head_dim for rope, d_model >= vocabulary for
 * one-hot embeddings, head_dim <= 256, the parameter of mechanism mix, the tokens of a batch. EAB_BAD_INPUT with a line
 * (what, where, what is allowed). */
int eab_config_check_model(const eab_config *config);

/* Checks one cell as a whole: its model, and the rules of its task's family. */
int eab_config_check(const eab_config *config);

/* Whether every cell alone fits in the device's free memory, or in the host's memory that this process may use, if the
 * device computes there. *fitting: how many cells of the largest size do. EAB_BAD_INPUT with a line. */
int eab_plan_check_memory(const eab_plan *plan, eab_device *device, double *fitting);

#endif
