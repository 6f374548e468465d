/* RUN/.state: what a running sweep reports every two seconds, for `eabench status` in another process or on another
 * machine that shares the files. The tables say what is done, the lock's file who works on the run. */
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
    double share; /* of its training that is done, 0..1 */
} eab_running;

typedef struct {
    double eta_s, tokens_per_s; /* NAN: not known */
    bool stopping;
    int32_t running_count; /* all fleets of the sweep; the first EAB_STATE_MAX_RUNNING are listed */
    eab_running running[EAB_STATE_MAX_RUNNING];

    /* Filled in by reading only. */
    eab_run_lock_holder sweep;
    double silent_s; /* since the report was written */
    bool stale;      /* the sweep is gone: its process on this machine; on another one it was silent for a minute */
} eab_run_state;

/* Replaces RUN/.state without waiting for the disk. Errors are ignored: it is no result. */
void eab_run_state_write(const char *run, const eab_run_state *state);
void eab_run_state_remove(const char *run);

/* *found is false where there is none. EAB_BAD_INPUT with one line where the file is not what a sweep writes. */
int eab_run_state_read(const char *run, bool *found, eab_run_state *state);

#endif
