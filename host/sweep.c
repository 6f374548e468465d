#include "sweep.h"

#include <glib.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../kernels/clock.h"
#include "commands.h"
#include "interrupt.h"
#include "peak.h"
#include "pool.h"
#include "profile_print.h"
#include "progress.h"
#include "run_checkpoints.h"
#include "search.h"
#include "summary.h"
#include "tables.h"

enum { MAX_FAILURES_SHOWN = 10 };
static const double LOOK_EVERY_S = 0.1;

/* A cell that ended, on its way from a worker to the progress line. */
typedef struct {
    int64_t index;
    eab_cell_status status;
    double token_accuracy, wall_s;
    int64_t steps_to_solve;
    char reason[256];
} cell_end;

typedef struct {
    const eab_sweep *sweep;
    const eab_plan *plan;
    eab_run_folder *folder;
    eab_pool *pool;
    eab_progress *progress;
    eab_progress_state state;
    eab_progress_state before; /* when the pool at work was started: a search has many, one after another */
    eab_profile profile;       /* of what was trained, if the sweep asks for it */
    double started_s;
    bool over_time;
    pthread_mutex_t mutex; /* of ends and notes */
    GArray *ends;          /* cell_end */
    GPtrArray *notes;      /* lines for people, from the workers */
} sweep_session;

/* ---- in the workers ------------------------------------------------------------------------------------------ */

static int take_result(void *context, int64_t index, const eab_cell_result *result) {
    sweep_session *session = context;
    EAB_TRY(eab_run_folder_append(session->folder, &session->plan->cells[index], result));
    cell_end end = {index, result->status, result->token_accuracy, result->wall_s, result->steps_to_solve, ""};
    g_strlcpy(end.reason, result->reason, sizeof end.reason);
    pthread_mutex_lock(&session->mutex);
    g_array_append_val(session->ends, end);
    pthread_mutex_unlock(&session->mutex);
    return EAB_OK;
}

static char *model_path(void *context, int64_t index) {
    const sweep_session *session = context;
    char path[4096];
    eab_run_folder_model_path(session->folder, &session->plan->cells[index], path, sizeof path);
    return g_strdup(path);
}

static char *geometry_path(void *context, int64_t index) {
    const sweep_session *session = context;
    char path[4096];
    eab_run_folder_geometry_path(session->folder, &session->plan->cells[index], path, sizeof path);
    return g_strdup(path);
}

static char *checkpoint_path(void *context, int64_t index) {
    const sweep_session *session = context;
    return eab_run_checkpoint_path(session->sweep->out, &session->plan->cells[index]);
}

/* Not before what it stood for is on the disk. Most cells are too short to have one. */
static void remove_checkpoint(void *context, const char *path) {
    const sweep_session *session = context;
    if (access(path, F_OK) == 0 && eab_run_folder_sync(session->folder) == EAB_OK) unlink(path);
}

static void take_note(void *context, const char *line) {
    sweep_session *session = context;
    pthread_mutex_lock(&session->mutex);
    g_ptr_array_add(session->notes, g_strdup_printf("eabench sweep: %s", line));
    pthread_mutex_unlock(&session->mutex);
}

/* ---- the loop ------------------------------------------------------------------------------------------------ */

static void tell_failure(sweep_session *session, const char *label, const cell_end *end) {
    if (session->state.failed > MAX_FAILURES_SHOWN) return;
    char *line = g_strdup_printf(
        "eabench sweep: %s: %s: %s%s", label, eab_cell_status_name(end->status), end->reason,
        session->state.failed == MAX_FAILURES_SHOWN ? " (further failures are shown in accuracy.csv only)" : "");
    eab_progress_note(session->progress, line);
    g_free(line);
}

static void tell_cell(sweep_session *session, const char *label, const cell_end *end) {
    char solved[64] = "", took[32] = "--", *line;
    if (end->steps_to_solve >= 0)
        g_snprintf(solved, sizeof solved, ", solved at step %" G_GINT64_FORMAT, (gint64)end->steps_to_solve);
    if (end->wall_s < 60) g_snprintf(took, sizeof took, "%.1fs", end->wall_s);
    else eab_duration_print(end->wall_s, took, sizeof took);
    if (end->status == EAB_CELL_DIVERGED) line = g_strdup_printf("%s  diverged  %s", label, took);
    else line = g_strdup_printf("%s  accuracy %.4f%s  %s", label, end->token_accuracy, solved, took);
    eab_progress_cell(session->progress, &session->state, line);
    g_free(line);
}

