/* A fleet's checkpoint: options->checkpoint->path. */
#ifndef EAB_MODEL_CHECKPOINT_H
#define EAB_MODEL_CHECKPOINT_H

#include "fleet.h"

/* The ids of the file's cells, NULL-terminated, for g_strfreev; NULL if there is no file. *step (may be NULL): of its
 * fleet. EAB_BAD_INPUT with one line if this build cannot read it. The checksum is not checked. */
int eab_checkpoint_cells(const char *path, char ***ids, int64_t *step);

/* Writes the fleet's checkpoint, between two steps or before an evaluation; waits for the device. */
int eab_fleet_save(eab_fleet_state *fleet);

/* Restores the fleet from its checkpoint; a fleet without one stays as it is. EAB_BAD_INPUT with one line where the
 * file is unusable; the fleet is then as before. After another error the fleet can only be closed. */
int eab_fleet_load(eab_fleet_state *fleet);

#endif
