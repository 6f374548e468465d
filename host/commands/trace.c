/* eabench trace: the first training steps of a cell, tensor by tensor, for a program that computes the same model. */
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
    int32_t *inputs, *targets; /* [batch][context], on the host */
} trace;

static int make_folder(const char *out) {
    char shown[160];
    eab_excerpt(out, 120, shown, sizeof shown);
    if (g_mkdir_with_parents(out, 0777)) return eab_fail(EAB_IO, "cannot make %s: %s", shown, g_strerror(errno));
    GDir *folder = g_dir_open(out, 0, NULL);
    if (!folder) return eab_fail(EAB_IO, "cannot read %s: %s", shown, g_strerror(errno));
    const bool empty = !g_dir_read_name(folder);
    g_dir_close(folder);
    if (empty) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "--out %s holds files already; a new or empty folder is allowed", shown);
}

static char *file_path(const trace *t, const char *what, int64_t step) {
    return g_strdup_printf("%s/%s-%lld.safetensors", t->out, what, (long long)step);
}

static int write_parameters(trace *t, const char *what, int64_t step, eab_tensor from) {
    const eab_model *model = &t->fleet.model;
    const char *dtype = model->device->backend->real_bytes == sizeof(double) ? "F64" : "F32";
    char *path = file_path(t, what, step);
    const int status =
        eab_safetensors_write_model(path, t->config, &model->parameters, dtype, model->device, from.data);
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
    t->inputs = malloc(tokens * sizeof *t->inputs);
    t->targets = malloc(tokens * sizeof *t->targets);
    if (!t->inputs || !t->targets) return eab_fail(EAB_NO_MEMORY, "no memory for a trace");
    EAB_TRY(make_folder(t->out)); /* last, so that no folder is left where memory is missing */
    EAB_TRY(write_parameters(t, "weights", 0, t->fleet.model.weights));
    for (int64_t step = 0; step < steps; step++) EAB_TRY(trace_step(t, step));
    return EAB_OK;
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

static int check(const arguments *a) {
    static const char *const backends[] = {"cpu", "cuda", "reference", NULL};
    char shown[80];
    if (!a->specs) return eab_fail(EAB_BAD_INPUT, "no spec; usage: eabench trace SPEC.ini --out DIR, see --help");
    if (a->specs[1])
        return eab_fail(EAB_BAD_INPUT, "%s: a second spec; one is allowed",
                        eab_excerpt(a->specs[1], 60, shown, sizeof shown));
    if (!a->out || !*a->out) return eab_fail(EAB_BAD_INPUT, "no --out; a new or empty folder is allowed");
    if (!g_strv_contains(backends, a->backend))
        return eab_fail(EAB_BAD_INPUT, "--backend is '%s'; cpu, cuda, reference are allowed; nearest: %s",
                        eab_excerpt(a->backend, 40, shown, sizeof shown), eab_suggest(a->backend, backends));
    if (a->device < 0 || a->device > 1023)
        return eab_fail(EAB_BAD_INPUT, "--device is %d; 0..1023 is allowed", a->device);
    if (a->steps < 1 || a->steps > MAX_STEPS)
        return eab_fail(EAB_BAD_INPUT, "--steps is %lld; 1..%d is allowed", (long long)a->steps, MAX_STEPS);
    return EAB_OK;
}

static int trace_cell(eab_device *device, const arguments *a, const eab_config *config) {
    trace t = {.out = a->out, .config = config};
    char shown[160];
    EAB_TRY(eab_fleet_open(device, 1, config, &t.fleet));
    const int status = trace_steps(&t, a->steps);
    eab_fleet_close(&t.fleet);
    free(t.inputs);
    free(t.targets);
    if (!status) printf("%s: %lld steps\n", eab_excerpt(a->out, 120, shown, sizeof shown), (long long)a->steps);
    return status;
}

static int open_and_trace(const arguments *a, const eab_config *config) {
    eab_device *device;
    EAB_TRY(eab_device_open(a->backend, a->device, &device));
    const int status = trace_cell(device, a, config);
    eab_device_close(device);
    return status;
}

static int trace_spec(const arguments *a) {
    char shown[80];
    eab_plan plan;
    EAB_TRY(check(a));
    EAB_TRY(eab_plan_load(a->specs[0], (const char *const *)a->sets, &plan));
    const eab_config *config = &plan.cells[0].config;
    int status;
    if (plan.count != 1)
        status = eab_fail(EAB_BAD_INPUT, "%s: %lld cells; one is allowed: give each axis one value by --set",
                          eab_excerpt(a->specs[0], 60, shown, sizeof shown), (long long)plan.count);
    else if (a->steps > config->steps)
        status = eab_fail(EAB_BAD_INPUT, "--steps is %lld; the cell has steps = %lld", (long long)a->steps,
                          (long long)config->steps);
    else status = open_and_trace(a, config);
    eab_plan_free(&plan);
    return status;
}

int eab_command_trace(int argc, char **argv) {
    arguments a = {.steps = 3};
    int code = parse(&a, argc, argv);
    if (!a.backend) a.backend = g_strdup("cpu");
    if (code < 0) {
        const int status = trace_spec(&a);
        code = status ? eab_command_error("trace", status) : EAB_EXIT_DONE;
    }
    g_strfreev(a.specs);
    g_strfreev(a.sets);
    g_free(a.out);
    g_free(a.backend);
    return code;
}
