/* What folder.c (lock, manifest, appending), resume.c (reading, repairing, ordering) and merge.c share. */
#ifndef EAB_RUN_FOLDER_STATE_H
#define EAB_RUN_FOLDER_STATE_H

#include <pthread.h>

#include "environment.h"
#include "folder.h"
#include "lock.h"
#include "tables.h"

/* What the tables hold of one cell of the plan. */
typedef struct {
    uint64_t parts; /* a bit for each of its rows in accuracy.csv */
    double token_accuracy;
    int8_t status, solved; /* status -1: no row */
    int64_t steps_done;    /* and all below: as the tables were read */
    int64_t place;         /* of its first row in accuracy.csv */
    int32_t rows[EAB_TABLE_COUNT];
} eab_cell_state;

struct eab_run_folder {
    char *path, *warning;
    bool read_only;
    bool keep_timeouts, keep_failures; /* eab_run_settings */
    eab_run_lock lock;
    const eab_plan *plan;
    eab_environment environment;
    eab_cell_state *cells; /* [plan->count] */
    char *table_paths[EAB_TABLE_COUNT];
    bool has_table[EAB_TABLE_COUNT];
    int64_t last_read[EAB_TABLE_COUNT]; /* the cell of the last row that was read */
    struct {
        int32_t status, task, level, steps_done, token_accuracy, solved;
    } column; /* of accuracy.csv */

    pthread_mutex_t mutex; /* of all below, and of cells once workers run */
    eab_table_file files[EAB_TABLE_COUNT];
    GArray *waiting;                        /* eab_cell_end: cells whose rows are not in the tables yet */
    GString *waiting_rows[EAB_TABLE_COUNT]; /* their rows */
    int64_t synced_us;
    int failure; /* the status that ended all writing, with its message */
    char *failure_message;
};

/* Whether all rows of the plan's cell `index` are there and it is not to be trained again. */
bool eab_run_folder_is_done(const eab_run_folder *folder, int64_t index);

/* Records that the cell's rows are in the tables. */
void eab_run_folder_note(eab_run_folder *folder, const eab_cell_end *end);

/* Reads all tables into folder->cells; changes no file. Cells without a result count as not there. */
int eab_run_folder_read(eab_run_folder *folder);

/* The table's rows (eab_table_rows), sorted by cell; for g_array_unref, also after an error. */
int eab_run_folder_list_rows(const eab_run_folder *folder, eab_table table, GArray **rows);

/* Drops the rows of cells without a result, or (in_order) keeps all and puts them into the plan's order. The file is
 * replaced only if that makes a difference; a missing table is created. */
int eab_run_folder_tidy(const eab_run_folder *folder, eab_table table, bool in_order);

#endif
