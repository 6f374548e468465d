/* Who trains what: fleets of cells are dealt out one by one, the longest first, to whichever worker is free.
 *
 * A worker sees four calls and not where the fleets come from: all of them lie here from the start (of one process, or of
 * the one that leads several and gives some of its fleets to the others), or each is asked for elsewhere.
 */
#ifndef EAB_SWEEP_DEAL_H
#define EAB_SWEEP_DEAL_H

#include "plan/fleets.h"

typedef struct eab_deal eab_deal;

/* Deals these fleets (of eab_fleets_make; taken over). */
eab_deal *eab_deal_new(GArray *fleets);

/* Deals what eab_deal_grant brings; wish() asks for one fleet, in the worker's thread. */
eab_deal *eab_deal_new_granted(void (*wish)(void *context), void *context);
void eab_deal_free(eab_deal *deal);

/* ---- for workers: any thread ---- */

/* The next fleet, or NULL when there is none left or the dealing was stopped. Waits while fleets that were given away may
 * come back, and for grants. The fleet is the deal's. */
const eab_fleet *eab_deal_next(eab_deal *deal);

/* Every cell of the fleet has a result. */
void eab_deal_complete(eab_deal *deal, const eab_fleet *fleet);

/* Makes eab_deal_next return NULL from now on. */
void eab_deal_stop(eab_deal *deal);

/* Whether every fleet was dealt and is complete. */
bool eab_deal_is_complete(eab_deal *deal);

/* ---- for the process that leads others ---- */

/* The next fleet for somebody else, and its number; -1: none now. It has to come back: completed, left undone, or
 * returned to be dealt again. */
int64_t eab_deal_give(eab_deal *deal, const eab_fleet **fleet);
typedef enum { EAB_DEAL_COMPLETED, EAB_DEAL_UNDONE, EAB_DEAL_AGAIN } eab_deal_return;
void eab_deal_take_back(eab_deal *deal, int64_t number, eab_deal_return how);

/* Fleets that were given away and have not come back; fleets that nobody has yet. */
int64_t eab_deal_given(eab_deal *deal);
int64_t eab_deal_left(eab_deal *deal);

/* ---- for the process that is led ---- */

/* Answers a wish; the fleet's indices are taken over. `number` is what the giver calls it. */
void eab_deal_grant(eab_deal *deal, const eab_fleet *fleet, int64_t number);

/* The number of a granted fleet. */
int64_t eab_deal_number(eab_deal *deal, const eab_fleet *fleet);

/* ---- sums ---- */

/* FLOP of all fleets that are known, and of those that workers of this process completed. */
void eab_deal_measure(eab_deal *deal, double *flop_total, double *flop_done);

/* The number of fleets that are known. */
int64_t eab_deal_count(eab_deal *deal);

#endif
