/* eabench trace: the first training steps of a cell, tensor by tensor, for a program that computes the same model. */
#include <dirent.h>
#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "base/suggest.h"
#include "model/network.h"
#include "model/safetensors.h"
#include "plan/cells.h"
#include "spec/cell_task.h"

enum { MAX_STEPS = 1000 };

typedef struct {
    eab_device *device;
    const eab_config *config;
    const char *out;
    eab_level *levels; /* of the parts: one, or several of a mixture */
    uint8_t *held_out; /* of each part */
    eab_parts parts;
    eab_model model;
    double *values;                    /* [parameters.count] */
    int32_t *inputs, *targets;         /* on the device */
    int32_t *own_inputs, *own_targets; /* on the host */
    int64_t *counts;                   /* on the device */
    eab_tally *tally;                  /* on the device */
} trace;

static int make_folder(const char *out) {
    char shown[160];
    eab_excerpt(out, 120, shown, sizeof shown);
    if (g_mkdir_with_parents(out, 0777)) return eab_fail(EAB_IO, "cannot make %s: %s", shown, g_strerror(errno));
    DIR *folder = opendir(out);
    if (!folder) return eab_fail(EAB_IO, "cannot read %s: %s", shown, g_strerror(errno));
    bool empty = true;
    for (const struct dirent *entry; empty && (entry = readdir(folder));)
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(folder);
    return empty ? EAB_OK
                 : eab_fail(EAB_BAD_INPUT, "--out %s holds files already; a new or empty folder is allowed", shown);
}

static int allocate(trace *t) {
    const eab_backend *backend = t->device->backend;
    const size_t bytes = (size_t)t->config->batch * (size_t)t->config->context * sizeof(int32_t);
    EAB_TRY(backend->allocate(t->device, bytes, (void **)&t->inputs));
    EAB_TRY(backend->allocate(t->device, bytes, (void **)&t->targets));
    EAB_TRY(backend->allocate(t->device, sizeof *t->counts, (void **)&t->counts));
    EAB_TRY(backend->allocate(t->device, sizeof *t->tally, (void **)&t->tally));
    t->parts = (eab_parts){0, eab_config_part_count(t->config), eab_config_cue_token(t->config)};
    t->levels = calloc((size_t)t->parts.count, sizeof *t->levels);
    t->held_out = calloc((size_t)t->parts.count, sizeof *t->held_out);
    t->own_inputs = malloc(bytes);
    t->own_targets = malloc(bytes);
    t->values = malloc((size_t)t->model.parameters.count * sizeof *t->values);
    if (!t->levels || !t->held_out || !t->own_inputs || !t->own_targets || !t->values)
        return eab_fail(EAB_NO_MEMORY, "no memory for a trace");
    for (int32_t part = 0; part < t->parts.count; part++) {
        t->levels[part] = *eab_config_part(t->config, part);
        t->held_out[part] = eab_config_part_held_out(t->config, part);
    }
    return EAB_OK;
}

static void release(trace *t) {
    void *const on_device[] = {t->inputs, t->targets, t->counts, t->tally};
    for (size_t i = 0; i < sizeof on_device / sizeof *on_device; i++)
        if (on_device[i]) t->device->backend->release(t->device, on_device[i]);
    if (t->model.device) eab_model_destroy(&t->model);
    free(t->levels);
    free(t->held_out);
    free(t->own_inputs);
    free(t->own_targets);
    free(t->values);
}

static char *file_path(const trace *t, const char *what, int64_t step) {
    char *name = g_strdup_printf("%s-%" G_GINT64_FORMAT ".safetensors", what, step);
    char *path = g_build_filename(t->out, name, NULL);
    g_free(name);
    return path;
}

static int write_parameters(trace *t, const char *what, int64_t step, eab_tensor from) {
    const eab_backend *backend = t->device->backend;
    EAB_TRY(backend->read_reals(t->device, t->values, from.data, t->model.parameters.count));
    char *path = file_path(t, what, step);
    const int status = eab_safetensors_write(
        path, &t->model.parameters, t->config,
        backend->real_bytes == sizeof(double) ? EAB_STORED_FLOAT64 : EAB_STORED_FLOAT32, t->values);
    g_free(path);
    return status;
}

