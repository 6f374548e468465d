/* A trace: the first training steps of a cell, tensor by tensor, for a program that computes the same model. */
#ifndef EAB_COMMANDS_TRACE_H
#define EAB_COMMANDS_TRACE_H

#include "spec/config.h"

enum { EAB_TRACE_MAX_STEPS = 1000 };

/* Trains `config` for its first `steps` steps (1..EAB_TRACE_MAX_STEPS) as a sweep does, and writes into the folder
 * `out`, which is made where it is missing, for s = 0, 1, ...:
 *   weights-s.safetensors    before step s, in the form of a saved model; s = steps: after the last step
 *   batch-s.safetensors      inputs, targets, loss_nats, lr of step s
 *   gradients-s.safetensors  of step s, before clipping, named as the weights
 * Reals are stored in the backend's type. EAB_BAD_INPUT where `out` holds something already, EAB_IO where it cannot be
 * written, or what the device says. */
int eab_trace_write(eab_device *device, const eab_config *config, int64_t steps, const char *out);

#endif
