/* eabench trace: the first training steps of a cell, tensor by tensor, for a program that computes the same model. */
#include <dirent.h>
#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "base/suggest.h"
#include "model/safetensors.h"
#include "model/step.h"
#include "plan/cells.h"

enum { MAX_STEPS = 1000 };

/* ---- the files ----------------------------------------------------------------------------------------------- */

typedef struct {
    const char *out;
    const eab_config *config;
    eab_fleet_state fleet;     /* of this one cell */
    double *values;            /* [parameters.count] */
    int32_t *inputs, *targets; /* [batch][context], on the host */
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

static char *file_path(const trace *t, const char *what, int64_t step) {
    char *name = g_strdup_printf("%s-%" G_GINT64_FORMAT ".safetensors", what, step);
    char *path = g_build_filename(t->out, name, NULL);
    g_free(name);
    return path;
}

static int write_parameters(trace *t, const char *what, int64_t step, eab_tensor from) {
    const eab_model *model = &t->fleet.model;
    const eab_backend *backend = model->device->backend;
    EAB_TRY(backend->read_reals(model->device, t->values, from.data, model->parameters.count));
    char *path = file_path(t, what, step);
    const int status = eab_safetensors_write_model(path, t->config, &model->parameters,
                                                   backend->real_bytes == sizeof(double) ? "F64" : "F32", t->values);
    g_free(path);
    return status;
}

/* The tokens, the loss and the rate of a step after its passes. */
static int write_batch(trace *t, int64_t step) {
    eab_device *device = t->fleet.model.device;
    const int64_t batch = t->config->batch, context = t->config->context;
    const size_t bytes = (size_t)(batch * context) * sizeof(int32_t);
    EAB_TRY(device->backend->download(device, t->inputs, t->fleet.tokens.inputs, bytes));
    EAB_TRY(device->backend->download(device, t->targets, t->fleet.tokens.targets, bytes));
    EAB_TRY(eab_fleet_read_tallies(&t->fleet));
    const double loss_nats = t->fleet.training->loss_nats / (double)t->fleet.training->tokens;
    const double rate = eab_learning_rate(t->fleet.model.optimizers, step);
    const eab_safetensor tensors[] = {{"loss_nats", "F64", 0, {0}, &loss_nats},
                                      {"lr", "F64", 0, {0}, &rate},
                                      {"inputs", "I32", 2, {batch, context}, t->inputs},
                                      {"targets", "I32", 2, {batch, context}, t->targets}};
    char *path = file_path(t, "batch", step);
    const int status = eab_safetensors_write(path, t->config, tensors, G_N_ELEMENTS(tensors));
    g_free(path);
    return status;
}

/* A training step as a sweep does it, with the gradients written before the optimizer uses them. */
static int trace_step(trace *t, int64_t step) {
    eab_model *model = &t->fleet.model;
    EAB_TRY(model->device->backend->zero(model->device, t->fleet.tokens.training, sizeof(eab_tally)));
    EAB_TRY(eab_fleet_gradients(&t->fleet, step));
    EAB_TRY(write_batch(t, step));
    EAB_TRY(write_parameters(t, "gradients", step, model->gradients));
    EAB_TRY(eab_model_step(model, step));
    return write_parameters(t, "weights", step + 1, model->weights);
}

static int trace_steps(trace *t, int64_t steps) {
    const size_t tokens = (size_t)t->config->batch * (size_t)t->config->context;
    t->values = malloc((size_t)t->fleet.model.parameters.count * sizeof *t->values);
    t->inputs = malloc(tokens * sizeof *t->inputs);
    t->targets = malloc(tokens * sizeof *t->targets);
    if (!t->values || !t->inputs || !t->targets) return eab_fail(EAB_NO_MEMORY, "no memory for a trace");
    EAB_TRY(make_folder(t->out)); /* last, so that no folder is left where memory is missing */
    EAB_TRY(write_parameters(t, "weights", 0, t->fleet.model.weights));
    for (int64_t step = 0; step < steps; step++) EAB_TRY(trace_step(t, step));
    return EAB_OK;
}

/* Trains `config` for `steps` steps as a sweep does. EAB_BAD_INPUT where `out` holds files, EAB_IO where it cannot be
 * written, or the device's error. */
static int write_trace(eab_device *device, const eab_config *config, int64_t steps, const char *out) {
    trace t = {.out = out, .config = config};
    EAB_TRY(eab_fleet_open(device, 1, config, &t.fleet));
    const int status = trace_steps(&t, steps);
    eab_fleet_close(&t.fleet);
    free(t.values);
    free(t.inputs);
    free(t.targets);
    return status;
}

/* ---- the command --------------------------------------------------------------------------------------------- */

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
