#include "folder.h"

#include <string.h>

#include "base/files.h"
#include "base/log.h"
#include "base/suggest.h"
#include "kernels/status.h"
#include "run/lock.h"
#include "run/manifest.h"

struct eab_bench_folder {
    eab_run_lock lock;
    GHashTable *finished;            /* keys of the rows with status ok when it was opened */
    eab_table_file kernels, samples; /* samples: open only if they are kept */
};

/* ---- opening ---------------------------------------------------------------------------------------------------- */

/* Warns of earlier rows of another commit or device. The manifest describes the last run that appended, but `started`
 * is that of the first. */
static int compare_manifest(const char *path, eab_environment *now) {
    eab_environment *old;
    EAB_TRY(eab_manifest_read(path, &old));
    if (!old) return EAB_OK;
    const char *old_commit = eab_environment_get(old, "commit"), *old_device = eab_environment_get(old, "device");
    char commit[64], device[112], shown[160];
    if (strcmp(old_commit, eab_environment_get(now, "commit")) != 0 ||
        strcmp(old_device, eab_environment_get(now, "device")) != 0)
        eab_log_note("bench", "%s: earlier rows are of commit '%s' on '%s'",
                     eab_excerpt(path, 120, shown, sizeof shown), eab_excerpt(old_commit, 40, commit, sizeof commit),
                     eab_excerpt(old_device, 80, device, sizeof device));
    eab_environment_keep(now, old, "started");
    eab_environment_free(old);
    return EAB_OK;
}

typedef struct {
    GHashTable *finished; /* NULL: not of kernels.csv */
    int32_t status;       /* its column */
    eab_table_rows rows;
} table_reader;

static int read_row(void *context, const eab_csv_row *row) {
    table_reader *reader = context;
    if (!reader->rows.end) reader->rows.begin = row->begin;
    reader->rows.end = row->end;
    if (reader->finished && strcmp(row->field[reader->status], "ok") == 0)
        g_hash_table_add(reader->finished, eab_bench_fields_key(row->field));
    return EAB_OK;
}

/* A new table gets its header; an old one loses a torn last line, and gets the order of columns of this version. */
static int open_table(const char *folder, const eab_table_layout *layout, GHashTable *finished, eab_table_file *file) {
    char *path = g_build_filename(folder, layout->file_name, NULL);
    table_reader reader = {.finished = finished, .status = eab_table_column(layout, "status")};
    eab_table_facts facts;
    int status = eab_table_scan(path, layout, read_row, &reader, &facts, NULL);
    if (!status && (!facts.exists || facts.torn || facts.older))
        status = eab_table_rewrite(path, layout, &reader.rows, reader.rows.end ? 1 : 0);
    if (!status) status = eab_table_open(path, file);
    g_free(path);
    return status;
}

int eab_bench_folder_open(const char *path, const char *resolved, const eab_run_settings *settings, bool samples,
                          eab_bench_folder **opened) {
    eab_bench_folder *folder = g_new0(eab_bench_folder, 1);
    eab_environment *environment = eab_environment_collect(settings);
    eab_environment_set_peak(environment, settings->peak_gflop_per_s);
    folder->finished = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    int status = eab_run_lock_take(path, &folder->lock);
    if (!status) status = eab_folder_refuse(path, "accuracy.csv", "sweep", "bench");
    if (!status) status = compare_manifest(path, environment);
    if (!status) status = open_table(path, &eab_kernels_table, folder->finished, &folder->kernels);
    if (!status && samples) status = open_table(path, &eab_samples_table, NULL, &folder->samples);
    if (!status) status = eab_manifest_write(path, resolved, environment);
    eab_environment_free(environment);
    if (status) g_clear_pointer(&folder, eab_bench_folder_close);
    *opened = folder;
    return status;
}

/* ---- using ------------------------------------------------------------------------------------------------------ */

bool eab_bench_folder_has(const eab_bench_folder *folder, const eab_bench_row *row) {
    char *key = eab_bench_row_key(row);
    const bool found = g_hash_table_contains(folder->finished, key);
    g_free(key);
    return found;
}

/* The samples first, so that every row has its samples. */
int eab_bench_folder_append(eab_bench_folder *folder, const eab_bench_row *row, const GArray *seconds) {
    GString *text = g_string_new(NULL);
    int status = EAB_OK;
    if (folder->samples.path && !row->status) {
        eab_bench_samples_csv(text, row, seconds);
        status = eab_table_append(&folder->samples, text);
    }
    g_string_truncate(text, 0);
    eab_bench_row_csv(text, row);
    if (!status) status = eab_table_append(&folder->kernels, text);
    g_string_free(text, TRUE);
    return status;
}

void eab_bench_folder_close(eab_bench_folder *folder) {
    if (!folder) return;
    eab_table_close(&folder->kernels);
    eab_table_close(&folder->samples);
    eab_run_lock_release(&folder->lock);
    g_hash_table_destroy(folder->finished);
    g_free(folder);
}
