#include "fleet.h"

#include <glib.h>

#include "base/system.h"
#include "cost.h"
#include "kernels/clock.h"
#include "spec/cell_task.h"

static void allocate_host(eab_fleet_state *fleet) {
    const int32_t cells = fleet->cells;
    fleet->cell = g_new(int32_t, cells);
    fleet->parts = g_new(eab_parts, cells);
    fleet->seeds = g_new(uint32_t, cells);
    fleet->training = g_new0(eab_tally, cells);
    fleet->levels = g_new0(eab_level, (gsize)cells * EAB_MAX_PARTS);
    fleet->held_out = g_new0(uint8_t, (gsize)cells * EAB_MAX_PARTS);
    int32_t listed = 0;
    for (int32_t cell = 0; cell < cells; cell++) {
        fleet->cell[cell] = cell;
        fleet->parts[cell] = eab_config_list_parts(&fleet->configs[cell], listed, fleet->levels, fleet->held_out);
        listed += fleet->parts[cell].count;
        fleet->seeds[cell] = (uint32_t)fleet->configs[cell].seed;
    }
    fleet->tokens.generate = (eab_generate_args){.members = cells,
                                                 .batch = fleet->configs[0].batch,
                                                 .context = fleet->configs[0].context,
                                                 .levels = fleet->levels,
                                                 .held_out = fleet->held_out,
                                                 .parts = fleet->parts,
                                                 .seeds = fleet->seeds};
    fleet->evaluations = g_new0(eab_evaluation, (gsize)cells * (gsize)eab_most_parts(&fleet->tokens, cells));
}

static int allocate_device(eab_fleet_state *fleet) {
    eab_device *device = fleet->model.device;
    const eab_backend *backend = device->backend;
    eab_fleet_tokens *tokens = &fleet->tokens;
    const size_t n = (size_t)fleet->cells;
    const size_t token_bytes =
        n * (size_t)fleet->configs[0].batch * (size_t)fleet->configs[0].context * sizeof(int32_t);
    EAB_TRY(backend->allocate(device, token_bytes, (void **)&tokens->inputs));
    EAB_TRY(backend->allocate(device, token_bytes, (void **)&tokens->targets));
    EAB_TRY(backend->allocate(device, token_bytes, (void **)&tokens->predictions));
    EAB_TRY(backend->allocate(device, n * sizeof(int64_t), (void **)&tokens->counts));
    EAB_TRY(backend->allocate(device, sizeof(int64_t), (void **)&tokens->changed));
    EAB_TRY(backend->allocate(device, n * sizeof(eab_tally), (void **)&tokens->training));
    EAB_TRY(backend->allocate(device, n * sizeof(eab_tally), (void **)&tokens->tally));
    EAB_TRY(backend->allocate(device, n * sizeof(eab_tally), (void **)&tokens->rollout));
    return backend->zero(device, tokens->training, n * sizeof(eab_tally));
}

/* Without this, Linux would grant memory that it does not have, and kill the process when the memory is used. */
static int check_memory(const eab_backend *backend, int32_t cells, const eab_config *configs) {
    const double bytes = cells * eab_config_memory_bytes(backend, &configs[0]);
    if (backend->capacity || bytes <= eab_system_memory_bytes()) return EAB_OK;
    return eab_fail(EAB_NO_MEMORY, "out of memory: %.3g GB for a fleet of %d, of %.3g GB", bytes / 1e9, cells,
                    eab_system_memory_bytes() / 1e9);
}

int eab_fleet_open(eab_device *device, int32_t cells, const eab_config *configs, eab_fleet_state *fleet) {
    *fleet = (eab_fleet_state){
        .cells = cells, .configs = configs, .started_s = eab_now_s(), .started_load = eab_system_load()};
    allocate_host(fleet);
    int status = check_memory(device->backend, cells, configs);
    if (!status) status = eab_model_create(device, cells, configs, &fleet->model);
    if (!status) status = allocate_device(fleet);
    if (status) eab_fleet_close(fleet);
    return status;
}

/* A recorded step is valid only for these members in this order. */
static void forget_recording(eab_fleet_state *fleet) {
    eab_device *device = fleet->model.device;
    if (fleet->recording) device->backend->forget(device, fleet->recording);
    fleet->recording = NULL;
    fleet->warm = false;
}

static void release_device(eab_fleet_state *fleet) {
    eab_device *device = fleet->model.device;
    const eab_fleet_tokens *tokens = &fleet->tokens;
    void *const buffers[] = {tokens->inputs,  tokens->targets,  tokens->predictions, tokens->counts,
                             tokens->changed, tokens->training, tokens->tally,       tokens->rollout};
    forget_recording(fleet);
    for (size_t i = 0; i < G_N_ELEMENTS(buffers); i++)
        if (buffers[i]) device->backend->release(device, buffers[i]);
    eab_model_destroy(&fleet->model);
}

void eab_fleet_close(eab_fleet_state *fleet) {
    if (fleet->model.device) release_device(fleet);
    g_free(fleet->levels);
    g_free(fleet->held_out);
    g_free(fleet->cell);
    g_free(fleet->parts);
    g_free(fleet->seeds);
    g_free(fleet->training);
    g_free(fleet->evaluations);
    *fleet = (eab_fleet_state){0};
}

int eab_fleet_swap(eab_fleet_state *fleet, int32_t a, int32_t b) {
    forget_recording(fleet);
    EAB_TRY(eab_model_swap(&fleet->model, a, b));
    eab_swap_elements(fleet->cell, sizeof *fleet->cell, a, b);
    eab_swap_elements(fleet->parts, sizeof *fleet->parts, a, b);
    eab_swap_elements(fleet->seeds, sizeof *fleet->seeds, a, b);
    eab_swap_elements(fleet->training, sizeof *fleet->training, a, b);
    return EAB_OK;
}

int eab_fleet_remove(eab_fleet_state *fleet, int32_t member) {
    const int32_t last = fleet->model.shape.members - 1;
    forget_recording(fleet);
    if (member != last) EAB_TRY(eab_fleet_swap(fleet, member, last));
    fleet->model.shape.members = last;
    return EAB_OK;
}

int eab_fleet_read_tallies(eab_fleet_state *fleet) {
    eab_device *device = fleet->model.device;
    return device->backend->download(device, fleet->training, fleet->tokens.training,
                                     (size_t)fleet->model.shape.members * sizeof(eab_tally));
}
