/* The operations that `eabench check` runs: each fills buffers, calls the backend and collects what it wrote. The same
 * code runs on the backend under test, on the reference and on the plain float32 one. To add a check: a function and a
 * line in the table at the end. */
#include "buffers.h"

#include <math.h>

#include "kernels/mechanism.h"
#include "kernels/reference/attention.h"
#include "tasks/task.h"

#define CALL(operation, ...)                                                                       \
    do {                                                                                           \
        if (!run->status) run->status = run->device->backend->operation(run->device, __VA_ARGS__); \
    } while (0)

enum { MAX_MEMBERS = 8, MAX_HEADS = 64 };

static eab_shape model_shape(const eab_check_shape *shape) {
    return (eab_shape){.members = shape->members,
                       .batch = shape->batch,
                       .context = shape->context,
                       .d_model = shape->d_model,
                       .heads = shape->heads,
                       .mlp_dim = shape->mlp_ratio * shape->d_model,
                       .vocab = shape->vocab};
}

static int64_t rows_of(const eab_check_shape *shape) { return (int64_t)shape->batch * shape->context; }

/* What a product may be off by beside its float32 sums: TF32 cuts inputs off; sums in bf16's products need not be rounded
 * to nearest, and are still finer by far than a wrongly rounded input. */
static double gemm_roundoff(eab_precision precision) {
    return precision == EAB_PRECISION_TF32 ? 0x1p-10 : precision == EAB_PRECISION_BF16 ? 0x1p-20 : 0;
}

static int check_gemm_form(eab_check_run *run, const eab_check_shape *shape, eab_precision precision, bool transpose_a,
                           bool transpose_b, bool accumulate, bool bias) {
    const int32_t m = (int32_t)rows_of(shape), n = shape->vocab, k = shape->d_model, extra = 3;
    eab_gemm gemm = {.members = shape->members,
                     .m = m,
                     .n = n,
                     .k = k,
                     .transpose_a = transpose_a,
                     .transpose_b = transpose_b,
                     .accumulate = accumulate,
                     .precision = precision};
    run->roundoff = gemm_roundoff(precision);
    gemm.lda = (transpose_a ? m : k) + extra;
    gemm.ldb = (transpose_b ? k : n) + extra;
    gemm.ldc = n;
    gemm.a = eab_check_tensor(run, shape->members, (int64_t)gemm.lda * (transpose_a ? k : m), 1);
    gemm.b = eab_check_tensor(run, shape->members, (int64_t)gemm.ldb * (transpose_b ? n : k), 1);
    gemm.c = eab_check_tensor(run, shape->members, (int64_t)m * n, accumulate ? 1 : NAN);
    if (bias) gemm.bias = eab_check_tensor(run, shape->members, n, 1);
    CALL(gemm, &gemm);
    eab_check_output(run, gemm.c, shape->members, (int64_t)m * n);
    return run->status;
}

#define DEFINE_CHECK_GEMM(suffix, precision)                                                          \
    static int check_gemm##suffix(eab_check_run *run, const eab_check_shape *shape) {                 \
        return check_gemm_form(run, shape, precision, false, false, false, true);                     \
    }                                                                                                 \
    static int check_gemm_input_gradient##suffix(eab_check_run *run, const eab_check_shape *shape) {  \
        return check_gemm_form(run, shape, precision, false, true, false, false);                     \
    }                                                                                                 \
    static int check_gemm_weight_gradient##suffix(eab_check_run *run, const eab_check_shape *shape) { \
        return check_gemm_form(run, shape, precision, true, false, true, false);                      \
    }
DEFINE_CHECK_GEMM(, EAB_PRECISION_FLOAT32)
DEFINE_CHECK_GEMM(_tf32, EAB_PRECISION_TF32)
DEFINE_CHECK_GEMM(_bf16, EAB_PRECISION_BF16)

