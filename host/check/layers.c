/* Norms, activations, the MLP block, dropout, sums, rotary positions, the embedding. */
#include <math.h>

#include "buffers.h"

static eab_shape model_shape(const eab_check_shape *shape) {
    return (eab_shape){.members = shape->members,
                       .batch = shape->batch,
                       .context = shape->context,
                       .d_model = shape->d_model,
                       .heads = shape->heads,
                       .mlp_dim = shape->mlp_ratio * shape->d_model,
                       .vocab = shape->vocab};
}

static void check_norm(eab_check_run *run, const eab_check_shape *shape) {
    const bool backward = run->operation->gradient;
    const int32_t width = shape->d_model;
    const int64_t rows = eab_check_rows(shape), count = rows * width;
    eab_norm_args args = {.members = shape->members, .rows = (int32_t)rows, .width = width};
    args.gain = eab_check_tensor(run, width, 1);
    if (!backward) args.bias = eab_check_tensor(run, width, 1);
    args.normalized = eab_check_tensor(run, count, backward ? 1 : NAN);
    args.inv_std = eab_check_tensor(run, rows, backward ? 1 : NAN);
    const eab_tensor x = eab_check_tensor(run, count, backward ? 1 : 3);   /* or dy */
    const eab_tensor y = eab_check_tensor(run, count, backward ? 1 : NAN); /* or dx */
    if (backward) {
        const eab_tensor dgain = eab_check_tensor(run, width, 1), dbias = eab_check_tensor(run, width, 1);
        EAB_CHECK_CALL(norm_backward, &args, x, y, dgain, dbias);
        eab_check_output(run, y);
        eab_check_output(run, dgain);
        eab_check_output(run, dbias);
    } else {
        EAB_CHECK_CALL(norm_forward, &args, x, y);
        eab_check_output(run, y);
        eab_check_output(run, args.inv_std);
    }
}

static void check_qk_norm(eab_check_run *run, const eab_check_shape *shape) {
    const bool backward = run->operation->gradient;
    const int32_t head_dim = shape->d_model / shape->heads;
    const int64_t rows = eab_check_rows(shape), d_model = shape->d_model;
    eab_qk_norm_args args = {
        .members = shape->members, .rows = (int32_t)rows, .heads = shape->heads, .head_dim = head_dim};
    args.q_gain = eab_check_tensor(run, head_dim, 1);
    args.k_gain = eab_check_tensor(run, head_dim, 1);
    args.unit = eab_check_tensor(run, rows * 2 * d_model, backward ? 1 : NAN);
    args.inv_rms = eab_check_tensor(run, rows * 2 * shape->heads, backward ? 1 : NAN);
    const eab_tensor qkv = eab_check_tensor(run, rows * 3 * d_model, 2); /* or its gradient */
    if (backward) {
        const eab_tensor dq_gain = eab_check_tensor(run, head_dim, 1), dk_gain = eab_check_tensor(run, head_dim, 1);
        EAB_CHECK_CALL(qk_norm_backward, &args, qkv, dq_gain, dk_gain);
        eab_check_output(run, dq_gain);
        eab_check_output(run, dk_gain);
    } else {
        EAB_CHECK_CALL(qk_norm_forward, &args, qkv);
        eab_check_output(run, args.unit);
        eab_check_output(run, args.inv_rms);
    }
    eab_check_output(run, qkv);
}

static void check_activation(eab_check_run *run, const eab_check_shape *shape) {
    const eab_activation activation = (eab_activation)run->operation->form;
    const bool backward = run->operation->gradient;
    const int64_t count = eab_check_rows(shape) * shape->d_model * shape->mlp_ratio;
    const eab_tensor x = eab_check_tensor(run, count, 3), y = eab_check_tensor(run, count, backward ? 1 : NAN);
    if (backward) EAB_CHECK_CALL(activation_backward, activation, shape->members, count, x, y);
    else EAB_CHECK_CALL(activation_forward, activation, shape->members, count, x, y);
    eab_check_output(run, y);
}

/* Both passes of the MLP block without its norm: with the steps that a backend may fuse into its products. relu's slope
 * depends on signs, which a rounding error may change, so its backward pass gets a hidden layer of random values. */
static void check_mlp(eab_check_run *run, const eab_check_shape *checked) {
    eab_shape shape = model_shape(checked);
    shape.norm = EAB_NORM_NONE;
    shape.activation = (eab_activation)run->operation->form;
    const int32_t d_model = shape.d_model, mlp_dim = shape.mlp_dim;
    const int64_t rows = eab_check_rows(checked), weights_count = (int64_t)d_model * mlp_dim;
    const bool relu = shape.activation == EAB_ACTIVATION_RELU;
    const eab_mlp_weights weights = {.up = eab_check_tensor(run, weights_count, 0.5),
                                     .up_bias = eab_check_tensor(run, mlp_dim, 1),
                                     .down = eab_check_tensor(run, weights_count, 0.5),
                                     .down_bias = eab_check_tensor(run, d_model, 1)};
    const eab_mlp_weights gradients = {.up = eab_check_tensor(run, weights_count, 1),
                                       .up_bias = eab_check_tensor(run, mlp_dim, 1),
                                       .down = eab_check_tensor(run, weights_count, 1),
                                       .down_bias = eab_check_tensor(run, d_model, 1)};
    eab_mlp_saved saved = {.input = eab_check_tensor(run, rows * d_model, NAN),
                           .hidden = eab_check_tensor(run, rows * mlp_dim, NAN)};
    if (!relu) saved.before = eab_check_tensor(run, rows * mlp_dim, NAN);
    const eab_tensor x = eab_check_tensor(run, rows * d_model, 1), dx = eab_check_tensor(run, rows * d_model, 1);
    const eab_tensor scratch = eab_check_tensor(run, eab_scratch_reals(&shape), NAN);
    EAB_CHECK_CALL(mlp_block_forward, &shape, &weights, x, &saved);
    eab_check_output(run, x);
    if (relu) saved.hidden = eab_check_tensor(run, rows * mlp_dim, 1);
    EAB_CHECK_CALL(mlp_block_backward, &shape, &weights, &gradients, &saved, dx, scratch);
    eab_check_output(run, dx);
    eab_check_output(run, gradients.up);
    eab_check_output(run, gradients.up_bias);
    eab_check_output(run, gradients.down);
    eab_check_output(run, gradients.down_bias);
}

