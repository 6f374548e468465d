/* A rank of a sweep that is not the first: it trains what the leader deals and sends the rows. */
#ifndef EAB_SWEEP_FOLLOWER_H
#define EAB_SWEEP_FOLLOWER_H

#include "message.h"
#include "pool.h"
#include "ranks.h"
#include "run/cell_end.h"

typedef struct eab_follower eab_follower;

/* Says hello: that it is ready for the plan of this `mark`, or (status) why it is not, with eab_last_error(). */
eab_follower *eab_follower_new(const eab_ranks *ranks, int status, const char *mark);

/* Waits for the leader's word: true to begin, false to end. `peak_gflop_per_s` is the leader's where its device is the same
 * as `device`, else -1: not measured. */
bool eab_follower_begins(eab_follower *follower, const char *device, double *peak_gflop_per_s);

/* Sends a cell's rows. Any thread. */
void eab_follower_send(eab_follower *follower, const eab_cell_end *end, const char *const *rows);

/* Sends a message of one text (EAB_RANK_NOTE, EAB_RANK_FORGET). Any thread. */
void eab_follower_post(eab_follower *follower, eab_rank_message_kind kind, const char *text);

/* Tells that a fleet ended, or is left undone; after its cells were sent. Any thread. */
void eab_follower_fleet_ended(eab_follower *follower, const eab_fleet *fleet, bool complete);

/* Trains until the leader says stop or a signal comes. `settings` without deal. */
void eab_follower_train(eab_follower *follower, const eab_pool_settings *settings, const eab_cell *cells);

/* Waits for the end, disconnects and frees; returns the exit code. Does not return where MPI cannot be closed in order. */
int eab_follower_end(eab_follower *follower);

#endif
