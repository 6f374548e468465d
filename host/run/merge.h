/* Makes one run of a sweep's shards. */
#ifndef EAB_RUN_MERGE_H
#define EAB_RUN_MERGE_H

#include <stdint.h>

typedef struct {
    int64_t cells, done, diverged, failed, missing, added; /* cells: of the plan; added: by this merge */
} eab_merge_counts;

/* Adds the cells of RUN/shards to OUT (a run's folder, or RUN itself): OUT ends as if one process had done the sweep.
 * Prints a line on stderr for each shard that lacks cells. Cells that OUT has stay. EAB_BAD_INPUT where shards are of
 * different specs or numbers of parts, a cell is in two of them, or a table is damaged; then nothing is changed. */
int eab_merge(const char *run, const char *out, const char *command, eab_merge_counts *counts);

#endif
