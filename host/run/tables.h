/* The tables of a run: their columns and rows. Columns of options come from the option table and from the task
 * families. */
#ifndef EAB_RUN_TABLES_H
#define EAB_RUN_TABLES_H

#include "model/train.h"
#include "plan/cells.h"
#include "settings.h"
#include "table_file.h"

typedef enum {
    EAB_TABLE_ACCURACY,
    EAB_TABLE_THROUGHPUT,
    EAB_TABLE_CURVES,
    EAB_TABLE_GEOMETRY,
    EAB_TABLE_COUNT
} eab_table;

const eab_table_layout *eab_run_table(eab_table table);

/* Rows that a cell has in accuracy.csv (at most 64): one, and for a mixture one more for each of its parts. */
int32_t eab_accuracy_row_count(const eab_config *config);

/* Which of them has this task and level: 0 the cell as a whole, n the n-th part of a mixture; -1 none. */
int32_t eab_accuracy_row_part(const eab_config *config, const char *task, const char *level);

/* Rows that a cell has in geometry.csv, if it is ok. */
int64_t eab_geometry_row_count(const eab_config *config);

/* Append a cell's rows. Only ok and diverged cells have throughput rows and curves, only ok cells geometry. */
void eab_accuracy_rows(GString *text, const eab_run_settings *settings, const eab_cell *cell,
                       const eab_cell_result *result);
void eab_throughput_rows(GString *text, const eab_run_settings *settings, const eab_cell *cell,
                         const eab_cell_result *result);
void eab_curves_rows(GString *text, const eab_cell *cell, const eab_cell_result *result);
void eab_geometry_rows(GString *text, const eab_cell *cell, const eab_cell_result *result);

/* A cell's rows for all tables: rows[EAB_TABLE_COUNT], each to be freed with g_free. Curves and geometry only where the
 * settings save them. */
void eab_cell_rows(const eab_run_settings *settings, const eab_cell *cell, const eab_cell_result *result, char **rows);

/* "ok", "diverged", "fail", "oom", "timeout"; and back, -1 if unknown. Results are ok and diverged. */
const char *eab_cell_status_name(eab_cell_status status);
int eab_cell_status_from_name(const char *name);
bool eab_cell_status_is_result(eab_cell_status status);

/* A result with nothing measured: status and reason (made one line), every figure empty. */
void eab_cell_result_failed(eab_cell_result *result, const eab_config *config, eab_cell_status status,
                            const char *reason);

#endif
