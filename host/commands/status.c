/* eabench status: how far a run is, from its tables and from the report of a running sweep. */
#include <glib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "base/csv.h"
#include "base/json.h"
#include "base/log.h"
#include "base/suggest.h"
#include "kernels/status.h"
#include "plan/shard.h"
#include "run/folder.h"
#include "run/state.h"
#include "run/summary.h"
#include "run/tables.h"
#include "sweep/progress.h"

typedef struct {
    const char *run;
    eab_plan plan;
    eab_cell_status *status; /* [plan.count] */
    GArray *sweeps;          /* eab_run_state, of running or killed sweeps */
    int64_t done, diverged, failed, timed_out, running, left;
    double eta_s, tokens_per_s;
    const char *state;
} run_status;

/* ---- reading ------------------------------------------------------------------------------------------------- */

static bool has_manifest(const char *folder) {
    char *path = g_build_filename(folder, "manifest.ini", NULL);
    const bool there = g_file_test(path, G_FILE_TEST_IS_REGULAR);
    g_free(path);
    return there;
}

static int load_plan(run_status *self, const char *folder) {
    char *path = g_build_filename(folder, "manifest.ini", NULL);
    const int status = eab_plan_load_manifest(path, &self->plan);
    g_free(path);
    if (status) return status;
    self->status = g_new(eab_cell_status, (gsize)self->plan.count);
    for (int64_t i = 0; i < self->plan.count; i++) self->status[i] = EAB_CELL_NONE;
    return EAB_OK;
}

/* Adds what one folder holds. A cell may be in several folders: its shard's and the merged one. */
static int read_folder(run_status *self, const char *folder) {
    eab_run_folder *tables;
    eab_run_state state;
    bool found;
    EAB_TRY(eab_run_folder_peek(folder, &self->plan, &tables));
    for (int64_t i = 0; i < self->plan.count; i++) {
        eab_cell_outcome outcome;
        if (!eab_run_folder_outcome(tables, i, &outcome)) continue;
        if (!eab_cell_status_is_result(self->status[i])) self->status[i] = outcome.status;
    }
    eab_run_folder_close(tables);
    EAB_TRY(eab_run_state_read(folder, &found, &state));
    if (found) g_array_append_val(self->sweeps, state);
    return EAB_OK;
}

/* Leaves out the cells that the split gives to other parts, unless the folder has some of them: its cells were then
 * chosen by --cells. */
static void keep_part(run_status *self, eab_shard own) {
    int32_t *part_of = eab_shard_split(&self->plan, own.parts);
    bool split = true;
    int64_t count = 0;
    for (int64_t i = 0; i < self->plan.count; i++)
        split = split && (part_of[i] == own.part || self->status[i] == EAB_CELL_NONE);
    for (int64_t i = 0; split && i < self->plan.count; i++)
        if (part_of[i] == own.part) self->status[count++] = self->status[i];
    if (split) eab_shard_take(&own, &self->plan);
    g_free(part_of);
}

static int read_all(run_status *self) {
    GArray *shards;
    GPtrArray *folders = g_ptr_array_new_with_free_func(g_free);
    int status = eab_shard_list(self->run, &shards);
    if (has_manifest(self->run)) g_ptr_array_add(folders, g_strdup(self->run));
    for (guint i = 0; i < shards->len; i++) {
        char *folder = eab_shard_folder(self->run, g_array_index(shards, eab_shard, i));
        if (has_manifest(folder)) g_ptr_array_add(folders, folder);
        else g_free(folder);
    }
    g_array_free(shards, TRUE);
    if (!status && !folders->len)
        status = eab_fail(EAB_BAD_INPUT, "%s: no run of eabench sweep: it has no manifest.ini", self->run);
    if (!status) status = load_plan(self, folders->pdata[0]);
    for (guint i = 0; i < folders->len && !status; i++) status = read_folder(self, folders->pdata[i]);
    const eab_shard own = eab_shard_of_folder(self->run);
    if (!status && own.parts && self->plan.lacks_texts)
        eab_log_note("status", "a text file of this run has changed or is not here: the counts are of all its parts");
    else if (!status && own.parts) keep_part(self, own);
    g_ptr_array_free(folders, TRUE);
    return status;
}

