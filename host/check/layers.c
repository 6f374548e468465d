/* Norms, activations, the MLP block, sums, rotary positions, the embedding. */
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

static int check_norm(eab_check_run *run, const eab_check_shape *shape) {
    const int32_t members = shape->members, width = shape->d_model;
    const int64_t rows = eab_check_rows(shape), count = rows * width;
    eab_norm_args args = {.members = members, .rows = (int32_t)rows, .width = width};
    args.gain = eab_check_tensor(run, members, width, 1);
    args.bias = eab_check_tensor(run, members, width, 1);
    args.normalized = eab_check_tensor(run, members, count, NAN);
    args.inv_std = eab_check_tensor(run, members, rows, NAN);
    const eab_tensor x = eab_check_tensor(run, members, count, 3), y = eab_check_tensor(run, members, count, NAN);
    EAB_CHECK_CALL(norm_forward, &args, x, y);
    eab_check_output(run, y, members, count);
    eab_check_output(run, args.inv_std, members, rows);
    return run->status;
}

static int check_norm_backward(eab_check_run *run, const eab_check_shape *shape) {
    const int32_t members = shape->members, width = shape->d_model;
    const int64_t rows = eab_check_rows(shape), count = rows * width;
    eab_norm_args args = {.members = members, .rows = (int32_t)rows, .width = width};
    args.gain = eab_check_tensor(run, members, width, 1);
    args.normalized = eab_check_tensor(run, members, count, 1);
    args.inv_std = eab_check_tensor(run, members, rows, 1);
    const eab_tensor dy = eab_check_tensor(run, members, count, 1), dx = eab_check_tensor(run, members, count, 1);
    const eab_tensor dgain = eab_check_tensor(run, members, width, 1);
    const eab_tensor dbias = eab_check_tensor(run, members, width, 1);
    EAB_CHECK_CALL(norm_backward, &args, dy, dx, dgain, dbias);
    eab_check_output(run, dx, members, count);
    eab_check_output(run, dgain, members, width);
    eab_check_output(run, dbias, members, width);
    return run->status;
}

static int check_qk_norm(eab_check_run *run, const eab_check_shape *shape) {
    const bool backward = run->operation->gradient;
    const int32_t members = shape->members, head_dim = shape->d_model / shape->heads;
    const int64_t rows = eab_check_rows(shape), width = 2 * (int64_t)shape->d_model, heads = 2 * (int64_t)shape->heads;
    eab_qk_norm_args args = {.members = members, .rows = (int32_t)rows, .heads = shape->heads, .head_dim = head_dim};
    args.q_gain = eab_check_tensor(run, members, head_dim, 1);
    args.k_gain = eab_check_tensor(run, members, head_dim, 1);
    args.unit = eab_check_tensor(run, members, rows * width, backward ? 1 : NAN);
    args.inv_rms = eab_check_tensor(run, members, rows * heads, backward ? 1 : NAN);
    const eab_tensor qkv = eab_check_tensor(run, members, rows * 3 * shape->d_model, 2); /* or its gradient */
    if (backward) {
        const eab_tensor dq_gain = eab_check_tensor(run, members, head_dim, 1);
        const eab_tensor dk_gain = eab_check_tensor(run, members, head_dim, 1);
        EAB_CHECK_CALL(qk_norm_backward, &args, qkv, dq_gain, dk_gain);
        eab_check_output(run, dq_gain, members, head_dim);
        eab_check_output(run, dk_gain, members, head_dim);
    } else {
        EAB_CHECK_CALL(qk_norm_forward, &args, qkv);
        eab_check_output(run, args.unit, members, rows * width);
        eab_check_output(run, args.inv_rms, members, rows * heads);
    }
    eab_check_output(run, qkv, members, rows * 3 * shape->d_model);
    return run->status;
}

static int check_activation(eab_check_run *run, const eab_check_shape *shape) {
    const eab_activation activation = (eab_activation)run->operation->form;
    const bool backward = run->operation->gradient;
    const int32_t members = shape->members;
    const int64_t count = eab_check_rows(shape) * shape->d_model * shape->mlp_ratio;
    const eab_tensor x = eab_check_tensor(run, members, count, 3);
    const eab_tensor y = eab_check_tensor(run, members, count, backward ? 1 : NAN);
    if (backward) EAB_CHECK_CALL(activation_backward, activation, members, count, x, y);
    else EAB_CHECK_CALL(activation_forward, activation, members, count, x, y);
    eab_check_output(run, y, members, count);
    return run->status;
}

/* The MLP block without its norm, both passes: with the steps that a backend may fuse into its products. relu's
 * slope depends on signs, which a rounding error may turn, so its backward pass gets a hidden layer of random
 * values. */
