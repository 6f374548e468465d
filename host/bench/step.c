/* step: one whole training step of a model (tokens generated, forward, backward, clipping, optimizer), as a sweep
 * does it with one worker and one cell. Its FLOP are those of docs/design.md 5; its roof is the peak alone. Every
 * step works on the model's own memory, so it is never cold. */
#include <math.h>

#include "check/buffers.h"
#include "model/cost.h"
#include "model/step.h"
#include "operation.h"
#include "statistics.h"
#include "tasks/task.h"

/* More than any measurement takes, so that the learning rate stays constant. */
static const int64_t ENDLESS_STEPS = 1000000000;

static eab_config config_of(const eab_bench_point *point) {
    eab_config config = *point->config;
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

typedef struct {
    eab_config config;
    uint64_t first; /* sequence of the batch */
} step_batch;

/* The gradient of the batch's mean loss at the model's initial weights. */
static void run_gradient(eab_check_run *run, const eab_check_shape *shape) {
    const step_batch *batch = run->operation->context;
    const eab_config *config = &batch->config;
    const size_t bytes = (size_t)config->batch * (size_t)config->context * sizeof(int32_t);
    const uint32_t seed = 1;
    const uint8_t held_out = 0;
    const eab_generate_args args = {.members = shape->members,
                                    .batch = config->batch,
                                    .context = config->context,
                                    .levels = &config->level,
                                    .held_out = &held_out,
                                    .seeds = &seed,
                                    .stream = EAB_STREAM_TRAINING,
                                    .first_index = batch->first};
    eab_model model;
    run->status = eab_model_create(run->device, shape->members, config, &model);
    if (run->status) return;
    int32_t *inputs = eab_check_upload(run, NULL, bytes), *targets = eab_check_upload(run, NULL, bytes);
    int64_t *counts = eab_check_upload(run, NULL, sizeof *counts);
    eab_tally *tally = eab_check_upload(run, NULL, sizeof *tally);
    EAB_CHECK_CALL(generate, &args, inputs, targets, counts);
    if (!run->status) run->status = eab_model_pass(&model, inputs, targets, counts, tally, NULL);
    eab_check_output_reals(run, model.gradients.data, model.parameters.count);
    eab_model_destroy(&model);
}

/* error_ratio of the first batch; if it is over the bound, the median of three batches. A unit of relu that is within a
 * rounding error of 0 in float64 may have the other sign in float32, and then the gradient differs by more than
 * rounding: about one model in fifty has such a unit in its first batch. A wrong gradient is wrong on all batches. A
 * batch has as many sequences as the reference can afford. */
static int check_step(eab_bench_task *task, eab_check_result *result) {
    step_batch batch = {.config = config_of(task->point)};
    const eab_check_operation gradient = {.name = "step", .run = run_gradient, .context = &batch, .gradient = true};
    const eab_check_shape one = {.members = 1};
    const double sequence_flop = eab_config_flop_per_token(&batch.config) * batch.config.context;
    double ratios[3];
    eab_bench_summary summary;
    batch.config.batch = (int32_t)fmax(1, fmin(batch.config.batch, CHECK_BUDGET / sequence_flop));
    for (int i = 0; i < 3; i++) {
        EAB_TRY(eab_check_run_operation(task->device, &gradient, &one, result));
        ratios[i] = result->error_ratio;
        if (!isfinite(ratios[i]) || (i == 0 && result->passed)) return EAB_OK;
        batch.first += (uint64_t)batch.config.batch;
    }
    eab_bench_summarize(ratios, 3, &summary);
    result->error_ratio = summary.median;
    result->passed = summary.median <= result->bound;
    return EAB_OK;
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
    GString *label = g_string_new(NULL);
    g_string_printf(label, "layers %d d_model %d vocab %d", config->layers, config->d_model,
                    eab_task_at(config->level.family)->vocab(&config->level));
    for (int i = 0; i < eab_option_count; i++) {
        const eab_option *option = &eab_options[i];
        char value[32];
        if (is_shown_elsewhere(option->key) || eab_option_get(option, config) == option->default_value) continue;
        eab_option_print(option, config, value, sizeof value);
        g_string_append_printf(label, " %s=%s", option->key, value);
    }
    step.label = eab_bench_label(g_string_free(label, FALSE));
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
