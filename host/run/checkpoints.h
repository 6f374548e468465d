/* RUN/checkpoints: a file for each fleet in training, named after its first cell. */
#ifndef EAB_RUN_CHECKPOINTS_H
#define EAB_RUN_CHECKPOINTS_H

#include "plan/fleets.h"

/* The checkpoint's path, for the fleet whose first cell this is; g_free. */
char *eab_run_checkpoint_path(const char *run, const eab_cell *cell);

/* The fleets (eab_fleet, for eab_fleets_free) that an earlier sweep was training when it ended, with those of their
 * cells that are in todo[0..count): trained together again, each finds its checkpoint. The files are trusted only once
 * training has read them; one that cannot be a checkpoint is ignored. For the holder of the run's lock. */
GArray *eab_run_checkpoints_find(const char *run, const eab_plan *plan, const int64_t *todo, int64_t count);

/* Removes all checkpoints, and the folder if nothing else is in it. For a run with nothing left to do. */
void eab_run_checkpoints_remove(const char *run);

#endif