static void count_all(run_status *self) {
    bool running = false, stopping = false, stale = false;
    for (int64_t i = 0; i < self->plan.count; i++) {
        const eab_cell_status status = self->status[i];
        self->done += eab_cell_status_is_result(status);
        self->diverged += status == EAB_CELL_DIVERGED;
        self->failed += status == EAB_CELL_FAIL || status == EAB_CELL_OOM;
        self->timed_out += status == EAB_CELL_TIMEOUT;
    }
    self->eta_s = self->tokens_per_s = NAN;
    for (guint i = 0; i < self->sweeps->len; i++) {
        const eab_run_state *one = &g_array_index(self->sweeps, eab_run_state, i);
        stale = stale || one->stale;
        if (one->stale) continue;
        running = true;
        stopping = stopping || one->stopping;
        for (int32_t k = 0; k < MIN(one->running_count, EAB_STATE_MAX_RUNNING); k++)
            self->running += one->running[k].members;
        self->running += MAX(0, one->running_count - EAB_STATE_MAX_RUNNING);
        self->eta_s = fmax(self->eta_s, one->eta_s); /* of NAN and a number: the number */
        if (isfinite(one->tokens_per_s))
            self->tokens_per_s = (isfinite(self->tokens_per_s) ? self->tokens_per_s : 0) + one->tokens_per_s;
    }
    const int64_t open = self->plan.count - self->done - self->failed - self->timed_out;
    self->running = MIN(self->running, MAX(0, open)); /* the tables may be ahead of the report */
    self->left = MAX(0, open - self->running);
    self->state = running ? stopping ? "stopping" : "running" : open <= 0 ? "done" : stale ? "stale" : "stopped";
}

/* ---- printing ------------------------------------------------------------------------------------------------- */

/* The cell on one line; "" if the plan lacks it. */
static void label_of(const run_status *self, const char *id, char *label, size_t size) {
    const int64_t index = eab_plan_find(&self->plan, id);
    g_strlcpy(label, "", size);
    if (index >= 0) eab_cell_label(&self->plan.cells[index].config, label, size);
}

static int32_t listed(const eab_run_state *one) { return MIN(one->running_count, EAB_STATE_MAX_RUNNING); }

static void add_sweep(GString *json, const run_status *self, const eab_run_state *one) {
    eab_json_begin(json, NULL, '{');
    eab_json_count(json, "process", one->sweep.process);
    eab_json_text(json, "host", one->sweep.host);
    eab_json_text(json, "started", one->sweep.started);
    eab_json_real(json, "silent_s", one->silent_s);
    eab_json_text(json, "state", one->stale ? "stale" : one->stopping ? "stopping" : "running");
    eab_json_begin(json, "running", '[');
    for (int32_t i = 0; i < listed(one); i++) {
        const eab_running *running = &one->running[i];
        char label[512];
        label_of(self, running->cell, label, sizeof label);
        eab_json_begin(json, NULL, '{');
        eab_json_text(json, "cell", running->cell);
        eab_json_text(json, "label", label);
        eab_json_count(json, "members", running->members);
        eab_json_real(json, "share", running->share);
        eab_json_end(json, '}');
    }
    eab_json_end(json, ']');
    eab_json_end(json, '}');
}

static void print_json(const run_status *self) {
    GString *json = g_string_new(NULL);
    eab_json_begin(json, NULL, '{');
    eab_json_text(json, "run", self->run);
    eab_json_text(json, "state", self->state);
    eab_json_count(json, "cells", self->plan.count);
    eab_json_count(json, "done", self->done);
    eab_json_count(json, "diverged", self->diverged);
    eab_json_count(json, "running", self->running);
    eab_json_count(json, "failed", self->failed);
    eab_json_count(json, "timed_out", self->timed_out);
    eab_json_count(json, "left", self->left);
    eab_json_real(json, "eta_s", self->eta_s);
    eab_json_real(json, "tokens_per_s", self->tokens_per_s);
    eab_json_begin(json, "sweeps", '[');
    for (guint i = 0; i < self->sweeps->len; i++) add_sweep(json, self, &g_array_index(self->sweeps, eab_run_state, i));
    eab_json_end(json, ']');
    eab_json_end(json, '}');
    puts(json->str);
    g_string_free(json, TRUE);
}

