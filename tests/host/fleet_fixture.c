#include "fleet_fixture.h"
#include "default_config.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "host/spec/cell_task.h"
#include "host/spec/options.h"

#define OK(call) cr_assert_eq(call, EAB_OK, "%s", eab_last_error())

eab_config tiny_config(void) {
    eab_config config = default_config(0);
    config.level.option[EAB_RECURRENCE_BASIS] = 3;
    config.level.option[EAB_RECURRENCE_DELAY] = 2;
    config.d_model = 6;
    config.heads = 2;
    config.context = 5;
    config.mlp_ratio = 2;
    config.batch = 3;
    config.steps = 20;
    config.warmup = 5;
    config.eval_every = 10;
    config.eval_tokens = 60;
    return config;
}

static char *member_part(const fleet_fixture *fleet, eab_tensor tensor, int32_t member) {
    return (char *)tensor.data + member * tensor.stride * (int64_t)fleet->device->backend->real_bytes;
}

void fleet_open(fleet_fixture *fleet, const char *backend_name, int32_t members, const eab_config *configs) {
    *fleet = (fleet_fixture){0};
    const bool plain = strcmp(backend_name, "plain") == 0;
    OK(eab_device_open_backend(plain ? &eab_backend_plain : eab_backend_from_name(backend_name), 0, &fleet->device));
    OK(eab_model_create(fleet->device, members, configs, &fleet->model));
    const eab_backend *backend = fleet->device->backend;
    int32_t listed = 0;
    for (int32_t member = 0; member < members; member++) {
        fleet->parts[member] = eab_config_list_parts(&configs[member], listed, fleet->levels, fleet->held_out);
        listed += fleet->parts[member].count;
        fleet->seeds[member] = (uint32_t)configs[member].seed;
    }
    const eab_generate_args generate = {.members = members,
                                        .batch = configs->batch,
                                        .context = configs->context,
                                        .levels = fleet->levels,
                                        .held_out = fleet->held_out,
                                        .parts = fleet->parts,
                                        .seeds = fleet->seeds,
                                        .stream = EAB_STREAM_TRAINING};
    const size_t bytes = (size_t)(members * configs->batch * configs->context) * sizeof(int32_t);
    OK(backend->allocate(fleet->device, bytes, (void **)&fleet->inputs));
    OK(backend->allocate(fleet->device, bytes, (void **)&fleet->targets));
    OK(backend->allocate(fleet->device, (size_t)members * sizeof(int64_t), (void **)&fleet->counts));
    OK(backend->allocate(fleet->device, (size_t)members * sizeof(eab_tally), (void **)&fleet->tally));
    OK(backend->generate(fleet->device, &generate, fleet->inputs, fleet->targets, fleet->counts));
}

void fleet_close(fleet_fixture *fleet) {
    const eab_backend *backend = fleet->device->backend;
    backend->release(fleet->device, fleet->inputs);
    backend->release(fleet->device, fleet->targets);
    backend->release(fleet->device, fleet->counts);
    backend->release(fleet->device, fleet->tally);
    eab_model_destroy(&fleet->model);
    cr_expect_eq(fleet->device->bytes, 0, "%zu bytes were not released", fleet->device->bytes);
    eab_device_close(fleet->device);
}

static void pass(fleet_fixture *fleet, const int64_t *counts) {
    const size_t bytes = (size_t)fleet->model.shape.members * sizeof(eab_tally);
    OK(fleet->device->backend->zero(fleet->device, fleet->tally, bytes));
    OK(eab_model_pass(&fleet->model, fleet->inputs, fleet->targets, counts, fleet->tally, NULL));
}

double fleet_loss(fleet_fixture *fleet, int32_t member) {
    eab_tally tally[4];
    pass(fleet, fleet->model.config.dropout > 0 ? fleet->counts : NULL);
    OK(fleet->device->backend->download(fleet->device, tally, fleet->tally,
                                        (size_t)fleet->model.shape.members * sizeof *tally));
    return tally[member].loss_nats / (double)tally[member].tokens;
}

static double *read_member(fleet_fixture *fleet, eab_tensor tensor, int32_t member) {
    double *values = malloc((size_t)fleet->model.parameters.count * sizeof *values);
    cr_assert_not_null(values);
    OK(fleet->device->backend->read_reals(fleet->device, values, member_part(fleet, tensor, member),
                                          fleet->model.parameters.count));
    return values;
}

double *fleet_gradients(fleet_fixture *fleet, int32_t member) {
    const eab_tensor gradients = fleet->model.gradients;
    OK(fleet->device->backend->zero(fleet->device, gradients.data,
                                    (size_t)(fleet->model.shape.members * gradients.stride) *
                                        fleet->device->backend->real_bytes));
    pass(fleet, fleet->counts);
    return read_member(fleet, gradients, member);
}

double *fleet_weights(fleet_fixture *fleet, int32_t member) { return read_member(fleet, fleet->model.weights, member); }

void fleet_set_weights(fleet_fixture *fleet, int32_t member, const double *weights) {
    OK(fleet->device->backend->write_reals(fleet->device, member_part(fleet, fleet->model.weights, member), weights,
                                           fleet->model.parameters.count));
}