/* Added and in place. The sequences' index is above 2^32, so that every word of the counter matters. */
static void check_dropout(eab_check_run *run, const eab_check_shape *checked) {
    eab_shape shape = model_shape(checked);
    const uint32_t seeds[EAB_CHECK_MAX_MEMBERS] = {1, 2, 3, 0xFFFFFFFFu, 5, 6, 7, 8};
    const int64_t count = eab_check_rows(checked) * shape.d_model;
    const eab_tensor x = eab_check_tensor(run, count, 1), y = eab_check_tensor(run, count, 1);
    eab_dropout dropout = {.probability = 0.3, .seeds = seeds, .first_index = 0x123456789u};
    shape.dropout = &dropout;
    for (dropout.place = 0; dropout.place < 3; dropout.place++) EAB_CHECK_CALL(dropout, &shape, x, y, true);
    EAB_CHECK_CALL(dropout, &shape, x, x, false);
    eab_check_output(run, x);
    eab_check_output(run, y);
}

static void check_sums(eab_check_run *run, const eab_check_shape *shape) {
    const int32_t width = shape->d_model, rows = (int32_t)eab_check_rows(shape);
    const int64_t count = (int64_t)rows * width;
    const eab_tensor x = eab_check_tensor(run, count, 1), y = eab_check_tensor(run, count, 1);
    const eab_tensor sums = eab_check_tensor(run, width, 1);
    EAB_CHECK_CALL(add, shape->members, count, x, y);
    EAB_CHECK_CALL(column_sum, shape->members, rows, width, x, sums);
    eab_check_output(run, y);
    eab_check_output(run, sums);
}

static void check_rotate(eab_check_run *run, const eab_check_shape *shape) {
    eab_shape model = model_shape(shape);
    if (model.d_model % model.heads || model.d_model / model.heads % 2) return;
    model.rope = eab_check_tensor(run, (int64_t)model.context * model.d_model / model.heads, 1); /* part 0 for all */
    const eab_tensor qkv = eab_check_tensor(run, eab_check_rows(shape) * 3 * model.d_model, 1);
    for (int inverse = 0; inverse < 2; inverse++) {
        EAB_CHECK_CALL(rotate, &model, qkv, inverse == 1);
        eab_check_output(run, qkv);
    }
}

static void check_embedding(eab_check_run *run, const eab_check_shape *shape) {
    const eab_shape model = model_shape(shape);
    const int64_t rows = eab_check_rows(shape), d_model = model.d_model;
    const int32_t *tokens = eab_check_random_tokens(run, shape->members * rows, shape->vocab, false);
    const eab_embedding weights = {eab_check_tensor(run, model.vocab * d_model, 1),
                                   eab_check_tensor(run, model.context * d_model, 1)};
    const eab_embedding gradients = {eab_check_tensor(run, model.vocab * d_model, 1),
                                     eab_check_tensor(run, model.context * d_model, 1)};
    const eab_tensor x = eab_check_tensor(run, rows * d_model, NAN);
    EAB_CHECK_CALL(embed_forward, &model, &weights, tokens, rows, x);
    EAB_CHECK_CALL(embed_backward, &model, &gradients, tokens, rows, x);
    eab_check_output(run, x);
    eab_check_output(run, gradients.token);
    eab_check_output(run, gradients.position);
}

const eab_check_operation eab_check_layers[] = {
    {.name = "norm", .run = check_norm},
    {.name = "norm_backward", .run = check_norm, .gradient = true},
    {.name = "qk_norm", .run = check_qk_norm},
    {.name = "qk_norm_backward", .run = check_qk_norm, .gradient = true},
    {.name = "relu", .run = check_activation, .form = EAB_ACTIVATION_RELU},
    {.name = "relu_backward", .run = check_activation, .form = EAB_ACTIVATION_RELU, .gradient = true},
    {.name = "gelu", .run = check_activation, .form = EAB_ACTIVATION_GELU},
    {.name = "gelu_backward", .run = check_activation, .form = EAB_ACTIVATION_GELU, .gradient = true},
    {.name = "mlp_relu", .run = check_mlp, .form = EAB_ACTIVATION_RELU, .gradient = true},
    {.name = "mlp_gelu", .run = check_mlp, .form = EAB_ACTIVATION_GELU, .gradient = true},
    {.name = "dropout", .run = check_dropout},
    {.name = "sums", .run = check_sums},
    {.name = "rotate", .run = check_rotate},
    {.name = "embedding", .run = check_embedding},
    {.name = NULL},
};