static int check_mlp(eab_check_run *run, const eab_check_shape *checked) {
    eab_shape shape = model_shape(checked);
    shape.norm = EAB_NORM_NONE;
    shape.activation = (eab_activation)run->operation->form;
    const int32_t members = shape.members, d_model = shape.d_model, mlp_dim = shape.mlp_dim;
    const int64_t rows = eab_check_rows(checked), weights_count = (int64_t)d_model * mlp_dim;
    const bool relu = shape.activation == EAB_ACTIVATION_RELU;
    const eab_mlp_weights weights = {.up = eab_check_tensor(run, members, weights_count, 0.5),
                                     .up_bias = eab_check_tensor(run, members, mlp_dim, 1),
                                     .down = eab_check_tensor(run, members, weights_count, 0.5),
                                     .down_bias = eab_check_tensor(run, members, d_model, 1)};
    const eab_mlp_weights gradients = {.up = eab_check_tensor(run, members, weights_count, 1),
                                       .up_bias = eab_check_tensor(run, members, mlp_dim, 1),
                                       .down = eab_check_tensor(run, members, weights_count, 1),
                                       .down_bias = eab_check_tensor(run, members, d_model, 1)};
    eab_mlp_saved saved = {.input = eab_check_tensor(run, members, rows * d_model, NAN),
                           .hidden = eab_check_tensor(run, members, rows * mlp_dim, NAN)};
    if (!relu) saved.before = eab_check_tensor(run, members, rows * mlp_dim, NAN);
    const eab_tensor x = eab_check_tensor(run, members, rows * d_model, 1);
    const eab_tensor dx = eab_check_tensor(run, members, rows * d_model, 1);
    const eab_tensor scratch = eab_check_tensor(run, members, eab_scratch_reals(&shape), NAN);
    EAB_CHECK_CALL(mlp_block_forward, &shape, &weights, x, &saved);
    eab_check_output(run, x, members, rows * d_model);
    if (relu) saved.hidden = eab_check_tensor(run, members, rows * mlp_dim, 1);
    EAB_CHECK_CALL(mlp_block_backward, &shape, &weights, &gradients, &saved, dx, scratch);
    eab_check_output(run, dx, members, rows * d_model);
    eab_check_output(run, gradients.up, members, weights_count);
    eab_check_output(run, gradients.up_bias, members, mlp_dim);
    eab_check_output(run, gradients.down, members, weights_count);
    eab_check_output(run, gradients.down_bias, members, d_model);
    return run->status;
}

static int check_sums(eab_check_run *run, const eab_check_shape *shape) {
    const int32_t members = shape->members, width = shape->d_model, rows = (int32_t)eab_check_rows(shape);
    const eab_tensor x = eab_check_tensor(run, members, (int64_t)rows * width, 1);
    const eab_tensor y = eab_check_tensor(run, members, (int64_t)rows * width, 1);
    const eab_tensor sums = eab_check_tensor(run, members, width, 1);
    EAB_CHECK_CALL(add, members, (int64_t)rows * width, x, y);
    EAB_CHECK_CALL(column_sum, members, rows, width, x, sums);
    eab_check_output(run, y, members, (int64_t)rows * width);
    eab_check_output(run, sums, members, width);
    return run->status;
}

static int check_rotate(eab_check_run *run, const eab_check_shape *shape) {
    eab_shape model = model_shape(shape);
    const int32_t half = model.d_model / model.heads / 2;
    if (half == 0 || model.d_model % model.heads || model.d_model / model.heads % 2) return EAB_OK;
    const int64_t count = eab_check_rows(shape) * 3 * model.d_model;
    model.rope = eab_check_tensor(run, 1, (int64_t)model.context * 2 * half, 1);
    const eab_tensor qkv = eab_check_tensor(run, model.members, count, 1);
    EAB_CHECK_CALL(rotate, &model, qkv, false);
    eab_check_output(run, qkv, model.members, count);
    EAB_CHECK_CALL(rotate, &model, qkv, true);
    eab_check_output(run, qkv, model.members, count);
    return run->status;
}

static int check_embedding(eab_check_run *run, const eab_check_shape *shape) {
    const eab_shape model = model_shape(shape);
    const int64_t rows = eab_check_rows(shape);
    const int32_t *tokens = eab_check_random_tokens(run, shape->members * rows, shape->vocab, false);
    eab_embedding weights = {eab_check_tensor(run, model.members, (int64_t)model.vocab * model.d_model, 1),
                             eab_check_tensor(run, model.members, (int64_t)model.context * model.d_model, 1)};
    const eab_embedding gradients = {eab_check_tensor(run, model.members, (int64_t)model.vocab * model.d_model, 1),
                                     eab_check_tensor(run, model.members, (int64_t)model.context * model.d_model, 1)};
    const eab_tensor x = eab_check_tensor(run, model.members, rows * model.d_model, NAN);
    EAB_CHECK_CALL(embed_forward, &model, &weights, tokens, rows, x);
    EAB_CHECK_CALL(embed_backward, &model, &gradients, tokens, rows, x);
    eab_check_output(run, x, model.members, rows * model.d_model);
    eab_check_output(run, gradients.token, model.members, (int64_t)model.vocab * model.d_model);
    eab_check_output(run, gradients.position, model.members, (int64_t)model.context * model.d_model);
    return run->status;
}

const eab_check_operation eab_check_layers[] = {
    {.name = "norm", .run = check_norm},
    {.name = "norm_backward", .run = check_norm_backward, .gradient = true},
    {.name = "qk_norm", .run = check_qk_norm},
    {.name = "qk_norm_backward", .run = check_qk_norm, .gradient = true},
    {.name = "relu", .run = check_activation, .form = EAB_ACTIVATION_RELU},
    {.name = "relu_backward", .run = check_activation, .form = EAB_ACTIVATION_RELU, .gradient = true},
    {.name = "gelu", .run = check_activation, .form = EAB_ACTIVATION_GELU},
    {.name = "gelu_backward", .run = check_activation, .form = EAB_ACTIVATION_GELU, .gradient = true},
    {.name = "mlp_relu", .run = check_mlp, .form = EAB_ACTIVATION_RELU, .gradient = true},
    {.name = "mlp_gelu", .run = check_mlp, .form = EAB_ACTIVATION_GELU, .gradient = true},
    {.name = "sums", .run = check_sums},
    {.name = "rotate", .run = check_rotate},
    {.name = "embedding", .run = check_embedding},
    {.name = NULL},
};
