/* What a cell costs, computed from its options. */
#ifndef EAB_MODEL_COST_H
#define EAB_MODEL_COST_H

#include "spec/config.h"

/* The model's parameters. */
int64_t eab_config_parameters(const eab_config *config);

/* FLOP in the matrix products of one trained token (docs/design.md 5). */
double eab_config_flop_per_token(const eab_config *config);

/* Bytes of device memory that training takes with reals of 4 bytes: parameters, gradients, optimizer state and one
 * batch's activations. */
double eab_config_memory_bytes(const eab_config *config);

#endif
