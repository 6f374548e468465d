/* The forward and backward pass and the optimizer step of a fleet. */
#include "network.h"

/* The tensor at `offset` reals in each member's part of a block; none if the offset is negative. */
static eab_tensor at(const eab_model *model, eab_tensor block, int64_t offset) {
    if (offset < 0) return (eab_tensor){NULL, 0};
    block.data = (char *)block.data + offset * (int64_t)model->device->backend->real_bytes;
    return block;
}

static eab_embedding embedding(const eab_model *model, eab_tensor block, bool gradients) {
    const bool learned = model->parameters.token >= 0;
    return (eab_embedding){.token = learned || gradients ? at(model, block, model->parameters.token) : model->one_hot,
                           .position = at(model, block, model->parameters.position)};
}

static eab_attention_weights attention_weights(const eab_model *model, eab_tensor block, int32_t layer) {
    const eab_layer_offsets *own = &model->parameters.layers[layer];
    return (eab_attention_weights){.norm_gain = at(model, block, own->norm_gain),
                                   .norm_bias = at(model, block, own->norm_bias),
                                   .qkv = at(model, block, own->qkv),
                                   .qkv_bias = at(model, block, own->qkv_bias),
                                   .q_gain = at(model, block, own->q_gain),
                                   .k_gain = at(model, block, own->k_gain),
                                   .out = at(model, block, own->out),
                                   .out_bias = at(model, block, own->out_bias)};
}

static eab_mlp_weights mlp_weights(const eab_model *model, eab_tensor block, int32_t layer) {
    const eab_layer_offsets *own = &model->parameters.layers[layer];
    return (eab_mlp_weights){.norm_gain = at(model, block, own->mlp_norm_gain),
                             .norm_bias = at(model, block, own->mlp_norm_bias),
                             .up = at(model, block, own->up),
                             .up_bias = at(model, block, own->up_bias),
                             .down = at(model, block, own->down),
                             .down_bias = at(model, block, own->down_bias)};
}

static eab_head_weights head_weights(const eab_model *model, eab_tensor block) {
    return (eab_head_weights){.norm_gain = at(model, block, model->parameters.head.norm_gain),
                              .norm_bias = at(model, block, model->parameters.head.norm_bias),
                              .out = at(model, block, model->parameters.head.out),
                              .out_bias = at(model, block, model->parameters.head.out_bias)};
}

/* Dropout at a place of eab_dropout; none outside of training passes. */
static void set_place(eab_model *model, int32_t place) { model->dropout.place = (uint32_t)place; }

/* Dropout of the embedding, or of its gradient, in place. */
static int drop_embedding(eab_model *model, eab_tensor x) {
    set_place(model, 0);
    return model->shape.dropout ? model->device->backend->dropout(model->device, &model->shape, x, x, false) : EAB_OK;
}

static int forward(eab_model *model, const int32_t *inputs, int32_t first, int32_t count) {
    const int64_t stride = (int64_t)model->batch * model->shape.context;
    const eab_backend *backend = model->device->backend;
    const eab_shape *shape = &model->shape;
    const eab_scores scores = {model->mechanism, model->scale, model->mix};
    const eab_embedding tokens = embedding(model, model->weights, false);
    model->shape.batch = count;
    model->dropout.first_index = model->first_index + (uint64_t)first;
    inputs += (int64_t)first * shape->context;
    EAB_TRY(backend->embed_forward(model->device, shape, &tokens, inputs, stride, model->x));
    EAB_TRY(drop_embedding(model, model->x));
    for (int32_t layer = 0; layer < model->config.layers; layer++) {
        const eab_attention_weights attention = attention_weights(model, model->weights, layer);
        set_place(model, 2 * layer + 1);
        EAB_TRY(backend->attention_block_forward(model->device, shape, &scores, &attention, model->x,
                                                 &model->attention_saved[layer]));
        if (shape->mlp_dim == 0) continue;
        const eab_mlp_weights mlp = mlp_weights(model, model->weights, layer);
        set_place(model, 2 * layer + 2);
        EAB_TRY(backend->mlp_block_forward(model->device, shape, &mlp, model->x, &model->mlp_saved[layer]));
    }
    const eab_head_weights head = head_weights(model, model->weights);
    return backend->head_forward(model->device, shape, &head, model->x, &model->head_saved);
}

