/* The first rank of a sweep: it assigns fleets to itself and to the others (followers), and receives their results. */
#ifndef EAB_SWEEP_LEADER_H
#define EAB_SWEEP_LEADER_H

#include "ranks.h"
#include "session.h"

/* Waits for every follower's hello. An error where one cannot take part (its own error, with its rank and host), has
 * another build or plan (`fingerprint`) or is silent for too long; EAB_INTERRUPTED on a signal. *leader is made in any
 * case, to dismiss them. */
int eab_leader_meet(const eab_sweep *sweep, const char *fingerprint, eab_leader **leader);

/* Lets the followers begin. Those whose device has the leader's name use its measured peak. Their results, messages and
 * obsolete checkpoints go to the session. */
void eab_leader_begin(eab_leader *leader, eab_sweep_session *session);

/* The queue to assign fleets from; NULL: none, requests wait. */
void eab_leader_set_queue(eab_leader *leader, eab_queue *queue);

/* Handles the messages that have arrived. A follower that was silent for too long, or that a message cannot be sent to,
 * is lost: that is reported, and the others continue. Its cells that are not done are left to the next start. */
void eab_leader_serve(eab_leader *leader);

/* Whether followers train fleets of the queue, or will. Call it when the leader's own workers have ended. */
bool eab_leader_is_busy(const eab_leader *leader);

/* Whether a follower received a signal. */
bool eab_leader_interrupted(const eab_leader *leader);

/* Makes the followers end within about one training step, and waits at most `seconds` for their last messages. */
void eab_leader_stop(eab_leader *leader, double seconds);

/* Adds the FLOP and tokens that followers have trained since the sweep began, and their running fleets. */
void eab_leader_add_progress(const eab_leader *leader, eab_pool_progress *progress);

/* After they have stopped: the first error of a follower, or EAB_OK. Adds their profiles to *profile (may be NULL). */
int eab_leader_status(const eab_leader *leader, eab_profile *profile);

/* Ends every rank with `code` and frees the leader. Exits the process where a rank is lost or did not stop in order, or
 * a signal came, as MPI would then wait for a rank that is gone. */
void eab_leader_dismiss(eab_leader *leader, int code);

#endif
