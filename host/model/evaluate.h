/* Evaluation of a fleet on a stream of its tasks. */
#ifndef EAB_MODEL_EVALUATE_H
#define EAB_MODEL_EVALUATE_H

#include <stdatomic.h>

#include "network.h"

/* Token buffers of a fleet, on the device, for training and evaluation. */
typedef struct {
    eab_generate_args generate; /* its arrays are on the host; parts, seeds: of the fleet's current members */
    int32_t *inputs, *targets, *predictions;
    int64_t *counts, *changed;
    eab_tally *training, *tally, *rollout; /* [members] */
} eab_fleet_tokens;

/* The evaluation of one part of one member, or of all its parts together. */
typedef struct {
    eab_tally tally;
    int64_t rollout_tokens, rollout_right; /* 0 without rollout */
    int64_t sequences;                     /* the part's first `sequences` in the stream were used */
} eab_evaluation;

/* The largest number of parts of a member; 1 if tokens->generate has no parts. */
int32_t eab_most_parts(const eab_fleet_tokens *tokens, int32_t members);

/* Evaluates every member on each of its parts: whole batches of the part's sequences in a stream, from the first on,
 * until their determined tokens reach eval_tokens. The result depends neither on the fleet nor on the other parts. With
 * `rollout` the model also continues sequences from its own predictions. evaluations[members][most parts]: 0 after a
 * member's last part. EAB_INTERRUPTED when *stop is set (stop may be NULL). */
int eab_evaluate(eab_model *model, eab_fleet_tokens *tokens, uint32_t stream, bool rollout, const atomic_bool *stop,
                 eab_evaluation *evaluations);

/* The sum of the parts' evaluations. */
eab_evaluation eab_evaluation_sum(const eab_evaluation *parts, int32_t count);

/* The share of the part's first `sequences` held-out sequences that are among its first `trained` training
 * sequences. */
double eab_seen_share(const eab_config *config, int32_t part, int64_t sequences, int64_t trained);

#endif
