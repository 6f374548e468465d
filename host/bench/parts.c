/* norm, loss and optimizer: the parts of a model between its products, in float32, by the backend's own operations.
 * FLOP are counted for products only (docs/design.md 5), so these rows have none and their roof is the memory
 * bandwidth. */
#include <stdio.h>

#include "model/cost.h"
#include "operation.h"
#include "tasks/philox.h"
#include "tasks/task.h"

enum { LEAST_SETS = 16, MOST_CHECKED_ROWS = 256, MOST_CHECKED_WIDTH = 4096 };

/* ---- what they share -------------------------------------------------------------------------------------------- */

/* bytes: compulsory traffic of a call. */
static int open_part(eab_bench_task *task, const eab_bench_tensor *tensors, int32_t count, double bytes) {
    size_t set_bytes = 0;
    if (task->device->backend->real_bytes != sizeof(float))
        return eab_fail(EAB_UNSUPPORTED, "this operation is measured in float32 only");
    for (int32_t i = 0; i < count; i++) set_bytes += (size_t)tensors[i].count * sizeof(float);
    /* Restored data is in a cache, so one tensor of every set must exceed the cache; and a sample has no more calls
     * than there are sets, so there must be many. */
    if (task->operation->overwrites)
        task->rotate_bytes = MAX(task->rotate_bytes * (size_t)count, LEAST_SETS * set_bytes);
    task->bytes = bytes;
    return eab_bench_buffers_open(&task->operands, task->device, tensors, count, task->rotate_bytes);
}

static eab_tensor operand(const eab_bench_task *task, int32_t set, int32_t tensor) {
    return eab_bench_operand(&task->operands, set, tensor);
}

/* Checks the part by the operation of `eabench check` called `name`, on a shape of the same width. */
static int check_part(eab_bench_task *task, const char *name, const eab_check_shape *shape, eab_check_result *result) {
    return eab_check_run_operation(task->device, eab_check_operation_from_name(name), shape, result);
}

/* One sequence of at most MOST_CHECKED_ROWS of the point's rows: rows are independent. */
static eab_check_shape checked_rows(const eab_bench_task *task) {
    const int32_t rows = MIN(task->point->m, MOST_CHECKED_ROWS);
    return (eab_check_shape){.members = 1, .batch = 1, .context = rows, .heads = 1, .mlp_ratio = 1};
}

/* Appends the point with m and n, labelled by the model's d_model. */
static void add_point(GArray *points, const eab_bench_point *point, int32_t m, int32_t n, const eab_config *config) {
    eab_bench_point added = *point;
    added.m = m;
    added.n = n;
    added.label = eab_bench_label(g_strdup_printf("d_model %d", config->d_model));
    g_array_append_val(points, added);
}

/* ---- norm -------------------------------------------------------------------------------------------------------
 * Compulsory traffic, in elements: forward reads x and writes y and the saved (x - mean) / std; backward reads dy, that
 * and dx and writes dx. */

enum { X, Y, NORMALIZED, INV_STD, GAIN, BIAS, DGAIN, DBIAS, NORM_TENSORS };

static bool is_backward(const eab_bench_task *task) { return task->point->pass == EAB_BENCH_BACKWARD; }

static int open_norm(eab_bench_task *task) {
    const int64_t rows = task->point->m, width = task->point->n, count = rows * width;
    const bool backward = is_backward(task);
    const eab_bench_tensor saved = {count, EAB_F32, backward, 1}, inv_std = {rows, EAB_F32, backward, 1};
    const eab_bench_tensor tensors[NORM_TENSORS] = {[X] = eab_bench_float32_input(count),
                                                    [Y] = saved,
                                                    [NORMALIZED] = saved,
                                                    [INV_STD] = inv_std,
                                                    [GAIN] = eab_bench_float32_input(width),
                                                    [BIAS] = eab_bench_float32_input(width),
                                                    [DGAIN] = eab_bench_float32_output(width),
                                                    [DBIAS] = eab_bench_float32_output(width)};
    return open_part(task, tensors, NORM_TENSORS, sizeof(float) * (double)count * (backward ? 4 : 3));
}