static int write_batch(trace *t, int64_t step) {
    const eab_backend *backend = t->device->backend;
    const size_t bytes = (size_t)t->config->batch * (size_t)t->config->context * sizeof(int32_t);
    eab_tally tally;
    EAB_TRY(backend->download(t->device, t->own_inputs, t->inputs, bytes));
    EAB_TRY(backend->download(t->device, t->own_targets, t->targets, bytes));
    EAB_TRY(backend->download(t->device, &tally, t->tally, sizeof tally));
    const double loss_nats = tally.loss_nats / (double)tally.tokens;
    const double rate = eab_learning_rate(&t->model.optimizers[0], step);
    const int64_t batch = t->config->batch, context = t->config->context;
    const eab_safetensor tensors[] = {{"loss_nats", "F64", 0, {0}, &loss_nats},
                                      {"lr", "F64", 0, {0}, &rate},
                                      {"inputs", "I32", 2, {batch, context}, t->own_inputs},
                                      {"targets", "I32", 2, {batch, context}, t->own_targets}};
    char *path = file_path(t, "batch", step);
    const int status = eab_safetensors_write_tensors(path, t->config, tensors, G_N_ELEMENTS(tensors));
    g_free(path);
    return status;
}

/* A training step as train.c does it, with files written between the pass and the optimizer. */
static int trace_step(trace *t, int64_t step) {
    const eab_backend *backend = t->device->backend;
    const uint32_t seed = (uint32_t)t->config->seed;
    const eab_generate_args generate = {.members = 1,
                                        .batch = t->config->batch,
                                        .context = t->config->context,
                                        .levels = t->levels,
                                        .held_out = t->held_out,
                                        .parts = &t->parts,
                                        .seeds = &seed,
                                        .stream = EAB_STREAM_TRAINING,
                                        .first_index = (uint64_t)step * (uint64_t)t->config->batch};
    EAB_TRY(backend->zero(t->device, t->tally, sizeof *t->tally));
    EAB_TRY(backend->generate(t->device, &generate, t->inputs, t->targets, t->counts));
    EAB_TRY(eab_model_pass(&t->model, t->inputs, t->targets, t->counts, t->tally, NULL));
    EAB_TRY(write_batch(t, step));
    EAB_TRY(write_parameters(t, "gradients", step, t->model.gradients));
    EAB_TRY(eab_model_step(&t->model, step));
    return write_parameters(t, "weights", step + 1, t->model.weights);
}

static int run_trace(trace *t, int64_t steps) {
    EAB_TRY(eab_model_create(t->device, 1, t->config, &t->model));
    EAB_TRY(allocate(t));
    EAB_TRY(make_folder(t->out)); /* last, so that a trace that does not fit leaves no folder */
    EAB_TRY(write_parameters(t, "weights", 0, t->model.weights));
    for (int64_t step = 0; step < steps; step++) EAB_TRY(trace_step(t, step));
    return EAB_OK;
}

/* Trains the cell for `steps` steps as a sweep does, and writes them into the folder `out`, which is made where it is
 * missing. EAB_BAD_INPUT where it holds files, EAB_IO where it cannot be written, or the device's error. */
static int write_trace(eab_device *device, const eab_config *config, int64_t steps, const char *out) {
    trace t = {.device = device, .config = config, .out = out};
    const int status = run_trace(&t, steps);
    release(&t);
    return status;
}

/* ---- the command ------------------------------------------------------------------------------------------------- */

typedef struct {
    char **specs, **sets, *out, *backend;
    gint device;
    gint64 steps;
} arguments;

/* Returns an exit code, or -1 to continue. */
static int parse(arguments *a, int argc, char **argv) {
    const GOptionEntry entries[] = {
        {"set", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->sets, "replace or add an option of the spec; may be repeated",
         "SECTION.KEY=VALUE"},
        {"steps", 0, 0, G_OPTION_ARG_INT64, &a->steps, "how many training steps (default: 3)", "N"},
        {"out", 0, 0, G_OPTION_ARG_FILENAME, &a->out, "a new or empty folder", "DIR"},
        {"backend", 0, 0, G_OPTION_ARG_FILENAME, &a->backend, "cpu, cuda or reference (default: cpu)", "NAME"},
        {"device", 0, 0, G_OPTION_ARG_INT, &a->device, "index of the device (default: 0)", "N"},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &a->specs, NULL, "SPEC.ini"},
        {0},
    };
    return eab_command_parse(
        "trace", "- the first training steps of a cell, tensor by tensor",
        "The spec has one cell: --set gives an axis one value. Into DIR go, for each step S from 0:\n"
        "  weights-S.safetensors    the weights before it, as --save-models writes them\n"
        "  batch-S.safetensors      inputs, targets (negative: not determined), loss_nats, lr\n"
        "  gradients-S.safetensors  the gradient before clipping, named as the weights\n"
        "and the weights after the last step. float32; float64 with --backend reference.",
        entries, argc, argv);
}

