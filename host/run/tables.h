/* The tables of a run: their columns and rows. */
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
    EAB_TABLE_TEXT, /* of plans with texts */
    EAB_TABLE_COUNT
} eab_table;

/* accuracy.csv has a column for each option of the option table and of the task families; of the later ones (a plan's
 * field of this name) for these only. */
const eab_table_layout *eab_run_table(eab_table table, uint64_t later);

/* Appends the cell's rows of this table. Only ok and diverged cells have throughput rows, curves and text
 * rows, only ok cells geometry. */
void eab_table_add_rows(eab_table table, const eab_run_settings *settings, const eab_cell *cell,
                        const eab_cell_result *result, GString *text);

/* The share of the device's peak that training the cell reached; NAN: unknown. */
double eab_peak_fraction(const eab_run_settings *settings, const eab_cell *cell, const eab_cell_result *result);

/* A cell's rows for all tables: rows[EAB_TABLE_COUNT], each for g_free. */
void eab_cell_rows(const eab_run_settings *settings, const eab_cell *cell, const eab_cell_result *result, char **rows);

/* The number of rows of a cell in accuracy.csv: one, and one more for each part of a mixture, or for each other level
 * at which a model is evaluated. At most 1 + EAB_MAX_EVALUATED. */
int32_t eab_accuracy_row_count(const eab_config *config);

/* Which of them has this task and level: 0 the cell as a whole, n the n-th part or other level; -1 none. `first`, any
 * number, is where to begin. */
int32_t eab_accuracy_row_find(const eab_config *config, const char *task, const char *level, int64_t first);

/* The level of such a row. Row 0 of a mixture has none. */
eab_level eab_accuracy_row_level(const eab_config *config, int32_t row);

/* The number of rows of an ok cell in geometry.csv. */
int64_t eab_geometry_row_count(const eab_config *config);

/* "ok", "diverged", "fail", "oom", "timeout"; from_name returns NONE for another name. Results are ok and diverged. */
const char *eab_cell_status_name(eab_cell_status status);
eab_cell_status eab_cell_status_from_name(const char *name);
bool eab_cell_status_is_result(eab_cell_status status);

#endif