static void take_ends(sweep_session *session) {
    pthread_mutex_lock(&session->mutex);
    GArray *ends = session->ends;
    session->ends = g_array_new(FALSE, FALSE, sizeof(cell_end));
    GPtrArray *notes = session->notes;
    session->notes = g_ptr_array_new_with_free_func(g_free);
    pthread_mutex_unlock(&session->mutex);
    for (guint i = 0; i < notes->len; i++) eab_progress_note(session->progress, notes->pdata[i]);
    g_ptr_array_free(notes, TRUE);

    eab_pool_progress measured;
    eab_pool_measure(session->pool, &measured);
    eab_progress_state *state = &session->state;
    state->flop_done = session->before.flop_done + measured.flop_done;
    state->flop_total = session->before.flop_done + measured.flop_total;
    state->tokens = session->before.tokens + measured.tokens;
    for (guint i = 0; i < ends->len; i++) {
        const cell_end *end = &g_array_index(ends, cell_end, i);
        const eab_config *config = &session->plan->cells[end->index].config;
        char label[512];
        eab_cell_label(config, label, sizeof label);
        if (end->status == EAB_CELL_TIMEOUT) {
            char *line = g_strdup_printf("%s  %s", label, end->reason);
            eab_progress_cell(session->progress, state, line);
            g_free(line);
            continue;
        }
        if (!eab_cell_status_is_result(end->status)) {
            state->failed++;
            tell_failure(session, label, end);
            continue;
        }
        state->cells_done++;
        if (!isnan(end->token_accuracy) && config->mechanism < 16) {
            state->accuracy_sum[config->mechanism] += end->token_accuracy;
            state->accuracy_count[config->mechanism]++;
        }
        tell_cell(session, label, end);
    }
    g_array_free(ends, TRUE);
}

static void watch(sweep_session *session) {
    bool stopping = false;
    eab_interrupt_looking(true);
    for (bool ended = false; !ended;) {
        const double left_s = session->started_s + session->sweep->time_limit_s - eab_now_s();
        ended = eab_pool_wait(session->pool, stopping ? LOOK_EVERY_S : CLAMP(left_s, 0, LOOK_EVERY_S));
        session->over_time =
            session->over_time || (!ended && eab_now_s() - session->started_s >= session->sweep->time_limit_s);
        if (!stopping && !ended && (eab_interrupt_count() > 0 || session->over_time)) {
            stopping = true;
            eab_pool_stop(session->pool);
            eab_progress_note(session->progress, eab_interrupt_count() > 0
                                                     ? "eabench sweep: stopping; once more ends it at once"
                                                     : "eabench sweep: the time limit is reached; stopping");
        }
        if (eab_interrupt_count() > 1) { /* at once, but not in the middle of a row */
            eab_run_folder_hold(session->folder);
            eab_progress_free(session->progress);
            _exit(EAB_EXIT_INTERRUPTED);
        }
        if (eab_run_folder_sync(session->folder)) eab_pool_stop(session->pool); /* told when the folder is closed */
        take_ends(session);
        if (!ended) eab_progress_update(session->progress, &session->state);
    }
    eab_interrupt_looking(false);
}