static int check_norm(eab_check_run *run, const eab_check_shape *shape) {
    const int32_t members = shape->members, width = shape->d_model;
    const int64_t rows = rows_of(shape), count = rows * width;
    eab_norm_args args = {.members = members, .rows = (int32_t)rows, .width = width};
    args.gain = eab_check_tensor(run, members, width, 1);
    args.bias = eab_check_tensor(run, members, width, 1);
    args.normalized = eab_check_tensor(run, members, count, NAN);
    args.inv_std = eab_check_tensor(run, members, rows, NAN);
    const eab_tensor x = eab_check_tensor(run, members, count, 3), y = eab_check_tensor(run, members, count, NAN);
    CALL(norm_forward, &args, x, y);
    eab_check_output(run, y, members, count);
    eab_check_output(run, args.inv_std, members, rows);
    return run->status;
}

static int check_norm_backward(eab_check_run *run, const eab_check_shape *shape) {
    const int32_t members = shape->members, width = shape->d_model;
    const int64_t rows = rows_of(shape), count = rows * width;
    eab_norm_args args = {.members = members, .rows = (int32_t)rows, .width = width};
    args.gain = eab_check_tensor(run, members, width, 1);
    args.normalized = eab_check_tensor(run, members, count, 1);
    args.inv_std = eab_check_tensor(run, members, rows, 1);
    const eab_tensor dy = eab_check_tensor(run, members, count, 1), dx = eab_check_tensor(run, members, count, 1);
    const eab_tensor dgain = eab_check_tensor(run, members, width, 1);
    const eab_tensor dbias = eab_check_tensor(run, members, width, 1);
    CALL(norm_backward, &args, dy, dx, dgain, dbias);
    eab_check_output(run, dx, members, count);
    eab_check_output(run, dgain, members, width);
    eab_check_output(run, dbias, members, width);
    return run->status;
}

static int check_qk_norm_pass(eab_check_run *run, const eab_check_shape *shape, bool backward) {
    const int32_t members = shape->members, head_dim = shape->d_model / shape->heads;
    const int64_t rows = rows_of(shape), width = 2 * (int64_t)shape->d_model, heads = 2 * (int64_t)shape->heads;
    eab_qk_norm_args args = {.members = members, .rows = (int32_t)rows, .heads = shape->heads, .head_dim = head_dim};
    args.q_gain = eab_check_tensor(run, members, head_dim, 1);
    args.k_gain = eab_check_tensor(run, members, head_dim, 1);
    args.unit = eab_check_tensor(run, members, rows * width, backward ? 1 : NAN);
    args.inv_rms = eab_check_tensor(run, members, rows * heads, backward ? 1 : NAN);
    const eab_tensor qkv = eab_check_tensor(run, members, rows * 3 * shape->d_model, 2); /* or its gradient */
    if (backward) {
        const eab_tensor dq_gain = eab_check_tensor(run, members, head_dim, 1);
        const eab_tensor dk_gain = eab_check_tensor(run, members, head_dim, 1);
        CALL(qk_norm_backward, &args, qkv, dq_gain, dk_gain);
        eab_check_output(run, dq_gain, members, head_dim);
        eab_check_output(run, dk_gain, members, head_dim);
    } else {
        CALL(qk_norm_forward, &args, qkv);
        eab_check_output(run, args.unit, members, rows * width);
        eab_check_output(run, args.inv_rms, members, rows * heads);
    }
    eab_check_output(run, qkv, members, rows * 3 * shape->d_model);
    return run->status;
}

static int check_qk_norm(eab_check_run *run, const eab_check_shape *shape) {
    return check_qk_norm_pass(run, shape, false);
}
static int check_qk_norm_backward(eab_check_run *run, const eab_check_shape *shape) {
    return check_qk_norm_pass(run, shape, true);
}

static int check_activation(eab_check_run *run, const eab_check_shape *shape, eab_activation activation,
                            bool backward) {
    const int32_t members = shape->members;
    const int64_t count = rows_of(shape) * shape->d_model * shape->mlp_ratio;
    const eab_tensor x = eab_check_tensor(run, members, count, 3);
    const eab_tensor y = eab_check_tensor(run, members, count, backward ? 1 : NAN);
    if (backward) CALL(activation_backward, activation, members, count, x, y);
    else CALL(activation_forward, activation, members, count, x, y);
    eab_check_output(run, y, members, count);
    return run->status;
}

