/* What folder.c (opening, appending, closing), resume.c (reading and repairing tables) and merge.c share. */
#ifndef EAB_RUN_FOLDER_STATE_H
#define EAB_RUN_FOLDER_STATE_H

#include <pthread.h>

#include "folder.h"
#include "lock.h"
#include "manifest.h"
#include "tables.h"

struct eab_run_folder {
    char *path, *warning;
    bool read_only;
    bool has_manifest;                 /* since before it was opened */
    bool keep_timeouts, keep_failures; /* eab_run_settings */
    eab_run_lock lock;
    const eab_plan *plan;
    eab_environment *environment; /* NULL if read_only */
    eab_cell_outcome *cells;      /* [plan->count]; status NONE: not in the tables */
    char *table_paths[EAB_TABLE_COUNT];
    eab_table_facts facts[EAB_TABLE_COUNT];     /* as read, and so are */
    GArray *rows[EAB_TABLE_COUNT];              /* eab_table_rows: all rows, in the file's order */
    eab_table_reader *scanned[EAB_TABLE_COUNT]; /* of a read_only folder: the file of these rows; NULL: none */

    pthread_mutex_t mutex; /* of all below, and of cells once workers run */
    eab_table_file files[EAB_TABLE_COUNT];
    GArray *waiting;                        /* eab_cell_end: cells whose rows are not yet in the tables */
    GString *waiting_rows[EAB_TABLE_COUNT]; /* their rows */
    int64_t synced_us;
    int failure; /* the status that ended all writing, with its message */
    char *failure_message;
};

/* Reads all tables into folder->cells, facts and rows; changes no file. Cells that lack rows get status NONE; unless
 * read_only, so do cells that are not done. */
int eab_run_folder_read(eab_run_folder *folder);

/* Uses folder->rows as they were read. Removes a torn line and the rows of cells that are not done, or (in_order) keeps
 * all rows and sorts them into the plan's order; gives an older version's table the columns of this one. Replaces the
 * file only if that changes it; creates a missing table. */
int eab_run_folder_tidy(eab_run_folder *folder, eab_table table, bool in_order);

#endif
