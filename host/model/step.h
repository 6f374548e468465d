/* A training step of a fleet. */
#ifndef EAB_MODEL_STEP_H
#define EAB_MODEL_STEP_H

#include "fleet.h"

/* Generates step `step`'s batch and adds its gradients; asynchronous where the device is. */
int eab_fleet_gradients(eab_fleet_state *fleet, int64_t step);

/* Runs step fleet->step and increments it; asynchronous where the device is. */
int eab_fleet_step(eab_fleet_state *fleet);

#endif
