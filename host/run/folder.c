/* Why a crash costs no rows:
 *
 * - A cell's accuracy rows are its commit. They are appended once its other rows are on the disk, so a crash leaves at
 *   worst rows without a commit or a torn last line; the next open removes both.
 * - Rows are removed only by replacing the whole file (base/files.h), so the tables are readable at every instant.
 * - Nothing is written before all tables were read without an error.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/files.h"
#include "folder_state.h"
#include "kernels/status.h"
#include "manifest.h"
#include "state.h"

static const int64_t SYNC_EVERY_US = 50000;

/* ---- opening and closing ------------------------------------------------------------------------------------- */

static eab_run_folder *folder_new(const char *path, const eab_plan *plan) {
    eab_run_folder *folder = g_new0(eab_run_folder, 1);
    folder->path = g_strdup(path);
    folder->plan = plan;
    folder->cells = g_new0(eab_cell_outcome, (gsize)plan->count);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        folder->table_paths[table] =
            g_build_filename(path, eab_run_table((eab_table)table, plan->later)->file_name, NULL);
        folder->rows[table] = g_array_new(FALSE, FALSE, sizeof(eab_table_rows));
        folder->waiting_rows[table] = g_string_new(NULL);
    }
    folder->waiting = g_array_new(FALSE, FALSE, sizeof(eab_cell_end));
    pthread_mutex_init(&folder->mutex, NULL);
    return folder;
}

static void folder_free(eab_run_folder *folder) {
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        eab_table_close(&folder->files[table]);
        eab_table_reader_close(folder->scanned[table]);
        g_string_free(folder->waiting_rows[table], TRUE);
        g_array_unref(folder->rows[table]);
        g_free(folder->table_paths[table]);
    }
    eab_run_lock_release(&folder->lock);
    g_array_unref(folder->waiting);
    eab_environment_free(folder->environment);
    pthread_mutex_destroy(&folder->mutex);
    g_free(folder->failure_message);
    g_free(folder->cells);
    g_free(folder->warning);
    g_free(folder->path);
    g_free(folder);
}

/* Warns of differences, and keeps the values of the old manifest that are still right. */
static void compare_environments(eab_run_folder *folder, eab_environment *old) {
    eab_environment *now = folder->environment;
    char *differences = eab_environment_differences(old, now, "now");
    if (*differences)
        folder->warning =
            g_strdup_printf("%s was begun with %s; results may differ in the last bits", folder->path, differences);
    g_free(differences);
    eab_environment_keep(now, old, "started");
    const bool same_device = strcmp(eab_environment_get(old, "device"), eab_environment_get(now, "device")) == 0 &&
                             strcmp(eab_environment_get(old, "isa"), eab_environment_get(now, "isa")) == 0;
    if (same_device) eab_environment_keep(now, old, "peak_gflop_per_s"); /* until it is measured again */
}

static int write_manifest(const eab_run_folder *folder) {
    return eab_manifest_write(folder->path, folder->plan->resolved, folder->environment);
}

static int make_subfolder(const eab_run_folder *folder, const char *name) {
    char *path = g_build_filename(folder->path, name, NULL);
    const int status = eab_folder_make(path);
    g_free(path);
    return status;
}

static bool all_done(eab_run_folder *folder) {
    for (int64_t i = 0; i < folder->plan->count; i++)
        if (!eab_run_folder_has(folder, i)) return false;
    return true;
}

/* accuracy.csv first: a crash right after leaves rows without a commit, which the next open removes. Existing curves
 * and geometry are continued even if the settings do not save them. */
static int repair_tables(eab_run_folder *folder, const eab_run_settings *settings) {
    const bool wanted[EAB_TABLE_COUNT] = {true, true, settings->save_curves, settings->save_geometry,
                                          folder->plan->texts && folder->plan->texts->len};
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        if (!wanted[table] && !folder->facts[table].exists) continue;
        EAB_TRY(eab_run_folder_tidy(folder, (eab_table)table, false));
        EAB_TRY(eab_table_open(folder->table_paths[table], &folder->files[table]));
    }
    return EAB_OK;
}

static int prepare(eab_run_folder *folder, const eab_run_settings *settings) {
    eab_environment *old;
    EAB_TRY(eab_run_lock_take(folder->path, &folder->lock));
    EAB_TRY(eab_folder_refuse(folder->path, "kernels.csv", "bench", "sweep"));
    EAB_TRY(eab_manifest_read(folder->path, &old));
    folder->has_manifest = old != NULL;
    if (old) compare_environments(folder, old);
    eab_environment_free(old);
    EAB_TRY(eab_manifest_check_texts(folder->path, folder->plan->texts));
    EAB_TRY(eab_run_folder_read(folder));
    eab_run_state_remove(folder->path); /* a killed sweep's */
    /* The manifest describes the sweep that filled the tables, so a sweep with nothing to do leaves it. */
    if (!settings->merges && (!folder->has_manifest || !all_done(folder))) EAB_TRY(write_manifest(folder));
    if (settings->save_models) EAB_TRY(make_subfolder(folder, "models"));
    if (settings->save_geometry) EAB_TRY(make_subfolder(folder, "geometry"));
    return repair_tables(folder, settings);
}

int eab_run_folder_open(const char *path, const eab_plan *plan, const eab_run_settings *settings,
                        eab_run_folder **folder) {
    *folder = folder_new(path, plan);
    (*folder)->keep_timeouts = settings->keep_timeouts;
    (*folder)->keep_failures = settings->keep_failures;
    (*folder)->environment = eab_environment_collect(settings);
    const int status = prepare(*folder, settings);
    if (status) g_clear_pointer(folder, folder_free);
    return status;
}

