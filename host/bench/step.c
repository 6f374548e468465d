/* step: one whole training step of a model (tokens generated, forward, backward, clipping, optimizer), as a sweep
 * does it with one worker and one cell. Its FLOP are those of docs/design.md 5; its roof is the peak alone. Every
 * step works on the model's own memory, so it is never cold. */
#include <math.h>
#include <stdio.h>

#include "check/error_ratio.h"
#include "model/cost.h"
#include "model/step.h"
#include "operation.h"
#include "statistics.h"
#include "tasks/task.h"

/* More than any measurement takes, so that the learning rate stays constant. */
static const int64_t ENDLESS_STEPS = 1000000000;

static eab_config config_of(const eab_bench_point *point) {
    eab_config config = *point->config;
    config.mechanism = point->mechanism;
    config.steps = ENDLESS_STEPS;
    return config;
}

/* What is measured: the training of one cell, as a fleet of one. */
typedef struct {
    eab_config config;
    eab_fleet_state fleet;
} training;

static int open_step(eab_bench_task *task) {
    training *own = task->own;
    own->config = config_of(task->point);
    task->tokens = (double)own->config.batch * own->config.context;
    task->flop = task->tokens * eab_config_flop_per_token(&own->config);
    return eab_fleet_open(task->device, 1, &own->config, &own->fleet);
}

static int run_step(eab_bench_task *task, int32_t set) {
    (void)set;
    training *own = task->own;
    return eab_fleet_step(&own->fleet);
}

static void close_step(eab_bench_task *task) {
    training *own = task->own;
    eab_fleet_close(&own->fleet);
}

/* ---- the check: the gradient of a batch ------------------------------------------------------------------------- */

static const double CHECK_BUDGET = 2e8; /* FLOP of the reference */

/* The gradient of a batch's mean loss at the model's initial weights, read into `gradient`. The batch has sequences
 * number `first` and following. memory: of the device, zeroed, for the batch. */
static int compute_gradient(eab_model *model, const eab_config *config, uint64_t first, void *memory,
                            double *gradient) {
    eab_device *device = model->device;
    const uint32_t seed = 1;
    const uint8_t held_out = 0;
    const eab_generate_args args = {.members = 1,
                                    .batch = config->batch,
                                    .context = config->context,
                                    .levels = &config->level,
                                    .held_out = &held_out,
                                    .seeds = &seed,
                                    .stream = EAB_STREAM_TRAINING,
                                    .first_index = first};
    eab_tally *tally = memory;
    int64_t *counts = (int64_t *)(tally + 1);
    int32_t *inputs = (int32_t *)(counts + 1), *targets = inputs + config->batch * config->context;
    EAB_TRY(device->backend->generate(device, &args, inputs, targets, counts));
    EAB_TRY(eab_model_pass(model, inputs, targets, counts, tally, NULL));
    return device->backend->read_reals(device, gradient, model->gradients.data, model->parameters.count);
}

/* The same for a new model on a device. *gradient: free with g_free, also after an error. */
static int gradient_on(eab_device *device, const eab_config *config, uint64_t first, double **gradient,
                       int64_t *count) {
    const size_t tokens = (size_t)config->batch * (size_t)config->context;
    const size_t bytes = sizeof(eab_tally) + sizeof(int64_t) + 2 * tokens * sizeof(int32_t);
    eab_model model;
    void *memory = NULL;
    EAB_TRY(eab_model_create(device, 1, config, &model));
    *count = model.parameters.count;
    *gradient = g_new(double, *count);
    int status = device->backend->allocate(device, bytes, &memory);
    if (!status) status = device->backend->zero(device, memory, bytes);
    if (!status) status = compute_gradient(&model, config, first, memory, *gradient);
    if (memory) device->backend->release(device, memory);
    eab_model_destroy(&model);
    return status;
}

/* error_ratio of the gradient. devices: tested, plain, reference. */
static int ratio_of(eab_device *const devices[3], const eab_config *config, uint64_t first, double *ratio) {
    double *gradients[3] = {NULL};
    eab_error_sums sums = {0};
    int64_t count = 0;
    int status = EAB_OK;
    for (int i = 0; i < 3 && !status; i++) status = gradient_on(devices[i], config, first, &gradients[i], &count);
    for (int64_t i = 0; i < count && !status; i++)
        eab_error_add(&sums, gradients[0][i], gradients[1][i], gradients[2][i], 0);
    for (int i = 0; i < 3; i++) g_free(gradients[i]);
    *ratio = eab_error_ratio(&sums, 0x1p-24);
    return status;
}

/* The ratio of the first batch; if that is over the bound, the median of three batches. A unit of relu that is
 * within a rounding error of 0 in float64 may have the other sign in float32, and then the gradient differs by more
 * than rounding: about one model in fifty has such a unit in its first batch. A wrong gradient is wrong on all
 * batches. */
static int check_batches(eab_device *const devices[3], const eab_config *config, double bound, double *ratio) {
    double ratios[3];
    eab_bench_summary summary;
    for (int i = 0; i < 3; i++) {
        EAB_TRY(ratio_of(devices, config, (uint64_t)(i * config->batch), &ratios[i]));
        *ratio = ratios[i];
        if (!isfinite(*ratio) || (i == 0 && *ratio <= bound)) return EAB_OK;
    }
    eab_bench_summarize(ratios, 3, &summary);
    *ratio = summary.median;
    return EAB_OK;
}

/* Of as many of the batch's sequences as the reference can afford. */
static int check_step(eab_bench_task *task, double *ratio, double *bound) {
    eab_config config = config_of(task->point);
    const double sequence_flop = eab_config_flop_per_token(&config) * config.context;
    config.batch = (int32_t)fmax(1, fmin(config.batch, CHECK_BUDGET / sequence_flop));
    eab_device *devices[3] = {task->device, NULL, NULL};
    *bound = EAB_BOUND_GRADIENT;
    int status = eab_device_open_backend(&eab_backend_plain, 0, &devices[1]);
    if (!status) status = eab_device_open_backend(eab_backend_from_name("reference"), 0, &devices[2]);
    if (!status) status = check_batches(devices, &config, *bound, ratio);
    eab_device_close(devices[1]);
    eab_device_close(devices[2]);
    return status;
}

/* ---- models ----------------------------------------------------------------------------------------------------- */

/* Options that the label begins with, or that have columns. */
static bool is_shown_elsewhere(const char *key) {
    static const char *const keys[] = {"layers", "d_model", "heads", "context", "batch", "mechanism", "steps", NULL};
    return g_strv_contains(keys, key);
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
        if (is_shown_elsewhere(option->key) || eab_option_get(option, config) == option->default_value) continue;
        eab_option_print(option, config, value, sizeof value);
        const size_t room = used < (int)sizeof step.label ? sizeof step.label - (size_t)used : 0;
        if (room) used += snprintf(step.label + used, room, " %s=%s", option->key, value);
    }
    g_array_append_val(points, step);
}

const eab_bench_operation eab_bench_step = {
    .name = "step",
    .summary = "a whole training step of a model, in trained tokens",
    .axes = EAB_AXIS_BIT(MECHANISM),
    .trains = true,
    .implementations = 1 << EAB_BENCH_EABENCH,
    .own_bytes = sizeof(training),
    .model_points = model_points,
    .open = open_step,
    .run = run_step,
    .check = check_step,
    .close = close_step,
};