static int check_relu(eab_check_run *run, const eab_check_shape *shape) {
    return check_activation(run, shape, EAB_ACTIVATION_RELU, false);
}
static int check_relu_backward(eab_check_run *run, const eab_check_shape *shape) {
    return check_activation(run, shape, EAB_ACTIVATION_RELU, true);
}
static int check_gelu(eab_check_run *run, const eab_check_shape *shape) {
    return check_activation(run, shape, EAB_ACTIVATION_GELU, false);
}
static int check_gelu_backward(eab_check_run *run, const eab_check_shape *shape) {
    return check_activation(run, shape, EAB_ACTIVATION_GELU, true);
}

/* The MLP block without its norm, both passes: what a backend does at the end of its products. relu's slope hangs on signs, which a last
 * bit may turn: its backward pass gets a hidden layer of its own. */
static int check_mlp(eab_check_run *run, const eab_check_shape *checked, eab_activation activation) {
    eab_shape shape = model_shape(checked);
    shape.norm = EAB_NORM_NONE;
    shape.activation = activation;
    const int32_t members = shape.members, d_model = shape.d_model, mlp_dim = shape.mlp_dim;
    const int64_t rows = rows_of(checked), weights_count = (int64_t)d_model * mlp_dim;
    const bool relu = activation == EAB_ACTIVATION_RELU;
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
    CALL(mlp_block_forward, &shape, &weights, x, &saved, scratch);
    eab_check_output(run, x, members, rows * d_model);
    if (relu) saved.hidden = eab_check_tensor(run, members, rows * mlp_dim, 1);
    CALL(mlp_block_backward, &shape, &weights, &gradients, &saved, dx, scratch);
    eab_check_output(run, dx, members, rows * d_model);
    eab_check_output(run, gradients.up, members, weights_count);
    eab_check_output(run, gradients.up_bias, members, mlp_dim);
    eab_check_output(run, gradients.down, members, weights_count);
    eab_check_output(run, gradients.down_bias, members, d_model);
    return run->status;
}

static int check_mlp_relu(eab_check_run *run, const eab_check_shape *shape) {
    return check_mlp(run, shape, EAB_ACTIVATION_RELU);
}
static int check_mlp_gelu(eab_check_run *run, const eab_check_shape *shape) {
    return check_mlp(run, shape, EAB_ACTIVATION_GELU);
}

static int check_sums(eab_check_run *run, const eab_check_shape *shape) {
    const int32_t members = shape->members, width = shape->d_model, rows = (int32_t)rows_of(shape);
    const eab_tensor x = eab_check_tensor(run, members, (int64_t)rows * width, 1);
    const eab_tensor y = eab_check_tensor(run, members, (int64_t)rows * width, 1);
    const eab_tensor sums = eab_check_tensor(run, members, width, 1);
    CALL(add, members, (int64_t)rows * width, x, y);
    CALL(column_sum, members, rows, width, x, sums);
    eab_check_output(run, y, members, (int64_t)rows * width);
    eab_check_output(run, sums, members, width);
    return run->status;
}

static int check_rotate(eab_check_run *run, const eab_check_shape *shape) {
    eab_shape model = model_shape(shape);
    const int32_t half = model.d_model / model.heads / 2;
    if (half == 0 || model.d_model % model.heads || model.d_model / model.heads % 2) return EAB_OK;
    const int64_t count = rows_of(shape) * 3 * model.d_model;
    model.rope = eab_check_tensor(run, 1, (int64_t)model.context * 2 * half, 1);
    const eab_tensor qkv = eab_check_tensor(run, model.members, count, 1);
    CALL(rotate, &model, qkv, false);
    eab_check_output(run, qkv, model.members, count);
    CALL(rotate, &model, qkv, true);
    eab_check_output(run, qkv, model.members, count);
    return run->status;
}

