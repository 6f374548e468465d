/* RUN/.state: what the sweep that is at work on a run says of itself every two seconds, for `eabench status` in another
 * process or on another machine that shares the files. A hint: the tables say what is done. */
#ifndef EAB_RUN_STATE_H
#define EAB_RUN_STATE_H

#include <stdbool.h>
#include <stdint.h>

enum { EAB_STATE_MAX_RUNNING = 64 };

/* A fleet at work. */
typedef struct {
    char cell[17]; /* the id of its first cell */
    int32_t members;
    double share; /* of its training that is done, 0..1 */
} eab_running;

typedef struct {
    int64_t process;
    char host[128], started[32]; /* UTC */
    double written_s;            /* seconds since 1970 */
    int64_t cells, done, failed; /* as the writer counts: `failed` of this start alone */
    double eta_s, tokens_per_s;  /* NAN: not known */
    bool stopping;
    int32_t running_count; /* of all fleets of the sweep; the first EAB_STATE_MAX_RUNNING are listed */
    eab_running running[EAB_STATE_MAX_RUNNING];
} eab_run_state;

/* Fills in process, host and started. */
void eab_run_state_begin(eab_run_state *state);

/* Replaces RUN/.state, without waiting for the disk, with written_s now. Where that cannot be, nothing is told: it is no
 * result. */
void eab_run_state_write(const char *run, eab_run_state *state);
void eab_run_state_remove(const char *run);

/* False where there is none. EAB_BAD_INPUT with one line where it is none of ours. */
int eab_run_state_read(const char *run, bool *found, eab_run_state *state);

/* Whether the writer is gone: its process on this machine, or, elsewhere, silent for a minute. *silent_s: since when it
 * has said nothing. */
bool eab_run_state_is_stale(const eab_run_state *state, double *silent_s);

#endif
