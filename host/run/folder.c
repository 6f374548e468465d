/* How a folder survives anything:
 *
 * - A cell's accuracy rows are its commit. They are appended after its throughput row, its curves and its geometry are on
 *   the disk, so a crash leaves at worst rows without a commit, which the next open drops, or a torn last line.
 * - Rows leave a table only by replacing the whole file (replace.h), so at every instant the tables are readable.
 * - Reading comes first: nothing is written before all that is there was found to be in order.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/replace.h"
#include "base/suggest.h"
#include "folder_state.h"
#include "kernels/status.h"
#include "manifest.h"

static const int64_t SYNC_EVERY_US = 50000;

/* ---- opening and closing ------------------------------------------------------------------------------------- */

static eab_run_folder *folder_new(const char *path, const eab_plan *plan) {
    eab_run_folder *folder = g_new0(eab_run_folder, 1);
    folder->path = g_strdup(path);
    folder->warning = g_strdup("");
    folder->plan = plan;
    folder->lock.fd = -1;
    folder->places = g_hash_table_new(g_str_hash, g_str_equal);
    folder->cells = g_new0(eab_cell_state, (gsize)plan->count);
    for (int64_t i = 0; i < plan->count; i++) {
        g_hash_table_insert(folder->places, plan->cells[i].id, GSIZE_TO_POINTER((gsize)i));
        folder->cells[i].status = -1;
    }
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        folder->table_paths[table] = g_build_filename(path, eab_run_table((eab_table)table)->file_name, NULL);
        folder->files[table].fd = -1;
    }
    folder->column[EAB_RESUME_STATUS] = eab_table_column(eab_run_table(EAB_TABLE_ACCURACY), "status");
    folder->column[EAB_RESUME_TOKEN_ACCURACY] = eab_table_column(eab_run_table(EAB_TABLE_ACCURACY), "token_accuracy");
    folder->column[EAB_RESUME_SOLVED] = eab_table_column(eab_run_table(EAB_TABLE_ACCURACY), "solved");
    folder->column[EAB_RESUME_TASK] = eab_table_column(eab_run_table(EAB_TABLE_ACCURACY), "task");
    folder->column[EAB_RESUME_STEPS_DONE] = eab_table_column(eab_run_table(EAB_TABLE_ACCURACY), "steps_done");
    folder->pending = g_array_new(FALSE, FALSE, sizeof(eab_pending_cell));
    pthread_mutex_init(&folder->mutex, NULL);
    return folder;
}

static void folder_free(eab_run_folder *folder) {
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        eab_table_close(&folder->files[table]);
        g_free(folder->table_paths[table]);
    }
    for (guint i = 0; i < folder->pending->len; i++)
        for (int table = 0; table < EAB_TABLE_COUNT; table++)
            g_string_free(g_array_index(folder->pending, eab_pending_cell, i).rows[table], TRUE);
    eab_run_lock_release(&folder->lock);
    g_array_free(folder->pending, TRUE);
    g_hash_table_destroy(folder->places);
    eab_environment_free(&folder->environment);
    pthread_mutex_destroy(&folder->mutex);
    g_free((char *)(uintptr_t)folder->settings.backend);
    g_free((char *)(uintptr_t)folder->settings.device);
    g_free(folder->cells);
    g_free(folder->warning);
    g_free(folder->path);
    g_free(folder);
}

/* What of the old manifest stays, and what differs from it. */
static void compare_environments(eab_run_folder *folder, eab_environment *old) {
    eab_environment *now = &folder->environment;
    const struct {
        const char *name, *before, *after;
    } keys[] = {{"version", old->version, now->version},
                {"commit", old->commit, now->commit},
                {"backend", old->backend, now->backend},
                {"isa", old->isa, now->isa}};
    GString *text = g_string_new(NULL);
    char before[80], after[80];
    for (size_t i = 0; i < G_N_ELEMENTS(keys); i++)
        if (strcmp(keys[i].before, keys[i].after))
            g_string_append_printf(text, "%s%s '%s' (now '%s')", text->len ? ", " : "", keys[i].name,
                                   eab_excerpt(keys[i].before, 60, before, sizeof before),
                                   eab_excerpt(keys[i].after, 60, after, sizeof after));
    if (text->len) {
        g_free(folder->warning);
        folder->warning =
            g_strdup_printf("%s was begun with %s; results may differ in the last bits", folder->path, text->str);
    }
    g_string_free(text, TRUE);
    if (*old->started) {
        g_free(now->started);
        now->started = g_strdup(old->started);
    }
    if (strcmp(old->device, now->device) == 0 && strcmp(old->isa, now->isa) == 0) { /* until it is measured again */
        g_free(now->peak_gflop_per_s);
        now->peak_gflop_per_s = g_strdup(old->peak_gflop_per_s);
    }
}

