/* step: one whole training step of a model (tokens generated, forward, backward, clipping, optimizer), as a sweep does it on one
 * worker with one cell. Its FLOP are those of DESIGN.md 5; its roof is the peak alone. The memory that it works on is the
 * model's own, step after step, so that it is never cold. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/network.h"
#include "model/train.h"
#include "operation.h"
#include "statistics.h"
#include "tasks/task.h"

/* More than any measurement does, so that the rate's schedule stands still. */
static const int64_t ENDLESS_STEPS = 1000000000;

static eab_config config_of(const eab_bench_point *point) {
    eab_config config = *point->config;
    config.mechanism = point->mechanism;
    config.steps = ENDLESS_STEPS;
    return config;
}

static int open_step(eab_bench_task *task) {
    const eab_config config = config_of(task->point);
    eab_train_stepper *stepper;
    task->sets = 1;
    task->tokens = (double)config.batch * config.context;
    task->flop = task->tokens * eab_config_flop_per_token(&config);
    EAB_TRY(eab_train_stepper_open(task->device, &config, &stepper));
    task->own = stepper;
    return EAB_OK;
}

static int run_step(eab_bench_task *task, int32_t set) {
    (void)set;
    return eab_train_stepper_step(task->own);
}

static void close_step(eab_bench_task *task) {
    eab_train_stepper_close(task->own);
    task->own = NULL;
}

/* ---- the check: a batch's gradient ---------------------------------------------------------------------------- */

static const double CHECK_BUDGET = 2e8; /* FLOP of the reference */

typedef struct {
    int32_t *inputs, *targets;
    int64_t count;
} batch_tokens;

/* On a device: the gradient of the mean loss of `tokens`. Freed by the caller. */
static int gradient_on(eab_device *device, const eab_config *config, const batch_tokens *tokens, double **gradient,
                       int64_t *length) {
    const eab_backend *backend = device->backend;
    const size_t bytes = (size_t)config->batch * (size_t)config->context * sizeof(int32_t);
    int32_t *inputs = NULL, *targets = NULL;
    int64_t *counts = NULL;
    eab_tally *tally = NULL;
    eab_model model;
    EAB_TRY(eab_model_create(device, 1, config, &model));
    int status = backend->allocate(device, bytes, (void **)&inputs);
    if (!status) status = backend->allocate(device, bytes, (void **)&targets);
    if (!status) status = backend->allocate(device, sizeof *counts, (void **)&counts);
    if (!status) status = backend->allocate(device, sizeof *tally, (void **)&tally);
    if (!status) status = backend->upload(device, inputs, tokens->inputs, bytes);
    if (!status) status = backend->upload(device, targets, tokens->targets, bytes);
    if (!status) status = backend->upload(device, counts, &tokens->count, sizeof tokens->count);
    if (!status) status = backend->zero(device, tally, sizeof *tally);
    if (!status) status = eab_model_pass(&model, inputs, targets, counts, tally, NULL);
    *length = model.parameters.count;
    *gradient = malloc((size_t)*length * sizeof **gradient);
    if (!status && !*gradient) status = eab_fail(EAB_NO_MEMORY, "no memory for a check");
    if (!status) status = backend->read_reals(device, *gradient, model.gradients.data, *length);
    void *const all[] = {inputs, targets, counts, tally};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]) backend->release(device, all[i]);
    eab_model_destroy(&model);
    return status;
}

/* Sequences number `first` and on. */
static int make_tokens(const eab_config *config, int64_t first, batch_tokens *tokens) {
    const int32_t context = config->context, length = context + 1;
    const size_t count = (size_t)config->batch * (size_t)context;
    int32_t *sequence = malloc((size_t)length * sizeof *sequence);
    uint8_t *determined = malloc((size_t)length);
    tokens->inputs = malloc(count * sizeof *tokens->inputs);
    tokens->targets = malloc(count * sizeof *tokens->targets);
    const bool room = sequence && determined && tokens->inputs && tokens->targets;
    for (int32_t i = 0; i < config->batch && room; i++) {
        eab_sequence_generate(&config->level, 1, EAB_STREAM_TRAINING, false, (uint64_t)(first + i), length, sequence,
                              determined);
        for (int32_t t = 0; t < context; t++) {
            tokens->inputs[i * context + t] = sequence[t];
            tokens->targets[i * context + t] = determined[t + 1] ? sequence[t + 1] : -1 - sequence[t + 1];
            tokens->count += determined[t + 1];
        }
    }
    free(sequence);
    free(determined);
    return room ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory for a check");
}

