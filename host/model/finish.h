/* Members leave their fleet: the held-out evaluation, their results, their saved models. */
#ifndef EAB_MODEL_FINISH_H
#define EAB_MODEL_FINISH_H

#include "fleet.h"

/* Why a member leaves its fleet. */
typedef enum { EAB_STAYS, EAB_DONE, EAB_DIVERGED, EAB_HOPELESS } eab_leaving;

/* Fills in the results of the members whose leaving[member] is not EAB_STAYS and removes them. Reorders leaving[].
 * EAB_INTERRUPTED when options->stop is set; no member is removed then. */
int eab_fleet_finish(eab_fleet_state *fleet, eab_leaving *leaving);

#endif