static int write_manifest(const eab_run_folder *folder) {
    char *path = g_build_filename(folder->path, "manifest.ini", NULL);
    const int status = eab_manifest_write(path, folder->plan->resolved, &folder->environment);
    g_free(path);
    return status;
}

/* A link would lead out of the run. */
static int make_subfolder(const eab_run_folder *folder, const char *name) {
    char *path = g_build_filename(folder->path, name, NULL);
    struct stat facts;
    int status = EAB_OK;
    if (mkdir(path, 0777) && errno != EEXIST)
        status = eab_fail(EAB_IO, "%s: cannot be created: %s", path, g_strerror(errno));
    else if (lstat(path, &facts) || !S_ISDIR(facts.st_mode))
        status = eab_fail(EAB_BAD_INPUT, "%s: not a folder; a folder, or a name that is free, is allowed", path);
    g_free(path);
    return status;
}

/* Tables that only some sweeps write are kept up where they are there. */
static bool has_use_for(const eab_run_folder *folder, eab_table table) {
    if (table == EAB_TABLE_CURVES && !folder->settings.save_curves) return folder->has_table[table];
    if (table == EAB_TABLE_GEOMETRY && !folder->settings.save_geometry) return folder->has_table[table];
    return true;
}

static int prepare(eab_run_folder *folder) {
    EAB_TRY(eab_run_lock_take(folder->path, &folder->lock));
    char *manifest = g_build_filename(folder->path, "manifest.ini", NULL);
    eab_environment old;
    bool found;
    int status = eab_manifest_read(manifest, &old, &found);
    if (!status && found) compare_environments(folder, &old);
    eab_environment_free(&old);
    if (!status) status = eab_run_folder_read(folder);

    /* From here on things are written. */
    if (!status) eab_replace_clean(manifest);
    g_free(manifest);
    EAB_TRY(status);
    bool complete = found;
    for (int64_t i = 0; i < folder->plan->count && complete; i++) complete = eab_run_folder_is_done(folder, i);
    if (!complete) EAB_TRY(write_manifest(folder)); /* it tells of the sweep that filled the tables */
    if (folder->settings.save_models) EAB_TRY(make_subfolder(folder, "models"));
    if (folder->settings.save_geometry) EAB_TRY(make_subfolder(folder, "geometry"));
    /* The commits go first: a crash right behind them leaves rows without a commit, which are dropped next time. */
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        eab_replace_clean(folder->table_paths[table]);
        if (!has_use_for(folder, (eab_table)table)) continue;
        EAB_TRY(eab_run_folder_tidy(folder, (eab_table)table, false));
        EAB_TRY(eab_table_open(folder->table_paths[table], &folder->files[table]));
    }
    return EAB_OK;
}

static void keep_settings(eab_run_folder *folder, const eab_run_settings *settings) {
    folder->settings = *settings;
    folder->settings.backend = g_strdup(settings->backend);
    folder->settings.device = g_strdup(settings->device ? settings->device : "");
    folder->settings.isa = folder->settings.command = NULL; /* they are in the environment */
}

int eab_run_folder_open(const char *path, const eab_plan *plan, const eab_run_settings *settings,
                        eab_run_folder **folder) {
    const bool was_there = g_file_test(path, G_FILE_TEST_EXISTS);
    if (was_there && !g_file_test(path, G_FILE_TEST_IS_DIR))
        return eab_fail(EAB_BAD_INPUT, "%s: not a folder; a folder, or a name that is free, is allowed", path);
    if (!was_there && g_mkdir_with_parents(path, 0777))
        return eab_fail(EAB_IO, "%s: cannot be created: %s", path, g_strerror(errno));

    eab_run_folder *self = folder_new(path, plan);
    keep_settings(self, settings);
    eab_environment_collect(settings, &self->environment);
    const int status = prepare(self);
    if (status) {
        folder_free(self);
        if (!was_there) rmdir(path); /* stays if anything is in it */
        return status;
    }
    *folder = self;
    return EAB_OK;
}

int eab_run_folder_peek(const char *path, const eab_plan *plan, eab_run_folder **folder) {
    eab_run_folder *self = folder_new(path, plan);
    self->looking = true;
    const int status = eab_run_folder_read(self);
    if (status) {
        folder_free(self);
        return status;
    }
    *folder = self;
    return EAB_OK;
}

eab_run_folder *eab_run_folder_attach(const char *path, const eab_plan *plan, const eab_run_settings *settings) {
    eab_run_folder *self = folder_new(path, plan);
    self->looking = true;
    keep_settings(self, settings);
    return self;
}

