/* norm, loss, optimizer: what stands between a model's products, at the models' shapes; and `nothing`, an empty call, which
 * tells what the harness itself costs. By the backend's own operations, one member.
 *
 * FLOP are counted for products only (DESIGN.md 5), so these rows have none: their roof is the copy bandwidth. Compulsory
 * traffic, in elements: norm forward reads x and writes y and the saved (x - mean) / std; backward reads dy, that and dx and
 * writes dx; loss reads the logits and writes their gradient; AdamW reads and writes weights, two moments and the gradient
 * (which it zeroes).
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "buffers.h"
#include "check/suite.h"
#include "model/train.h"
#include "operation.h"
#include "tasks/task.h"

enum { LEAST_SETS = 16 };

typedef struct {
    eab_bench_buffers buffers;
    int32_t rows, width, vocab; /* of the point */
    int64_t step;               /* of the optimizer */
    /* of the loss, shared by all sets */
    int32_t *targets;
    int64_t *counts;
    eab_tally *tally;
} piece;

static eab_tensor tensor(const piece *p, int32_t set, int32_t which) {
    return (eab_tensor){eab_bench_buffer(&p->buffers, set, which), 0};
}

static void close_piece(eab_bench_task *task) {
    piece *p = task->own;
    if (!p) return;
    eab_bench_buffers_close(&p->buffers);
    if (p->targets) task->device->backend->release(task->device, p->targets);
    if (p->counts) task->device->backend->release(task->device, p->counts);
    if (p->tally) task->device->backend->release(task->device, p->tally);
    free(p);
    task->own = NULL;
}

static int open_buffers(eab_bench_task *task, const eab_bench_tensor *tensors, int32_t count, double bytes) {
    if (task->device->backend->real_bytes != sizeof(float))
        return eab_fail(EAB_UNSUPPORTED, "this operation is measured in float32 only");
    piece *p = calloc(1, sizeof *p);
    if (!p) return eab_fail(EAB_NO_MEMORY, "no memory for a measurement");
    task->own = p;
    p->rows = task->point->m;
    p->width = task->point->n;
    size_t rotate_bytes = task->rotate_bytes, set_bytes = 0;
    for (int32_t i = 0; i < count; i++) set_bytes += (size_t)tensors[i].count * eab_dtype_bytes(tensors[i].dtype);
    if (eab_bench_operation_at(task->point->op)->refresh) {
        /* What was refreshed last is in a cache, so one tensor of every set must be more than that; and a sample has no more
         * calls than there are sets. */
        rotate_bytes *= (size_t)count;
        if (rotate_bytes < LEAST_SETS * set_bytes) rotate_bytes = LEAST_SETS * set_bytes;
    }
    const int status = eab_bench_buffers_open(&p->buffers, task->device, tensors, count, rotate_bytes, 0);
    task->sets = p->buffers.sets;
    task->set_bytes = p->buffers.set_bytes;
    task->bytes = bytes;
    if (status) close_piece(task);
    return status;
}

static eab_bench_tensor input(int64_t count) { return (eab_bench_tensor){count, EAB_F32, true, 1}; }
static eab_bench_tensor output(int64_t count) { return (eab_bench_tensor){count, EAB_F32, false, 0}; }

/* ---- norm ---------------------------------------------------------------------------------------------------- */

enum { X, Y, NORMALIZED, INV_STD, GAIN, BIAS, DGAIN, DBIAS, NORM_TENSORS };

static int open_norm(eab_bench_task *task) {
    const int64_t count = (int64_t)task->point->m * task->point->n;
    const bool backward = task->point->pass == EAB_BENCH_BACKWARD;
    const eab_bench_tensor tensors[NORM_TENSORS] = {input(count),
                                                    backward ? input(count) : output(count),
                                                    backward ? input(count) : output(count),
                                                    backward ? input(task->point->m) : output(task->point->m),
                                                    input(task->point->n),
                                                    input(task->point->n),
                                                    output(task->point->n),
                                                    output(task->point->n)};
    return open_buffers(task, tensors, NORM_TENSORS, sizeof(float) * (double)count * (backward ? 4 : 3));
}

