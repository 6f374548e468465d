/* Evaluation of a fleet on a stream of its tasks. */
#ifndef EAB_HOST_EVALUATE_H
#define EAB_HOST_EVALUATE_H

#include <stdatomic.h>

#include "model.h"

/* Token buffers of a fleet, for training and evaluation alike; on the device but for the host arrays. */
typedef struct {
    eab_generate_args generate; /* levels, seeds, held_out: of the members still in the fleet */
    int32_t *inputs, *targets, *predictions;
    int64_t *counts, *changed;
    eab_tally *training, *tally, *rollout; /* [members] */
} eab_fleet_tokens;

/* What an evaluation found of one member. */
typedef struct {
    eab_tally tally;
    int64_t rollout_tokens, rollout_right; /* 0 without rollout */
    int64_t sequences;                     /* the stream's first `sequences` were used */
} eab_evaluation;

/* Evaluates every member on the first sequences of a stream, whole batches until its own determined tokens reach
 * eval_tokens, so that the result does not depend on the fleet. With `rollout` the model also continues sequences
 * from its own predictions. evaluations[members]. EAB_INTERRUPTED when *stop (may be NULL) is set. */
int eab_evaluate(eab_model *model, eab_fleet_tokens *tokens, uint32_t stream, bool rollout, const atomic_bool *stop,
                 eab_evaluation *evaluations);

/* The share of the held-out stream's first `sequences` sequences that the training stream's first `trained` had. */
int eab_seen_share(const eab_config *config, int64_t sequences, int64_t trained, double *share);

#endif
