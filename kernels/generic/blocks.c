/* The blocks of a transformer, composed from a backend's primitives.
 *
 * attention block:  x += attention(norm(x) W_qkv + b_qkv) W_out + b_out; q and k normalised and rotated if requested
 * MLP block:        x += f(norm(x) W_up + b_up) W_down + b_down
 * head:             logits = norm(x) W_out + b_out
 *
 * The last product of a block adds to the residual stream x in place; with dropout it goes to scratch memory, and what
 * is kept of it is added. In the backward pass dx comes in as the gradient of the sum, which, after dropout, is also
 * that of the branch's output; the branch adds its own share.
 */
#include "../backend.h"

static eab_tensor tensor_at(const eab_device *device, eab_tensor tensor, int64_t offset) {
    if (tensor.data) tensor.data = (char *)tensor.data + offset * (int64_t)device->backend->real_bytes;
    return tensor;
}

static eab_norm_args norm_args(const eab_shape *shape, eab_tensor gain, eab_tensor bias, eab_tensor normalized,
                               eab_tensor inv_std) {
    return (eab_norm_args){.members = shape->members,
                           .rows = shape->batch * shape->context,
                           .width = shape->d_model,
                           .gain = gain,
                           .bias = bias,
                           .normalized = normalized,
                           .inv_std = inv_std};
}

static eab_qk_norm_args qk_norm_args(const eab_shape *shape, const eab_attention_weights *weights,
                                     const eab_attention_saved *saved) {
    return (eab_qk_norm_args){.members = shape->members,
                              .rows = shape->batch * shape->context,
                              .heads = shape->heads,
                              .head_dim = shape->d_model / shape->heads,
                              .q_gain = weights->q_gain,
                              .k_gain = weights->k_gain,
                              .unit = saved->qk_unit,
                              .inv_rms = saved->qk_inv_rms};
}

/* Of the residual stream of one member. */
static int64_t stream_reals(const eab_shape *shape) { return (int64_t)shape->batch * shape->context * shape->d_model; }

static int copy_rows(eab_device *device, const eab_shape *shape, eab_tensor from, eab_tensor to) {
    const eab_backend *backend = device->backend;
    const int64_t count = stream_reals(shape);
    if (backend->copy_members) return backend->copy_members(device, shape->members, count, from, to);
    for (int32_t member = 0; member < shape->members; member++)
        EAB_TRY(backend->copy(device, tensor_at(device, to, member * to.stride).data,
                              tensor_at(device, from, member * from.stride).data, (size_t)count * backend->real_bytes));
    return EAB_OK;
}

static int zero_rows(eab_device *device, const eab_shape *shape, eab_tensor x) {
    const eab_backend *backend = device->backend;
    const int64_t count = stream_reals(shape);
    if (backend->zero_members) return backend->zero_members(device, shape->members, count, x);
    for (int32_t member = 0; member < shape->members; member++)
        EAB_TRY(
            backend->zero(device, tensor_at(device, x, member * x.stride).data, (size_t)count * backend->real_bytes));
    return EAB_OK;
}

static int norm_forward(eab_device *device, const eab_shape *shape, const eab_norm_args *args, eab_tensor x,
                        eab_tensor y) {
    return shape->norm == EAB_NORM_NONE ? copy_rows(device, shape, x, y)
                                        : device->backend->norm_forward(device, args, x, y);
}

static int norm_backward(eab_device *device, const eab_shape *shape, const eab_norm_args *args, eab_tensor dy,
                         eab_tensor dx, eab_tensor dgain, eab_tensor dbias) {
    if (shape->norm == EAB_NORM_NONE)
        return device->backend->add(device, shape->members, (int64_t)args->rows * args->width, dy, dx);
    return device->backend->norm_backward(device, args, dy, dx, dgain, dbias);
}

/* y (+)= x w + bias, finished; x: [rows][in], w: [in][out], y: [rows][out] */
typedef struct {
    int32_t in, out;
    eab_tensor x, w, bias, y;
    bool accumulate;
    eab_finish finish;
    eab_tensor other; /* of finish, like y */
} linear;

