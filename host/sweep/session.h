/* A running sweep: the state that run.c (alone, or leading other processes) and follower.c share. */
#ifndef EAB_SWEEP_SESSION_H
#define EAB_SWEEP_SESSION_H

#include <glib.h>
#include <pthread.h>

#include "message.h"
#include "run.h"
#include "run/folder.h"
#include "search.h"

typedef struct eab_leader eab_leader;

typedef struct {
    const eab_sweep *sweep;
    const eab_plan *plan;
    eab_run_settings run;   /* peak_gflop_per_s: under the mutex while workers run */
    eab_run_folder *folder; /* NULL in a follower */
    eab_pool *pool;
    eab_leader *leader; /* of other processes; NULL: none */
    eab_outbox *outbox; /* a follower's messages to the leader; NULL: this process is no follower */
    eab_search *search; /* NULL: every cell is trained */
    eab_progress *progress;
    eab_progress_state state;
    eab_pool_progress work; /* of the current pool */
    /* A search runs one pool after another. The sums of the earlier ones: FLOP and tokens of this process; as
     * flop_total the FLOP of all processes. */
    eab_pool_progress earlier;
    eab_profile profile; /* filled in if the sweep asks for it */
    double started_s;
    bool over_time;
    eab_suspects suspects; /* for the next pool */
    double published_s;    /* when RUN/.state was written; 0: never */
    pthread_mutex_t mutex; /* protects ends and the peak */
    GArray *ends;          /* eab_cell_end */
} eab_sweep_session;

eab_run_settings eab_session_run_settings(const eab_sweep *sweep, const eab_plan *plan);

/* Settings of workers that train the queue's fleets. Their context is the session. */
eab_pool_settings eab_session_pool_settings(eab_sweep_session *session, eab_queue *queue);

/* Take the rows of a cell that ended, and remove an obsolete checkpoint: of this process's workers or of a follower. A
 * follower sends both to the leader. Any thread. */
int eab_session_take_rows(eab_sweep_session *session, const eab_cell_end *end, const char *const *rows);
void eab_session_remove_checkpoint(void *session, const char *path);

/* A text that is the same in all ranks of a sweep: a hash of build, backend and cells. */
void eab_session_fingerprint(const eab_sweep *sweep, const eab_plan *plan, char text[EAB_FINGERPRINT_SIZE]);

#endif
