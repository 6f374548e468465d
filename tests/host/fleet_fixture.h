/* A small fleet with one batch of tokens on a device, for tests of single passes. */
#ifndef EAB_TESTS_FLEET_FIXTURE_H
#define EAB_TESTS_FLEET_FIXTURE_H

#include "host/model/network.h"

typedef struct {
    eab_device *device;
    eab_model model;
    eab_level levels[4 * EAB_MAX_PARTS];
    uint8_t held_out[4 * EAB_MAX_PARTS];
    eab_parts parts[4];
    uint32_t seeds[4];
    int32_t *inputs, *targets;
    int64_t *counts;
    eab_tally *tally;
} fleet_fixture;

/* A cell small enough for finite differences: d_model 6, 2 heads, context 5, 1 layer, recurrence basis 3, delay 2. */
eab_config tiny_config(void);

/* Opens a device of `backend` ("plain" too), creates a fleet of configs[members] and generates the first training
 * batch. */
void fleet_open(fleet_fixture *fleet, const char *backend, int32_t members, const eab_config *configs);
void fleet_close(fleet_fixture *fleet);

/* The mean loss of a member's batch with its current weights, and with dropout where the fleet has it. */
double fleet_loss(fleet_fixture *fleet, int32_t member);

/* Forward and backward from zeroed gradients; gradients[count] of a member as doubles (the caller frees). */
double *fleet_gradients(fleet_fixture *fleet, int32_t member);

/* Reads a member's weights as doubles (the caller frees), and writes them. */
double *fleet_weights(fleet_fixture *fleet, int32_t member);
void fleet_set_weights(fleet_fixture *fleet, int32_t member, const double *weights);

#endif
