/* The MLP block with its activation inside the products: x += f(norm(x) W_up + b_up) W_down + b_down.
 *
 * Against the generic composition (kernels/generic/blocks.c) this saves a pass over the hidden layer, the widest tensor of the
 * model, in each direction: the bias and f are applied where `up` stores its result, and f' where the gradient of the
 * hidden layer is stored. Of relu only the result is kept, which is positive where its argument is. */
#include "operations.h"

static eab_tensor real_at(eab_tensor tensor, int64_t offset) {
    tensor.data = (float *)tensor.data + offset;
    return tensor;
}

static eab_norm_args norm_args(const eab_shape *shape, const eab_mlp_weights *weights, const eab_mlp_saved *saved) {
    return (eab_norm_args){.members = shape->members,
                           .rows = shape->batch * shape->context,
                           .width = shape->d_model,
                           .gain = weights->norm_gain,
                           .bias = weights->norm_bias,
                           .normalized = saved->normalized,
                           .inv_std = saved->inv_std};
}

static eab_gemm forward_product(const eab_shape *shape, int32_t in, int32_t out, eab_tensor x, eab_tensor w,
                                eab_tensor y) {
    return (eab_gemm){.members = shape->members,
                      .m = shape->batch * shape->context,
                      .n = out,
                      .k = in,
                      .lda = in,
                      .ldb = out,
                      .ldc = out,
                      .a = x,
                      .b = w,
                      .c = y,
                      .precision = shape->precision};
}

/* dw += x^T dy */
static int weight_gradient(eab_device *device, const eab_shape *shape, int32_t in, int32_t out, eab_tensor x,
                           eab_tensor dy, eab_tensor dw) {
    const eab_gemm gemm = {.members = shape->members,
                           .m = in,
                           .n = out,
                           .k = shape->batch * shape->context,
                           .lda = in,
                           .ldb = out,
                           .ldc = out,
                           .transpose_a = true,
                           .accumulate = true,
                           .a = x,
                           .b = dy,
                           .c = dw,
                           .precision = shape->precision};
    return eab_cuda_gemm(device, &gemm);
}

/* dx = dy w^T */
static eab_gemm input_product(const eab_shape *shape, int32_t in, int32_t out, eab_tensor dy, eab_tensor w,
                              eab_tensor dx) {
    return (eab_gemm){.members = shape->members,
                      .m = shape->batch * shape->context,
                      .n = in,
                      .k = out,
                      .lda = out,
                      .ldb = out,
                      .ldc = in,
                      .transpose_b = true,
                      .a = dy,
                      .b = w,
                      .c = dx,
                      .precision = shape->precision};
}

int eab_cuda_mlp_block_forward(eab_device *device, const eab_shape *shape, const eab_mlp_weights *weights, eab_tensor x,
                               const eab_mlp_saved *saved, eab_tensor scratch) {
    (void)scratch;
    const eab_norm_args norm = norm_args(shape, weights, saved);
    const eab_cuda_epilogue activate = {EAB_CUDA_ACTIVATE, shape->activation, saved->before};
    eab_gemm up = forward_product(shape, shape->d_model, shape->mlp_dim, saved->input, weights->up, saved->hidden);
    eab_gemm down = forward_product(shape, shape->mlp_dim, shape->d_model, saved->hidden, weights->down, x);
    up.bias = weights->up_bias;
    down.bias = weights->down_bias;
    down.accumulate = true;
    if (shape->norm == EAB_NORM_NONE)
        EAB_TRY(
            device->backend->copy_members(device, shape->members, (int64_t)norm.rows * norm.width, x, saved->input));
    else EAB_TRY(eab_cuda_norm_forward(device, &norm, x, saved->input));
    EAB_TRY(eab_cuda_gemm_with(device, &up, &activate));
    return eab_cuda_gemm(device, &down);
}

int eab_cuda_mlp_block_backward(eab_device *device, const eab_shape *shape, const eab_mlp_weights *weights,
                                const eab_mlp_weights *gradients, const eab_mlp_saved *saved, eab_tensor dx,
                                eab_tensor scratch) {
    const int32_t rows = shape->batch * shape->context, d_model = shape->d_model, mlp_dim = shape->mlp_dim;
    const eab_tensor d_hidden = scratch, d_input = real_at(scratch, (int64_t)rows * mlp_dim);
    const eab_norm_args norm = norm_args(shape, weights, saved);
    /* the epilogue takes rows of `before` as long as those of c: mlp_dim, both */
    const eab_cuda_epilogue activate = {EAB_CUDA_ACTIVATE_BACKWARD, shape->activation,
                                        saved->before.data ? saved->before : saved->hidden};
    const eab_gemm to_hidden = input_product(shape, mlp_dim, d_model, dx, weights->down, d_hidden);
    const eab_gemm to_input = input_product(shape, d_model, mlp_dim, d_hidden, weights->up, d_input);
    EAB_TRY(weight_gradient(device, shape, mlp_dim, d_model, saved->hidden, dx, gradients->down));
    if (gradients->down_bias.data)
        EAB_TRY(eab_cuda_column_sum(device, shape->members, rows, d_model, dx, gradients->down_bias));
    EAB_TRY(eab_cuda_gemm_with(device, &to_hidden, &activate));
    EAB_TRY(weight_gradient(device, shape, d_model, mlp_dim, saved->input, d_hidden, gradients->up));
    if (gradients->up_bias.data)
        EAB_TRY(eab_cuda_column_sum(device, shape->members, rows, mlp_dim, d_hidden, gradients->up_bias));
    EAB_TRY(eab_cuda_gemm(device, &to_input));
    if (shape->norm == EAB_NORM_NONE) return eab_cuda_add(device, shape->members, (int64_t)rows * d_model, d_input, dx);
    return eab_cuda_norm_backward(device, &norm, d_input, dx, gradients->norm_gain, gradients->norm_bias);
}
