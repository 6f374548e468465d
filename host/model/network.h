/* A fleet of decoder-only transformers on a device: buffers, forward pass, backward pass, optimizer step.
 *
 * x = token embedding + position embedding; per layer x += attention(norm(x)), x += mlp(norm(x)); logits = norm(x) W.
 * Pre-norm, a final norm, an untied output map. Nothing is allocated after eab_model_create.
 */
#ifndef EAB_MODEL_NETWORK_H
#define EAB_MODEL_NETWORK_H

#include "parameters.h"

typedef struct {
    eab_device *device;
    eab_shape shape;   /* shape.members decreases as members leave; shape.batch is the current micro-batch */
    eab_config config; /* of member 0; its shape is that of all members */
    eab_parameters parameters;
    int32_t batch, micro_batch;

    /* On the host, for each member of the fleet. */
    int32_t *mechanism, *vocab;
    float *scale, *mix;
    eab_optimizer *optimizers;
    uint32_t *seeds;
    float *slopes;       /* [heads] or NULL */
    eab_extent *extents; /* of the parameters */

    /* On the device; `memory` holds all tensors below. */
    void *memory;
    eab_tensor weights, gradients, moment1, moment2; /* [count] */
    eab_tensor one_hot, rope;
    eab_tensor x, dx, scratch;
    eab_attention_saved *attention_saved; /* [layers] */
    eab_mlp_saved *mlp_saved;             /* [layers] */
    eab_head_saved head_saved;

    eab_dropout dropout;  /* of training passes; probability 0: none */
    uint64_t first_index; /* of the batch that is trained on, in the training stream: step * batch */
} eab_model;

/* Allocates the fleet and writes its initial weights. configs[members]: eab_train_same_fleet holds for all of them. */
int eab_model_create(eab_device *device, int32_t members, const eab_config *configs, eab_model *model);
void eab_model_destroy(eab_model *model);

/* A forward pass over a whole batch, in micro-batches. With `counts` (device [members]: determined tokens of the batch;
 * or NULL) also the backward pass, which adds to the gradients. inputs, targets, predictions: device
 * [members][batch][context]; predictions may be NULL. tally: device [members], added to. */
int eab_model_pass(eab_model *model, const int32_t *inputs, const int32_t *targets, const int64_t *counts,
                   eab_tally *tally, int32_t *predictions);

/* A forward pass over `count` sequences of a batch, at most micro_batch, from sequence `first` on. Their activations
 * are in attention_saved, mlp_saved and head_saved until the next pass. */
int eab_model_forward(eab_model *model, const int32_t *inputs, int32_t first, int32_t count);

/* Clip, step, zero the gradients. */
int eab_model_step(eab_model *model, int64_t step);

/* Where a member's part of a block of reals begins. */
static inline void *eab_model_member(const eab_model *model, eab_tensor block, int32_t member) {
    return (char *)block.data + member * block.stride * (int64_t)model->device->backend->real_bytes;
}

/* Swaps elements a and b of an array whose elements have `size` bytes. */
void eab_swap_elements(void *array, size_t size, int32_t a, int32_t b);

/* Swaps two members; between steps only, when their gradients are zero. */
int eab_model_swap(eab_model *model, int32_t a, int32_t b);

/* Bytes that eab_model_create allocates on a device of this backend for a fleet of one. */
int64_t eab_model_bytes(const eab_backend *backend, const eab_config *config);

/* The number of sequences that pass through the model together. */
int32_t eab_model_micro_batch(const eab_backend *backend, const eab_config *config);

#endif
