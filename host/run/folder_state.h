/* What folder.c (opening, appending, closing), resume.c (reading and repairing tables) and merge.c share. */
#ifndef EAB_RUN_FOLDER_STATE_H
#define EAB_RUN_FOLDER_STATE_H

#include <pthread.h>

#include "folder.h"
#include "lock.h"
#include "manifest.h"
#include "tables.h"

/* What the tables have of one cell of the plan. */
typedef struct {
    uint64_t parts; /* a bit for each of its rows in accuracy.csv */
    double token_accuracy;
    int8_t status, solved; /* status -1: no row */
    int64_t steps_done;    /* from here on: only of cells that were read */
    int64_t place;         /* of its first row in accuracy.csv */
    int64_t rows[EAB_TABLE_COUNT];
} eab_cell_state;

struct eab_run_folder {
    char *path, *warning;
    bool read_only;
    bool keep_timeouts, keep_failures; /* eab_run_settings */
    eab_run_lock lock;
    const eab_plan *plan;
    eab_environment *environment; /* NULL if read_only */
    eab_cell_state *cells;        /* [plan->count] */
    char *table_paths[EAB_TABLE_COUNT];
    eab_table_facts facts[EAB_TABLE_COUNT]; /* as read, and so are */
    GArray *rows[EAB_TABLE_COUNT];          /* eab_table_rows: all rows, in the file's order */

    pthread_mutex_t mutex; /* of all below, and of cells once workers run */
    eab_table_file files[EAB_TABLE_COUNT];
    GArray *waiting;                        /* eab_cell_end: cells whose rows are not yet in the tables */
    GString *waiting_rows[EAB_TABLE_COUNT]; /* their rows */
    int64_t synced_us;
    int failure; /* the status that ended all writing, with its message */
    char *failure_message;
};

/* Whether the cell has all its rows and is not to be trained again. */
bool eab_run_folder_is_done(const eab_run_folder *folder, int64_t index);

/* Records that the cell's rows are in the tables. */
void eab_run_folder_note(eab_run_folder *folder, const eab_cell_end *end);

/* Reads all tables into folder->cells, facts and rows; changes no file. Cells that are not done (read_only: that lack a
 * row) get status -1. */
int eab_run_folder_read(eab_run_folder *folder);

/* Whether the table exists, be it only as a piece of its header. */
bool eab_run_folder_has_table(const eab_run_folder *folder, eab_table table);

/* Uses folder->rows as they were read. Removes a torn line and the rows of cells that are not done, or (in_order) keeps
 * all rows and sorts them into the plan's order. Replaces the file only if that changes it; creates a missing table. */
int eab_run_folder_tidy(eab_run_folder *folder, eab_table table, bool in_order);

/* Sorts rows (eab_table_rows) by cell, and by place for each cell; whether that changes their order. */
bool eab_table_rows_sort(GArray *rows);

#endif
