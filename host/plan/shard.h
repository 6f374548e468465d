/* Shards: parts of a sweep for independent processes. Each has its own folder, RUN/shards/I-of-N; `eabench merge RUN`
 * makes one run of them. */
#ifndef EAB_PLAN_SHARD_H
#define EAB_PLAN_SHARD_H

#include <glib.h>

#include "cells.h"

enum { EAB_SHARD_MAX = 100000 };

typedef struct {
    int32_t part, parts; /* 1..parts; parts 0: no shard */
} eab_shard;

/* Reads "2/8"; false for any other text. */
bool eab_shard_read(const char *text, eab_shard *shard);

/* RUN/shards/2-of-8; g_free. */
char *eab_shard_folder(const char *run, eab_shard shard);

/* The shard whose folder has this path (RUN/shards/2-of-8); parts 0 for any other path. */
eab_shard eab_shard_of_folder(const char *folder);

/* The shards (eab_shard) that have folders, sorted by parts, then part; g_array_free. EAB_IO if RUN/shards cannot be
 * read. */
int eab_shard_list(const char *run, GArray **shards);

/* The part, 1..parts, of each of the plan's cells. The cells are assigned by length, the longest first, each to the
 * part with the least work so far. The result depends on the plan only. g_free. */
int32_t *eab_shard_split(const eab_plan *plan, int32_t parts);

/* Keeps only this shard's cells in the plan, in the plan's order. */
void eab_shard_take(const eab_shard *shard, eab_plan *plan);

#endif
