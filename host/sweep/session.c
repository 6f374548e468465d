#include "session.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/version.h"
#include "bench/peak.h"
#include "run/tables.h"

/* ---- in the workers' threads --------------------------------------------------------------------------------- */

static void send_rows(const eab_sweep_session *session, const eab_cell_end *end, const char *const *rows) {
    GByteArray *tail = g_byte_array_new();
    for (int table = 0; table < EAB_TABLE_COUNT; table++)
        g_byte_array_append(tail, (const guint8 *)rows[table], (guint)strlen(rows[table]) + 1);
    eab_rank_message *message = eab_rank_message_new(EAB_RANK_RESULT, tail->data, tail->len);
    message->result = *end;
    eab_outbox_post(session->outbox, message);
    g_byte_array_free(tail, TRUE);
}

int eab_session_take_rows(eab_sweep_session *session, const eab_cell_end *end, const char *const *rows) {
    if (session->outbox) {
        send_rows(session, end, rows);
        return EAB_OK;
    }
    EAB_TRY(eab_run_folder_append(session->folder, end, rows));
    pthread_mutex_lock(&session->mutex);
    g_array_append_val(session->ends, *end);
    pthread_mutex_unlock(&session->mutex);
    return EAB_OK;
}

/* The settings for the rows of a cell. A share of the peak above 1 means that the peak was measured while the machine
 * was busier than during the cell: it is measured again, by the thread that trained the cell. */
static eab_run_settings settings_for_rows(eab_sweep_session *session, int64_t index, const eab_cell_result *result) {
    eab_device *device;
    pthread_mutex_lock(&session->mutex);
    eab_run_settings run = session->run;
    pthread_mutex_unlock(&session->mutex);
    if (!(eab_peak_fraction(&run, &session->plan->cells[index], result) > 1)) return run;
    if (eab_device_open(session->sweep->backend, session->sweep->device, &device)) return run;
    const double peak = eab_peak_gflop_per_s(device, EAB_F32);
    eab_device_close(device);
    pthread_mutex_lock(&session->mutex);
    session->run.peak_gflop_per_s = fmax(session->run.peak_gflop_per_s, peak);
    run = session->run;
    pthread_mutex_unlock(&session->mutex);
    return run;
}

static int take_result(void *context, int64_t index, const eab_cell_result *result) {
    eab_sweep_session *session = context;
    char *rows[EAB_TABLE_COUNT];
    eab_cell_end end = {.index = index,
                        .status = result->status,
                        .solved = result->scores.solved,
                        .token_accuracy = result->scores.token_accuracy,
                        .wall_s = result->wall_s,
                        .steps_to_solve = result->scores.steps_to_solve};
    g_strlcpy(end.reason, result->reason, sizeof end.reason);
    const eab_run_settings run = settings_for_rows(session, index, result);
    eab_cell_rows(&run, &session->plan->cells[index], result, rows);
    const int status = eab_session_take_rows(session, &end, (const char *const *)rows);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) g_free(rows[table]);
    return status;
}

static void end_fleet(void *context, bool complete) {
    const eab_sweep_session *session = context;
    if (!session->outbox) return;
    eab_rank_message *message = eab_rank_message_new(EAB_RANK_FLEET_ENDED, NULL, 0);
    message->complete = complete;
    eab_outbox_post(session->outbox, message);
}

/* Only after the results are on the disk. Most cells are too short to have a checkpoint. */
void eab_session_remove_checkpoint(void *context, const char *path) {
    const eab_sweep_session *session = context;
    if (access(path, F_OK)) return;
    if (session->outbox)
        eab_outbox_post(session->outbox, eab_rank_message_new(EAB_RANK_REMOVE_CHECKPOINT, path, strlen(path) + 1));
    else if (eab_run_folder_sync(session->folder) == EAB_OK) unlink(path);
}

static void take_note(void *context, const char *line) {
    (void)context;
    eab_log_note("sweep", "%s", line);
}

/* ---- settings ------------------------------------------------------------------------------------------------ */

eab_run_settings eab_session_run_settings(const eab_sweep *sweep, const eab_plan *plan) {
    return (eab_run_settings){.backend = sweep->backend,
                              .device = sweep->description,
                              .isa = sweep->isa,
                              .ranks = sweep->ranks ? sweep->place.count : 1,
                              .workers = sweep->workers,
                              .fleet = sweep->fleet,
                              .command = sweep->command,
                              .save_models = sweep->save_models,
                              .save_curves = sweep->save_curves,
                              .save_geometry = sweep->save_geometry,
                              .later = plan->later,
                              .keep_timeouts = sweep->search,
                              .keep_failures = sweep->resumed};
}

eab_pool_settings eab_session_pool_settings(eab_sweep_session *session, eab_queue *queue) {
    const eab_sweep *sweep = session->sweep;
    return (eab_pool_settings){.backend = sweep->backend,
                               .device = sweep->device,
                               .workers = sweep->workers,
                               .queue = queue,
                               .run = sweep->out,
                               .save_models = sweep->save_models,
                               .save_geometry = sweep->save_geometry,
                               .keep_curves = sweep->save_curves,
                               .abandon = sweep->search,
                               .checkpoint_every_s = sweep->checkpoint_every_s,
                               .checkpoint_adaptive = sweep->checkpoint_adaptive,
                               .profile = sweep->profile ? &session->profile : NULL,
                               .context = session,
                               .sink = take_result,
                               .fleet_ended = end_fleet,
                               .remove_checkpoint = eab_session_remove_checkpoint,
                               .note = take_note};
}

void eab_session_fingerprint(const eab_sweep *sweep, const eab_plan *plan, char text[EAB_FINGERPRINT_SIZE]) {
    const char *const build[] = {eab_build_version(), eab_build_commit(), sweep->backend};
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    for (size_t i = 0; i < G_N_ELEMENTS(build); i++)
        g_checksum_update(sum, (const guchar *)build[i], (gssize)strlen(build[i]) + 1);
    for (int64_t i = 0; i < plan->count; i++) g_checksum_update(sum, (const guchar *)plan->cells[i].id, 16);
    g_strlcpy(text, g_checksum_get_string(sum), EAB_FINGERPRINT_SIZE);
    g_checksum_free(sum);
}
