/* RUN/checkpoints: a file for each fleet at work, named after its first cell. */
#ifndef EAB_RUN_CHECKPOINTS_H
#define EAB_RUN_CHECKPOINTS_H

#include "plan/fleets.h"

/* Where the checkpoint of the fleet whose first cell this is lies; g_free. */
char *eab_run_checkpoint_path(const char *run, const eab_cell *cell);

/* The fleets (eab_fleet, for eab_fleets_free) that an earlier sweep was training when it ended, as far as their cells are
 * among todo[0..count): to be trained together again, so that each finds its checkpoint. What is in the files is not
 * believed before training reads it; one that cannot be a checkpoint counts as none. For the holder of the run's lock. */
GArray *eab_run_checkpoints_find(const char *run, const eab_plan *plan, const int64_t *todo, int64_t count);

/* When nothing is left to do: removes what checkpoints there are, and the folder if nothing else is in it. */
void eab_run_checkpoints_remove(const char *run);

#endif