int eab_model_forward(eab_model *model, const int32_t *inputs, int32_t first, int32_t count) {
    model->shape.dropout = NULL;
    return forward(model, inputs, first, count);
}

static int backward(eab_model *model, const int32_t *inputs, int64_t stride) {
    const eab_backend *backend = model->device->backend;
    const eab_shape *shape = &model->shape;
    const eab_scores scores = {model->mechanism, model->scale, model->mix};
    const eab_head_weights head = head_weights(model, model->weights);
    const eab_head_weights head_gradients = head_weights(model, model->gradients);
    EAB_TRY(backend->head_backward(model->device, shape, &head, &head_gradients, &model->head_saved, model->dx,
                                   model->scratch));
    for (int32_t layer = model->config.layers - 1; layer >= 0; layer--) {
        if (shape->mlp_dim > 0) {
            const eab_mlp_weights mlp = mlp_weights(model, model->weights, layer);
            const eab_mlp_weights gradients = mlp_weights(model, model->gradients, layer);
            set_place(model, 2 * layer + 2);
            EAB_TRY(backend->mlp_block_backward(model->device, shape, &mlp, &gradients, &model->mlp_saved[layer],
                                                model->dx, model->scratch));
        }
        const eab_attention_weights attention = attention_weights(model, model->weights, layer);
        const eab_attention_weights gradients = attention_weights(model, model->gradients, layer);
        set_place(model, 2 * layer + 1);
        EAB_TRY(backend->attention_block_backward(model->device, shape, &scores, &attention, &gradients,
                                                  &model->attention_saved[layer], model->dx, model->scratch));
    }
    const eab_embedding tokens = embedding(model, model->gradients, true);
    EAB_TRY(drop_embedding(model, model->dx));
    return backend->embed_backward(model->device, shape, &tokens, inputs, stride, model->dx);
}

int eab_model_pass(eab_model *model, const int32_t *inputs, const int32_t *targets, const int64_t *counts,
                   eab_tally *tally, int32_t *predictions) {
    const int32_t context = model->shape.context;
    const int64_t stride = (int64_t)model->batch * context;
    model->shape.dropout = counts && model->dropout.probability > 0 ? &model->dropout : NULL;
    for (int32_t first = 0; first < model->batch; first += model->micro_batch) {
        const int64_t offset = (int64_t)first * context;
        const int32_t left = model->batch - first;
        EAB_TRY(forward(model, inputs, first, left < model->micro_batch ? left : model->micro_batch));
        const eab_loss_args loss = {.members = model->shape.members,
                                    .batch = model->shape.batch,
                                    .context = context,
                                    .vocab = model->shape.vocab,
                                    .member_vocab = model->vocab,
                                    .targets = targets + offset,
                                    .targets_stride = stride,
                                    .logits = model->head_saved.logits,
                                    .tally = tally,
                                    .predictions = predictions ? predictions + offset : NULL,
                                    .counts = counts};
        EAB_TRY(model->device->backend->loss(model->device, &loss));
        if (counts) EAB_TRY(backward(model, inputs + offset, stride));
    }
    return EAB_OK;
}

int eab_model_step(eab_model *model, int64_t step) {
    const eab_optimizer_args args = {.members = model->shape.members,
                                     .count = model->parameters.count,
                                     .decayed = model->parameters.decayed,
                                     .extents = model->extents,
                                     .member_vocab = model->vocab,
                                     .extent_count = model->parameters.length,
                                     .weights = model->weights,
                                     .gradients = model->gradients,
                                     .moment1 = model->moment1,
                                     .moment2 = model->moment2,
                                     .optimizers = model->optimizers,
                                     .step = step};
    return model->device->backend->optimizer_step(model->device, &args);
}