static int linear_forward(eab_device *device, const eab_shape *shape, const linear *map) {
    const eab_gemm gemm = {.members = shape->members,
                           .m = shape->batch * shape->context,
                           .n = map->out,
                           .k = map->in,
                           .lda = map->in,
                           .ldb = map->out,
                           .ldc = map->out,
                           .accumulate = map->accumulate,
                           .a = map->x,
                           .b = map->w,
                           .c = map->y,
                           .bias = map->bias,
                           .finish = map->finish,
                           .other = map->other,
                           .precision = shape->precision};
    return device->backend->gemm(device, &gemm);
}

/* x += dropout(map's result) */
static int add_branch(eab_device *device, const eab_shape *shape, linear map, eab_tensor x) {
    const eab_dropout *dropout = shape->dropout;
    map.y = dropout ? dropout->scratch : x;
    map.accumulate = !dropout;
    EAB_TRY(linear_forward(device, shape, &map));
    return dropout ? device->backend->dropout(device, shape, map.y, x, true) : EAB_OK;
}

/* *dy: the gradient of a branch's output; `room` holds it if there is dropout. */
static int branch_gradient(eab_device *device, const eab_shape *shape, eab_tensor dx, eab_tensor room, eab_tensor *dy) {
    *dy = shape->dropout ? room : dx;
    return shape->dropout ? device->backend->dropout(device, shape, dx, room, false) : EAB_OK;
}

/* dw += x^T dy; dbias += column sums of dy; dx = dy w^T, finished */
typedef struct {
    int32_t in, out;
    eab_tensor x, w, dy, dw, dbias, dx;
    eab_finish finish;
    eab_tensor other; /* of finish, like dx */
} linear_gradient;

static int linear_backward(eab_device *device, const eab_shape *shape, const linear_gradient *map) {
    const int32_t rows = shape->batch * shape->context;
    const eab_gemm weight = {.members = shape->members,
                             .m = map->in,
                             .n = map->out,
                             .k = rows,
                             .lda = map->in,
                             .ldb = map->out,
                             .ldc = map->out,
                             .transpose_a = true,
                             .accumulate = true,
                             .a = map->x,
                             .b = map->dy,
                             .c = map->dw,
                             .precision = shape->precision};
    const eab_gemm input = {.members = shape->members,
                            .m = rows,
                            .n = map->in,
                            .k = map->out,
                            .lda = map->out,
                            .ldb = map->out,
                            .ldc = map->in,
                            .transpose_b = true,
                            .a = map->dy,
                            .b = map->w,
                            .c = map->dx,
                            .finish = map->finish,
                            .other = map->other,
                            .precision = shape->precision};
    EAB_TRY(device->backend->gemm(device, &weight));
    if (map->dbias.data)
        EAB_TRY(device->backend->column_sum(device, shape->members, rows, map->out, map->dy, map->dbias));
    return device->backend->gemm(device, &input);
}

static eab_attention_args attention_args(const eab_shape *shape, const eab_scores *scores) {
    const int32_t head_dim = shape->d_model / shape->heads;
    return (eab_attention_args){.members = shape->members,
                                .batch = shape->batch,
                                .heads = shape->heads,
                                .context = shape->context,
                                .head_dim = head_dim,
                                .causal = true,
                                .scores = *scores,
                                .slopes = shape->slopes,
                                .in_batch = (int64_t)shape->context * 3 * shape->d_model,
                                .in_head = head_dim,
                                .in_time = 3 * (int64_t)shape->d_model,
                                .out_batch = (int64_t)shape->context * shape->d_model,
                                .out_head = head_dim,
                                .out_time = shape->d_model};
}

int eab_generic_attention_block_forward(eab_device *device, const eab_shape *shape, const eab_scores *scores,
                                        const eab_attention_weights *weights, eab_tensor x,
                                        const eab_attention_saved *saved) {
    const int32_t d_model = shape->d_model;
    const eab_norm_args norm =
        norm_args(shape, weights->norm_gain, weights->norm_bias, saved->normalized, saved->inv_std);
    const eab_attention_args attention = attention_args(shape, scores);
    const linear to_qkv = {.in = d_model,
                           .out = 3 * d_model,
                           .x = saved->input,
                           .w = weights->qkv,
                           .bias = weights->qkv_bias,
                           .y = saved->qkv};
    const linear to_x = {
        .in = d_model, .out = d_model, .x = saved->attended, .w = weights->out, .bias = weights->out_bias};
    EAB_TRY(norm_forward(device, shape, &norm, x, saved->input));
    EAB_TRY(linear_forward(device, shape, &to_qkv));
    if (shape->qk_norm) {
        const eab_qk_norm_args qk_norm = qk_norm_args(shape, weights, saved);
        EAB_TRY(device->backend->qk_norm_forward(device, &qk_norm, saved->qkv));
    }
    if (shape->rope.data) EAB_TRY(device->backend->rotate(device, shape, saved->qkv, false));
    const eab_tensor q = saved->qkv, k = tensor_at(device, q, d_model), v = tensor_at(device, k, d_model);
    EAB_TRY(device->backend->attention_forward(device, &attention, eab_const(q), eab_const(k), eab_const(v),
                                               saved->attended, saved->row_stat));
    return add_branch(device, shape, to_x, x);
}

