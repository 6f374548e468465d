/* The state of a fleet in training: cells of one shape, trained in lockstep. A cell is a member until it is done. */
#ifndef EAB_MODEL_FLEET_H
#define EAB_MODEL_FLEET_H

#include "evaluate.h"
#include "result.h"
#include "train_options.h"

typedef struct {
    int32_t cells;             /* at the start of training */
    const eab_config *configs; /* [cells] */
    const eab_train_options *options;
    eab_cell_result *results; /* [cells] */

    eab_model model; /* model.shape.members: the cells still in training */
    eab_fleet_tokens tokens;
    eab_level *levels; /* of all cells' parts */
    uint8_t *held_out; /* of each level */

    /* Of each member: */
    int32_t *cell; /* its index in configs[] and results[] */
    eab_parts *parts;
    uint32_t *seeds;
    eab_tally *training;         /* its steps since the previous evaluation: eab_fleet_read_tallies */
    eab_evaluation *evaluations; /* [members][most parts] */

    int64_t step;        /* steps done */
    bool evaluation_due; /* The steps are done; the evaluation is still pending. */
    double started_s, training_s;
    eab_load started_load;  /* eab_system_load at started_s */
    bool stopped;           /* training_s includes a time in which the process was stopped */
    int64_t trained_tokens; /* by all members together */

    bool warm;       /* these members have done a step: what a step allocates on the device exists */
    void *recording; /* a recorded step of these members, or NULL */
    bool recording_failed;

    double checkpoint_s;      /* when the last checkpoint was written, or training began */
    double checkpoint_took_s; /* seconds that writing it took */
} eab_fleet_state;

/* Allocates all memory and draws the initial weights. `configs` must outlive the fleet. After an error (EAB_NO_MEMORY
 * or the device's) the fleet is closed. */
int eab_fleet_open(eab_device *device, int32_t cells, const eab_config *configs, eab_fleet_state *fleet);
void eab_fleet_close(eab_fleet_state *fleet); /* may be closed already */

/* Swaps two members; between steps only. */
int eab_fleet_swap(eab_fleet_state *fleet, int32_t a, int32_t b);

/* Removes a member; the last one takes its place. */
int eab_fleet_remove(eab_fleet_state *fleet, int32_t member);

/* Copies the members' training tallies from the device to fleet->training. */
int eab_fleet_read_tallies(eab_fleet_state *fleet);

#endif
