#include "run.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/exit.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "bench/peak.h"
#include "kernels/clock.h"
#include "leader.h"
#include "report.h"
#include "run/checkpoints.h"

static const double POLL_EVERY_S = 0.1;

/* ---- waiting for the workers --------------------------------------------------------------------------------- */

static void stop(eab_sweep_session *session, double patience_s) {
    eab_pool_stop(session->pool);
    if (session->leader) eab_leader_stop(session->leader, patience_s);
}

/* Waits at most `seconds` for the workers of all processes to end; whether they have. */
static bool wait_for_workers(eab_sweep_session *session, double seconds) {
    const double until_s = eab_now_s() + seconds;
    for (;;) {
        if (session->leader) eab_leader_serve(session->leader);
        if (eab_pool_has_ended(session->pool) && !(session->leader && eab_leader_is_busy(session->leader))) return true;
        if (eab_now_s() >= until_s) return false;
        g_usleep(session->leader ? 1000 : 10000); /* other ranks wait for the leader's answers */
    }
}

static bool is_interrupted(const eab_sweep_session *session) {
    return eab_interrupt_count() > 0 || (session->leader && eab_leader_interrupted(session->leader));
}

static void begin_stopping(eab_sweep_session *session) {
    /* After an interrupt the launcher may kill the ranks within about a second. */
    stop(session, is_interrupted(session) ? 0.4 : 10);
    eab_log_note("sweep", "%s",
                 is_interrupted(session) ? "stopping; interrupt again to end at once"
                                         : "the time limit is reached; stopping");
}

/* As safe as a kill: the tables survive one at any instant. */
static void end_at_once(void) {
    eab_log_error("sweep", EAB_INTERRUPTED_AGAIN);
    _exit(EAB_EXIT_INTERRUPTED);
}

/* Reports progress until the workers have ended; stops them at an interrupt, an error or the time limit. */
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
        if (eab_interrupt_count() > 1) end_at_once();
        if (eab_run_folder_sync(session->folder)) stop(session, 0); /* closing the folder reports the error */
        eab_report_cells(session);
        if (ended) break;
        eab_progress_update(session->progress, &session->state);
        eab_report_state(session, stopping);
    }
    eab_interrupt_handle_second(false);
}

/* ---- training ------------------------------------------------------------------------------------------------ */

static GArray *find_checkpoints(const eab_sweep_session *session, const int64_t *todo, int64_t count) {
    bool *done = g_new(bool, (gsize)session->plan->count);
    for (int64_t i = 0; i < session->plan->count; i++) done[i] = eab_run_folder_has(session->folder, i);
    GArray *begun = eab_run_checkpoints_find(session->sweep->out, session->plan, todo, count, done);
    g_free(done);
    return begun;
}

/* Fleets that must stay together: those that have a checkpoint, and those that a device failed at. */
static GArray *find_begun(eab_sweep_session *session, const int64_t *todo, int64_t count) {
    GArray *begun = session->sweep->checkpoint_every_s > 0 ? find_checkpoints(session, todo, count)
                                                           : g_array_new(FALSE, FALSE, sizeof(eab_fleet));
    if (session->suspects.cells > 0)
        eab_fleets_add_suspects(begun, session->plan->cells, todo, count, &session->suspects);
    session->suspects = (eab_suspects){0, 0, 0};
    return begun;
}

/* Waits for the pool and adds its work to the sums of the earlier pools. */
static int finish_pool(eab_sweep_session *session, eab_queue *queue) {
    eab_sweep_restart *restart = session->sweep->restart;
    eab_pool_progress own;
    session->earlier.flop_total = session->state.flop_done;
    if (session->leader) eab_leader_set_queue(session->leader, queue);
    watch(session);
    if (session->leader) eab_leader_set_queue(session->leader, NULL);
    if (restart && !is_interrupted(session) && !session->over_time)
        restart->wanted = eab_pool_lost_device(session->pool, &restart->suspects);
    eab_pool_measure(session->pool, &own);
    session->earlier.flop_done += own.flop_done;
    session->earlier.tokens += own.tokens;
    return eab_pool_finish(session->pool);
}

/* Trains the cells todo[0..count). fleets: cells per fleet by a cell's index, or NULL. Returns an eab_status. */
static int train(eab_sweep_session *session, const int64_t *todo, int64_t count, const int32_t *fleets) {
    const eab_cell *cells = session->plan->cells;
    GArray *begun = find_begun(session, todo, count);
    eab_queue *queue = eab_queue_new(eab_fleets_make(begun, cells, todo, count, session->sweep->fleet, fleets));
    const eab_pool_settings settings = eab_session_pool_settings(session, queue);
    int status = eab_pool_start(&settings, cells, &session->pool);
    if (!status) status = finish_pool(session, queue);
    eab_fleets_free(begun);
    eab_queue_free(queue);
    return status;
}

/* Reads the tables' outcomes into the search: a cell that ended without a solution counts as unsolved. */
static void read_outcomes(const eab_sweep_session *session) {
    for (int64_t i = 0; i < session->plan->count; i++) {
        eab_cell_outcome outcome;
        if (eab_run_folder_outcome(session->folder, i, &outcome))
            eab_search_set(session->search, i, outcome.solved == 1 ? EAB_SEARCH_SOLVED : EAB_SEARCH_UNSOLVED);
    }
}

/* Trains round by round the cells that the search asks for. */
static int train_search(eab_sweep_session *session, const int32_t *fleets) {
    int64_t *wanted = g_new(int64_t, (gsize)session->plan->count), count;
    int status = EAB_OK;
    while (!status && (count = eab_search_next(session->search, wanted)) > 0) {
        status = train(session, wanted, count, fleets);
        if (!status) status = eab_run_folder_sync(session->folder);
        read_outcomes(session);
    }
    g_free(wanted);
    return status;
}

