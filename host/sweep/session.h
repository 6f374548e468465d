/* A running sweep: the state that run.c (alone, or leading other processes) and follow.c share. */
#ifndef EAB_SWEEP_SESSION_H
#define EAB_SWEEP_SESSION_H

#include <glib.h>
#include <pthread.h>

#include "follower.h"
#include "leader.h"
#include "run.h"
#include "run/folder.h"
#include "run/state.h"

typedef struct {
    const eab_sweep *sweep;
    const eab_plan *plan;
    eab_run_settings run;
    eab_run_folder *folder; /* NULL in a follower */
    eab_pool *pool;
    eab_leader *leader;     /* of other processes; NULL: none */
    eab_follower *follower; /* of the leading process; NULL: none */
    eab_progress *progress;
    eab_progress_state state;
    /* A search runs one pool after another: the sums before the current one, of all processes and of this one. */
    eab_progress_state before;
    eab_pool_progress own, own_before;
    eab_profile profile; /* filled in if the sweep asks for it */
    double started_s;
    bool over_time;
    eab_suspects suspects; /* for the next pool */
    eab_run_state published;
    double published_s;
    pthread_mutex_t mutex; /* protects ends and notes */
    GArray *ends;          /* eab_cell_end */
    GPtrArray *notes;      /* the workers' messages */
} eab_sweep_session;

/* The run's settings; and the workers', whose context is the session. */
eab_run_settings eab_session_run_settings(const eab_sweep *sweep);
eab_pool_settings eab_session_pool_settings(eab_sweep_session *session, const int32_t *fleets);

/* The leader's sinks: the rows of a cell that ended, a message, a checkpoint to remove. `context` is the session. */
int eab_session_take_rows(void *context, const eab_cell_end *end, const char *const *rows);
void eab_session_take_note(void *context, const char *line);
void eab_session_remove_checkpoint(void *context, const char *path);

/* Takes the cells that ended and the messages since the last call, updates the state and reports them. */
void eab_session_report_ends(eab_sweep_session *session);

#endif
