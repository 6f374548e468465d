/* The queue of fleets to train, the longest first. Any free worker takes the next one.
 *
 * A single process and the leader have a queue that holds all fleets from the start. A follower has a remote queue:
 * each fleet is requested from the leader.
 */
#ifndef EAB_SWEEP_QUEUE_H
#define EAB_SWEEP_QUEUE_H

#include "plan/fleets.h"

typedef struct eab_queue eab_queue;

/* A queue of these fleets (of eab_fleets_make), which it takes over. */
eab_queue *eab_queue_new(GArray *fleets);

/* An empty queue that eab_queue_add fills. request() asks for one fleet, in the worker's thread. */
eab_queue *eab_queue_new_remote(void (*request)(void *context), void *context);
void eab_queue_free(eab_queue *queue);

/* ---- any thread ---- */

/* Takes the next fleet, whose indices the queue still owns; false if none is left or the queue is stopped. A remote
 * queue waits for the answer to its request. */
bool eab_queue_next(eab_queue *queue, eab_fleet *fleet);

/* A fleet that was taken has ended. complete: every cell of it has a result. */
void eab_queue_end(eab_queue *queue, bool complete);

/* Adds the fleet that answers a request, and takes over its indices. */
void eab_queue_add(eab_queue *queue, const eab_fleet *fleet);

/* Makes eab_queue_next return false from now on. */
void eab_queue_stop(eab_queue *queue);

typedef struct {
    int64_t waiting; /* fleets that were not taken; 0 in a queue that is stopped */
    int64_t running; /* taken and not ended */
    bool complete;   /* every fleet was taken and is complete */
    double flop;     /* of all fleets */
} eab_queue_state;
eab_queue_state eab_queue_measure(eab_queue *queue);

#endif
