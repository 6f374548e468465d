/* A run's folder: lock, manifest, tables, resume. */
#ifndef EAB_HOST_RUN_FOLDER_H
#define EAB_HOST_RUN_FOLDER_H

#include "plan.h"
#include "train.h"

typedef struct eab_run_folder eab_run_folder;

typedef struct {
    const char *backend;   /* "cpu" */
    const char *device;    /* the device's description */
    const char *isa;       /* SIMD level of the CPU kernels, or "" */
    int32_t workers, fleet;
    const char *command;   /* the command line */
    bool save_models, save_curves;
} eab_run_settings;

/* Opens or creates `path` for this plan: takes the lock, reads what is there, drops a torn last line, orphaned rows and
 * rows of failed cells (they are done again), writes the manifest. EAB_BAD_INPUT where another process holds the
 * folder (it says which), the tables are not ours or damaged, or hold cells that this plan does not have; EAB_IO where
 * it cannot be written. Nothing is changed on an error. */
int eab_run_folder_open(const char *path, const eab_plan *plan, const eab_run_settings *settings,
                        eab_run_folder **folder);

/* Whether the cell's result is in the tables (ok or diverged). */
bool eab_run_folder_has(const eab_run_folder *folder, const char *id);

/* Of the cells that are done: how many, how many diverged, and the sum and number of token accuracies by mechanism. */
typedef struct {
    int64_t done, diverged, failed, solved;
    double accuracy_sum[16];
    int64_t accuracy_count[16];
} eab_run_summary;
void eab_run_folder_summary(const eab_run_folder *folder, eab_run_summary *summary);

/* Appends a cell's rows: curves, throughput, then accuracy, which commits; each synced. Thread-safe. A failure (disk
 * full) leaves whole rows only and is final for the folder: later calls fail too. */
int eab_run_folder_append(eab_run_folder *folder, const eab_cell *cell, const eab_cell_result *result);

/* Where the cell's model is saved (models/<id>.safetensors), in path[size]. */
void eab_run_folder_model_path(const eab_run_folder *folder, const eab_cell *cell, char *path, size_t size);

/* Puts the rows into the plan's order (atomically), so that equal sweeps leave equal tables, and closes. */
int eab_run_folder_close(eab_run_folder *folder);

#endif
