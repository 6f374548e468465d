/* What train.c (training) and train_checkpoint.c (keeping it) share: the state of a fleet at work. */
#ifndef EAB_MODEL_TRAIN_STATE_H
#define EAB_MODEL_TRAIN_STATE_H

#include "evaluate.h"
#include "train.h"

/* Of a member, by its place among those still in the fleet. */
typedef struct {
    int32_t cell; /* its index in configs[] and results[] */
    int32_t curve_room;
    eab_tally training; /* since the look before; read at each look */
} eab_member_state;

typedef struct {
    eab_model model;
    eab_fleet_tokens tokens;
    const eab_config *configs;
    const eab_train_options *options;
    eab_cell_result *results;
    eab_member_state *states;
    eab_level *levels; /* of all members' parts */
    uint8_t *held_out; /* of each level */
    eab_parts *parts;
    uint32_t *seeds;
    eab_evaluation *evaluations; /* [members][most parts] */
    eab_tally *training;         /* host copy */
    int32_t members;             /* at the start */
    int64_t step;                /* done */
    bool looking;                /* they are done, and what follows them, the look at the members, is not */
    double started_s, training_s;
    int64_t trained_tokens; /* of all members */
    bool warm;              /* a step was done by these members: what it keeps on the device is there */
    void *recording;        /* of a step by these members, on devices that record; else NULL */
    bool unrecorded;        /* recording failed: steps are done operation by operation from then on */
    double checkpoint_s;    /* when the last checkpoint was made, or training began */
    double checkpoint_took_s;
} eab_fleet_state;

/* Two members change places, and the last one takes the place of one that leaves: in all that is kept of them. */
int eab_fleet_swap(eab_fleet_state *fleet, int32_t a, int32_t b);
int eab_fleet_remove(eab_fleet_state *fleet, int32_t member);

/* Appends a point to a member's curve. */
int eab_fleet_add_curve_point(eab_member_state *state, eab_cell_result *result, eab_curve_point point);

/* Writes the fleet's checkpoint, between two steps or with a look to come; waits for the device. */
int eab_fleet_save(eab_fleet_state *fleet);

/* Goes on from the fleet's checkpoint, if it is there and may be: the fleet is as it was when that was made, or as new
 * where there is none. EAB_BAD_INPUT with a line where the file is of no use; the fleet is then of no use either. */
int eab_fleet_load(eab_fleet_state *fleet);

#endif