int eab_run_folder_close(eab_run_folder *folder) {
    if (!folder) return EAB_OK;
    int status = folder->looking ? EAB_OK : eab_run_folder_sync(folder);
    if (!folder->looking && !status) {
        for (int table = 0; table < EAB_TABLE_COUNT && !status; table++)
            if (folder->files[table].path) status = eab_run_folder_tidy(folder, (eab_table)table, true);
        if (!status && folder->peak_gflop_per_s > 0) status = write_manifest(folder);
    }
    folder_free(folder);
    return status;
}

/* ---- questions ----------------------------------------------------------------------------------------------- */

const char *eab_run_folder_warning(const eab_run_folder *folder) { return folder->warning; }

static pthread_mutex_t *mutex_of(const eab_run_folder *folder) { return (pthread_mutex_t *)(uintptr_t)&folder->mutex; }

bool eab_run_folder_has(const eab_run_folder *folder, const char *id) {
    gpointer place;
    if (!g_hash_table_lookup_extended(folder->places, id, NULL, &place)) return false;
    pthread_mutex_lock(mutex_of(folder));
    const bool done = eab_run_folder_is_done(folder, (int64_t)GPOINTER_TO_SIZE(place));
    pthread_mutex_unlock(mutex_of(folder));
    return done;
}

bool eab_run_folder_outcome(const eab_run_folder *folder, int64_t index, eab_cell_outcome *outcome) {
    pthread_mutex_lock(mutex_of(folder));
    const eab_cell_state state = folder->cells[index];
    pthread_mutex_unlock(mutex_of(folder));
    if (state.status < 0) return false;
    *outcome = (eab_cell_outcome){(eab_cell_status)state.status, state.token_accuracy, state.solved};
    return true;
}

void eab_run_folder_summary(const eab_run_folder *folder, eab_run_summary *summary) {
    *summary = (eab_run_summary){0};
    pthread_mutex_lock(mutex_of(folder));
    for (int64_t i = 0; i < folder->plan->count; i++) {
        const eab_cell_state *state = &folder->cells[i];
        const int32_t mechanism = folder->plan->cells[i].config.mechanism;
        if (state->status < 0) continue;
        if (!eab_cell_status_is_result((eab_cell_status)state->status)) {
            summary->timeouts += state->status == EAB_CELL_TIMEOUT;
            summary->failed++;
            continue;
        }
        summary->done++;
        summary->diverged += state->status == EAB_CELL_DIVERGED;
        summary->solved += state->solved == 1;
        if (isnan(state->token_accuracy) || mechanism < 0 || mechanism >= 16) continue;
        summary->accuracy_sum[mechanism] += state->token_accuracy;
        summary->accuracy_count[mechanism]++;
    }
    pthread_mutex_unlock(mutex_of(folder));
}

void eab_run_folder_model_path(const eab_run_folder *folder, const eab_cell *cell, char *path, size_t size) {
    g_snprintf(path, size, "%s/models/%s.safetensors", folder->path, cell->id);
}

void eab_run_folder_geometry_path(const eab_run_folder *folder, const eab_cell *cell, char *path, size_t size) {
    g_snprintf(path, size, "%s/geometry/%s.safetensors", folder->path, cell->id);
}

/* ---- appending ----------------------------------------------------------------------------------------------- */

void eab_run_folder_set_peak(eab_run_folder *folder, double gflop_per_s) {
    pthread_mutex_lock(&folder->mutex);
    folder->peak_gflop_per_s = gflop_per_s;
    if (gflop_per_s > 0) {
        char text[G_ASCII_DTOSTR_BUF_SIZE];
        g_free(folder->environment.peak_gflop_per_s);
        folder->environment.peak_gflop_per_s = g_strdup(g_ascii_formatd(text, sizeof text, "%.6g", gflop_per_s));
    }
    pthread_mutex_unlock(&folder->mutex);
}

static int append_table(eab_run_folder *folder, eab_table table) {
    if (!folder->files[table].path) return EAB_OK;
    bool any = false;
    for (guint i = 0; i < folder->pending->len; i++) {
        const eab_pending_cell *cell = &g_array_index(folder->pending, eab_pending_cell, i);
        EAB_TRY(eab_table_append(&folder->files[table], cell->rows[table]));
        any = any || cell->rows[table]->len;
        if (table != EAB_TABLE_ACCURACY) continue;
        const int32_t rows = eab_accuracy_row_count(&folder->plan->cells[cell->index].config);
        folder->cells[cell->index] = (eab_cell_state){
            .parts = rows >= 64 ? UINT64_MAX : (UINT64_C(1) << rows) - 1,
            .token_accuracy = cell->outcome.token_accuracy,
            .status = (int8_t)cell->outcome.status,
            .solved = (int8_t)cell->outcome.solved,
        };
    }
    return any ? eab_table_sync(&folder->files[table]) : EAB_OK;
}

