/* What a cell costs, computed from its options. */
#ifndef EAB_MODEL_COST_H
#define EAB_MODEL_COST_H

#include "kernels/backend.h"
#include "spec/config.h"

/* The model's parameters. */
int64_t eab_config_parameters(const eab_config *config);

/* FLOP in the matrix products of one trained token (docs/design.md 5). */
double eab_config_flop_per_token(const eab_config *config);

/* Bytes that training one cell takes on a device of this backend: parameters, gradients, optimizer state, the batch's
 * tokens, and the activations of the sequences that pass through the model together. On a backend that computes in the
 * host's memory also the weights as they are drawn; on another one the level's text, which a fleet's members share.
 * batch * (context + 1) is at most INT32_MAX. */
double eab_config_memory_bytes(const eab_backend *backend, const eab_config *config);

#endif