/* Backward: Y holds dy, X the gradient that is added to. */
static int run_norm(eab_bench_task *task, int32_t set) {
    const eab_backend *backend = task->device->backend;
    const eab_tensor x = operand(task, set, X), y = operand(task, set, Y);
    const eab_norm_args args = {.members = 1,
                                .rows = task->point->m,
                                .width = task->point->n,
                                .gain = operand(task, set, GAIN),
                                .bias = operand(task, set, BIAS),
                                .normalized = operand(task, set, NORMALIZED),
                                .inv_std = operand(task, set, INV_STD)};
    if (!is_backward(task)) return backend->norm_forward(task->device, &args, x, y);
    return backend->norm_backward(task->device, &args, y, x, operand(task, set, DGAIN), operand(task, set, DBIAS));
}

static int check_norm(eab_bench_task *task, eab_check_result *result) {
    eab_check_shape shape = checked_rows(task);
    shape.d_model = task->point->n;
    return check_part(task, is_backward(task) ? "norm_backward" : "norm", &shape, result);
}

static void norms_of_model(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points) {
    if (config->norm == EAB_NORM_LAYER) add_point(points, point, rows, config->d_model, config);
}

const eab_bench_operation eab_bench_norm = {
    .name = "norm",
    .summary = "layer norm over n of m rows",
    .axes = EAB_AXIS_BIT(M) | EAB_AXIS_BIT(N) | EAB_AXIS_BIT(PASS),
    .implementations = 1 << EAB_BENCH_EABENCH,
    .model_points = norms_of_model,
    .open = open_norm,
    .run = run_norm,
    .check = check_norm,
};

/* ---- loss -------------------------------------------------------------------------------------------------------
 * Cross-entropy with its gradient. Compulsory traffic: reads the logits and the targets, writes the gradient. */

/* The same for all sets, on the device. */
typedef struct {
    int32_t *targets;
    int64_t *counts;
    eab_tally *tally;
} loss_memory;

static void close_loss(eab_bench_task *task) {
    const loss_memory *memory = task->own;
    void *const all[] = {memory->targets, memory->counts, memory->tally};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        if (all[i]) task->device->backend->release(task->device, all[i]);
}

static int open_loss(eab_bench_task *task) {
    eab_device *device = task->device;
    const eab_backend *backend = device->backend;
    loss_memory *memory = task->own;
    const int32_t rows = task->point->m, vocab = task->point->n;
    const int64_t count = rows;
    const size_t target_bytes = (size_t)rows * sizeof(int32_t);
    const eab_bench_tensor logits = eab_bench_float32_input(count * vocab);
    EAB_TRY(open_part(task, &logits, 1, sizeof(float) * 2.0 * rows * vocab + (double)target_bytes));
    EAB_TRY(backend->allocate(device, target_bytes, (void **)&memory->targets));
    EAB_TRY(backend->allocate(device, sizeof *memory->counts, (void **)&memory->counts));
    EAB_TRY(backend->allocate(device, sizeof *memory->tally, (void **)&memory->tally));
    EAB_TRY(backend->upload(device, memory->counts, &count, sizeof count));
    EAB_TRY(backend->zero(device, memory->tally, sizeof *memory->tally));
    eab_random random = eab_random_at(20240718, 4, 0, 0, 0);
    int32_t *targets = g_new(int32_t, rows);
    for (int32_t i = 0; i < rows; i++) targets[i] = eab_random_below(&random, vocab);
    const int status = backend->upload(device, memory->targets, targets, target_bytes);
    g_free(targets);
    return status;
}

static int run_loss(eab_bench_task *task, int32_t set) {
    const loss_memory *memory = task->own;
    const eab_loss_args args = {.members = 1,
                                .batch = 1,
                                .context = task->point->m,
                                .vocab = task->point->n,
                                .member_vocab = &task->point->n,
                                .targets = memory->targets,
                                .targets_stride = task->point->m,
                                .logits = operand(task, set, 0),
                                .tally = memory->tally,
                                .counts = memory->counts};
    return task->device->backend->loss(task->device, &args);
}

