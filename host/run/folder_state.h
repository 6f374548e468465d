/* What run_folder.c (lock, manifest, appending) and run_resume.c (reading, repairing, ordering) share. */
#ifndef EAB_RUN_FOLDER_STATE_H
#define EAB_RUN_FOLDER_STATE_H

#include <pthread.h>

#include "environment.h"
#include "lock.h"
#include "tables.h"

/* Of one cell of the plan. */
typedef struct {
    uint64_t parts; /* a bit for each of its rows in accuracy.csv */
    double token_accuracy;
    int8_t status, solved; /* status -1: no row */
    int64_t steps_done;    /* and all below: as the tables were read */
    int64_t place;         /* of its first row in accuracy.csv */
    int32_t rows[EAB_TABLE_COUNT];
} eab_cell_state;

/* A cell that ended and is not in the tables yet. */
typedef struct {
    int64_t index;
    eab_cell_outcome outcome;
    GString *rows[EAB_TABLE_COUNT];
} eab_pending_cell;

/* Columns that resuming reads; level follows task. */
enum {
    EAB_RESUME_STATUS,
    EAB_RESUME_TOKEN_ACCURACY,
    EAB_RESUME_SOLVED,
    EAB_RESUME_TASK,
    EAB_RESUME_STEPS_DONE,
    EAB_RESUME_COLUMNS
};

struct eab_run_folder {
    char *path, *warning;
    bool looking; /* peek: no lock, no writing */
    eab_run_lock lock;
    const eab_plan *plan;
    eab_run_settings settings; /* with strings of our own */
    eab_environment environment;
    GHashTable *places;    /* a cell's id -> its index in the plan */
    eab_cell_state *cells; /* [plan->count] */
    char *table_paths[EAB_TABLE_COUNT];
    bool has_table[EAB_TABLE_COUNT];
    int64_t last_read[EAB_TABLE_COUNT]; /* the cell of the last row that was read */
    double peak_gflop_per_s;
    int32_t column[EAB_RESUME_COLUMNS]; /* of accuracy.csv */

    pthread_mutex_t mutex; /* of all below, and of cells once workers run */
    eab_table_file files[EAB_TABLE_COUNT];
    GArray *pending; /* eab_pending_cell */
    gint64 synced_us;
    int failure; /* the status that ended all writing, with its line */
    char failure_line[768];
};

/* Whether all rows of the plan's cell `index` are there and need not be done again. */
bool eab_run_folder_is_done(const eab_run_folder *folder, int64_t index);

/* Reads all tables into folder->cells; changes no file. Cells without a result count as not there. */
int eab_run_folder_read(eab_run_folder *folder);

/* Drops the rows of cells without a result, or (in_order) keeps all and puts them into the plan's order. The file is
 * replaced only if that makes a difference; a missing table is created. */
int eab_run_folder_tidy(const eab_run_folder *folder, eab_table table, bool in_order);

#endif
