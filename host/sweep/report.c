#include "report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/log.h"
#include "base/version.h"
#include "kernels/clock.h"
#include "kernels/status.h"
#include "leader.h"
#include "run/state.h"
#include "run/summary.h"
#include "run/tables.h"
#include "spec/cell_task.h"

enum { MAX_FAILURES_SHOWN = 10 };
static const double STATE_EVERY_S = 2;

/* ---- events of --progress json ----------------------------------------------------------------------------------- */

void eab_report_start(const eab_sweep_session *session, int64_t done, int64_t todo) {
    const eab_sweep *sweep = session->sweep;
    GString *json = eab_log_begin_event("start");
    if (!json) return;
    eab_json_text(json, "version", eab_build_version());
    eab_json_text(json, "run", sweep->out);
    eab_json_text(json, "backend", sweep->backend);
    eab_json_text(json, "device", sweep->description);
    eab_json_count(json, "workers", sweep->workers);
    eab_json_count(json, "cells", session->plan->count);
    eab_json_count(json, "done", done);
    eab_json_count(json, "todo", todo);
    eab_log_end_event(json);
}

static void report_event(const eab_sweep_session *session, const eab_cell_end *end) {
    GString *json = eab_log_begin_event("cell");
    if (!json) return;
    const eab_cell *cell = &session->plan->cells[end->index];
    const eab_progress_state *state = &session->state;
    char level[EAB_LEVEL_NAME_SIZE];
    eab_config_level_name(&cell->config, level, sizeof level);
    eab_json_text(json, "cell", cell->id);
    eab_json_text(json, "status", eab_cell_status_name(end->status));
    eab_json_text(json, "reason", end->reason);
    eab_json_text(json, "mechanism", eab_mechanism_name(cell->config.mechanism));
    eab_json_text(json, "task", eab_config_task_name(&cell->config));
    eab_json_text(json, "level", level);
    eab_json_real(json, "lr", cell->config.lr);
    eab_json_count(json, "seed", cell->config.seed);
    eab_json_real(json, "token_accuracy", end->token_accuracy);
    eab_json_real(json, "steps_to_solve", end->steps_to_solve >= 0 ? (double)end->steps_to_solve : NAN);
    eab_json_real(json, "wall_s", end->wall_s);
    eab_json_count(json, "cells", state->cells_total);
    eab_json_count(json, "done", state->cells_done);
    eab_json_count(json, "failed", state->failed);
    eab_json_real(json, "eta_s", eab_progress_eta_s(session->progress, state));
    eab_log_end_event(json);
}

void eab_report_end(const eab_sweep_session *session, const eab_run_summary *summary, int status, int code,
                    const char *reason) {
    GString *json = eab_log_begin_event("end");
    if (!json) return;
    const char *name = status == EAB_INTERRUPTED ? session->over_time ? "time_limit" : "interrupted"
                       : status                  ? "error"
                       : code                    ? "failed"
                                                 : "done";
    eab_json_text(json, "status", name);
    eab_json_text(json, "reason", status && status != EAB_INTERRUPTED ? reason : "");
    eab_json_count(json, "exit_code", code);
    eab_json_count(json, "cells", session->plan->count);
    eab_json_count(json, "done", summary->done);
    eab_json_count(json, "diverged", summary->diverged);
    eab_json_count(json, "failed", summary->failed);
    eab_json_text(json, "again", session->sweep->resume_command);
    eab_log_end_event(json);
}

/* ---- cells that ended, and sums of work -------------------------------------------------------------------------- */

static void report_failure(eab_sweep_session *session, const char *label, const eab_cell_end *end) {
    if (session->state.failed > MAX_FAILURES_SHOWN) return;
    eab_log_note("sweep", "%s: %s: %s%s", label, eab_cell_status_name(end->status), end->reason,
                 session->state.failed == MAX_FAILURES_SHOWN ? " (further failures are shown in accuracy.csv only)"
                                                             : "");
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
    report_event(session, end);
    if (is_result || end->status == EAB_CELL_TIMEOUT) report_result(session, label, end);
    else report_failure(session, label, end);
}

/* Updates the sums of work done, in this process and in the followers. */
static void measure(eab_sweep_session *session) {
    eab_progress_state *state = &session->state;
    const eab_pool_progress *earlier = &session->earlier;
    eab_pool_measure(session->pool, &session->work);
    if (session->leader) eab_leader_add_progress(session->leader, &session->work);
    state->flop_done = earlier->flop_done + session->work.flop_done;
    state->flop_total = earlier->flop_total + session->work.flop_total;
    state->tokens = earlier->tokens + session->work.tokens;
}

void eab_report_cells(eab_sweep_session *session) {
    pthread_mutex_lock(&session->mutex);
    GArray *ends = session->ends;
    session->ends = g_array_new(FALSE, FALSE, sizeof(eab_cell_end));
    pthread_mutex_unlock(&session->mutex);

    measure(session);
    for (guint i = 0; i < ends->len; i++) report_end(session, &g_array_index(ends, eab_cell_end, i));
    g_array_free(ends, TRUE);
}

