/* One run of a sweep's shards. */
#ifndef EAB_RUN_MERGE_H
#define EAB_RUN_MERGE_H

#include <stdint.h>

typedef struct {
    int64_t cells, done, diverged, failed, missing, added; /* of the plan; in the tables; added by this merge */
} eab_merge_counts;

/* Brings the rows of RUN/shards into OUT (a run's folder, also RUN itself), which the same sweep by one process would have
 * left, and prints a line on stderr for each shard that lacks cells. Rows that OUT has stay. EAB_BAD_INPUT where shards are
 * of different specs or numbers of parts, a cell is in two of them, or a table is damaged: nothing is then changed. */
int eab_merge(const char *run, const char *out, const char *command, eab_merge_counts *counts);

#endif
