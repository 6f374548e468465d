/* A sweep at work: what sweep.c (alone, or leading other processes) and sweep_follow.c share. */
#ifndef EAB_SWEEP_SESSION_STATE_H
#define EAB_SWEEP_SESSION_STATE_H

#include <glib.h>
#include <pthread.h>

#include "follower.h"
#include "leader.h"
#include "pool.h"
#include "progress.h"
#include "run/folder.h"
#include "run/state.h"
#include "session.h"

typedef struct {
    const eab_sweep *sweep;
    const eab_plan *plan;
    eab_run_settings run;
    eab_run_folder *folder; /* NULL in a process that is led */
    eab_pool *pool;
    eab_leader *leader;     /* of other processes; NULL: none */
    eab_follower *follower; /* of the process that leads; NULL: none */
    eab_progress *progress;
    eab_progress_state state;
    /* A search has many pools, one after another: when the one at work was started, of all processes and of this one. */
    eab_progress_state before;
    eab_pool_progress own, own_before;
    eab_profile profile; /* of what was trained, if the sweep asks for it */
    double started_s;
    bool over_time;
    eab_suspects suspects; /* of the next pool */
    eab_run_state told;    /* to whoever looks at the run */
    double told_s;
    pthread_mutex_t mutex; /* of ends and notes */
    GArray *ends;          /* eab_cell_end */
    GPtrArray *notes;      /* lines for people, from the workers */
} eab_sweep_session;

/* What the sweep says of its run, and of how its workers train; their context is the session. */
eab_run_settings eab_sweep_run_settings(const eab_sweep *sweep);
eab_pool_settings eab_sweep_pool_settings(eab_sweep_session *session, const int32_t *fleets);

#endif