static void print_sweep(const run_status *self, const eab_run_state *one) {
    char silent[32], *host = eab_line_clean(one->sweep.host), *started = eab_line_clean(one->sweep.started);
    eab_duration_print(one->silent_s, silent, sizeof silent);
    printf("sweep      process %lld on %s since %s, %s %s%s\n", (long long)one->sweep.process, host, started,
           one->stale ? "gone; last heard" : "last heard", silent, " ago");
    g_free(host);
    g_free(started);
    for (int32_t k = 0; !one->stale && k < listed(one); k++) {
        const eab_running *running = &one->running[k];
        char label[512];
        label_of(self, running->cell, label, sizeof label);
        printf("  %s  %3.0f%%  %s", running->cell, 100 * running->share, label);
        if (running->members > 1) printf("  and %d more", running->members - 1);
        putchar('\n');
    }
    if (!one->stale && one->running_count > EAB_STATE_MAX_RUNNING)
        printf("  and %d more\n", one->running_count - EAB_STATE_MAX_RUNNING);
}

static void print_text(const run_status *self) {
    const struct {
        const char *name;
        int64_t count;
    } counts[] = {{"done", self->done},     {"  diverged", self->diverged}, {"running", self->running},
                  {"failed", self->failed}, {"timed out", self->timed_out}, {"left", self->left}};
    const int64_t all = MAX(1, self->plan.count);
    char text[32], *run = eab_line_clean(self->run);
    const int width = snprintf(text, sizeof text, "%lld", (long long)self->plan.count);
    printf("run        %s\nstate      %s\ncells      %*lld\n", run, self->state, width, (long long)self->plan.count);
    for (size_t i = 0; i < G_N_ELEMENTS(counts); i++)
        printf("%-10s %*lld  %3lld%%\n", counts[i].name, width, (long long)counts[i].count,
               (long long)(100 * counts[i].count / all));
    if (isfinite(self->eta_s)) {
        eab_duration_print(self->eta_s, text, sizeof text);
        printf("ETA        %s\n", text);
    }
    if (isfinite(self->tokens_per_s)) {
        eab_quantity_print(self->tokens_per_s, "tok/s", text, sizeof text);
        printf("speed      %s\n", text);
    }
    for (guint i = 0; i < self->sweeps->len; i++) print_sweep(self, &g_array_index(self->sweeps, eab_run_state, i));
    g_free(run);
}

static int print_status(const char *run, bool as_json) {
    run_status self = {.run = run, .sweeps = g_array_new(FALSE, FALSE, sizeof(eab_run_state))};
    const int status = read_all(&self);
    if (!status) {
        count_all(&self);
        if (as_json) print_json(&self);
        else print_text(&self);
    }
    const int code = status ? eab_command_error("status", status) : self.failed ? EAB_EXIT_FAILED : EAB_EXIT_DONE;
    g_array_free(self.sweeps, TRUE);
    g_free(self.status);
    eab_plan_free(&self.plan);
    return code;
}

static int check(char **runs) {
    char shown[256];
    if (!runs || runs[1])
        return eab_fail(EAB_BAD_INPUT, "%s; usage: eabench status RUN [--json]",
                        runs ? eab_excerpt(runs[1], 60, shown, sizeof shown) : "no run");
    if (g_file_test(runs[0], G_FILE_TEST_IS_DIR)) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s: not a folder; a run's folder is allowed",
                    eab_excerpt(runs[0], 200, shown, sizeof shown));
}

int eab_command_status(int argc, char **argv) {
    char **runs = NULL;
    gboolean as_json = FALSE;
    const GOptionEntry entries[] = {
        {"json", 0, 0, G_OPTION_ARG_NONE, &as_json, "as one object of JSON, for tools", NULL},
        {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &runs, NULL, "RUN"},
        {0},
    };
    int code =
        eab_command_parse("status", "- how far a run is, also while a sweep works on it, here or on another machine",
                          "Exit codes: 0 printed; 1 printed, and cells failed; 2 no run, or one that cannot be read.",
                          entries, argc, argv);
    if (code < 0) code = check(runs) ? eab_command_error("status", EAB_BAD_INPUT) : print_status(runs[0], as_json);
    g_strfreev(runs);
    return code;
}