/* Returns an exit code, or -1 to continue. */
static int check(const arguments *a) {
    char shown[80];
    static const char *const backends[] = {"cpu", "cuda", "reference", NULL};
    if (!a->specs) fprintf(stderr, "eabench trace: no spec; usage: eabench trace SPEC.ini --out DIR, see --help\n");
    else if (a->specs[1])
        fprintf(stderr, "eabench trace: %s: a second spec; one is allowed\n",
                eab_excerpt(a->specs[1], 60, shown, sizeof shown));
    else if (!a->out || !*a->out) fprintf(stderr, "eabench trace: no --out; a new or empty folder is allowed\n");
    else if (!g_strv_contains(backends, a->backend))
        fprintf(stderr, "eabench trace: --backend is '%s'; cpu, cuda, reference are allowed; nearest: %s\n",
                eab_excerpt(a->backend, 40, shown, sizeof shown), eab_suggest(a->backend, backends));
    else if (a->device < 0 || a->device > 1023)
        fprintf(stderr, "eabench trace: --device is %d; 0..1023 is allowed\n", a->device);
    else if (a->steps < 1 || a->steps > MAX_STEPS)
        fprintf(stderr, "eabench trace: --steps is %" G_GINT64_FORMAT "; 1..%d is allowed\n", a->steps, MAX_STEPS);
    else return -1;
    return EAB_EXIT_BAD_INPUT;
}

static int refuse_plan(const char *spec, const eab_plan *plan) {
    char shown[80];
    fprintf(stderr,
            "eabench trace: %s: %" G_GINT64_FORMAT " cells; one is allowed: give each axis one value by --set\n",
            eab_excerpt(spec, 60, shown, sizeof shown), plan->count);
    return EAB_EXIT_BAD_INPUT;
}

static int refuse_steps(const arguments *a, const eab_config *config) {
    fprintf(stderr, "eabench trace: --steps is %" G_GINT64_FORMAT "; the cell has steps = %" G_GINT64_FORMAT "\n",
            a->steps, config->steps);
    return EAB_EXIT_BAD_INPUT;
}

static int trace_cell(const arguments *a, const eab_config *config) {
    eab_device *device;
    int status = eab_device_open(a->backend, a->device, &device);
    if (status) return eab_command_error("trace", status);
    status = write_trace(device, config, a->steps, a->out);
    eab_device_close(device);
    if (status) return eab_command_error("trace", status);
    char shown[160];
    printf("%s: %" G_GINT64_FORMAT " steps\n", eab_excerpt(a->out, 120, shown, sizeof shown), a->steps);
    return EAB_EXIT_DONE;
}

static int trace_spec(const arguments *a) {
    eab_plan plan;
    const int status = eab_plan_load(a->specs[0], (const char *const *)a->sets, &plan);
    if (status) return eab_command_error("trace", status);
    int code;
    if (plan.count != 1) code = refuse_plan(a->specs[0], &plan);
    else if (a->steps > plan.cells[0].config.steps) code = refuse_steps(a, &plan.cells[0].config);
    else code = trace_cell(a, &plan.cells[0].config);
    eab_plan_free(&plan);
    return code;
}

int eab_command_trace(int argc, char **argv) {
    arguments a = {.steps = 3};
    int code = parse(&a, argc, argv);
    if (!a.backend) a.backend = g_strdup("cpu");
    if (code < 0) code = check(&a);
    if (code < 0) code = trace_spec(&a);
    g_strfreev(a.specs);
    g_strfreev(a.sets);
    g_free(a.out);
    g_free(a.backend);
    return code;
}
