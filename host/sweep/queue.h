/* The queue of fleets to train, the longest first. Any free worker takes the next one.
 *
 * Workers call eab_queue_next and eab_queue_complete and need not know where the fleets come from: all of them are in
 * the queue from the start (in a single process, or in the leader, which assigns some of them to other processes), or
 * each is requested from the leader.
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

/* ---- for workers: any thread ---- */

/* The next fleet, which the queue owns; NULL when none is left or the queue is stopped. Waits while assigned fleets may
 * return, and for requested ones. */
const eab_fleet *eab_queue_next(eab_queue *queue);

/* Every cell of the fleet has a result. */
void eab_queue_complete(eab_queue *queue, const eab_fleet *fleet);

/* Makes eab_queue_next return NULL from now on. */
void eab_queue_stop(eab_queue *queue);

/* Whether every fleet was taken and is complete. */
bool eab_queue_is_complete(eab_queue *queue);

/* ---- for the leader ---- */

/* Takes the next fleet for another process and returns its number; -1: none now. Each must be returned. */
int64_t eab_queue_assign(eab_queue *queue, const eab_fleet **fleet);
typedef enum { EAB_RETURN_COMPLETE, EAB_RETURN_UNDONE, EAB_RETURN_REQUEUE } eab_queue_return_kind;
void eab_queue_return(eab_queue *queue, int64_t number, eab_queue_return_kind how);

/* Fleets that are assigned and not returned; fleets that nobody has taken. */
int64_t eab_queue_assigned(eab_queue *queue);
int64_t eab_queue_waiting(eab_queue *queue);

/* ---- for a follower ---- */

/* Adds the fleet that answers a request, and takes over its indices. `number` is the leader's. */
void eab_queue_add(eab_queue *queue, const eab_fleet *fleet, int64_t number);

/* The leader's number of a fleet of this queue. */
int64_t eab_queue_number(eab_queue *queue, const eab_fleet *fleet);

/* ---- sums ---- */

/* FLOP of all fleets in the queue, and of those that workers of this process completed. */
void eab_queue_measure(eab_queue *queue, double *flop_total, double *flop_done);

/* The number of fleets, also of those that are complete. */
int64_t eab_queue_count(eab_queue *queue);

#endif
