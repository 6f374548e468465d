/* Which cells a checkpoint is of; eab_train_fleet reads the rest. */
#ifndef EAB_MODEL_CHECKPOINT_H
#define EAB_MODEL_CHECKPOINT_H

#include <stdint.h>

enum { EAB_CELL_ID_BYTES = 16 };

/* The ids of its cells, EAB_CELL_ID_BYTES each without anything between, malloc'd; NULL and 0 where there is no file.
 * EAB_BAD_INPUT with one line where it is no checkpoint of this program. Its checksum is not looked at. */
int eab_checkpoint_cells(const char *path, char **ids, int32_t *count);

#endif
