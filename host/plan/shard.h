/* Parts of a sweep for processes that know nothing of each other: each has a folder of its own, RUN/shards/I-of-N, and
 * `eabench merge RUN` makes one run of them. */
#ifndef EAB_PLAN_SHARD_H
#define EAB_PLAN_SHARD_H

#include <glib.h>

#include "cells.h"

enum { EAB_SHARD_MAX = 100000 };

typedef struct {
    int32_t part, parts; /* 1..parts; parts 0: no shard */
} eab_shard;

/* Reads "2/8". Whether it is one. */
bool eab_shard_read(const char *text, eab_shard *shard);

/* RUN/shards/2-of-8; g_free. */
char *eab_shard_folder(const char *run, eab_shard shard);

/* The folders that are there: eab_shard, by parts and part; for g_array_free. EAB_IO where they cannot be listed. */
int eab_shard_list(const char *run, GArray **shards);

/* The part of each of the plan's cells, 1..parts: the longest first, each to the part with the least work. The plan alone
 * decides. g_free. */
int32_t *eab_shard_split(const eab_plan *plan, int32_t parts);

/* Leaves in the plan what is of this shard, in its order. */
void eab_shard_take(const eab_shard *shard, eab_plan *plan);

#endif
