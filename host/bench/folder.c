#include "folder.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/suggest.h"
#include "kernels/status.h"
#include "run/lock.h"
#include "run/manifest.h"

enum { TABLES = 2 };
static const eab_table_layout *const tables[TABLES] = {&eab_kernels_table, &eab_samples_table};

struct eab_bench_folder {
    char *path, *resolved, *warning; /* warning: or NULL */
    eab_run_lock lock;
    eab_environment *environment;
    GHashTable *finished; /* keys of the rows with status ok when it was opened */
    eab_table_file files[TABLES];
    bool samples;
};

static char *path_of(const eab_bench_folder *folder, const char *name) {
    return g_build_filename(folder->path, name, NULL);
}

/* ---- what the folder has ---------------------------------------------------------------------------------------- */

typedef struct {
    GHashTable *finished; /* or NULL */
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

static int refuse_sweep(const eab_bench_folder *folder) {
    char *accuracy = path_of(folder, "accuracy.csv");
    const bool sweep = g_file_test(accuracy, G_FILE_TEST_EXISTS);
    g_free(accuracy);
    if (!sweep) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s: holds a sweep (accuracy.csv); a folder of a bench, or a new one, is allowed",
                    folder->path);
}

/* A new table gets its header, an old one loses a torn last line. */
static int open_table(eab_bench_folder *folder, int which) {
    char *path = path_of(folder, tables[which]->file_name);
    table_reader reader = {.finished = which == 0 ? folder->finished : NULL,
                           .status = eab_table_column(&eab_kernels_table, "status")};
    eab_table_facts facts;
    int status = eab_table_scan(path, tables[which], read_row, &reader, &facts);
    if (!status && (!facts.exists || facts.torn))
        status = eab_table_rewrite(path, tables[which], &reader.rows, reader.rows.end ? 1 : 0);
    if (!status) status = eab_table_open(path, &folder->files[which]);
    g_free(path);
    return status;
}

static int write_manifest(const eab_bench_folder *folder) {
    return eab_manifest_write(folder->path, folder->resolved, folder->environment);
}

/* The manifest describes the last run that appended, but `started` is that of the first. */
static int read_manifest(eab_bench_folder *folder) {
    eab_environment *old, *now = folder->environment;
    const int status = eab_manifest_read(folder->path, &old);
    if (!old) return status;
    const char *old_commit = eab_environment_get(old, "commit"), *old_device = eab_environment_get(old, "device");
    const bool same = strcmp(old_commit, eab_environment_get(now, "commit")) == 0 &&
                      strcmp(old_device, eab_environment_get(now, "device")) == 0;
    if (!same) {
        char commit[64], device[112];
        folder->warning = g_strdup_printf("%s: earlier rows are of commit '%s' on '%s'", folder->path,
                                          eab_excerpt(old_commit, 40, commit, sizeof commit),
                                          eab_excerpt(old_device, 80, device, sizeof device));
    }
    eab_environment_keep(now, old, "started");
    eab_environment_free(old);
    return EAB_OK;
}

/* ---- opening, appending, closing -------------------------------------------------------------------------------- */

static int prepare(eab_bench_folder *folder) {
    EAB_TRY(eab_run_lock_take(folder->path, &folder->lock));
    EAB_TRY(refuse_sweep(folder));
    EAB_TRY(read_manifest(folder));
    EAB_TRY(open_table(folder, 0));
    if (folder->samples) EAB_TRY(open_table(folder, 1));
    return write_manifest(folder);
}

int eab_bench_folder_open(const char *path, const char *resolved, const eab_run_settings *settings,
                          double peak_gflop_per_s, bool samples, eab_bench_folder **opened) {
    eab_bench_folder *folder = g_new0(eab_bench_folder, 1);
    *folder = (eab_bench_folder){.path = g_strdup(path),
                                 .resolved = g_strdup(resolved),
                                 .finished = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                                 .environment = eab_environment_collect(settings),
                                 .samples = samples};
    eab_environment_set_peak(folder->environment, peak_gflop_per_s);
    const int status = prepare(folder);
    if (status) {
        eab_bench_folder_close(folder);
        return status;
    }
    *opened = folder;
    return EAB_OK;
}

const char *eab_bench_folder_warning(const eab_bench_folder *folder) { return folder->warning; }

bool eab_bench_folder_has(const eab_bench_folder *folder, const eab_bench_row *row) {
    char *key = eab_bench_row_key(row);
    const bool found = g_hash_table_contains(folder->finished, key);
    g_free(key);
    return found;
}

static int append(eab_table_file *file, GString *text) {
    const int status = eab_table_append(file, text);
    g_string_free(text, TRUE);
    return status;
}

/* The samples first, so that every row has its samples. */
int eab_bench_folder_append(eab_bench_folder *folder, const eab_bench_row *row, const GArray *seconds) {
    if (folder->samples && !row->status) {
        GString *samples = g_string_new(NULL);
        eab_bench_samples_csv(samples, row, seconds);
        EAB_TRY(append(&folder->files[1], samples));
    }
    GString *text = g_string_new(NULL);
    eab_bench_row_csv(text, row);
    return append(&folder->files[0], text);
}

void eab_bench_folder_close(eab_bench_folder *folder) {
    if (!folder) return;
    for (int i = 0; i < TABLES; i++) eab_table_close(&folder->files[i]);
    eab_run_lock_release(&folder->lock);
    g_hash_table_destroy(folder->finished);
    eab_environment_free(folder->environment);
    g_free(folder->path);
    g_free(folder->resolved);
    g_free(folder->warning);
    g_free(folder);
}
