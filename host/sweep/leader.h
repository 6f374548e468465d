/* The first rank of a sweep: it assigns fleets to itself and to the others (followers), and receives their results. */
#ifndef EAB_SWEEP_LEADER_H
#define EAB_SWEEP_LEADER_H

#include "kernels/generic/profile.h"
#include "pool.h"
#include "queue.h"
#include "ranks.h"
#include "run/folder.h"

typedef struct eab_leader eab_leader;

/* Called within eab_leader_serve for what followers send. */
typedef struct {
    int (*rows)(void *context, const eab_cell_end *end, const char *const *rows); /* an error stops the sweep */
    void (*note)(void *context, const char *line);                                /* a message */
    void (*forget)(void *context, const char *path); /* removes a checkpoint whose rows were all sent */
} eab_leader_sinks;

/* Waits for every follower's hello. An error where one cannot take part (its own error, with its rank and host) or has
 * another build or plan (`fingerprint`); EAB_INTERRUPTED on a signal. *leader is made in any case, to dismiss them. */
int eab_leader_meet(const eab_ranks *ranks, const eab_ranks_place *place, const char *fingerprint, eab_leader **leader);

/* Lets the followers begin. Those whose device has the same name use this peak and need not measure theirs. */
void eab_leader_begin(eab_leader *leader, const char *device, double peak_gflop_per_s, const eab_leader_sinks *sinks,
                      void *context);

/* The queue to assign fleets from; NULL: none, requests wait. */
void eab_leader_set_queue(eab_leader *leader, eab_queue *queue);

/* Handles the messages that have arrived. An error is the sink's. */
int eab_leader_serve(eab_leader *leader);

/* Whether followers train fleets of the queue, or will. */
bool eab_leader_is_busy(const eab_leader *leader);

/* Whether a follower received a signal. */
bool eab_leader_interrupted(const eab_leader *leader);

/* Makes the followers end within about one training step, and waits at most `seconds` for their last messages. */
void eab_leader_stop(eab_leader *leader, double seconds);

/* FLOP and tokens that followers have trained so far. */
void eab_leader_measure(const eab_leader *leader, double *flop_done, double *tokens);

/* The running fleets in the followers' last reports, as eab_pool_list. */
int32_t eab_leader_list(const eab_leader *leader, eab_pool_fleet *fleets, int32_t room);

/* After they have stopped: the first error of a follower, or EAB_OK. Adds their profiles to *profile (may be NULL). */
int eab_leader_status(const eab_leader *leader, eab_profile *profile);

/* Ends every rank with `code` and frees the leader. Exits the process where a rank did not stop in order or a signal
 * came, as MPI would then wait for a rank that is gone. */
void eab_leader_dismiss(eab_leader *leader, int code);

#endif
