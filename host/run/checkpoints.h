/* RUN/checkpoints: a file for each fleet in training, named after its first cell, and those of cells that this sweep
 * does not train (kept-...). */
#ifndef EAB_RUN_CHECKPOINTS_H
#define EAB_RUN_CHECKPOINTS_H

#include "plan/fleets.h"

/* The checkpoint's path of the fleet with this first cell; g_free. */
char *eab_run_checkpoint_path(const char *run, const eab_cell *cell);

/* The fleets (eab_fleet, for eab_fleets_free) that an earlier sweep was training when it ended, with those of their
 * cells that are in todo[0..count). Trained together again, each fleet resumes from its checkpoint. A fleet's other
 * cells, unless they are done[plan->count], keep a checkpoint for a later sweep. Training checks the files; here a file
 * that cannot be a checkpoint is ignored. Only for the holder of the run's lock. */
GArray *eab_run_checkpoints_find(const char *run, const eab_plan *plan, const int64_t *todo, int64_t count,
                                 const bool *done);

/* Removes all checkpoints, and the folder if nothing else is in it: for a run with all cells done. */
void eab_run_checkpoints_remove(const char *run);

#endif