/* Trains these cells; an eab_status. fleets: by a cell's index, or NULL. */
static int train(sweep_session *session, const int64_t *todo, int64_t count, const int32_t *fleets) {
    const eab_sweep *sweep = session->sweep;
    const bool keeps = sweep->checkpoint_every_s > 0;
    GArray *begun = keeps ? eab_run_checkpoints_find(sweep->out, session->plan, todo, count) : NULL;
    const eab_pool_settings settings = {.backend = sweep->backend,
                                        .device = sweep->device,
                                        .workers = sweep->workers,
                                        .fleet = sweep->fleet,
                                        .fleets = fleets,
                                        .keep_curves = sweep->save_curves,
                                        .abandon = sweep->search,
                                        .model_path = sweep->save_models ? model_path : NULL,
                                        .geometry_path = sweep->save_geometry ? geometry_path : NULL,
                                        .begun = begun,
                                        .checkpoints = {.path = keeps ? checkpoint_path : NULL,
                                                        .remove = remove_checkpoint,
                                                        .note = take_note,
                                                        .every_s = sweep->checkpoint_every_s,
                                                        .sparing = sweep->checkpoint_sparing},
                                        .sink = take_result,
                                        .profile = sweep->profile ? &session->profile : NULL,
                                        .context = session};
    session->before = session->state;
    const int status = eab_pool_start(&settings, session->plan->cells, todo, count, &session->pool);
    if (begun) eab_fleets_free(begun);
    EAB_TRY(status);
    watch(session);
    return eab_pool_finish(session->pool);
}

/* What the tables say of each cell, as the search wants it: whatever ended without a solution did not solve. */
static void list_outcomes(const sweep_session *session, uint8_t *known) {
    for (int64_t i = 0; i < session->plan->count; i++) {
        eab_cell_outcome outcome;
        known[i] = !eab_run_folder_outcome(session->folder, i, &outcome) ? EAB_SEARCH_UNKNOWN
                   : outcome.solved == 1                                 ? EAB_SEARCH_SOLVED
                                                                         : EAB_SEARCH_UNSOLVED;
    }
}

/* Round by round what the search still wants to know. */
static int train_searching(sweep_session *session, const int32_t *fleets) {
    eab_search *search = eab_search_new(session->plan);
    uint8_t *known = g_new(uint8_t, (gsize)session->plan->count);
    int64_t *wanted = g_new(int64_t, (gsize)session->plan->count), count;
    int status = EAB_OK;
    list_outcomes(session, known);
    while (!status && (count = eab_search_next(search, known, wanted)) > 0) {
        status = train(session, wanted, count, fleets);
        if (!status) status = eab_run_folder_sync(session->folder);
        list_outcomes(session, known);
    }
    g_free(wanted);
    g_free(known);
    eab_search_free(search);
    return status;
}

