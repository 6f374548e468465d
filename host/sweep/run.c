#include "run.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/csv.h"
#include "base/exit.h"
#include "base/interrupt.h"
#include "base/version.h"
#include "bench/peak.h"
#include "kernels/clock.h"
#include "profile_print.h"
#include "report.h"
#include "run/checkpoints.h"
#include "run/summary.h"
#include "search.h"
#include "session.h"

static const double POLL_EVERY_S = 0.1;

/* ---- waiting for the workers --------------------------------------------------------------------------------- */

static void stop(eab_sweep_session *session, double patience_s) {
    eab_pool_stop(session->pool);
    if (session->leader) eab_leader_stop(session->leader, patience_s);
}

/* Waits at most `seconds` for the workers of all processes to end; whether they have. */
static bool wait_for_workers(eab_sweep_session *session, double seconds) {
    static const double SERVE_EVERY_S = 0.001;
    if (!session->leader) return eab_pool_wait(session->pool, seconds);
    const double until_s = eab_now_s() + seconds;
    for (;;) {
        if (eab_leader_serve(session->leader)) stop(session, 0); /* closing the folder reports the error */
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

static void begin_stopping(eab_sweep_session *session) {
    /* After an interrupt the launcher may kill the ranks within about a second. */
    stop(session, is_interrupted(session) ? 0.4 : 10);
    eab_progress_note(session->progress, is_interrupted(session)
                                             ? "eabench sweep: stopping; interrupt again to end at once"
                                             : "eabench sweep: the time limit is reached; stopping");
}

/* Like a kill, which the tables survive at any instant. */
static void end_at_once(eab_sweep_session *session) {
    eab_progress_note(session->progress, EAB_INTERRUPTED_AGAIN);
    eab_progress_free(session->progress);
    _exit(EAB_EXIT_INTERRUPTED);
}

/* Reports what happens until the pool's workers have ended; stops them at an interrupt, an error or the time limit. */
static void watch(eab_sweep_session *session) {
    const double limit_s = session->started_s + session->sweep->time_limit_s;
    bool stopping = false, ended = false;
    eab_interrupt_handle_second(true);
    while (!ended) {
        ended = wait_for_workers(session, stopping ? POLL_EVERY_S : CLAMP(limit_s - eab_now_s(), 0, POLL_EVERY_S));
        session->over_time = session->over_time || (!ended && eab_now_s() >= limit_s);
        if (!stopping && !ended && (is_interrupted(session) || session->over_time)) {
            stopping = true;
            begin_stopping(session);
        }
        if (eab_interrupt_count() > 1) end_at_once(session);
        if (eab_run_folder_sync(session->folder)) stop(session, 0); /* closing the folder reports the error */
        eab_session_report_ends(session);
        if (ended) break;
        eab_progress_update(session->progress, &session->state);
        eab_report_state(session, stopping, false);
    }
    eab_interrupt_handle_second(false);
}

/* ---- training ------------------------------------------------------------------------------------------------ */

/* Fleets that must stay together: those that have a checkpoint, and those that a device failed at. NULL: none. */
static GArray *find_begun(eab_sweep_session *session, const int64_t *todo, int64_t count) {
    const eab_sweep *sweep = session->sweep;
    GArray *begun = NULL;
    if (sweep->checkpoint_every_s > 0) begun = eab_run_checkpoints_find(sweep->out, session->plan, todo, count);
    if (session->suspects.cells > 0) {
        if (!begun) begun = g_array_new(FALSE, FALSE, sizeof(eab_fleet));
        eab_fleets_add_suspects(begun, session->plan->cells, todo, count, &session->suspects);
    }
    session->suspects = (eab_suspects){0, 0, 0};
    return begun;
}

static int watch_pool(eab_sweep_session *session, eab_queue *queue) {
    eab_sweep_restart *restart = session->sweep->restart;
    if (session->leader) eab_leader_set_queue(session->leader, queue);
    watch(session);
    if (restart && !is_interrupted(session) && !session->over_time)
        restart->wanted = eab_pool_lost_device(session->pool, &restart->suspects);
    const int status = eab_pool_finish(session->pool);
    if (session->leader) eab_leader_set_queue(session->leader, NULL);
    return status;
}

/* Trains the cells todo[0..count). fleets: cells per fleet by a cell's index, or NULL. Returns an eab_status. */
static int train(eab_sweep_session *session, const int64_t *todo, int64_t count, const int32_t *fleets) {
    const eab_cell *cells = session->plan->cells;
    eab_pool_settings settings = eab_session_pool_settings(session, fleets);
    GArray *begun = find_begun(session, todo, count);
    settings.begun = begun;
    if (session->leader)
        settings.queue = eab_queue_new(eab_fleets_make(begun, cells, todo, count, session->sweep->fleet, fleets));
    session->before = session->state;
    session->own_before = session->own;
    int status = eab_pool_start(&settings, cells, todo, count, &session->pool);
    if (begun) eab_fleets_free(begun);
    if (!status) status = watch_pool(session, settings.queue);
    if (settings.queue) eab_queue_free(settings.queue);
    return status;
}

/* The tables' outcomes for the search: a cell that ended without a solution counts as unsolved. */
static void list_outcomes(const eab_sweep_session *session, uint8_t *known) {
    for (int64_t i = 0; i < session->plan->count; i++) {
        eab_cell_outcome outcome;
        known[i] = !eab_run_folder_outcome(session->folder, i, &outcome) ? EAB_SEARCH_UNKNOWN
                   : outcome.solved == 1                                 ? EAB_SEARCH_SOLVED
                                                                         : EAB_SEARCH_UNSOLVED;
    }
}

/* Trains round by round the cells that the search asks for. */
static int train_search(eab_sweep_session *session, const int32_t *fleets) {
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

/* Stops the followers. Where nobody stopped the sweep, a follower's first error did and is returned. */
static int stop_followers(eab_sweep_session *session, int status) {
    char *line = g_strdup(status ? eab_last_error() : "");
    const bool requested = is_interrupted(session) || session->over_time;
    eab_leader_stop(session->leader, requested ? 0 : 10);
    const int theirs = eab_leader_status(session->leader, session->sweep->profile ? &session->profile : NULL);
    if (theirs && (!status || (status == EAB_INTERRUPTED && !requested))) status = theirs;
    else if (status) eab_fail((eab_status)status, "%s", line);
    g_free(line);
    return status;
}

/* Measures the device's peak and, where the fleet is automatic, how many cells fill it: *fleets by a cell's index. */
static int measure_device(eab_sweep_session *session, const int64_t *todo, int64_t count, int32_t **fleets) {
    const eab_sweep *sweep = session->sweep;
    eab_device *device;
    EAB_TRY(eab_device_open(sweep->backend, sweep->device, &device));
    session->run.peak_gflop_per_s = eab_peak_gflop_per_s(device, EAB_F32);
    *fleets = sweep->fleet ? NULL : g_new0(int32_t, (gsize)session->plan->count);
    for (int64_t i = 0; *fleets && i < count; i++)
        (*fleets)[todo[i]] = eab_preferred_fleet(device, &session->plan->cells[todo[i]].config);
    eab_device_close(device);
    return EAB_OK;
}

static int train_all(eab_sweep_session *session, const int64_t *todo, int64_t count) {
    const eab_sweep *sweep = session->sweep;
    int32_t *fleets;
    EAB_TRY(measure_device(session, todo, count, &fleets));
    int status = eab_run_folder_set_peak(session->folder, session->run.peak_gflop_per_s);
    if (!status) {
        const eab_leader_sinks sinks = {eab_session_take_rows, eab_session_take_note, eab_session_remove_checkpoint};
        if (session->leader)
            eab_leader_begin(session->leader, sweep->description, session->run.peak_gflop_per_s, &sinks, session);
        session->progress = eab_progress_new(STDERR_FILENO, sweep->progress);
        status = sweep->search ? train_search(session, fleets) : train(session, todo, count, fleets);
        if (session->leader) status = stop_followers(session, status);
        eab_progress_free(session->progress);
        session->progress = NULL;
    }
    g_free(fleets);
    return status;
}

/* Trains every cell that is not done; an eab_status. */
static int train_rest(eab_sweep_session *session) {
    const eab_plan *plan = session->plan;
    eab_run_summary before;
    eab_run_folder_summary(session->folder, &before);
    session->state.cells_total = plan->count;
    session->state.cells_done = before.done;
    memcpy(session->state.accuracy_sum, before.accuracy_sum, sizeof before.accuracy_sum);
    memcpy(session->state.accuracy_count, before.accuracy_count, sizeof before.accuracy_count);

    int64_t *todo = g_new(int64_t, (gsize)plan->count), count = 0;
    for (int64_t i = 0; i < plan->count; i++)
        if (!eab_run_folder_has(session->folder, i)) todo[count++] = i;
    if (count && before.done)
        eab_report_note(session->sweep, "%lld of %lld cells are done already in %s", (long long)before.done,
                        (long long)plan->count, session->sweep->out);
    eab_report_start(session->sweep, plan->count, before.done, count);
    if (count) eab_report_state(session, false, true);
    const int status = count ? train_all(session, todo, count) : EAB_OK;
    g_free(todo);
    return status;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* A search abandons cells on purpose. */
static int64_t failures(const eab_sweep *sweep, const eab_run_summary *summary) {
    return summary->failed - (sweep->search ? summary->timeouts : 0);
}

static void print_frontiers(const eab_sweep_session *session) {
    eab_search *search = eab_search_new(session->plan);
    uint8_t *known = g_new(uint8_t, (gsize)session->plan->count);
    list_outcomes(session, known);
    putchar('\n');
    eab_search_print(stdout, search, known);
    g_free(known);
    eab_search_free(search);
}

static void print_results(const eab_sweep_session *session, const eab_run_summary *summary) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=";
    const eab_sweep *sweep = session->sweep;
    eab_summary_print(stdout, session->plan, session->folder);
    if (sweep->search) print_frontiers(session);
    printf("\n%lld of %lld cells are done", (long long)summary->done, (long long)session->plan->count);
    if (summary->diverged) printf(", %lld of them diverged", (long long)summary->diverged);
    if (sweep->search && summary->timeouts) printf("; %lld abandoned", (long long)summary->timeouts);
    if (failures(sweep, summary)) printf("; %lld failed", (long long)failures(sweep, summary));
    printf("\ntables  %s/accuracy.csv, throughput.csv%s%s\n", sweep->out, sweep->save_curves ? ", curves.csv" : "",
           sweep->save_geometry ? ", geometry.csv" : "");
    char *quoted = g_shell_quote(sweep->out);
    printf("report  scripts/report %s\n", sweep->out[strspn(sweep->out, plain)] ? quoted : sweep->out);
    g_free(quoted);
}

/* Prints the results and closes the folder. Returns `status`, or the folder's error where that is the first. */
static int close_folder(eab_sweep_session *session, int status, eab_run_summary *summary) {
    const eab_sweep *sweep = session->sweep;
    char *reason = g_strdup(status ? eab_last_error() : "");
    const int synced = eab_run_folder_sync(session->folder);
    eab_run_folder_summary(session->folder, summary);
    if (!status && !synced) print_results(session, summary);
    if (summary->done == session->plan->count || (!status && sweep->search)) eab_run_checkpoints_remove(sweep->out);
    if (sweep->profile && session->profile.seconds > 0) eab_profile_print(stdout, &session->profile);
    fflush(stdout);
    eab_run_state_remove(sweep->out);
    const int closed = eab_run_folder_close(session->folder);
    if (closed && status != EAB_IO) status = closed;
    else if (status) eab_fail((eab_status)status, "%s", reason);
    g_free(reason);
    return status;
}

/* Reports how the sweep ended; returns the exit code. */
static int report_outcome(eab_sweep_session *session, int status, const eab_run_summary *summary) {
    const eab_sweep *sweep = session->sweep;
    const long long done = (long long)summary->done, count = (long long)session->plan->count;
    char *reason = g_strdup(status ? eab_last_error() : "");
    int code = status ? eab_exit_code(status) : failures(sweep, summary) ? EAB_EXIT_FAILED : EAB_EXIT_DONE;
    if (status == EAB_INTERRUPTED) {
        eab_report_note(sweep, "%s; %lld of %lld cells are done. To resume%s:\n  %s",
                        session->over_time ? "the time limit was reached" : "interrupted", done, count,
                        sweep->ranks ? " with any number of processes" : "", sweep->resume_command);
        code = EAB_EXIT_INTERRUPTED;
    } else if (status) {
        eab_report_note(sweep, "%s; %lld of %lld cells are done, to resume: %s", reason, done, count,
                        sweep->resume_command);
    }
    eab_report_end(session, summary, status, code, reason);
    g_free(reason);
    return code;
}

/* Whether a new process must resume, and if so with what. */
static bool needs_restart(eab_sweep_session *session, int status) {
    eab_sweep_restart *restart = session->sweep->restart;
    if (!restart) return false;
    restart->wanted = restart->wanted && status && status != EAB_IO;
    if (!restart->wanted) return false;
    restart->elapsed_s = eab_now_s() - session->started_s;
    eab_report_note(session->sweep, "the device cannot be opened again (%s); resuming in a new process",
                    eab_last_error());
    return true;
}

/* ---- from begin to end --------------------------------------------------------------------------------------- */

char *eab_sweep_fingerprint(const eab_sweep *sweep, const eab_plan *plan) {
    GChecksum *sum = g_checksum_new(G_CHECKSUM_SHA256);
    for (int64_t i = 0; i < plan->count; i++) g_checksum_update(sum, (const guchar *)plan->cells[i].id, 16);
    char *fingerprint = g_strdup_printf("%s %s %s %s", eab_build_version(), eab_build_commit(), sweep->backend,
                                        g_checksum_get_string(sum));
    g_checksum_free(sum);
    return fingerprint;
}

/* Connects to the followers, if there are any, and opens the folder. */
static int open_session(eab_sweep_session *session) {
    const eab_sweep *sweep = session->sweep;
    if (sweep->ranks) {
        char *fingerprint = eab_sweep_fingerprint(sweep, session->plan);
        const int status = eab_leader_meet(sweep->ranks, &sweep->place, fingerprint, &session->leader);
        g_free(fingerprint);
        EAB_TRY(status);
    }
    EAB_TRY(eab_run_folder_open(sweep->out, session->plan, &session->run, &session->folder));
    if (*eab_run_folder_warning(session->folder)) eab_report_note(sweep, "%s", eab_run_folder_warning(session->folder));
    return EAB_OK;
}

static int run_session(eab_sweep_session *session) {
    int status = open_session(session);
    if (status) {
        char *line = eab_line_clean(eab_last_error()); /* file names may have control characters */
        eab_report_note(session->sweep, "%s", line);
        g_free(line);
        return eab_exit_code(status);
    }
    eab_run_summary summary;
    status = close_folder(session, train_rest(session), &summary);
    return needs_restart(session, status) ? EAB_EXIT_FAILED : report_outcome(session, status, &summary);
}

int eab_sweep_run(const eab_sweep *sweep, const eab_plan *plan) {
    eab_sweep_session session = {.sweep = sweep,
                                 .plan = plan,
                                 .run = eab_session_run_settings(sweep),
                                 .started_s = eab_now_s() - sweep->elapsed_s,
                                 .suspects = sweep->suspects,
                                 .ends = g_array_new(FALSE, FALSE, sizeof(eab_cell_end)),
                                 .notes = g_ptr_array_new_with_free_func(g_free)};
    pthread_mutex_init(&session.mutex, NULL);
    eab_interrupt_watch();
    const int code = run_session(&session);
    g_array_free(session.ends, TRUE);
    g_ptr_array_free(session.notes, TRUE);
    pthread_mutex_destroy(&session.mutex);
    if (session.leader) eab_leader_dismiss(session.leader, code);
    return code;
}

int eab_sweep_refuse(const eab_sweep *sweep, int code) {
    eab_leader *leader;
    eab_leader_meet(sweep->ranks, &sweep->place, "", &leader);
    eab_leader_dismiss(leader, code);
    return code;
}
