/* A rank of a sweep other than the first: it trains the fleets that the leader assigns and sends their rows. */
#ifndef EAB_SWEEP_FOLLOWER_H
#define EAB_SWEEP_FOLLOWER_H

#include "message.h"
#include "pool.h"
#include "ranks.h"
#include "run/folder.h"

typedef struct eab_follower eab_follower;

/* Sends hello: ready for the plan of this fingerprint, or (status) why not, with eab_last_error(). */
eab_follower *eab_follower_new(const eab_ranks *ranks, int status, const char *fingerprint);

/* Waits for the leader's answer: true to begin, false to end. `peak_gflop_per_s` is the leader's if its device has the
 * name `device`, else -1: not measured. */
bool eab_follower_begins(eab_follower *follower, const char *device, double *peak_gflop_per_s);

/* Sends a cell's rows. Any thread. */
void eab_follower_send(eab_follower *follower, const eab_cell_end *end, const char *const *rows);

/* Sends a message of one text (EAB_RANK_NOTE, EAB_RANK_FORGET). Any thread. */
void eab_follower_post(eab_follower *follower, eab_rank_message_kind kind, const char *text);

/* Reports that a fleet ended or is left undone, after its rows were sent. Any thread. */
void eab_follower_fleet_ended(eab_follower *follower, const eab_fleet *fleet, bool complete);

/* Trains until the leader sends stop or a signal comes. `settings` has no queue. */
void eab_follower_train(eab_follower *follower, const eab_pool_settings *settings, const eab_cell *cells);

/* Waits for the end, disconnects and frees; returns the exit code. Exits the process where MPI cannot be closed in
 * order. */
int eab_follower_end(eab_follower *follower);

#endif