static int32_t *random_tokens(eab_check_run *run, int64_t count, int32_t vocab, bool some_free) {
    int32_t tokens[4096];
    if (count > 4096) return NULL;
    for (int64_t i = 0; i < count; i++) {
        tokens[i] = eab_check_below(run, vocab);
        if (some_free && i % 3 == 1) tokens[i] = -1 - tokens[i];
    }
    return eab_check_upload(run, tokens, (size_t)count * sizeof *tokens);
}

static int check_embedding(eab_check_run *run, const eab_check_shape *shape) {
    const eab_shape model = model_shape(shape);
    const int64_t rows = rows_of(shape);
    const int32_t *tokens = random_tokens(run, shape->members * rows, shape->vocab, false);
    eab_embedding weights = {eab_check_tensor(run, model.members, (int64_t)model.vocab * model.d_model, 1),
                             eab_check_tensor(run, model.members, (int64_t)model.context * model.d_model, 1)};
    const eab_embedding gradients = {eab_check_tensor(run, model.members, (int64_t)model.vocab * model.d_model, 1),
                                     eab_check_tensor(run, model.members, (int64_t)model.context * model.d_model, 1)};
    const eab_tensor x = eab_check_tensor(run, model.members, rows * model.d_model, NAN);
    CALL(embed_forward, &model, &weights, tokens, rows, x);
    CALL(embed_backward, &model, &gradients, tokens, rows, x);
    eab_check_output(run, x, model.members, rows * model.d_model);
    eab_check_output(run, gradients.token, model.members, (int64_t)model.vocab * model.d_model);
    eab_check_output(run, gradients.position, model.members, (int64_t)model.context * model.d_model);
    return run->status;
}

/* Member 1 has a smaller vocabulary than the fleet, so that the mask is used. */
static int check_loss(eab_check_run *run, const eab_check_shape *shape) {
    const int64_t rows = rows_of(shape);
    const int32_t members = shape->members, least = shape->vocab > 2 ? shape->vocab - 1 : shape->vocab;
    int32_t vocab[MAX_MEMBERS];
    int64_t counts[MAX_MEMBERS];
    eab_tally tally[MAX_MEMBERS];
    for (int32_t member = 0; member < members; member++) {
        vocab[member] = member == 1 ? least : shape->vocab;
        counts[member] = rows;
    }
    const int32_t *targets = random_tokens(run, members * rows, least, true);
    int32_t *predictions = eab_check_upload(run, NULL, (size_t)(members * rows) * sizeof *predictions);
    const int64_t *device_counts = eab_check_upload(run, counts, (size_t)members * sizeof *counts);
    eab_tally *device_tally = eab_check_upload(run, NULL, (size_t)members * sizeof *tally);
    const eab_loss_args args = {.members = members,
                                .batch = shape->batch,
                                .context = shape->context,
                                .vocab = shape->vocab,
                                .member_vocab = vocab,
                                .targets = targets,
                                .targets_stride = rows,
                                .logits = eab_check_tensor(run, members, rows * shape->vocab, 2),
                                .tally = device_tally,
                                .predictions = predictions,
                                .counts = device_counts};
    CALL(loss, &args);
    CALL(download, tally, device_tally, (size_t)members * sizeof *tally);
    eab_check_output(run, args.logits, members, rows * shape->vocab);
    for (int32_t member = 0; member < members && !run->status; member++) {
        eab_check_output_number(run, tally[member].loss_nats);
        eab_check_output_number(run, (double)tally[member].tokens);
        eab_check_output_number(run, (double)tally[member].tokens_right);
        eab_check_output_number(run, (double)tally[member].sequences);
        eab_check_output_number(run, (double)tally[member].sequences_right);
    }
    return run->status;
}

