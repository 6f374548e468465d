#include "session.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "report.h"
#include "run/checkpoints.h"
#include "run/summary.h"
#include "run/tables.h"

enum { MAX_FAILURES_SHOWN = 10 };

/* ---- in the workers' threads --------------------------------------------------------------------------------- */

int eab_session_take_rows(void *context, const eab_cell_end *end, const char *const *rows) {
    eab_sweep_session *session = context;
    EAB_TRY(eab_run_folder_append(session->folder, end, rows));
    pthread_mutex_lock(&session->mutex);
    g_array_append_val(session->ends, *end);
    pthread_mutex_unlock(&session->mutex);
    return EAB_OK;
}

static int take_result(void *context, int64_t index, const eab_cell_result *result) {
    eab_sweep_session *session = context;
    char *rows[EAB_TABLE_COUNT];
    int status = EAB_OK;
    eab_cell_end end;
    memset(&end, 0, sizeof end); /* the padding is sent, too */
    end.index = index;
    end.status = result->status;
    end.solved = result->scores.solved;
    end.token_accuracy = result->scores.token_accuracy;
    end.wall_s = result->wall_s;
    end.steps_to_solve = result->scores.steps_to_solve;
    g_strlcpy(end.reason, result->reason, sizeof end.reason);
    eab_cell_rows(&session->run, &session->plan->cells[index], result, rows);
    if (session->follower) eab_follower_send(session->follower, &end, (const char *const *)rows);
    else status = eab_session_take_rows(session, &end, (const char *const *)rows);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) g_free(rows[table]);
    return status;
}

static char *model_path(void *context, int64_t index) {
    const eab_sweep_session *session = context;
    return eab_run_cell_file(session->sweep->out, "models", &session->plan->cells[index]);
}

static char *geometry_path(void *context, int64_t index) {
    const eab_sweep_session *session = context;
    return eab_run_cell_file(session->sweep->out, "geometry", &session->plan->cells[index]);
}

static char *checkpoint_path(void *context, int64_t index) {
    const eab_sweep_session *session = context;
    return eab_run_checkpoint_path(session->sweep->out, &session->plan->cells[index]);
}

/* Only after the results are on the disk. Most cells are too short to have a checkpoint. */
void eab_session_remove_checkpoint(void *context, const char *path) {
    const eab_sweep_session *session = context;
    if (access(path, F_OK)) return;
    if (session->follower) eab_follower_post(session->follower, EAB_RANK_FORGET, path);
    else if (eab_run_folder_sync(session->folder) == EAB_OK) unlink(path);
}

void eab_session_take_note(void *context, const char *line) {
    eab_sweep_session *session = context;
    if (session->follower) {
        eab_follower_post(session->follower, EAB_RANK_NOTE, line);
        return;
    }
    pthread_mutex_lock(&session->mutex);
    g_ptr_array_add(session->notes, g_strdup_printf("eabench sweep: %s", line));
    pthread_mutex_unlock(&session->mutex);
}

/* ---- settings ------------------------------------------------------------------------------------------------ */

eab_run_settings eab_session_run_settings(const eab_sweep *sweep) {
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
                              .keep_timeouts = sweep->search,
                              .keep_failures = sweep->resumed};
}

eab_pool_settings eab_session_pool_settings(eab_sweep_session *session, const int32_t *fleets) {
    const eab_sweep *sweep = session->sweep;
    return (eab_pool_settings){.backend = sweep->backend,
                               .device = sweep->device,
                               .workers = sweep->workers,
                               .fleet = sweep->fleet,
                               .fleets = fleets,
                               .keep_curves = sweep->save_curves,
                               .abandon = sweep->search,
                               .model_path = sweep->save_models ? model_path : NULL,
                               .geometry_path = sweep->save_geometry ? geometry_path : NULL,
                               .checkpoints = {.path = sweep->checkpoint_every_s > 0 ? checkpoint_path : NULL,
                                               .remove = eab_session_remove_checkpoint,
                                               .note = eab_session_take_note,
                                               .every_s = sweep->checkpoint_every_s,
                                               .sparing = sweep->checkpoint_sparing},
                               .sink = take_result,
                               .profile = sweep->profile ? &session->profile : NULL,
                               .context = session};
}