/* Trains what is to do; an eab_status. */
static int train_all(sweep_session *session, const int64_t *todo, int64_t count) {
    const eab_sweep *sweep = session->sweep;
    eab_device *device = NULL;
    EAB_TRY(eab_device_open(sweep->backend, sweep->device, &device));
    eab_run_folder_set_peak(session->folder, eab_peak_gflop_per_s(device));
    int32_t *fleets = sweep->fleet ? NULL : g_new0(int32_t, (gsize)session->plan->count);
    for (int64_t i = 0; fleets && i < count; i++)
        fleets[todo[i]] = eab_preferred_fleet(device, &session->plan->cells[todo[i]].config);
    eab_device_close(device);

    session->progress = eab_progress_new(STDERR_FILENO);
    const int status = sweep->search ? train_searching(session, fleets) : train(session, todo, count, fleets);
    eab_progress_free(session->progress);
    g_free(fleets);
    return status;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* A search gives cells up on purpose. */
static int64_t failures(const eab_sweep *sweep, const eab_run_summary *summary) {
    return summary->failed - (sweep->search ? summary->timeouts : 0);
}

static void print_results(const sweep_session *session, const eab_run_summary *summary) {
    eab_summary_print(stdout, session->plan, session->folder);
    if (session->sweep->search) {
        eab_search *search = eab_search_new(session->plan);
        uint8_t *known = g_new(uint8_t, (gsize)session->plan->count);
        list_outcomes(session, known);
        putchar('\n');
        eab_search_print(stdout, search, known);
        g_free(known);
        eab_search_free(search);
    }
    printf("\n%lld of %lld cells are done", (long long)summary->done, (long long)session->plan->count);
    if (summary->diverged) printf(", %lld of them diverged", (long long)summary->diverged);
    if (session->sweep->search && summary->timeouts) printf("; %lld abandoned", (long long)summary->timeouts);
    if (failures(session->sweep, summary)) printf("; %lld failed", (long long)failures(session->sweep, summary));
    printf("\ntables  %s/accuracy.csv, throughput.csv%s%s\n", session->sweep->out,
           session->sweep->save_curves ? ", curves.csv" : "", session->sweep->save_geometry ? ", geometry.csv" : "");
    char *out = g_shell_quote(session->sweep->out);
    const bool plain =
        strspn(session->sweep->out, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=") ==
        strlen(session->sweep->out);
    printf("report  scripts/report %s\n", plain ? session->sweep->out : out);
    g_free(out);
}

int eab_sweep_run(const eab_sweep *sweep, const eab_plan *plan) {
    sweep_session session = {.sweep = sweep,
                             .plan = plan,
                             .started_s = eab_now_s(),
                             .ends = g_array_new(FALSE, FALSE, sizeof(cell_end)),
                             .notes = g_ptr_array_new_with_free_func(g_free)};
    const eab_run_settings settings = {.backend = sweep->backend,
                                       .device = sweep->description,
                                       .isa = sweep->isa,
                                       .workers = sweep->workers,
                                       .fleet = sweep->fleet,
                                       .command = sweep->command,
                                       .save_models = sweep->save_models,
                                       .save_curves = sweep->save_curves,
                                       .save_geometry = sweep->save_geometry,
                                       .keep_timeouts = sweep->search};
    pthread_mutex_init(&session.mutex, NULL);
    eab_interrupt_watch();
    int status = eab_run_folder_open(sweep->out, plan, &settings, &session.folder);
    if (status) {
        g_array_free(session.ends, TRUE);
        g_ptr_array_free(session.notes, TRUE);
        return eab_command_error("sweep", status);
    }
    if (*eab_run_folder_warning(session.folder))
        fprintf(stderr, "eabench sweep: %s\n", eab_run_folder_warning(session.folder));

    eab_run_summary summary;
    eab_run_folder_summary(session.folder, &summary);
    session.state.cells_total = plan->count;
    session.state.cells_done = summary.done;
    memcpy(session.state.accuracy_sum, summary.accuracy_sum, sizeof summary.accuracy_sum);
    memcpy(session.state.accuracy_count, summary.accuracy_count, sizeof summary.accuracy_count);
    int64_t *todo = g_new(int64_t, (gsize)plan->count), count = 0;
    for (int64_t i = 0; i < plan->count; i++)
        if (!eab_run_folder_has(session.folder, plan->cells[i].id)) todo[count++] = i;
    if (count && summary.done)
        fprintf(stderr, "eabench sweep: %lld of %lld cells are done already in %s\n", (long long)summary.done,
                (long long)plan->count, sweep->out);
    if (count) status = train_all(&session, todo, count);
    g_free(todo);
    char *reason = g_strdup(status ? eab_last_error() : "");

    const int synced = eab_run_folder_sync(session.folder);
    eab_run_folder_summary(session.folder, &summary);
    if (!status && !synced) print_results(&session, &summary);
    if (summary.done == plan->count || (!status && sweep->search)) eab_run_checkpoints_remove(sweep->out);
    if (sweep->profile && session.profile.seconds > 0) eab_profile_print(stdout, &session.profile);
    fflush(stdout);
    const int closed = eab_run_folder_close(session.folder);
    if (closed && status != EAB_IO) {
        status = closed;
        g_free(reason);
        reason = g_strdup(eab_last_error());
    }
    g_array_free(session.ends, TRUE);
    g_ptr_array_free(session.notes, TRUE);
    pthread_mutex_destroy(&session.mutex);

    int code = failures(sweep, &summary) ? EAB_EXIT_FAILED : EAB_EXIT_DONE;
    if (status == EAB_INTERRUPTED) {
        fprintf(stderr, "eabench sweep: %s; %lld of %lld cells are done. To go on:\n  %s\n",
                session.over_time ? "the time limit was reached" : "interrupted", (long long)summary.done,
                (long long)plan->count, sweep->again);
        code = EAB_EXIT_INTERRUPTED;
    } else if (status) {
        eab_fail((eab_status)status, "%s; %lld of %lld cells are done, to go on: %s", reason, (long long)summary.done,
                 (long long)plan->count, sweep->again);
        code = eab_command_error("sweep", status);
    }
    g_free(reason);
    return code;
}
