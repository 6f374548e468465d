#include "step.h"

#include <glib.h>

#include "base/log.h"

int eab_fleet_gradients(eab_fleet_state *fleet, int64_t step) {
    eab_device *device = fleet->model.device;
    eab_fleet_tokens *tokens = &fleet->tokens;
    tokens->generate.members = fleet->model.shape.members;
    tokens->generate.stream = EAB_STREAM_TRAINING;
    tokens->generate.repeat_after = (uint64_t)fleet->model.config.sequences;
    tokens->generate.first_index = fleet->model.first_index = (uint64_t)step * (uint64_t)fleet->model.batch;
    EAB_TRY(device->backend->generate(device, &tokens->generate, tokens->inputs, tokens->targets, tokens->counts));
    return eab_model_pass(&fleet->model, tokens->inputs, tokens->targets, tokens->counts, tokens->training, NULL);
}

static int run_operations(eab_fleet_state *fleet) {
    EAB_TRY(eab_fleet_gradients(fleet, fleet->step));
    return eab_model_step(&fleet->model, fleet->step);
}

static int record(eab_fleet_state *fleet) {
    eab_device *device = fleet->model.device;
    EAB_TRY(device->backend->record_begin(device));
    const int recorded = run_operations(fleet);
    char *reason = g_strdup(eab_last_error()); /* record_end may overwrite it */
    const int ended = device->backend->record_end(device, &fleet->recording);
    if (recorded) eab_fail((eab_status)recorded, "%s", reason);
    g_free(reason);
    return recorded ? recorded : ended;
}

/* Recording executes nothing, so the step can still be run operation by operation. That also reveals a fault of the
 * device. */
static void continue_without_recording(eab_fleet_state *fleet) {
    static atomic_flag reported = ATOMIC_FLAG_INIT;
    eab_device *device = fleet->model.device;
    if (!atomic_flag_test_and_set(&reported))
        eab_log_note("", "steps are not recorded, and take the host longer: %s", eab_last_error());
    if (fleet->recording) device->backend->forget(device, fleet->recording);
    fleet->recording = NULL;
    fleet->recording_failed = true;
}

/* On devices that can record, the first step runs operation by operation, the second is recorded, and from then on the
 * recording is replayed, which takes almost no host time. */
static int run_or_replay(eab_fleet_state *fleet) {
    eab_device *device = fleet->model.device;
    const eab_backend *backend = device->backend;
    const bool records = backend->records && backend->records(device) && !fleet->recording_failed;
    if (!records || !fleet->warm) {
        fleet->warm = true;
        return run_operations(fleet);
    }
    if (!fleet->recording && record(fleet)) {
        continue_without_recording(fleet);
        return run_operations(fleet);
    }
    return backend->replay(device, fleet->recording);
}

int eab_fleet_step(eab_fleet_state *fleet) {
    EAB_TRY(run_or_replay(fleet));
    fleet->step++;
    return EAB_OK;
}