int eab_run_folder_peek(const char *path, const eab_plan *plan, eab_run_folder **folder) {
    *folder = folder_new(path, plan);
    (*folder)->read_only = true;
    const int status = eab_run_folder_read(*folder);
    if (status) g_clear_pointer(folder, folder_free);
    return status;
}

/* Sorts the tables that this sweep has appended to. */
static int sort_tables(eab_run_folder *folder) {
    EAB_TRY(eab_run_folder_sync(folder));
    EAB_TRY(eab_run_folder_read(folder));
    for (int table = 0; table < EAB_TABLE_COUNT; table++)
        if (folder->files[table].path) EAB_TRY(eab_run_folder_tidy(folder, (eab_table)table, true));
    return EAB_OK;
}

int eab_run_folder_close(eab_run_folder *folder) {
    const int status = folder->read_only ? EAB_OK : sort_tables(folder);
    folder_free(folder);
    return status;
}

/* ---- contents ------------------------------------------------------------------------------------------------ */

const char *eab_run_folder_warning(const eab_run_folder *folder) { return folder->warning ? folder->warning : ""; }

int64_t eab_run_folder_list_open(eab_run_folder *folder, const bool *chosen, int64_t *open) {
    int64_t count = 0;
    for (int64_t i = 0; i < folder->plan->count; i++)
        if ((!chosen || chosen[i]) && !eab_run_folder_has(folder, i)) open[count++] = i;
    return count;
}

void eab_run_folder_summary(eab_run_folder *folder, eab_run_summary *summary) {
    *summary = (eab_run_summary){0};
    for (int64_t i = 0; i < folder->plan->count; i++) {
        const int32_t mechanism = folder->plan->cells[i].config.mechanism;
        eab_cell_outcome outcome;
        if (!eab_run_folder_outcome(folder, i, &outcome)) continue;
        if (!eab_cell_status_is_result(outcome.status)) {
            summary->timeouts += outcome.status == EAB_CELL_TIMEOUT;
            summary->failed++;
            continue;
        }
        summary->done++;
        summary->diverged += outcome.status == EAB_CELL_DIVERGED;
        summary->solved += outcome.solved == 1;
        if (isnan(outcome.token_accuracy)) continue;
        summary->accuracy_sum[mechanism] += outcome.token_accuracy;
        summary->accuracy_count[mechanism]++;
    }
}

char *eab_run_cell_file(const char *run, const char *kind, const eab_cell *cell) {
    return g_strdup_printf("%s/%s/%s.safetensors", run, kind, cell->id);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

int eab_run_folder_set_peak(eab_run_folder *folder, double gflop_per_s) {
    if (!(gflop_per_s > 0)) return EAB_OK;
    eab_environment_set_peak(folder->environment, gflop_per_s);
    return write_manifest(folder);
}

/* With the mutex held. From the last table to the first, as accuracy.csv commits. */
static int append_waiting(eab_run_folder *folder) {
    for (int table = EAB_TABLE_COUNT - 1; table >= 0; table--) {
        if (!folder->files[table].path || !folder->waiting_rows[table]->len) continue;
        EAB_TRY(eab_table_append(&folder->files[table], folder->waiting_rows[table]));
    }
    for (guint i = 0; i < folder->waiting->len; i++) {
        const eab_cell_end *end = &g_array_index(folder->waiting, eab_cell_end, i);
        folder->cells[end->index] = (eab_cell_outcome){end->status, end->solved, end->token_accuracy};
    }
    return EAB_OK;
}

/* With the mutex held. */
static int write_waiting(eab_run_folder *folder) {
    if (folder->failure) return eab_fail((eab_status)folder->failure, "%s", folder->failure_message);
    if (!folder->waiting->len) return EAB_OK;
    folder->failure = append_waiting(folder);
    if (folder->failure) folder->failure_message = g_strdup(eab_last_error());
    for (int table = 0; table < EAB_TABLE_COUNT; table++) g_string_truncate(folder->waiting_rows[table], 0);
    g_array_set_size(folder->waiting, 0);
    folder->synced_us = g_get_monotonic_time();
    return folder->failure;
}

/* With the mutex held. Whether the cell's rows are in the tables or waiting. */
static bool is_there(const eab_run_folder *folder, int64_t index) {
    for (guint i = 0; i < folder->waiting->len; i++)
        if (g_array_index(folder->waiting, eab_cell_end, i).index == index) return true;
    return folder->cells[index].status != EAB_CELL_NONE;
}

int eab_run_folder_append(eab_run_folder *folder, const eab_cell_end *end, const char *const *rows) {
    if (end->index < 0 || end->index >= folder->plan->count)
        return eab_fail(EAB_BAD_INPUT, "cell %lld is not one of the plan", (long long)end->index);
    int status = EAB_OK;
    pthread_mutex_lock(&folder->mutex);
    if (!is_there(folder, end->index)) {
        for (int table = 0; table < EAB_TABLE_COUNT; table++) g_string_append(folder->waiting_rows[table], rows[table]);
        g_array_append_val(folder->waiting, *end);
        if (folder->failure || g_get_monotonic_time() - folder->synced_us >= SYNC_EVERY_US)
            status = write_waiting(folder);
    }
    pthread_mutex_unlock(&folder->mutex);
    return status;
}

int eab_run_folder_sync(eab_run_folder *folder) {
    pthread_mutex_lock(&folder->mutex);
    const int status = write_waiting(folder);
    pthread_mutex_unlock(&folder->mutex);
    return status;
}