/* ---- in the main thread -------------------------------------------------------------------------------------- */

static void report_failure(eab_sweep_session *session, const char *label, const eab_cell_end *end) {
    if (session->state.failed > MAX_FAILURES_SHOWN) return;
    char *line = g_strdup_printf(
        "eabench sweep: %s: %s: %s%s", label, eab_cell_status_name(end->status), end->reason,
        session->state.failed == MAX_FAILURES_SHOWN ? " (further failures are shown in accuracy.csv only)" : "");
    eab_progress_note(session->progress, line);
    g_free(line);
}

/* "LABEL  accuracy 0.9871, solved at step 400  1.2s", "LABEL  diverged  1.2s" or "LABEL  abandoned at ...". */
static void report_result(eab_sweep_session *session, const char *label, const eab_cell_end *end) {
    char solved[64] = "", took[32] = "--", *line;
    if (end->steps_to_solve >= 0)
        g_snprintf(solved, sizeof solved, ", solved at step %" G_GINT64_FORMAT, (gint64)end->steps_to_solve);
    if (end->wall_s < 60) g_snprintf(took, sizeof took, "%.1fs", end->wall_s);
    else eab_duration_print(end->wall_s, took, sizeof took);
    if (end->status == EAB_CELL_TIMEOUT) line = g_strdup_printf("%s  %s", label, end->reason);
    else if (end->status == EAB_CELL_DIVERGED) line = g_strdup_printf("%s  diverged  %s", label, took);
    else line = g_strdup_printf("%s  accuracy %.4f%s  %s", label, end->token_accuracy, solved, took);
    eab_progress_cell(session->progress, &session->state, line);
    g_free(line);
}

static void report_end(eab_sweep_session *session, const eab_cell_end *end) {
    const eab_config *config = &session->plan->cells[end->index].config;
    eab_progress_state *state = &session->state;
    const bool is_result = eab_cell_status_is_result(end->status);
    char label[512];
    eab_cell_label(config, label, sizeof label);
    state->cells_done += is_result;
    state->failed += !is_result && end->status != EAB_CELL_TIMEOUT;
    if (is_result && !isnan(end->token_accuracy)) {
        state->accuracy_sum[config->mechanism] += end->token_accuracy;
        state->accuracy_count[config->mechanism]++;
    }
    eab_report_cell(session, end);
    if (is_result || end->status == EAB_CELL_TIMEOUT) report_result(session, label, end);
    else report_failure(session, label, end);
}

/* Updates the sums of work done, in this process and in the followers. */
static void measure(eab_sweep_session *session) {
    eab_pool_progress pool;
    double followers_flop = 0, followers_tokens = 0; /* since the sweep began */
    eab_pool_measure(session->pool, &pool);
    if (session->leader) eab_leader_measure(session->leader, &followers_flop, &followers_tokens);
    session->own.flop_done = session->own_before.flop_done + pool.flop_done;
    session->own.tokens = session->own_before.tokens + pool.tokens;
    session->state.flop_done = session->own.flop_done + followers_flop;
    session->state.flop_total = session->before.flop_done + pool.flop_total;
    session->state.tokens = session->own.tokens + followers_tokens;
}

void eab_session_report_ends(eab_sweep_session *session) {
    pthread_mutex_lock(&session->mutex);
    GArray *ends = session->ends;
    session->ends = g_array_new(FALSE, FALSE, sizeof(eab_cell_end));
    GPtrArray *notes = session->notes;
    session->notes = g_ptr_array_new_with_free_func(g_free);
    pthread_mutex_unlock(&session->mutex);

    for (guint i = 0; i < notes->len; i++) eab_progress_note(session->progress, notes->pdata[i]);
    measure(session);
    for (guint i = 0; i < ends->len; i++) report_end(session, &g_array_index(ends, eab_cell_end, i));
    g_ptr_array_free(notes, TRUE);
    g_array_free(ends, TRUE);
}
