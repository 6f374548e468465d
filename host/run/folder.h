/* A run's folder: lock, manifest, tables, resume. */
#ifndef EAB_RUN_FOLDER_H
#define EAB_RUN_FOLDER_H

#include <glib.h>

#include "cell_end.h"
#include "plan/cells.h"

typedef struct eab_run_folder eab_run_folder;

typedef struct {
    const char *backend;    /* "cpu" */
    const char *device;     /* the device's description */
    const char *isa;        /* SIMD level of the CPU kernels, or "" */
    int32_t ranks;          /* processes of the sweep; 0 stands for 1 */
    int32_t workers, fleet; /* of each of them */
    const char *command;    /* the command line */
    bool save_models, save_curves, save_geometry;
    bool keep_timeouts; /* cells with status timeout are not done again */
    bool keep_failures; /* nor are those that failed in any other way */
} eab_run_settings;

/* Opens or creates `path` for this plan: takes the lock, reads what is there, drops a torn last line, orphaned rows and
 * rows of failed cells (they are done again), writes the manifest. EAB_BAD_INPUT where another process holds the
 * folder (it says which), the tables are not ours or damaged, or hold cells that this plan does not have; EAB_IO where
 * it cannot be written. Nothing is changed on an error. The plan must outlive the folder. */
int eab_run_folder_open(const char *path, const eab_plan *plan, const eab_run_settings *settings,
                        eab_run_folder **folder);

/* The same for looking only: takes no lock and changes nothing; a folder that is not there holds nothing. */
int eab_run_folder_peek(const char *path, const eab_plan *plan, eab_run_folder **folder);

/* The same for a process of a sweep whose folder another one has opened: for paths and rows; appends nothing. */
eab_run_folder *eab_run_folder_attach(const char *path, const eab_plan *plan, const eab_run_settings *settings);

/* One line on what this sweep does not share with what the folder was begun with (version, backend, ...); "" if all
 * is the same. */
const char *eab_run_folder_warning(const eab_run_folder *folder);

/* Whether the cell's result is in the tables (ok or diverged). */
bool eab_run_folder_has(const eab_run_folder *folder, const char *id);

/* What the tables hold of the plan's cell `index`; false where it is not in them. Failed cells of this session are. */
typedef struct {
    eab_cell_status status;
    double token_accuracy; /* NAN: not measured */
    int32_t solved;        /* -1: not known */
} eab_cell_outcome;
bool eab_run_folder_outcome(const eab_run_folder *folder, int64_t index, eab_cell_outcome *outcome);

/* Of the cells in the tables: results, how many of them diverged or solved their level, how many cells failed in
 * this session, how many of these with status timeout, and the sum and number of token accuracies by mechanism. */
typedef struct {
    int64_t done, diverged, failed, timeouts, solved;
    double accuracy_sum[16];
    int64_t accuracy_count[16];
} eab_run_summary;
void eab_run_folder_summary(const eab_run_folder *folder, eab_run_summary *summary);

/* The device's measured peak, for the throughput rows from here on and the manifest; 0: not known. */
void eab_run_folder_set_peak(eab_run_folder *folder, double gflop_per_s);

/* Appends a cell's rows: curves, geometry, throughput, then accuracy, which commits; each synced. Cells that end within a
 * twentieth of a second share their syncs: call sync now and then. Thread-safe. A failure (disk full) leaves whole
 * rows only and is final for the folder: later calls fail too. */
int eab_run_folder_append(eab_run_folder *folder, const eab_cell *cell, const eab_cell_result *result);

/* A cell's rows as appended to each table (eab_table), to be freed with g_string_free; and their appending, here or, as
 * text, by the process that has the folder. A cell that is there already is left as it is. Thread-safe. */
void eab_run_folder_rows(const eab_run_folder *folder, const eab_cell *cell, const eab_cell_result *result,
                         GString **rows);
int eab_run_folder_append_rows(eab_run_folder *folder, const eab_cell_end *end, const char *const *rows);

/* Writes and syncs what is not yet. Thread-safe. */
int eab_run_folder_sync(eab_run_folder *folder);

/* Waits at most a second for a write in progress and keeps others from starting, for a process about to _exit. */
void eab_run_folder_hold(eab_run_folder *folder);

/* Where the cell's model is saved (models/<id>.safetensors), in path[size]. */
void eab_run_folder_model_path(const eab_run_folder *folder, const eab_cell *cell, char *path, size_t size);

/* The same of its attention maps (geometry/<id>.safetensors). */
void eab_run_folder_geometry_path(const eab_run_folder *folder, const eab_cell *cell, char *path, size_t size);

/* Puts the rows into the plan's order (atomically), so that equal sweeps leave equal tables, and closes. Where that
 * fails, every row is still there. */
int eab_run_folder_close(eab_run_folder *folder);

#endif