static double distance(const double *x, const double *y, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (x[i] - (y ? y[i] : 0)) * (x[i] - (y ? y[i] : 0));
    return sqrt(sum);
}

/* The gradient of all weights at their initial values, over config->batch sequences: |tested - float64| over
 * |plain - float64|, at least float32's rounding of the gradient itself. */
static int ratio_of(eab_device *const devices[3], const eab_config *config, int64_t first, double *ratio) {
    double *gradients[3] = {NULL, NULL, NULL};
    batch_tokens tokens = {NULL, NULL, 0};
    int64_t count = 0;
    int status = make_tokens(config, first, &tokens);
    for (int i = 0; i < 3 && !status; i++) status = gradient_on(devices[i], config, &tokens, &gradients[i], &count);
    if (!status) {
        const double error = distance(gradients[0], gradients[2], count);
        const double plain = distance(gradients[1], gradients[2], count);
        *ratio = error == 0 ? 0 : error / fmax(plain, 0x1p-24 * distance(gradients[2], NULL, count));
    }
    for (int i = 0; i < 3; i++) free(gradients[i]);
    free(tokens.inputs);
    free(tokens.targets);
    return status;
}

/* Of as much of a batch as is affordable. A unit of relu that float64 has within a rounding error of 0 may be on the other side
 * in float32, and then the gradient differs by what no rounding explains: one model in some fifty has such a one in its first
 * batch. A wrong gradient is wrong on all batches, so that of one that is over the bound two more are taken, and their median. */
static int check_step(eab_bench_task *task, double *ratio, double *bound) {
    eab_config config = config_of(task->point);
    const double sequence = eab_config_flop_per_token(&config) * config.context;
    config.batch = (int32_t)fmax(1, fmin(config.batch, CHECK_BUDGET / sequence));
    eab_device *devices[3] = {task->device, NULL, NULL};
    double ratios[3];
    *bound = 3;
    int status = eab_device_open_backend(&eab_backend_plain, 0, &devices[1]);
    if (!status) status = eab_device_open_backend(eab_backend_from_name("reference"), 0, &devices[2]);
    if (!status) status = ratio_of(devices, &config, 0, &ratios[0]);
    if (!status) {
        *ratio = ratios[0];
        if (isfinite(ratios[0]) && ratios[0] > *bound) {
            for (int i = 1; i < 3 && !status; i++)
                status = ratio_of(devices, &config, (int64_t)i * config.batch, &ratios[i]);
            if (!status) *ratio = eab_bench_median_of_3(ratios);
        }
    }
    eab_device_close(devices[1]);
    eab_device_close(devices[2]);
    return status;
}

/* ---- models -------------------------------------------------------------------------------------------------- */

/* What the label does not say otherwise, or has columns of its own. */
static bool is_told(const char *key) {
    static const char *const keys[] = {"layers", "d_model", "heads", "context", "batch", "mechanism", "steps", NULL};
    for (int i = 0; keys[i]; i++)
        if (strcmp(keys[i], key) == 0) return true;
    return false;
}

static void model_points(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points) {
    eab_bench_point step = *point;
    (void)rows;
    step.config = config;
    step.mechanism = config->mechanism;
    step.batch = config->batch;
    step.heads = config->heads;
    step.context = config->context;
    step.head_dim = config->d_model / config->heads;
    step.causal = 1;
    step.dtype = EAB_F32;
    int used = snprintf(step.label, sizeof step.label, "layers %d d_model %d vocab %d", config->layers, config->d_model,
                        eab_task_at(config->level.family)->vocab(&config->level));
    for (int i = 0; i < eab_option_count; i++) {
        const eab_option *option = &eab_options[i];
        char value[32];
        if (is_told(option->key) || eab_option_get(option, config) == option->default_value) continue;
        eab_option_print(option, config, value, sizeof value);
        const size_t room = used < (int)sizeof step.label ? sizeof step.label - (size_t)used : 0;
        if (room) used += snprintf(step.label + used, room, " %s=%s", option->key, value);
    }
    g_array_append_val(points, step);
}

static const char *const own[] = {"eabench", NULL};

extern const eab_bench_operation eab_bench_step;
const eab_bench_operation eab_bench_step = {
    .name = "step",
    .summary = "a whole training step of a model, in trained tokens",
    .axes = EAB_AXIS_BIT(MECHANISM),
    .counts_tokens = true,
    .keeps_state = true,
    .implementations = own,
    .model_points = model_points,
    .open = open_step,
    .run = run_step,
    .check = check_step,
    .close = close_step,
};