static int check_optimizer(eab_check_run *run, const eab_check_shape *shape, eab_optimizer_kind kind) {
    const int32_t members = shape->members;
    const int64_t count = rows_of(shape) * shape->d_model;
    eab_optimizer optimizers[MAX_MEMBERS];
    for (int32_t member = 0; member < members; member++)
        optimizers[member] = (eab_optimizer){.kind = kind,
                                             .schedule = EAB_SCHEDULE_COSINE,
                                             .lr = 0.01 * (member + 1),
                                             .beta1 = 0.9,
                                             .beta2 = 0.98,
                                             .momentum = 0.9,
                                             .weight_decay = 0.01,
                                             .clip = member ? 1 : 0,
                                             .lr_final = 0.1,
                                             .warmup = 2,
                                             .steps = 10};
    const int32_t columns = shape->d_model, rows = (int32_t)rows_of(shape);
    const eab_extent extents[] = {{0, rows - 1, columns}, {(int64_t)(rows - 1) * columns, 1, columns}};
    eab_optimizer_args args = {.members = members,
                               .count = count,
                               .decayed = count / 2,
                               .extents = extents,
                               .extent_count = 2,
                               .optimizers = optimizers};
    args.weights = eab_check_tensor(run, members, count, 1);
    args.gradients = eab_check_tensor(run, members, count, 1);
    args.moment1 = eab_check_tensor(run, members, count, 0);
    args.moment2 = kind == EAB_OPTIMIZER_ADAMW ? eab_check_tensor(run, members, count, 0) : (eab_tensor){NULL, 0};
    for (args.step = 0; args.step < 2; args.step++) CALL(optimizer_step, &args); /* the second with gradient 0 */
    eab_check_output(run, args.weights, members, count);
    eab_check_output(run, args.gradients, members, count);
    eab_check_output(run, args.moment1, members, count);
    eab_check_output(run, args.moment2, members, count);
    return run->status;
}

static int check_adamw(eab_check_run *run, const eab_check_shape *shape) {
    return check_optimizer(run, shape, EAB_OPTIMIZER_ADAMW);
}
static int check_sgd(eab_check_run *run, const eab_check_shape *shape) {
    return check_optimizer(run, shape, EAB_OPTIMIZER_SGD);
}

static int check_generated(eab_check_run *run, const eab_generate_args *args) {
    const int64_t count = (int64_t)args->members * args->batch * args->context;
    int32_t host[4096];
    int64_t counts[MAX_MEMBERS];
    const size_t bytes = (size_t)count * sizeof *host;
    int32_t *inputs = eab_check_upload(run, NULL, bytes), *targets = eab_check_upload(run, NULL, bytes);
    int64_t *device_counts = eab_check_upload(run, NULL, (size_t)args->members * sizeof *counts);
    CALL(generate, args, inputs, targets, device_counts);
    for (int part = 0; part < 2; part++) {
        CALL(download, host, part ? targets : inputs, bytes);
        for (int64_t i = 0; i < count && !run->status; i++) eab_check_output_number(run, host[i]);
    }
    CALL(download, counts, device_counts, (size_t)args->members * sizeof *counts);
    for (int32_t member = 0; member < args->members && !run->status; member++)
        eab_check_output_number(run, (double)counts[member]);
    return run->status;
}

/* Tokens are integers: any difference is an error of 1 or more, far past every bound. */
static int check_generate(eab_check_run *run, const eab_check_shape *shape) {
    eab_level levels[MAX_MEMBERS + EAB_TASK_COUNT];
    uint32_t seeds[MAX_MEMBERS];
    uint8_t held_out[MAX_MEMBERS + EAB_TASK_COUNT];
    eab_parts parts[MAX_MEMBERS];
    eab_generate_args args = {.members = shape->members,
                              .batch = shape->batch,
                              .context = shape->context,
                              .levels = levels,
                              .held_out = held_out,
                              .seeds = seeds,
                              .stream = EAB_STREAM_VALIDATION,
                              .first_index = 5};
    if (shape->members * rows_of(shape) > 4096) return EAB_OK;
    for (int32_t member = 0; member < shape->members; member++) seeds[member] = (uint32_t)member;
    for (int family = 0; family < EAB_TASK_COUNT; family++) {
        for (int32_t member = 0; member < shape->members; member++) {
            levels[member] = eab_level_default(family);
            held_out[member] = (uint8_t)(member & 1);
        }
        EAB_TRY(check_generated(run, &args));
    }
    /* mixtures: all families and one more level, from another place for each member; every other one with task tokens */
    for (int32_t i = 0; i < shape->members + EAB_TASK_COUNT; i++) {
        levels[i] = eab_level_default(i % EAB_TASK_COUNT);
        held_out[i] = (uint8_t)(i & 1);
    }
    for (int32_t member = 0; member < shape->members; member++)
        parts[member] = (eab_parts){member, EAB_TASK_COUNT + 1, shape->context > 1 && member & 1 ? 2000 : -1};
    args.parts = parts;
    for (args.only = 0; args.only < 3; args.only++) EAB_TRY(check_generated(run, &args));
    return run->status;
}

