
#include <glib.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/exit.h"
#include "base/interrupt.h"
#include "base/version.h"
#include "bench/peak.h"
#include "commands/commands.h"
#include "kernels/clock.h"
#include "profile_print.h"
#include "report.h"
#include "run/checkpoints.h"
#include "run/environment.h"
#include "run/summary.h"
#include "run/tables.h"
#include "search.h"
#include "session_state.h"

enum { MAX_FAILURES_SHOWN = 10 };
static const double LOOK_EVERY_S = 0.1;

/* ---- in the workers ------------------------------------------------------------------------------------------ */

static void note_end(eab_sweep_session *session, const eab_cell_end *end) {
    pthread_mutex_lock(&session->mutex);
    g_array_append_val(session->ends, *end);
    pthread_mutex_unlock(&session->mutex);
}

/* Of a cell that ended in this process or in one that it leads. */
static int take_rows(void *context, const eab_cell_end *end, const char *const *rows) {
    eab_sweep_session *session = context;
    EAB_TRY(eab_run_folder_append(session->folder, end, rows));
    note_end(session, end);
    return EAB_OK;
}

static int take_result(void *context, int64_t index, const eab_cell_result *result) {
    eab_sweep_session *session = context;
    char *rows[EAB_TABLE_COUNT];
    int status = EAB_OK;
    eab_cell_end end;
    memset(&end, 0, sizeof end); /* its padding travels, too */
    end.index = index;
    end.status = result->status;
    end.solved = result->solved;
    end.token_accuracy = result->token_accuracy;
    end.wall_s = result->wall_s;
    end.steps_to_solve = result->steps_to_solve;
    g_strlcpy(end.reason, result->reason, sizeof end.reason);
    eab_cell_rows(&session->run, &session->plan->cells[index], result, rows);
    if (session->follower) eab_follower_send(session->follower, &end, (const char *const *)rows);
    else status = take_rows(session, &end, (const char *const *)rows);
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

/* Not before what it stood for is on the disk. Most cells are too short to have one. */
static void remove_checkpoint(void *context, const char *path) {
    const eab_sweep_session *session = context;
    if (access(path, F_OK)) return;
    if (session->follower) eab_follower_post(session->follower, EAB_RANK_FORGET, path);
    else if (eab_run_folder_sync(session->folder) == EAB_OK) unlink(path);
}

static void take_note(void *context, const char *line) {
    eab_sweep_session *session = context;
    if (session->follower) {
        eab_follower_post(session->follower, EAB_RANK_NOTE, line);
        return;
    }
    pthread_mutex_lock(&session->mutex);
    g_ptr_array_add(session->notes, g_strdup_printf("eabench sweep: %s", line));
    pthread_mutex_unlock(&session->mutex);
}

/* ---- the loop ------------------------------------------------------------------------------------------------ */

static void tell_failure(eab_sweep_session *session, const char *label, const eab_cell_end *end) {
    if (session->state.failed > MAX_FAILURES_SHOWN) return;
    char *line = g_strdup_printf(
        "eabench sweep: %s: %s: %s%s", label, eab_cell_status_name(end->status), end->reason,
        session->state.failed == MAX_FAILURES_SHOWN ? " (further failures are shown in accuracy.csv only)" : "");
    eab_progress_note(session->progress, line);
    g_free(line);
}

static void tell_cell(eab_sweep_session *session, const char *label, const eab_cell_end *end) {
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

static void take_ends(eab_sweep_session *session) {
    pthread_mutex_lock(&session->mutex);
    GArray *ends = session->ends;
    session->ends = g_array_new(FALSE, FALSE, sizeof(eab_cell_end));
    GPtrArray *notes = session->notes;
    session->notes = g_ptr_array_new_with_free_func(g_free);
    pthread_mutex_unlock(&session->mutex);
    for (guint i = 0; i < notes->len; i++) eab_progress_note(session->progress, notes->pdata[i]);
    g_ptr_array_free(notes, TRUE);

    eab_pool_progress measured;
    eab_pool_measure(session->pool, &measured);
    eab_progress_state *state = &session->state;
    double others_flop = 0, others_tokens = 0; /* of the whole session */
    if (session->leader) eab_leader_measure(session->leader, &others_flop, &others_tokens);
    session->own.flop_done = session->own_before.flop_done + measured.flop_done;
    session->own.tokens = session->own_before.tokens + measured.tokens;
    state->flop_done = session->own.flop_done + others_flop;
    state->flop_total = session->before.flop_done + measured.flop_total;
    state->tokens = session->own.tokens + others_tokens;
    for (guint i = 0; i < ends->len; i++) {
        const eab_cell_end *end = &g_array_index(ends, eab_cell_end, i);
        const eab_config *config = &session->plan->cells[end->index].config;
        char label[512];
        eab_cell_label(config, label, sizeof label);
        if (end->status == EAB_CELL_TIMEOUT) {
            char *line = g_strdup_printf("%s  %s", label, end->reason);
            eab_progress_cell(session->progress, state, line);
            g_free(line);
            eab_sweep_tell_cell(session, end);
            continue;
        }
        if (!eab_cell_status_is_result(end->status)) {
            state->failed++;
            eab_sweep_tell_cell(session, end);
            tell_failure(session, label, end);
            continue;
        }
        state->cells_done++;
        if (!isnan(end->token_accuracy) && config->mechanism < EAB_MECHANISM_COUNT) {
            state->accuracy_sum[config->mechanism] += end->token_accuracy;
            state->accuracy_count[config->mechanism]++;
        }
        tell_cell(session, label, end);
        eab_sweep_tell_cell(session, end);
    }
    g_array_free(ends, TRUE);
}

static void stop(eab_sweep_session *session, double patience_s) {
    eab_pool_stop(session->pool);
    if (session->leader) eab_leader_stop(session->leader, patience_s);
}

/* Waits for the workers of all processes to end, at most `seconds`; whether they have. */
static bool wait_for_workers(eab_sweep_session *session, double seconds) {
    static const double SERVE_EVERY_S = 0.001;
    if (!session->leader) return eab_pool_wait(session->pool, seconds);
    const double until_s = eab_now_s() + seconds;
    for (;;) {
        if (eab_leader_serve(session->leader)) stop(session, 0); /* told when the folder is closed */
        const bool own_ended = eab_pool_wait(session->pool, 0);
        if (own_ended && !eab_leader_is_busy(session->leader)) return true;
        if (eab_now_s() >= until_s) return false;
        if (own_ended) g_usleep((gulong)(SERVE_EVERY_S * 1e6));
        else eab_pool_wait(session->pool, SERVE_EVERY_S);
    }
}

static bool is_interrupted(const eab_sweep_session *session) {
    return eab_interrupt_count() > 0 || (session->leader && eab_leader_interrupted(session->leader));
}

static void watch(eab_sweep_session *session) {
    bool stopping = false;
    eab_interrupt_looking(true);
    for (bool ended = false; !ended;) {
        const double left_s = session->started_s + session->sweep->time_limit_s - eab_now_s();
        ended = wait_for_workers(session, stopping ? LOOK_EVERY_S : CLAMP(left_s, 0, LOOK_EVERY_S));
        session->over_time =
            session->over_time || (!ended && eab_now_s() - session->started_s >= session->sweep->time_limit_s);
        if (!stopping && !ended && (is_interrupted(session) || session->over_time)) {
            stopping = true;
            /* A launcher that passes a signal on ends what is not gone within about a second. */
            stop(session, is_interrupted(session) ? 0.4 : 10);
            eab_progress_note(session->progress, is_interrupted(session)
                                                     ? "eabench sweep: stopping; once more ends it at once"
                                                     : "eabench sweep: the time limit is reached; stopping");
        }
        if (eab_interrupt_count() > 1) { /* as if killed: the tables survive that at any instant */
            eab_progress_note(session->progress, EAB_INTERRUPTED_AGAIN);
            eab_progress_free(session->progress);
            _exit(EAB_EXIT_INTERRUPTED);
        }
        if (eab_run_folder_sync(session->folder)) stop(session, 0); /* told when the folder is closed */
        take_ends(session);
        if (!ended) eab_progress_update(session->progress, &session->state);
        if (!ended) eab_sweep_tell_state(session, stopping, false);
    }
    eab_interrupt_looking(false);
}

eab_run_settings eab_sweep_run_settings(const eab_sweep *sweep) {
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
                              .keep_failures = sweep->goes_on};
}

eab_pool_settings eab_sweep_pool_settings(eab_sweep_session *session, const int32_t *fleets) {
    const eab_sweep *sweep = session->sweep;
    const bool keeps = sweep->checkpoint_every_s > 0;
    return (eab_pool_settings){.backend = sweep->backend,
                               .device = sweep->device,
                               .workers = sweep->workers,
                               .fleet = sweep->fleet,
                               .fleets = fleets,
                               .keep_curves = sweep->save_curves,
                               .abandon = sweep->search,
                               .model_path = sweep->save_models ? model_path : NULL,
                               .geometry_path = sweep->save_geometry ? geometry_path : NULL,
                               .checkpoints = {.path = keeps ? checkpoint_path : NULL,
                                               .remove = remove_checkpoint,
                                               .note = take_note,
                                               .every_s = sweep->checkpoint_every_s,
                                               .sparing = sweep->checkpoint_sparing},
                               .sink = take_result,
                               .profile = sweep->profile ? &session->profile : NULL,
                               .context = session};
}

/* Trains these cells; an eab_status. fleets: by a cell's index, or NULL. */
static int train(eab_sweep_session *session, const int64_t *todo, int64_t count, const int32_t *fleets) {
    const eab_sweep *sweep = session->sweep;
    eab_pool_settings settings = eab_sweep_pool_settings(session, fleets);
    GArray *begun = settings.checkpoints.path ? eab_run_checkpoints_find(sweep->out, session->plan, todo, count) : NULL;
    if (session->suspects.cells > 0) {
        if (!begun) begun = g_array_new(FALSE, FALSE, sizeof(eab_fleet));
        eab_fleets_add_suspects(begun, session->plan->cells, todo, count, &session->suspects);
    }
    session->suspects = (eab_suspects){0, 0, 0};
    settings.begun = begun;
    if (session->leader)
        settings.deal =
            eab_deal_new(eab_fleets_make_after(begun, session->plan->cells, todo, count, sweep->fleet, fleets));
    session->before = session->state;
    session->own_before = session->own;
    int status = eab_pool_start(&settings, session->plan->cells, todo, count, &session->pool);
    if (begun) eab_fleets_free(begun);
    if (!status) {
        if (session->leader) eab_leader_deal(session->leader, settings.deal);
        watch(session);
        if (sweep->restart && !is_interrupted(session) && !session->over_time)
            sweep->restart->wanted = eab_pool_lost_device(session->pool, &sweep->restart->suspects);
        status = eab_pool_finish(session->pool);
        if (session->leader) eab_leader_deal(session->leader, NULL);
    }
    if (settings.deal) eab_deal_free(settings.deal);
    return status;
}

/* What the tables say of each cell, as the search wants it: whatever ended without a solution did not solve. */
static void list_outcomes(const eab_sweep_session *session, uint8_t *known) {
    for (int64_t i = 0; i < session->plan->count; i++) {
        eab_cell_outcome outcome;
        known[i] = !eab_run_folder_outcome(session->folder, i, &outcome) ? EAB_SEARCH_UNKNOWN
                   : outcome.solved == 1                                 ? EAB_SEARCH_SOLVED
                                                                         : EAB_SEARCH_UNSOLVED;
    }
}

/* Round by round what the search still wants to know. */
static int train_searching(eab_sweep_session *session, const int32_t *fleets) {
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

/* Stops the others. What stopped the sweep where nobody asked it to is the first error of one of them. */
static int part_from_followers(eab_sweep_session *session, int status) {
    char *line = g_strdup(status ? eab_last_error() : "");
    const bool asked = is_interrupted(session) || session->over_time;
    eab_leader_stop(session->leader, asked ? 0 : 10);
    const int theirs = eab_leader_status(session->leader, session->sweep->profile ? &session->profile : NULL);
    if (theirs && (!status || (status == EAB_INTERRUPTED && !asked))) status = theirs;
    else if (status) eab_fail((eab_status)status, "%s", line);
    g_free(line);
    return status;
}

/* Trains what is to do; an eab_status. */
static int train_all(eab_sweep_session *session, const int64_t *todo, int64_t count) {
    const eab_sweep *sweep = session->sweep;
    eab_device *device = NULL;
    EAB_TRY(eab_device_open(sweep->backend, sweep->device, &device));
    const double peak_gflop_per_s = eab_peak_gflop_per_s(device, EAB_F32);
    session->run.peak_gflop_per_s = peak_gflop_per_s;
    int32_t *fleets = sweep->fleet ? NULL : g_new0(int32_t, (gsize)session->plan->count);
    for (int64_t i = 0; fleets && i < count; i++)
        fleets[todo[i]] = eab_preferred_fleet(device, &session->plan->cells[todo[i]].config);
    eab_device_close(device);
    EAB_TRY(eab_run_folder_set_peak(session->folder, peak_gflop_per_s));

    if (session->leader)
        eab_leader_begin(session->leader, sweep->description, peak_gflop_per_s,
                         &(eab_leader_sinks){take_rows, take_note, remove_checkpoint}, session);
    session->progress = eab_progress_new(STDERR_FILENO, sweep->progress);
    int status = sweep->search ? train_searching(session, fleets) : train(session, todo, count, fleets);
    if (session->leader) status = part_from_followers(session, status);
    eab_progress_free(session->progress);
    session->progress = NULL;
    g_free(fleets);
    return status;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* A search gives cells up on purpose. */
static int64_t failures(const eab_sweep *sweep, const eab_run_summary *summary) {
    return summary->failed - (sweep->search ? summary->timeouts : 0);
}

static void print_results(const eab_sweep_session *session, const eab_run_summary *summary) {
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

char *eab_sweep_mark(const eab_sweep *sweep, const eab_plan *plan) {
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    for (int64_t i = 0; i < plan->count; i++) g_checksum_update(sum, (const guchar *)plan->cells[i].id, 16);
    char *mark = g_strdup_printf("%s %s %s %s", eab_build_version(), eab_build_commit(), sweep->backend,
                                 g_checksum_get_string(sum));
    g_checksum_free(sum);
    return mark;
}

/* Meets the other processes, if there are any; an eab_status. */
static int meet_followers(eab_sweep_session *session) {
    if (!session->sweep->ranks) return EAB_OK;
    char *mark = eab_sweep_mark(session->sweep, session->plan);
    const int status = eab_leader_meet(session->sweep->ranks, &session->sweep->place, mark, &session->leader);
    g_free(mark);
    return status;
}

static int run_sweep(const eab_sweep *sweep, const eab_plan *plan, eab_leader **leader) {
    eab_sweep_session session = {.sweep = sweep,
                                 .plan = plan,
                                 .run = eab_sweep_run_settings(sweep),
                                 .started_s = eab_now_s() - sweep->elapsed_s,
                                 .suspects = sweep->suspects,
                                 .ends = g_array_new(FALSE, FALSE, sizeof(eab_cell_end)),
                                 .notes = g_ptr_array_new_with_free_func(g_free)};
    pthread_mutex_init(&session.mutex, NULL);
    eab_interrupt_watch();
    int status = meet_followers(&session);
    *leader = session.leader;
    if (!status) status = eab_run_folder_open(sweep->out, plan, &session.run, &session.folder);
    if (status) {
        g_array_free(session.ends, TRUE);
        g_ptr_array_free(session.notes, TRUE);
        return eab_command_error("sweep", status);
    }
    if (*eab_run_folder_warning(session.folder)) eab_sweep_tell(sweep, "%s", eab_run_folder_warning(session.folder));

    eab_run_summary summary;
    eab_run_folder_summary(session.folder, &summary);
    session.state.cells_total = plan->count;
    session.state.cells_done = summary.done;
    memcpy(session.state.accuracy_sum, summary.accuracy_sum, sizeof summary.accuracy_sum);
    memcpy(session.state.accuracy_count, summary.accuracy_count, sizeof summary.accuracy_count);
    int64_t *todo = g_new(int64_t, (gsize)plan->count), count = 0;
    for (int64_t i = 0; i < plan->count; i++)
        if (!eab_run_folder_has(session.folder, i)) todo[count++] = i;
    if (count && summary.done)
        eab_sweep_tell(sweep, "%lld of %lld cells are done already in %s", (long long)summary.done,
                       (long long)plan->count, sweep->out);
    eab_sweep_tell_start(sweep, plan->count, summary.done, count);
    if (count) eab_sweep_tell_state(&session, false, true);
    if (count) status = train_all(&session, todo, count);
    g_free(todo);
    char *reason = g_strdup(status ? eab_last_error() : "");

    const int synced = eab_run_folder_sync(session.folder);
    eab_run_folder_summary(session.folder, &summary);
    if (!status && !synced) print_results(&session, &summary);
    if (summary.done == plan->count || (!status && sweep->search)) eab_run_checkpoints_remove(sweep->out);
    if (sweep->profile && session.profile.seconds > 0) eab_profile_print(stdout, &session.profile);
    fflush(stdout);
    eab_run_state_remove(sweep->out);
    const int closed = eab_run_folder_close(session.folder);
    if (closed && status != EAB_IO) {
        status = closed;
        g_free(reason);
        reason = g_strdup(eab_last_error());
    }
    g_array_free(session.ends, TRUE);
    g_ptr_array_free(session.notes, TRUE);
    pthread_mutex_destroy(&session.mutex);

    if (sweep->restart && sweep->restart->wanted && status && status != EAB_IO) {
        sweep->restart->elapsed_s = eab_now_s() - session.started_s;
        eab_sweep_tell(sweep, "the device does not come back (%s); going on in a fresh process", reason);
        g_free(reason);
        return EAB_EXIT_FAILED;
    }
    if (sweep->restart) sweep->restart->wanted = false;
    int code = failures(sweep, &summary) ? EAB_EXIT_FAILED : EAB_EXIT_DONE;
    if (status == EAB_INTERRUPTED) {
        eab_sweep_tell(sweep, "%s; %lld of %lld cells are done. To go on%s:\n  %s",
                       session.over_time ? "the time limit was reached" : "interrupted", (long long)summary.done,
                       (long long)plan->count, sweep->ranks ? " with any number of processes" : "", sweep->again);
        code = EAB_EXIT_INTERRUPTED;
    } else if (status) {
        eab_fail((eab_status)status, "%s; %lld of %lld cells are done, to go on: %s", reason, (long long)summary.done,
                 (long long)plan->count, sweep->again);
        code = eab_exit_code(status);
        eab_sweep_tell(sweep, "%s", eab_last_error());
    }
    eab_sweep_tell_end(&session, &summary, status, code, reason);
    g_free(reason);
    return code;
}

int eab_sweep_run(const eab_sweep *sweep, const eab_plan *plan) {
    eab_leader *leader = NULL;
    const int code = run_sweep(sweep, plan, &leader);
    if (leader) eab_leader_dismiss(leader, code);
    return code;
}

int eab_sweep_refuse(const eab_sweep *sweep, int code) {
    eab_leader *leader;
    eab_leader_meet(sweep->ranks, &sweep->place, "", &leader);
    eab_leader_dismiss(leader, code);
    return code;
}
