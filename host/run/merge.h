/* Makes one run of a sweep's shards. */
#ifndef EAB_RUN_MERGE_H
#define EAB_RUN_MERGE_H

#include "folder.h"

typedef struct {
    int64_t cells, added; /* of the plan; by this merge */
    eab_run_summary run;  /* the merged run */
} eab_merge_counts;

/* Adds the cells of RUN/shards to OUT (a run's folder, or RUN itself): OUT is then as if one process had done the
 * sweep. Cells that OUT has stay. Prints a line on stderr for each shard that lacks cells, or, if --cells chose the
 * shards' cells, one for the cells that no shard has. EAB_BAD_INPUT if shards are of different specs or numbers of
 * parts, a cell is in two of them, or a table is damaged; then nothing is changed. */
int eab_merge(const char *run, const char *out, const char *command, eab_merge_counts *counts);

#endif