int eab_generic_attention_block_backward(eab_device *device, const eab_shape *shape, const eab_scores *scores,
                                         const eab_attention_weights *weights, const eab_attention_weights *gradients,
                                         const eab_attention_saved *saved, eab_tensor dx, eab_tensor scratch) {
    const int32_t d_model = shape->d_model;
    const eab_tensor d_attended = scratch; /* later the gradient of the norm's output */
    const eab_tensor d_qkv = tensor_at(device, scratch, (int64_t)shape->batch * shape->context * d_model);
    const eab_norm_args norm =
        norm_args(shape, weights->norm_gain, weights->norm_bias, saved->normalized, saved->inv_std);
    const eab_attention_args attention = attention_args(shape, scores);
    linear_gradient out = {.in = d_model,
                           .out = d_model,
                           .x = saved->attended,
                           .w = weights->out,
                           .dw = gradients->out,
                           .dbias = gradients->out_bias,
                           .dx = d_attended};
    const linear_gradient qkv = {.in = d_model,
                                 .out = 3 * d_model,
                                 .x = saved->input,
                                 .w = weights->qkv,
                                 .dy = d_qkv,
                                 .dw = gradients->qkv,
                                 .dbias = gradients->qkv_bias,
                                 .dx = d_attended};
    EAB_TRY(branch_gradient(device, shape, dx, d_qkv, &out.dy));
    EAB_TRY(linear_backward(device, shape, &out));
    const eab_tensor q = saved->qkv, k = tensor_at(device, q, d_model), v = tensor_at(device, k, d_model);
    const eab_tensor dq = d_qkv, dk = tensor_at(device, dq, d_model), dv = tensor_at(device, dk, d_model);
    EAB_TRY(device->backend->attention_backward(device, &attention, eab_const(q), eab_const(k), eab_const(v),
                                                eab_const(saved->attended), eab_const(saved->row_stat),
                                                eab_const(d_attended), dq, dk, dv));
    if (shape->rope.data) EAB_TRY(device->backend->rotate(device, shape, d_qkv, true));
    if (shape->qk_norm) {
        const eab_qk_norm_args qk_norm = qk_norm_args(shape, weights, saved);
        EAB_TRY(device->backend->qk_norm_backward(device, &qk_norm, d_qkv, gradients->q_gain, gradients->k_gain));
    }
    EAB_TRY(linear_backward(device, shape, &qkv));
    return norm_backward(device, shape, &norm, d_attended, dx, gradients->norm_gain, gradients->norm_bias);
}

int eab_generic_mlp_block_forward(eab_device *device, const eab_shape *shape, const eab_mlp_weights *weights,
                                  eab_tensor x, const eab_mlp_saved *saved) {
    const eab_backend *backend = device->backend;
    const eab_norm_args norm =
        norm_args(shape, weights->norm_gain, weights->norm_bias, saved->normalized, saved->inv_std);
    const eab_tensor before = saved->before.data ? saved->before : saved->hidden;
    linear up = {.in = shape->d_model,
                 .out = shape->mlp_dim,
                 .x = saved->input,
                 .w = weights->up,
                 .bias = weights->up_bias,
                 .y = before};
    const linear down = {.in = shape->mlp_dim,
                         .out = shape->d_model,
                         .x = saved->hidden,
                         .w = weights->down,
                         .bias = weights->down_bias};
    if (backend->gemm_finishes) {
        up.y = saved->hidden;
        up.finish = shape->activation == EAB_ACTIVATION_RELU ? EAB_FINISH_RELU : EAB_FINISH_GELU;
        up.other = saved->before;
    }
    EAB_TRY(norm_forward(device, shape, &norm, x, saved->input));
    EAB_TRY(linear_forward(device, shape, &up));
    if (!backend->gemm_finishes) {
        const int64_t count = (int64_t)shape->batch * shape->context * shape->mlp_dim;
        EAB_TRY(backend->activation_forward(device, shape->activation, shape->members, count, before, saved->hidden));
    }
    return add_branch(device, shape, down, x);
}