/* Backward: y holds dy, x the gradient that is added to. */
static int run_norm(eab_bench_task *task, int32_t set) {
    const piece *p = task->own;
    const eab_norm_args args = {.members = 1,
                                .rows = p->rows,
                                .width = p->width,
                                .gain = tensor(p, set, GAIN),
                                .bias = tensor(p, set, BIAS),
                                .normalized = tensor(p, set, NORMALIZED),
                                .inv_std = tensor(p, set, INV_STD)};
    if (task->point->pass == EAB_BENCH_FORWARD)
        return task->device->backend->norm_forward(task->device, &args, tensor(p, set, X), tensor(p, set, Y));
    return task->device->backend->norm_backward(task->device, &args, tensor(p, set, Y), tensor(p, set, X),
                                                tensor(p, set, DGAIN), tensor(p, set, DBIAS));
}

/* ---- loss ---------------------------------------------------------------------------------------------------- */

static int open_loss(eab_bench_task *task) {
    const int32_t rows = task->point->m, vocab = task->point->n;
    const eab_backend *backend = task->device->backend;
    const eab_bench_tensor logits = input((int64_t)rows * vocab);
    EAB_TRY(open_buffers(task, &logits, 1, sizeof(float) * 2.0 * rows * vocab + sizeof(int32_t) * (double)rows));
    piece *p = task->own;
    const int64_t count = rows;
    int32_t *targets = malloc((size_t)rows * sizeof *targets);
    int status = targets ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory for %d targets", rows);
    eab_random random = eab_random_at(20240718, 4, 0, 0, 0);
    for (int32_t i = 0; i < rows && !status; i++) targets[i] = eab_random_below(&random, vocab);
    p->vocab = vocab;
    const size_t bytes = (size_t)rows * sizeof *targets;
    if (!status) status = backend->allocate(task->device, bytes, (void **)&p->targets);
    if (!status) status = backend->allocate(task->device, sizeof count, (void **)&p->counts);
    if (!status) status = backend->allocate(task->device, sizeof *p->tally, (void **)&p->tally);
    if (!status) status = backend->upload(task->device, p->targets, targets, bytes);
    if (!status) status = backend->upload(task->device, p->counts, &count, sizeof count);
    if (!status) status = backend->zero(task->device, p->tally, sizeof *p->tally);
    free(targets);
    if (status) close_piece(task);
    return status;
}

static int run_loss(eab_bench_task *task, int32_t set) {
    const piece *p = task->own;
    const eab_loss_args args = {.members = 1,
                                .batch = 1,
                                .context = p->rows,
                                .vocab = p->vocab,
                                .member_vocab = &p->vocab,
                                .targets = p->targets,
                                .targets_stride = p->rows,
                                .logits = tensor(p, set, 0),
                                .tally = p->tally,
                                .counts = p->counts};
    return task->device->backend->loss(task->device, &args);
}

/* The call leaves gradients where the logits were. */
static int refresh_loss(eab_bench_task *task, int32_t set) {
    return eab_bench_refill(&((piece *)task->own)->buffers, set, 0);
}

/* ---- optimizer ----------------------------------------------------------------------------------------------- */

enum { WEIGHTS, GRADIENTS, MOMENT1, MOMENT2, OPTIMIZER_TENSORS };

static int open_optimizer(eab_bench_task *task) {
    const int64_t count = task->point->n;
    const eab_bench_tensor tensors[OPTIMIZER_TENSORS] = {input(count), input(count), output(count), output(count)};
    return open_buffers(task, tensors, OPTIMIZER_TENSORS, sizeof(float) * 8.0 * (double)count);
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
    piece *p = task->own;
    const eab_extent all = {0, 1, p->width};
    const eab_optimizer_args args = {.members = 1,
                                     .count = p->width,
                                     .decayed = p->width,
                                     .extents = &all,
                                     .extent_count = 1,
                                     .weights = tensor(p, set, WEIGHTS),
                                     .gradients = tensor(p, set, GRADIENTS),
                                     .moment1 = tensor(p, set, MOMENT1),
                                     .moment2 = tensor(p, set, MOMENT2),
                                     .optimizers = &optimizer,
                                     .step = p->step++};
    return task->device->backend->optimizer_step(task->device, &args);
}

/* A step leaves the gradient 0; training on that would end in denormal moments. */
static int refresh_optimizer(eab_bench_task *task, int32_t set) {
    return eab_bench_refill(&((piece *)task->own)->buffers, set, GRADIENTS);
}

/* ---- nothing ------------------------------------------------------------------------------------------------- */

static int open_nothing(eab_bench_task *task) {
    task->sets = 2;
    return EAB_OK;
}

static int run_nothing(eab_bench_task *task, int32_t set) {
    (void)task;
    (void)set;
    return EAB_OK;
}

static void close_nothing(eab_bench_task *task) { (void)task; }