/* ---- RUN/.state -------------------------------------------------------------------------------------------------- */

void eab_report_state(eab_sweep_session *session, bool stopping) {
    const double time_s = eab_now_s();
    if (time_s - session->published_s < STATE_EVERY_S) return;
    session->published_s = time_s;
    eab_run_state state = {.eta_s = eab_progress_eta_s(session->progress, &session->state),
                           .tokens_per_s = eab_progress_tokens_per_s(session->progress),
                           .stopping = stopping,
                           .running_count = session->work.running_count};
    memcpy(state.running, session->work.running, sizeof state.running);
    eab_run_state_write(session->sweep->out, &state);
}

/* ---- the results, on stdout -------------------------------------------------------------------------------------- */

int64_t eab_report_failures(const eab_sweep_session *session, const eab_run_summary *summary) {
    return summary->failed - (session->search ? summary->timeouts : 0);
}

void eab_report_results(const eab_sweep_session *session, const eab_run_summary *summary) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=";
    const eab_sweep *sweep = session->sweep;
    const int64_t failed = eab_report_failures(session, summary);
    eab_summary_print(stdout, session->plan, session->folder);
    if (session->search) {
        putchar('\n');
        eab_search_print(stdout, session->search);
    }
    printf("\n%lld of %lld cells are done", (long long)summary->done, (long long)session->plan->count);
    if (summary->diverged) printf(", %lld of them diverged", (long long)summary->diverged);
    if (session->search && summary->timeouts) printf("; %lld abandoned", (long long)summary->timeouts);
    if (failed) printf("; %lld failed", (long long)failed);
    printf("\ntables  %s/accuracy.csv, throughput.csv%s%s%s\n", sweep->out, sweep->save_curves ? ", curves.csv" : "",
           sweep->save_geometry ? ", geometry.csv" : "",
           session->plan->texts && session->plan->texts->len ? ", text.csv" : "");
    char *quoted = g_shell_quote(sweep->out);
    printf("report  scripts/report %s\n", sweep->out[strspn(sweep->out, plain)] ? quoted : sweep->out);
    g_free(quoted);
}

/* ---- the profile, on stdout -------------------------------------------------------------------------------------- */

static void print_line(const eab_profile *profile, const char *name, eab_profile_row row) {
    char calls[32] = "", rate[32] = "";
    if (row.calls > 0) snprintf(calls, sizeof calls, "%lld", (long long)row.calls);
    if (row.flop > 0 && row.seconds > 0) snprintf(rate, sizeof rate, "%.1f", row.flop / row.seconds * 1e-9);
    printf("%-26s %12s %10.3f %7.2f %9s\n", name, calls, row.seconds, 100 * row.seconds / profile->seconds, rate);
}

static eab_profile_row sum_rows(const eab_profile_row *rows) {
    eab_profile_row sum = {0};
    for (int i = 0; i < EAB_PROFILE_ROWS; i++) {
        sum.seconds += rows[i].seconds;
        sum.flop += rows[i].flop;
    }
    return sum;
}

typedef struct {
    eab_profile_operation operation;
    double seconds;
} entry;

static int compare_entries(const void *a, const void *b) {
    const entry *left = a, *right = b;
    if (left->seconds > right->seconds || left->seconds < right->seconds)
        return left->seconds > right->seconds ? -1 : 1;
    return (int)left->operation - (int)right->operation;
}

void eab_report_profile(const eab_profile *profile) {
    const eab_profile_row *rows = profile->rows[EAB_PROFILE_TRAINING];
    const eab_profile_row training = sum_rows(rows), evaluation = sum_rows(profile->rows[EAB_PROFILE_EVALUATION]);
    const eab_profile_row own = {.seconds = profile->seconds - training.seconds - evaluation.seconds};
    entry order[EAB_PROFILE_ROWS];
    for (int i = 0; i < EAB_PROFILE_ROWS; i++) order[i] = (entry){(eab_profile_operation)i, rows[i].seconds};
    qsort(order, EAB_PROFILE_ROWS, sizeof order[0], compare_entries);

    printf("\n%-26s %12s %10s %7s %9s\n", "profile of the workers", "calls", "seconds", "share %", "GFLOP/s");
    for (int i = 0; i < EAB_PROFILE_ROWS; i++)
        if (rows[order[i].operation].calls > 0)
            print_line(profile, eab_profile_name(order[i].operation), rows[order[i].operation]);
    print_line(profile, "training", training);
    print_line(profile, "evaluation", evaluation);
    print_line(profile, "the sweep's own", own);
    if (profile->checkpoints.calls) print_line(profile, "  of it checkpoints", profile->checkpoints);
    print_line(profile, "all", (eab_profile_row){.seconds = profile->seconds});
}
