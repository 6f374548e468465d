/* `eabench sweep --dry-run`: what a sweep would do, without doing it. */
#ifndef EAB_SWEEP_DRY_RUN_H
#define EAB_SWEEP_DRY_RUN_H

#include <stdio.h>

#include "run.h"

/* Prints the cells, their cost and an estimate of the time, from about a second of training; writes nothing. */
int eab_dry_run(const eab_sweep *sweep, const eab_plan *plan);

/* Prints the cells that are not done as CSV, in the order of training: order (from 1), fleet, cell, mechanism, task,
 * level, layers, d_model, heads, context, batch, steps, lr, seed, flop (without an early stop),
 * flop_with_evaluation. */
int eab_list_cells(FILE *file, const eab_sweep *sweep, const eab_plan *plan);

#endif
