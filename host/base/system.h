/* The machine and the clock. */
#ifndef EAB_BASE_SYSTEM_H
#define EAB_BASE_SYSTEM_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Cores that this process may run on (sched_getaffinity); at least 1. */
int eab_system_cores(void);

/* A hash of the set of these cores: processes with the same hash share them. */
uint64_t eab_system_core_hash(void);

/* "2025-11-22T08:31:00Z": UTC, whatever TZ says. */
void eab_time_print(time_t moment, char *text, size_t size);

#endif