/* Stops the followers. Returns `status`, or a follower's first error if that is what ended the sweep. */
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

/* Measures the device's peak and, if the fleet size is automatic, how many cells fill it: *fleets by a cell's index. */
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
    int32_t *fleets;
    EAB_TRY(measure_device(session, todo, count, &fleets));
    int status = eab_run_folder_set_peak(session->folder, session->run.peak_gflop_per_s);
    if (!status) {
        if (session->leader) eab_leader_begin(session->leader, session);
        status = session->search ? train_search(session, fleets) : train(session, todo, count, fleets);
        if (session->leader) status = stop_followers(session, status);
        eab_log_live(NULL);
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

    if (session->search) read_outcomes(session);
    int64_t *todo = g_new(int64_t, (gsize)plan->count);
    const int64_t count = eab_run_folder_list_open(session->folder, session->sweep->chosen, todo);
    if (session->sweep->chosen) session->state.cells_total = before.done + count;
    if (count && before.done)
        eab_log_note("sweep", "%lld of %lld cells are done already in %s", (long long)before.done,
                     (long long)plan->count, session->sweep->out);
    eab_report_start(session, before.done, count);
    if (count) eab_report_state(session, false);
    const int status = count ? train_all(session, todo, count) : EAB_OK;
    g_free(todo);
    return status;
}

/* ---- the end ------------------------------------------------------------------------------------------------- */

/* Prints the results and closes the folder. Returns `status`, or the folder's error if that came first. */
static int close_folder(eab_sweep_session *session, int status, eab_run_summary *summary) {
    const eab_sweep *sweep = session->sweep;
    char *reason = g_strdup(status ? eab_last_error() : "");
    const int synced = eab_run_folder_sync(session->folder);
    eab_run_folder_summary(session->folder, summary);
    if (!status && !synced) eab_report_results(session, summary);
    if (summary->done == session->plan->count || (!status && sweep->search)) eab_run_checkpoints_remove(sweep->out);
    if (sweep->profile && session->profile.seconds > 0) eab_report_profile(&session->profile);
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
    const int code = status                                  ? eab_exit_code(status)
                     : eab_report_failures(session, summary) ? EAB_EXIT_FAILED
                                                             : EAB_EXIT_DONE;
    if (status == EAB_INTERRUPTED) {
        eab_log_note("sweep", "%s; %lld of %lld cells are done. To resume%s:\n  %s",
                     session->over_time ? "the time limit was reached" : "interrupted", done, count,
                     sweep->ranks ? " with any number of processes" : "", sweep->resume_command);
    } else if (status) {
        eab_log_error("sweep", "%s; %lld of %lld cells are done, to resume: %s", reason, done, count,
                      sweep->resume_command);
    }
    eab_report_end(session, summary, status, code, reason);
    g_free(reason);
    return code;
}

/* Whether a new process must resume; completes sweep->restart for it. */
static bool needs_restart(eab_sweep_session *session, int status) {
    eab_sweep_restart *restart = session->sweep->restart;
    if (!restart) return false;
    restart->wanted = restart->wanted && status && status != EAB_IO;
    if (!restart->wanted) return false;
    restart->elapsed_s = eab_now_s() - session->started_s;
    eab_log_note("sweep", "the device cannot be opened again (%s); resuming in a new process", eab_last_error());
    return true;
}

/* ---- the whole sweep ----------------------------------------------------------------------------------------- */

/* Connects to the followers, if there are any, and opens the folder. */
static int open_session(eab_sweep_session *session) {
    const eab_sweep *sweep = session->sweep;
    if (sweep->ranks) {
        char fingerprint[EAB_FINGERPRINT_SIZE];
        eab_session_fingerprint(sweep, session->plan, fingerprint);
        EAB_TRY(eab_leader_meet(sweep, fingerprint, &session->leader));
    }
    EAB_TRY(eab_run_folder_open(sweep->out, session->plan, &session->run, &session->folder));
    if (*eab_run_folder_warning(session->folder)) eab_log_note("sweep", "%s", eab_run_folder_warning(session->folder));
    return EAB_OK;
}

static int run_session(eab_sweep_session *session) {
    int status = open_session(session);
    if (status) {
        eab_log_error("sweep", "%s", eab_last_error());
        return eab_exit_code(status);
    }
    eab_run_summary summary;
    status = close_folder(session, train_rest(session), &summary);
    return needs_restart(session, status) ? EAB_EXIT_FAILED : report_outcome(session, status, &summary);
}

int eab_sweep_run(const eab_sweep *sweep, const eab_plan *plan) {
    eab_sweep_session session = {.sweep = sweep,
                                 .plan = plan,
                                 .run = eab_session_run_settings(sweep, plan),
                                 .started_s = eab_now_s() - sweep->elapsed_s,
                                 .suspects = sweep->suspects,
                                 .progress = eab_progress_new(sweep->progress),
                                 .search = sweep->search ? eab_search_new(plan) : NULL,
                                 .ends = g_array_new(FALSE, FALSE, sizeof(eab_cell_end))};
    pthread_mutex_init(&session.mutex, NULL);
    eab_interrupt_watch();
    const int code = run_session(&session);
    eab_progress_free(session.progress);
    if (session.search) eab_search_free(session.search);
    g_array_free(session.ends, TRUE);
    pthread_mutex_destroy(&session.mutex);
    if (session.leader) eab_leader_dismiss(session.leader, code);
    return code;
}

int eab_sweep_refuse(const eab_sweep *sweep, int code) {
    eab_leader *leader;
    if (!sweep->ranks) return code;
    eab_leader_meet(sweep, "", &leader);
    eab_leader_dismiss(leader, code);
    return code;
}