/* With the mutex held. */
static int write_pending(eab_run_folder *folder) {
    if (folder->failure) return eab_fail((eab_status)folder->failure, "%s", folder->failure_line);
    if (!folder->pending->len) return EAB_OK;
    int status = append_table(folder, EAB_TABLE_CURVES);
    if (!status) status = append_table(folder, EAB_TABLE_GEOMETRY);
    if (!status) status = append_table(folder, EAB_TABLE_THROUGHPUT);
    if (!status) status = append_table(folder, EAB_TABLE_ACCURACY);
    for (guint i = 0; i < folder->pending->len; i++)
        for (int table = 0; table < EAB_TABLE_COUNT; table++)
            g_string_free(g_array_index(folder->pending, eab_pending_cell, i).rows[table], TRUE);
    g_array_set_size(folder->pending, 0);
    folder->synced_us = g_get_monotonic_time();
    folder->failure = status;
    if (status) g_strlcpy(folder->failure_line, eab_last_error(), sizeof folder->failure_line);
    return status;
}

void eab_run_folder_rows(const eab_run_folder *folder, const eab_cell *cell, const eab_cell_result *result,
                         GString **rows) {
    for (int table = 0; table < EAB_TABLE_COUNT; table++) rows[table] = g_string_new(NULL);
    pthread_mutex_lock(mutex_of(folder));
    const double peak_gflop_per_s = folder->peak_gflop_per_s;
    pthread_mutex_unlock(mutex_of(folder));
    if (folder->settings.save_curves) eab_curves_rows(rows[EAB_TABLE_CURVES], cell, result);
    if (folder->settings.save_geometry) eab_geometry_rows(rows[EAB_TABLE_GEOMETRY], cell, result);
    eab_throughput_rows(rows[EAB_TABLE_THROUGHPUT], &folder->settings, peak_gflop_per_s, cell, result);
    eab_accuracy_rows(rows[EAB_TABLE_ACCURACY], &folder->settings, cell, result);
}

/* Takes the entry's rows over. */
static int append_entry(eab_run_folder *folder, const eab_pending_cell *entry) {
    pthread_mutex_lock(&folder->mutex);
    g_array_append_val(folder->pending, *entry);
    int status = folder->failure ? write_pending(folder) : EAB_OK;
    if (!status && g_get_monotonic_time() - folder->synced_us >= SYNC_EVERY_US) status = write_pending(folder);
    pthread_mutex_unlock(&folder->mutex);
    return status;
}

int eab_run_folder_append(eab_run_folder *folder, const eab_cell *cell, const eab_cell_result *result) {
    gpointer place;
    if (!g_hash_table_lookup_extended(folder->places, cell->id, NULL, &place))
        return eab_fail(EAB_BAD_INPUT, "cell %s is not one of the plan", cell->id);
    eab_pending_cell entry = {.index = (int64_t)GPOINTER_TO_SIZE(place),
                              .outcome = {result->status, result->token_accuracy, result->solved}};
    eab_run_folder_rows(folder, cell, result, entry.rows);
    return append_entry(folder, &entry);
}

static bool is_there(eab_run_folder *folder, int64_t index) {
    pthread_mutex_lock(&folder->mutex);
    bool there = folder->cells[index].status >= 0;
    for (guint i = 0; i < folder->pending->len; i++)
        there = there || g_array_index(folder->pending, eab_pending_cell, i).index == index;
    pthread_mutex_unlock(&folder->mutex);
    return there;
}

int eab_run_folder_append_rows(eab_run_folder *folder, const eab_cell_end *end, const char *const *rows) {
    if (end->index < 0 || end->index >= folder->plan->count)
        return eab_fail(EAB_BAD_INPUT, "cell %lld is not one of the plan", (long long)end->index);
    if (is_there(folder, end->index)) return EAB_OK;
    eab_pending_cell entry = {.index = end->index, .outcome = {end->status, end->token_accuracy, end->solved}};
    for (int table = 0; table < EAB_TABLE_COUNT; table++) entry.rows[table] = g_string_new(rows[table]);
    return append_entry(folder, &entry);
}

int eab_run_folder_sync(eab_run_folder *folder) {
    pthread_mutex_lock(&folder->mutex);
    const int status = write_pending(folder);
    pthread_mutex_unlock(&folder->mutex);
    return status;
}

void eab_run_folder_hold(eab_run_folder *folder) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    (void)!pthread_mutex_timedlock(&folder->mutex, &until);
}
