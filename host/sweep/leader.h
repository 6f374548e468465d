/* The first rank of a sweep: it deals fleets to itself and to the others (followers), and takes in what they send. */
#ifndef EAB_SWEEP_LEADER_H
#define EAB_SWEEP_LEADER_H

#include "deal.h"
#include "kernels/generic/profile.h"
#include "pool.h"
#include "ranks.h"
#include "run/cell_end.h"

typedef struct eab_leader eab_leader;

/* Take what followers send, within eab_leader_serve. */
typedef struct {
    int (*rows)(void *context, const eab_cell_end *end, const char *const *rows); /* an error stops the sweep */
    void (*note)(void *context, const char *line);                                /* a line for people */
    void (*forget)(void *context, const char *path); /* a checkpoint of which all rows were sent */
} eab_leader_sinks;

/* Waits for every follower's hello. An error where one of them cannot take part (its own, with its rank and host), or is
 * of another build or plan (`mark`), EAB_INTERRUPTED on a signal; the leader is made all the same, to dismiss them. */
int eab_leader_meet(const eab_ranks *ranks, const eab_ranks_place *place, const char *mark, eab_leader **leader);

/* Lets the followers begin. `device` with `peak_gflop_per_s`: others of the same name need not measure theirs. */
void eab_leader_begin(eab_leader *leader, const char *device, double peak_gflop_per_s, const eab_leader_sinks *sinks,
                      void *context);

/* What is dealt from now on; NULL: nothing, wishes wait. */
void eab_leader_deal(eab_leader *leader, eab_deal *deal);

/* Handles what has arrived. An error is the sink's. */
int eab_leader_serve(eab_leader *leader);

/* Whether followers still train, or will, for the deal at hand. */
bool eab_leader_is_busy(const eab_leader *leader);

/* Whether one of them was told to stop by a signal. */
bool eab_leader_interrupted(const eab_leader *leader);

/* Makes the followers end within about one training step, and waits at most `seconds` for what they still send. */
void eab_leader_stop(eab_leader *leader, double seconds);

/* FLOP and tokens that followers have trained so far. */
void eab_leader_measure(const eab_leader *leader, double *flop_done, double *tokens);

/* The fleets that followers had at work when they last said so, as eab_pool_list. */
int32_t eab_leader_list(const eab_leader *leader, eab_pool_fleet *fleets, int32_t room);

/* The first error of a follower, with its line, once they have stopped; EAB_OK: none. `profile`: what they measured is
 * added; may be NULL. */
int eab_leader_status(const eab_leader *leader, eab_profile *profile);

/* The sweep is over: every rank ends with `code`. Frees the leader. Does not return where some did not stop in order or a
 * signal came, as MPI would then wait for what is gone. */
void eab_leader_dismiss(eab_leader *leader, int code);

#endif