static int check_loss(eab_bench_task *task, eab_check_result *result) {
    eab_check_shape shape = checked_rows(task);
    shape.vocab = task->point->n;
    return check_part(task, "loss", &shape, result);
}

static void losses_of_model(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points) {
    add_point(points, point, rows, eab_task_at(config->level.family)->vocab(&config->level), config);
}

const eab_bench_operation eab_bench_loss = {
    .name = "loss",
    .summary = "cross-entropy of m rows over n words, with its gradient",
    .axes = EAB_AXIS_BIT(M) | EAB_AXIS_BIT(N),
    .implementations = 1 << EAB_BENCH_EABENCH,
    .overwrites = true, /* the logits, by their gradient */
    .own_bytes = sizeof(loss_memory),
    .model_points = losses_of_model,
    .open = open_loss,
    .run = run_loss,
    .check = check_loss,
    .close = close_loss,
};

/* ---- optimizer --------------------------------------------------------------------------------------------------
 * A step of AdamW. Compulsory traffic: reads and writes weights, two moments and the gradient (which the step zeroes:
 * further steps on zeros would make the moments denormal). */

enum { GRADIENTS, WEIGHTS, MOMENT1, MOMENT2, OPTIMIZER_TENSORS };

static int open_optimizer(eab_bench_task *task) {
    const int64_t count = task->point->n;
    const eab_bench_tensor tensors[OPTIMIZER_TENSORS] = {[GRADIENTS] = eab_bench_float32_input(count),
                                                         [WEIGHTS] = eab_bench_float32_input(count),
                                                         [MOMENT1] = eab_bench_float32_output(count),
                                                         [MOMENT2] = eab_bench_float32_output(count)};
    return open_part(task, tensors, OPTIMIZER_TENSORS, sizeof(float) * 8.0 * (double)count);
}

static int run_optimizer(eab_bench_task *task, int32_t set) {
    static const eab_optimizer optimizer = {.kind = EAB_OPTIMIZER_ADAMW,
                                            .schedule = EAB_SCHEDULE_CONSTANT,
                                            .lr = 1e-3,
                                            .beta1 = 0.9,
                                            .beta2 = 0.98,
                                            .weight_decay = 0.01,
                                            .clip = 1,
                                            .lr_final = 1,
                                            .steps = INT64_MAX};
    int64_t *step = task->own;
    const int32_t count = task->point->n;
    const eab_extent all = {0, 1, count, false};
    const eab_optimizer_args args = {.members = 1,
                                     .count = count,
                                     .decayed = count,
                                     .extents = &all,
                                     .extent_count = 1,
                                     .weights = operand(task, set, WEIGHTS),
                                     .gradients = operand(task, set, GRADIENTS),
                                     .moment1 = operand(task, set, MOMENT1),
                                     .moment2 = operand(task, set, MOMENT2),
                                     .optimizers = &optimizer,
                                     .step = (*step)++};
    return task->device->backend->optimizer_step(task->device, &args);
}

static int check_optimizer(eab_bench_task *task, eab_check_result *result) {
    const int32_t width = CLAMP(task->point->n / 2, 1, MOST_CHECKED_WIDTH);
    const eab_check_shape shape = {.members = 1, .batch = 1, .context = 2, .d_model = width};
    return check_part(task, "adamw", &shape, result);
}

static void optimizer_of_model(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points) {
    const int64_t parameters = eab_config_parameters(config);
    (void)rows;
    if (parameters <= INT32_MAX) add_point(points, point, EAB_BENCH_NOT_AN_AXIS, (int32_t)parameters, config);
}

const eab_bench_operation eab_bench_optimizer = {
    .name = "optimizer",
    .summary = "clipping by the gradient's norm and a step of AdamW on n weights",
    .axes = EAB_AXIS_BIT(N),
    .implementations = 1 << EAB_BENCH_EABENCH,
    .overwrites = true,
    .own_bytes = sizeof(int64_t),
    .model_points = optimizer_of_model,
    .open = open_optimizer,
    .run = run_optimizer,
    .check = check_optimizer,
};