int eab_generic_mlp_block_backward(eab_device *device, const eab_shape *shape, const eab_mlp_weights *weights,
                                   const eab_mlp_weights *gradients, const eab_mlp_saved *saved, eab_tensor dx,
                                   eab_tensor scratch) {
    const eab_backend *backend = device->backend;
    const int64_t count = (int64_t)shape->batch * shape->context * shape->mlp_dim;
    const eab_tensor d_hidden = scratch, d_input = tensor_at(device, scratch, count);
    const eab_norm_args norm =
        norm_args(shape, weights->norm_gain, weights->norm_bias, saved->normalized, saved->inv_std);
    const eab_tensor before = saved->before.data ? saved->before : saved->hidden;
    linear_gradient down = {.in = shape->mlp_dim,
                            .out = shape->d_model,
                            .x = saved->hidden,
                            .w = weights->down,
                            .dw = gradients->down,
                            .dbias = gradients->down_bias,
                            .dx = d_hidden};
    const linear_gradient up = {.in = shape->d_model,
                                .out = shape->mlp_dim,
                                .x = saved->input,
                                .w = weights->up,
                                .dy = d_hidden,
                                .dw = gradients->up,
                                .dbias = gradients->up_bias,
                                .dx = d_input};
    if (backend->gemm_finishes) {
        down.finish = shape->activation == EAB_ACTIVATION_RELU ? EAB_FINISH_RELU_SLOPE : EAB_FINISH_TIMES;
        down.other = before;
    }
    EAB_TRY(branch_gradient(device, shape, dx, d_input, &down.dy));
    EAB_TRY(linear_backward(device, shape, &down));
    if (!backend->gemm_finishes)
        EAB_TRY(backend->activation_backward(device, shape->activation, shape->members, count, before, d_hidden));
    EAB_TRY(linear_backward(device, shape, &up));
    return norm_backward(device, shape, &norm, d_input, dx, gradients->norm_gain, gradients->norm_bias);
}

int eab_generic_head_forward(eab_device *device, const eab_shape *shape, const eab_head_weights *weights, eab_tensor x,
                             const eab_head_saved *saved) {
    const eab_norm_args norm =
        norm_args(shape, weights->norm_gain, weights->norm_bias, saved->normalized, saved->inv_std);
    const linear out = {.in = shape->d_model,
                        .out = shape->vocab,
                        .x = saved->input,
                        .w = weights->out,
                        .bias = weights->out_bias,
                        .y = saved->logits};
    EAB_TRY(norm_forward(device, shape, &norm, x, saved->input));
    return linear_forward(device, shape, &out);
}

int eab_generic_head_backward(eab_device *device, const eab_shape *shape, const eab_head_weights *weights,
                              const eab_head_weights *gradients, const eab_head_saved *saved, eab_tensor dx,
                              eab_tensor scratch) {
    const eab_norm_args norm =
        norm_args(shape, weights->norm_gain, weights->norm_bias, saved->normalized, saved->inv_std);
    const linear_gradient out = {.in = shape->d_model,
                                 .out = shape->vocab,
                                 .x = saved->input,
                                 .w = weights->out,
                                 .dy = saved->logits,
                                 .dw = gradients->out,
                                 .dbias = gradients->out_bias,
                                 .dx = scratch};
    EAB_TRY(linear_backward(device, shape, &out));
    EAB_TRY(zero_rows(device, shape, dx));
    return norm_backward(device, shape, &norm, scratch, dx, gradients->norm_gain, gradients->norm_bias);
}

int64_t eab_scratch_reals(const eab_shape *shape) {
    const int64_t attention = 4 * (int64_t)shape->d_model;
    const int64_t mlp = (int64_t)shape->mlp_dim + shape->d_model;
    return (int64_t)shape->batch * shape->context * (attention > mlp ? attention : mlp);
}