typedef struct {
    eab_attention_args args;
    int32_t mechanism[MAX_MEMBERS];
    float scale[MAX_MEMBERS], slopes[MAX_HEADS];
    int64_t in_count, out_count, stat_count;
} attention_problem;

static void attention_problem_init(attention_problem *problem, const eab_check_shape *shape) {
    const int32_t head_dim = shape->d_model / shape->heads;
    for (int32_t member = 0; member < shape->members; member++) {
        problem->mechanism[member] = shape->mechanism;
        problem->scale[member] = eab_mechanism_default_scale(shape->mechanism, head_dim);
    }
    for (int32_t head = 0; head < shape->heads; head++) problem->slopes[head] = exp2f(-(float)(head + 1));
    problem->args = (eab_attention_args){.members = shape->members,
                                         .batch = shape->batch,
                                         .heads = shape->heads,
                                         .context = shape->context,
                                         .head_dim = head_dim,
                                         .causal = true,
                                         .scores = {problem->mechanism, problem->scale},
                                         .slopes = shape->slopes ? problem->slopes : NULL,
                                         .in_batch = (int64_t)shape->context * 3 * shape->d_model,
                                         .in_head = head_dim,
                                         .in_time = 3 * (int64_t)shape->d_model,
                                         .out_batch = (int64_t)shape->context * shape->d_model,
                                         .out_head = head_dim,
                                         .out_time = shape->d_model};
    problem->in_count = rows_of(shape) * 3 * shape->d_model;
    problem->out_count = rows_of(shape) * shape->d_model;
    problem->stat_count = rows_of(shape) * shape->heads;
}

static eab_tensor offset(const eab_check_run *run, eab_tensor tensor, int64_t reals) {
    if (tensor.data) tensor.data = (char *)tensor.data + reals * (int64_t)run->device->backend->real_bytes;
    return tensor;
}

/* On the reference: how large the gradients' terms are before they cancel (DESIGN.md 1, "Conditioning"). */
static void add_attention_terms(eab_check_run *run, const attention_problem *problem, eab_tensor qkv, eab_tensor dout) {
    const int64_t d_model = (int64_t)problem->args.heads * problem->args.head_dim;
    const eab_tensor terms = eab_check_tensor(run, problem->args.members, problem->in_count, 0);
    for (int32_t member = 0; member < problem->args.members && !run->status; member++) {
        const double *own = (double *)qkv.data + member * qkv.stride;
        double *sums = (double *)terms.data + member * terms.stride;
        run->status = eab_reference_attention_terms(&problem->args, member, own, own + d_model, own + 2 * d_model,
                                                    (double *)dout.data + member * dout.stride, sums, sums + d_model,
                                                    sums + 2 * d_model);
        for (int64_t i = 0; i < problem->in_count; i++) run->terms_squared += sums[i] * sums[i];
    }
}

