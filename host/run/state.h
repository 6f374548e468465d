/* RUN/.state: the report that a running sweep writes every two seconds, for `eabench status` in another process or on
 * another machine that shares the files. It adds to the tables, which have the cells that are done, and to the lock's
 * file, which has the sweep's process. */
#ifndef EAB_RUN_STATE_H
#define EAB_RUN_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "lock.h"

enum { EAB_STATE_MAX_RUNNING = 64 };

/* A fleet in training. */
typedef struct {
    char cell[17]; /* the id of its first cell */
    int32_t members;
    double share; /* of its training that is done: 0..1 */
} eab_running;

typedef struct {
    double eta_s, tokens_per_s; /* NAN: not known */
    bool stopping;
    int32_t running_count; /* all fleets in training; the first EAB_STATE_MAX_RUNNING are listed */
    eab_running running[EAB_STATE_MAX_RUNNING];

    /* Only set by reading. */
    eab_run_lock_holder sweep;
    double silent_s; /* since the report was written */
    bool stale; /* the sweep has ended: its process on this machine is gone, or one elsewhere is silent for a minute */
} eab_run_state;

/* Replaces RUN/.state without waiting for the disk. Errors are ignored, as the state is not a result. */
void eab_run_state_write(const char *run, const eab_run_state *state);
void eab_run_state_remove(const char *run);

/* *found is false if there is no file. EAB_BAD_INPUT if it is not one that a sweep writes. */
int eab_run_state_read(const char *run, bool *found, eab_run_state *state);

#endif
