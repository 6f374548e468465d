/* A run's folder: lock, manifest, tables, resume. */
#ifndef EAB_RUN_FOLDER_H
#define EAB_RUN_FOLDER_H

#include "kernels/mechanism.h"
#include "model/train.h"
#include "plan/cells.h"
#include "settings.h"

typedef struct eab_run_folder eab_run_folder;

/* Opens or creates the folder `path` for this plan: takes the lock, reads the tables, removes a torn last line, rows
 * without a commit and rows of failed cells (which are trained again), and writes the manifest. EAB_BAD_INPUT if
 * another process holds the folder, or if a table is not eabench's, is damaged or has cells that the plan lacks; EAB_IO
 * if the folder cannot be written. An error changes nothing. The plan must outlive the folder. */
int eab_run_folder_open(const char *path, const eab_plan *plan, const eab_run_settings *settings,
                        eab_run_folder **folder);

/* Opens for reading only: takes no lock and changes nothing. A missing folder has no cells. Failed cells have
 * outcomes. */
int eab_run_folder_peek(const char *path, const eab_plan *plan, eab_run_folder **folder);

/* One line on how this sweep differs from the one that began the folder (version, backend, ...); "" if it does not. */
const char *eab_run_folder_warning(const eab_run_folder *folder);

/* Whether the plan's cell `index` is done: its result is in the tables (ok or diverged), or its failure if the settings
 * keep such failures. */
bool eab_run_folder_has(eab_run_folder *folder, int64_t index);

/* What the tables have of the plan's cell `index`; false if nothing. This session's failed cells are included. */
typedef struct {
    eab_cell_status status;
    int32_t solved;        /* -1: not known */
    double token_accuracy; /* NAN: not measured */
} eab_cell_outcome;
bool eab_run_folder_outcome(eab_run_folder *folder, int64_t index, eab_cell_outcome *outcome);

/* Counts over the tables. */
typedef struct {
    int64_t done, diverged, solved;           /* results; those that diverged; those that solved their level */
    int64_t failed, timeouts;                 /* failed in this session; those with status timeout */
    double accuracy_sum[EAB_MECHANISM_COUNT]; /* of token accuracies */
    int64_t accuracy_count[EAB_MECHANISM_COUNT];
} eab_run_summary;
/* The cells that are not done, in the plan's order, of those that are `chosen` (by a cell's index; NULL: all). Returns
 * how many; `open` has space for the plan's count. */
int64_t eab_run_folder_list_open(eab_run_folder *folder, const bool *chosen, int64_t *open);

void eab_run_folder_summary(eab_run_folder *folder, eab_run_summary *summary);

/* Writes the device's measured peak into the manifest; 0 (not known) leaves the manifest as it is. */
int eab_run_folder_set_peak(eab_run_folder *folder, double gflop_per_s);

/* How a cell ended: sent from a worker to the tables and the progress line. */
typedef struct {
    int64_t index; /* into the plan */
    eab_cell_status status;
    int32_t solved; /* -1: not known */
    double token_accuracy, wall_s;
    int64_t steps_to_solve;
    char reason[256];
} eab_cell_end;

/* Appends a cell's rows, rows[EAB_TABLE_COUNT] (eab_cell_rows): geometry, curves, throughput, then accuracy, which
 * commits; each table is synced. Cells that end within a twentieth of a second share their syncs, so call
 * eab_run_folder_sync now and then. A cell that has rows already is left as it is. Thread-safe. After a failure (disk
 * full) the tables have whole rows only, and later calls fail, too. */
int eab_run_folder_append(eab_run_folder *folder, const eab_cell_end *end, const char *const *rows);

/* Writes and syncs all waiting rows. Thread-safe. */
int eab_run_folder_sync(eab_run_folder *folder);

/* Sorts the rows into the plan's order (atomically), so that equal sweeps leave equal tables, and closes. If that
 * fails, all rows are kept. */
int eab_run_folder_close(eab_run_folder *folder);

/* The file of a cell's model (kind "models") or attention maps (kind "geometry"): RUN/KIND/ID.safetensors; g_free. */
char *eab_run_cell_file(const char *run, const char *kind, const eab_cell *cell);

#endif