static int check_attention_pass(eab_check_run *run, const eab_check_shape *shape, bool backward) {
    attention_problem problem;
    attention_problem_init(&problem, shape);
    const int32_t members = shape->members;
    const int64_t d_model = shape->d_model;
    const eab_tensor qkv = eab_check_tensor(run, members, problem.in_count, 1);
    const eab_tensor out = eab_check_tensor(run, members, problem.out_count, NAN);
    const eab_tensor stat = eab_check_tensor(run, members, problem.stat_count, NAN);
    CALL(attention_forward, &problem.args, qkv, offset(run, qkv, d_model), offset(run, qkv, 2 * d_model), out, stat);
    if (!backward) {
        eab_check_output(run, out, members, problem.out_count);
        eab_check_output(run, stat, members, problem.stat_count);
        return run->status;
    }
    const eab_tensor dout = eab_check_tensor(run, members, problem.out_count, 1);
    const eab_tensor dqkv = eab_check_tensor(run, members, problem.in_count, NAN);
    CALL(attention_backward, &problem.args, qkv, offset(run, qkv, d_model), offset(run, qkv, 2 * d_model), out, stat,
         dout, dqkv, offset(run, dqkv, d_model), offset(run, dqkv, 2 * d_model));
    eab_check_output(run, dqkv, members, problem.in_count);
    if (run->device->backend == eab_backend_from_name("reference")) add_attention_terms(run, &problem, qkv, dout);
    return run->status;
}

static int check_attention(eab_check_run *run, const eab_check_shape *shape) {
    return check_attention_pass(run, shape, false);
}
static int check_attention_backward(eab_check_run *run, const eab_check_shape *shape) {
    return check_attention_pass(run, shape, true);
}

static const eab_check_operation operations[] = {
    {"generate", false, false, check_generate, EAB_PRECISION_FLOAT32},
    {"gemm", false, false, check_gemm, EAB_PRECISION_FLOAT32},
    {"gemm_input_gradient", true, false, check_gemm_input_gradient, EAB_PRECISION_FLOAT32},
    {"gemm_weight_gradient", true, false, check_gemm_weight_gradient, EAB_PRECISION_FLOAT32},
    {"gemm_tf32", false, false, check_gemm_tf32, EAB_PRECISION_TF32},
    {"gemm_input_grad_tf32", true, false, check_gemm_input_gradient_tf32, EAB_PRECISION_TF32},
    {"gemm_weight_grad_tf32", true, false, check_gemm_weight_gradient_tf32, EAB_PRECISION_TF32},
    {"gemm_bf16", false, false, check_gemm_bf16, EAB_PRECISION_BF16},
    {"gemm_input_grad_bf16", true, false, check_gemm_input_gradient_bf16, EAB_PRECISION_BF16},
    {"gemm_weight_grad_bf16", true, false, check_gemm_weight_gradient_bf16, EAB_PRECISION_BF16},
    {"norm", false, false, check_norm, EAB_PRECISION_FLOAT32},
    {"norm_backward", true, false, check_norm_backward, EAB_PRECISION_FLOAT32},
    {"qk_norm", false, false, check_qk_norm, EAB_PRECISION_FLOAT32},
    {"qk_norm_backward", true, false, check_qk_norm_backward, EAB_PRECISION_FLOAT32},
    {"relu", false, false, check_relu, EAB_PRECISION_FLOAT32},
    {"relu_backward", true, false, check_relu_backward, EAB_PRECISION_FLOAT32},
    {"gelu", false, false, check_gelu, EAB_PRECISION_FLOAT32},
    {"gelu_backward", true, false, check_gelu_backward, EAB_PRECISION_FLOAT32},
    {"mlp_relu", true, false, check_mlp_relu, EAB_PRECISION_FLOAT32},
    {"mlp_gelu", true, false, check_mlp_gelu, EAB_PRECISION_FLOAT32},
    {"sums", false, false, check_sums, EAB_PRECISION_FLOAT32},
    {"rotate", false, false, check_rotate, EAB_PRECISION_FLOAT32},
    {"embedding", false, false, check_embedding, EAB_PRECISION_FLOAT32},
    {"loss", false, false, check_loss, EAB_PRECISION_FLOAT32},
    {"adamw", false, false, check_adamw, EAB_PRECISION_FLOAT32},
    {"sgd", false, false, check_sgd, EAB_PRECISION_FLOAT32},
    {"attention", false, true, check_attention, EAB_PRECISION_FLOAT32},
    {"attention_backward", true, true, check_attention_backward, EAB_PRECISION_FLOAT32},
};

const eab_check_operation *eab_check_operation_at(int index) {
    return index >= 0 && index < (int)(sizeof operations / sizeof *operations) ? &operations[index] : NULL;
}