/* ---- the check: the operation's own of `eabench check`, at this width ----------------------------------------- */

static int check_as(eab_bench_task *task, const char *name, const eab_check_shape *shape, double *ratio,
                    double *bound) {
    eab_check_result result;
    EAB_TRY(eab_check_run_operation(task->device, eab_check_operation_from_name(name), shape, &result));
    *ratio = result.error_ratio;
    *bound = result.bound;
    return *result.reason ? eab_fail(EAB_DEVICE_FAULT, "%s", result.reason) : EAB_OK;
}

/* Of at most MOST_ROWS rows: each is a problem of its own. */
enum { MOST_ROWS = 256, MOST_CHECKED_WIDTH = 4096 };
static eab_check_shape shape_of(const eab_bench_task *task) {
    const int32_t rows = task->point->m < MOST_ROWS ? task->point->m : MOST_ROWS;
    return (eab_check_shape){.members = 1, .batch = 1, .context = rows, .heads = 1, .mlp_ratio = 1};
}

static int check_norm(eab_bench_task *task, double *ratio, double *bound) {
    eab_check_shape shape = shape_of(task);
    shape.d_model = task->point->n;
    return check_as(task, task->point->pass == EAB_BENCH_FORWARD ? "norm" : "norm_backward", &shape, ratio, bound);
}

static int check_loss(eab_bench_task *task, double *ratio, double *bound) {
    eab_check_shape shape = shape_of(task);
    shape.vocab = task->point->n;
    return check_as(task, "loss", &shape, ratio, bound);
}

static int check_optimizer(eab_bench_task *task, double *ratio, double *bound) {
    const int32_t width = task->point->n / 2 < MOST_CHECKED_WIDTH ? task->point->n / 2 : MOST_CHECKED_WIDTH;
    const eab_check_shape shape = {.members = 1, .batch = 1, .context = 2, .d_model = width > 0 ? width : 1};
    return check_as(task, "adamw", &shape, ratio, bound);
}

/* ---- models -------------------------------------------------------------------------------------------------- */

static void add(GArray *points, eab_bench_point point, int32_t m, int32_t n, const eab_config *config) {
    point.m = m;
    point.n = n;
    snprintf(point.label, sizeof point.label, "d_model %d", config->d_model);
    g_array_append_val(points, point);
}

static void norm_points(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points) {
    if (config->norm == EAB_NORM_LAYER) add(points, *point, rows, config->d_model, config);
}

static void loss_points(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points) {
    add(points, *point, rows, eab_task_at(config->level.family)->vocab(&config->level), config);
}

static void optimizer_points(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points) {
    (void)rows;
    const int64_t parameters = eab_config_parameters(config);
    if (parameters <= INT32_MAX) add(points, *point, EAB_BENCH_NOT_AN_AXIS, (int32_t)parameters, config);
}

static const char *const own[] = {"eabench", NULL};

extern const eab_bench_operation eab_bench_norm, eab_bench_loss, eab_bench_optimizer, eab_bench_nothing;
const eab_bench_operation eab_bench_norm = {
    .name = "norm",
    .summary = "layer norm over n of m rows",
    .axes = EAB_AXIS_BIT(M) | EAB_AXIS_BIT(N) | EAB_AXIS_BIT(PASS),
    .implementations = own,
    .model_points = norm_points,
    .open = open_norm,
    .run = run_norm,
    .check = check_norm,
    .close = close_piece,
};
const eab_bench_operation eab_bench_loss = {
    .name = "loss",
    .summary = "cross-entropy of m rows over n words, with its gradient",
    .axes = EAB_AXIS_BIT(M) | EAB_AXIS_BIT(N),
    .implementations = own,
    .model_points = loss_points,
    .open = open_loss,
    .run = run_loss,
    .refresh = refresh_loss,
    .check = check_loss,
    .close = close_piece,
};
const eab_bench_operation eab_bench_optimizer = {
    .name = "optimizer",
    .summary = "clipping by the gradient's norm and a step of AdamW on n weights",
    .axes = EAB_AXIS_BIT(N),
    .implementations = own,
    .model_points = optimizer_points,
    .open = open_optimizer,
    .run = run_optimizer,
    .refresh = refresh_optimizer,
    .check = check_optimizer,
    .close = close_piece,
};
const eab_bench_operation eab_bench_nothing = {
    .name = "nothing",
    .summary = "an empty call: what the harness adds to every other",
    .implementations = own,
    .open = open_nothing,
    .run = run_nothing,
    .close = close_nothing,
};
