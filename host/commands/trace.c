#include "trace.h"

#include <dirent.h>
#include <errno.h>
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "base/suggest.h"
#include "model/network.h"
#include "model/safetensors.h"
#include "spec/cell_task.h"

typedef struct {
    eab_device *device;
    const eab_config *config;
    const char *out;
    eab_level *levels; /* of the task's parts: one but in a mixture */
    uint8_t *held_out; /* of each */
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

/* What train.c does in a step, with a look between the pass and the optimizer. */
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

static int run(trace *t, int64_t steps) {
    EAB_TRY(eab_model_create(t->device, 1, t->config, &t->model));
    EAB_TRY(allocate(t));
    EAB_TRY(make_folder(t->out)); /* last, so that nothing is left behind by what does not fit */
    EAB_TRY(write_parameters(t, "weights", 0, t->model.weights));
    for (int64_t step = 0; step < steps; step++) EAB_TRY(trace_step(t, step));
    return EAB_OK;
}

int eab_trace_write(eab_device *device, const eab_config *config, int64_t steps, const char *out) {
    trace t = {.device = device, .config = config, .out = out};
    const int status = run(&t, steps);
    release(&t);
    return status;
}
