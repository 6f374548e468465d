#include "report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "base/files.h"
#include "base/system.h"
#include "base/version.h"
#include "kernels/clock.h"
#include "kernels/status.h"
#include "run/tables.h"
#include "spec/cell_task.h"

static const double STATE_EVERY_S = 2;

static bool in_json(const eab_sweep *sweep) { return sweep->progress == EAB_PROGRESS_JSON; }

static GString *begin_event(const char *name) {
    char now[32];
    GString *json = g_string_new(NULL);
    eab_time_print(now, sizeof now);
    eab_json_begin(json, NULL, '{');
    eab_json_text(json, "event", name);
    eab_json_text(json, "time", now);
    return json;
}

/* Write errors are ignored: progress is not a result. */
static void end_event(GString *json) {
    eab_json_end(json, '}');
    g_string_append_c(json, '\n');
    (void)eab_write_all(STDERR_FILENO, json->str, json->len, NULL);
    g_string_free(json, TRUE);
}

void eab_report_note(const eab_sweep *sweep, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    if (in_json(sweep)) {
        GString *json = begin_event("note");
        eab_json_text(json, "text", text);
        end_event(json);
    } else {
        fprintf(stderr, "eabench sweep: %s\n", text);
    }
    g_free(text);
}

void eab_report_start(const eab_sweep *sweep, int64_t cells, int64_t done, int64_t todo) {
    if (!in_json(sweep)) return;
    GString *json = begin_event("start");
    eab_json_text(json, "version", eab_build_version());
    eab_json_text(json, "run", sweep->out);
    eab_json_text(json, "backend", sweep->backend);
    eab_json_text(json, "device", sweep->description);
    eab_json_count(json, "workers", sweep->workers);
    eab_json_count(json, "cells", cells);
    eab_json_count(json, "done", done);
    eab_json_count(json, "todo", todo);
    end_event(json);
}

static void add_step(GString *json, int64_t step) {
    if (step >= 0) eab_json_count(json, "steps_to_solve", step);
    else eab_json_real(json, "steps_to_solve", NAN);
}

void eab_report_cell(const eab_sweep_session *session, const eab_cell_end *end) {
    if (!in_json(session->sweep)) return;
    const eab_cell *cell = &session->plan->cells[end->index];
    const eab_progress_state *state = &session->state;
    char level[EAB_LEVEL_NAME_SIZE];
    GString *json = begin_event("cell");
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
    add_step(json, end->steps_to_solve);
    eab_json_real(json, "wall_s", end->wall_s);
    eab_json_count(json, "cells", state->cells_total);
    eab_json_count(json, "done", state->cells_done);
    eab_json_count(json, "failed", state->failed);
    eab_json_real(json, "eta_s", eab_progress_eta_s(session->progress, state));
    end_event(json);
}

void eab_report_end(const eab_sweep_session *session, const eab_run_summary *summary, int status, int code,
                    const char *reason) {
    if (!in_json(session->sweep)) return;
    const char *name = status == EAB_INTERRUPTED ? session->over_time ? "time_limit" : "interrupted"
                       : status                  ? "error"
                       : code                    ? "failed"
                                                 : "done";
    GString *json = begin_event("end");
    eab_json_text(json, "status", name);
    eab_json_text(json, "reason", status && status != EAB_INTERRUPTED ? reason : "");
    eab_json_count(json, "exit_code", code);
    eab_json_count(json, "cells", session->plan->count);
    eab_json_count(json, "done", summary->done);
    eab_json_count(json, "diverged", summary->diverged);
    eab_json_count(json, "failed", summary->failed);
    eab_json_text(json, "again", session->sweep->resume_command);
    end_event(json);
}

void eab_report_state(eab_sweep_session *session, bool stopping, bool now) {
    const double time_s = eab_now_s();
    if (!now && time_s - session->published_s < STATE_EVERY_S) return;
    session->published_s = time_s;
    eab_run_state *state = &session->published;
    eab_pool_fleet fleets[EAB_STATE_MAX_RUNNING];
    state->running_count = session->pool ? eab_pool_list(session->pool, fleets, EAB_STATE_MAX_RUNNING) : 0;
    const int32_t own = MIN(state->running_count, EAB_STATE_MAX_RUNNING);
    if (session->leader)
        state->running_count += eab_leader_list(session->leader, fleets + own, EAB_STATE_MAX_RUNNING - own);
    for (int32_t i = 0; i < MIN(state->running_count, EAB_STATE_MAX_RUNNING); i++) {
        eab_running *running = &state->running[i];
        g_strlcpy(running->cell, session->plan->cells[fleets[i].index].id, sizeof running->cell);
        running->members = fleets[i].members;
        running->share = fleets[i].share;
    }
    state->stopping = stopping;
    state->eta_s = session->progress ? eab_progress_eta_s(session->progress, &session->state) : NAN;
    state->tokens_per_s = session->progress ? eab_progress_tokens_per_s(session->progress) : NAN;
    eab_run_state_write(session->sweep->out, state);
}
