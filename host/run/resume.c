/* Reading, repairing and sorting the tables of a folder. */
#include <math.h>
#include <string.h>

#include "base/suggest.h"
#include "folder_state.h"
#include "kernels/status.h"

/* A bit for each row of the cell in accuracy.csv. */
static uint64_t all_parts(const eab_run_folder *folder, int64_t index) {
    return UINT64_MAX >> (64 - eab_accuracy_row_count(&folder->plan->cells[index].config));
}

static bool has_all_rows(const eab_run_folder *folder, int64_t index) {
    return folder->cells[index].parts == all_parts(folder, index);
}

void eab_run_folder_note(eab_run_folder *folder, const eab_cell_end *end) {
    folder->cells[end->index] = (eab_cell_state){.parts = all_parts(folder, end->index),
                                                 .token_accuracy = end->token_accuracy,
                                                 .status = (int8_t)end->status,
                                                 .solved = (int8_t)end->solved};
}

bool eab_run_folder_is_done(const eab_run_folder *folder, int64_t index) {
    const eab_cell_state *state = &folder->cells[index];
    if (!has_all_rows(folder, index)) return false;
    if (state->status == EAB_CELL_TIMEOUT) return folder->keep_timeouts;
    return folder->keep_failures || eab_cell_status_is_result((eab_cell_status)state->status);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* Columns of accuracy.csv that a resume reads. */
enum { STATUS, TASK, LEVEL, STEPS_DONE, TOKEN_ACCURACY, SOLVED, COLUMNS };
static const char *const column_names[COLUMNS] = {"status", "task", "level", "steps_done", "token_accuracy", "solved"};

typedef struct {
    eab_run_folder *folder;
    eab_table table;
    int32_t column[COLUMNS]; /* their places in a row */
} table_reader;

/* The plan's index of the row's cell; -1 with a message. */
static int64_t find_cell(const eab_run_folder *folder, const eab_csv_row *row) {
    const int64_t index = eab_plan_find(folder->plan, row->field[0]);
    char shown[64];
    if (index < 0)
        eab_fail(EAB_BAD_INPUT,
                 "cell '%s' is not one of this spec; a folder of the same spec, or of a part of it, is "
                 "allowed, or another --out",
                 eab_excerpt(row->field[0], 40, shown, sizeof shown));
    return index;
}

/* A number 0..1, or NAN for an empty field. */
static int read_share(const table_reader *reader, const eab_csv_row *row, int column, double *value) {
    const char *text = row->field[reader->column[column]];
    char *end, shown[64];
    *value = *text ? g_ascii_strtod(text, &end) : NAN;
    if (!*text || (*end == '\0' && *value >= 0 && *value <= 1)) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s is '%s'; a number 0..1 or nothing is allowed", column_names[column],
                    eab_excerpt(text, 40, shown, sizeof shown));
}

/* Which of its cell's rows this is, 0..63; -1 with a message. */
static int32_t find_part(const table_reader *reader, const eab_csv_row *row, int64_t index) {
    const eab_run_folder *folder = reader->folder;
    const char *task = row->field[reader->column[TASK]], *level = row->field[reader->column[LEVEL]];
    const int32_t part = eab_accuracy_row_find(&folder->plan->cells[index].config, task, level);
    char shown[64], shown_level[112];
    if (part < 0)
        eab_fail(EAB_BAD_INPUT, "cell %s has no task '%s' with level '%s'; the spec's own is allowed", row->field[0],
                 eab_excerpt(task, 40, shown, sizeof shown), eab_excerpt(level, 80, shown_level, sizeof shown_level));
    if (part < 0 || !(folder->cells[index].parts & UINT64_C(1) << part)) return part;
    eab_fail(EAB_BAD_INPUT, "a second row for cell %s, task %s, level %s; one is allowed", row->field[0], task, level);
    return -1;
}

static int read_accuracy(const table_reader *reader, const eab_csv_row *row, int64_t index) {
    eab_cell_state *state = &reader->folder->cells[index];
    const int32_t part = find_part(reader, row, index);
    if (part < 0) return EAB_BAD_INPUT;
    const char *status_name = row->field[reader->column[STATUS]];
    const int status = eab_cell_status_from_name(status_name);
    double accuracy, solved;
    char shown[64];
    if (status < 0)
        return eab_fail(EAB_BAD_INPUT, "status is '%s'; ok, diverged, fail, oom, timeout are allowed",
                        eab_excerpt(status_name, 40, shown, sizeof shown));
    EAB_TRY(read_share(reader, row, TOKEN_ACCURACY, &accuracy));
    EAB_TRY(read_share(reader, row, SOLVED, &solved));

    if (!state->parts) {
        state->place = row->begin;
        state->steps_done = g_ascii_strtoll(row->field[reader->column[STEPS_DONE]], NULL, 10);
    }
    if (state->status < 0 || eab_cell_status_is_result((eab_cell_status)state->status)) state->status = (int8_t)status;
    if (part == 0) { /* the cell as a whole */
        state->token_accuracy = accuracy;
        state->solved = isnan(solved) ? -1 : (int8_t)(solved > 0.5);
    }
    state->parts |= UINT64_C(1) << part;
    return EAB_OK;
}

static int read_row(void *context, const eab_csv_row *row) {
    const table_reader *reader = context;
    GArray *rows = reader->folder->rows[reader->table];
    const int64_t index = find_cell(reader->folder, row);
    if (index < 0) return EAB_BAD_INPUT;
    eab_table_rows *last = rows->len ? &g_array_index(rows, eab_table_rows, rows->len - 1) : NULL;
    if (last && last->cell == index) {
        last->end = row->end; /* rows follow one another without a gap */
    } else {
        const eab_table_rows one = {.cell = index, .begin = row->begin, .end = row->end};
        g_array_append_val(rows, one);
    }
    const int64_t count = ++reader->folder->cells[index].rows[reader->table];
    if (reader->table == EAB_TABLE_ACCURACY) return read_accuracy(reader, row, index);
    if (reader->table == EAB_TABLE_THROUGHPUT && count > 1)
        return eab_fail(EAB_BAD_INPUT, "a second row for cell %s; one is allowed", row->field[0]);
    return EAB_OK;
}

/* ---- rows lost at a table's end ------------------------------------------------------------------------------ */

/* The number of rows that the cell's result has in the table, if they were saved. */
static int64_t full_rows(const eab_run_folder *folder, int64_t index, eab_table table) {
    const eab_config *config = &folder->plan->cells[index].config;
    const eab_cell_state *state = &folder->cells[index];
    const bool diverged = state->status == EAB_CELL_DIVERGED;
    if (table == EAB_TABLE_THROUGHPUT) return 1;
    if (table == EAB_TABLE_GEOMETRY) return diverged ? 0 : eab_geometry_row_count(config);
    const int64_t evaluations = state->steps_done / config->eval_every + (state->steps_done % config->eval_every > 0);
    return evaluations - diverged; /* the evaluation that found the divergence is not in the curve */
}

/* A cell's other rows are on the disk before its commit, so a crash of the program loses none of them. A crash of the
 * machine may cut off a table's end. These cells are trained again: the last cell of the table if some of its rows are
 * missing; results without their row in throughput.csv; and, where a torn line shows that something was lost, all cells
 * that were committed after the last one that has rows. */
static void find_lost(eab_run_folder *folder, eab_table table) {
    const GArray *rows = folder->rows[table];
    const int64_t last = rows->len ? g_array_index(rows, eab_table_rows, rows->len - 1).cell : -1;
    int64_t last_place = -1;
    for (int64_t i = 0; i < folder->plan->count; i++)
        if (folder->cells[i].rows[table] && eab_run_folder_is_done(folder, i))
            last_place = MAX(last_place, folder->cells[i].place);
    for (int64_t i = 0; i < folder->plan->count; i++) {
        eab_cell_state *state = &folder->cells[i];
        if (!eab_run_folder_is_done(folder, i) || !eab_cell_status_is_result((eab_cell_status)state->status)) continue;
        const int64_t count = state->rows[table], full = full_rows(folder, i, table);
        bool lost =
            full > 0 && (table == EAB_TABLE_THROUGHPUT || (folder->facts[table].torn && state->place > last_place));
        if (count) lost = i == last && count < full;
        if (lost) state->parts = 0;
    }
}

bool eab_run_folder_has_table(const eab_run_folder *folder, eab_table table) {
    return folder->facts[table].exists || folder->facts[table].torn;
}

int eab_run_folder_read(eab_run_folder *folder) {
    table_reader reader = {.folder = folder};
    for (int i = 0; i < COLUMNS; i++)
        reader.column[i] = eab_table_column(eab_run_table(EAB_TABLE_ACCURACY), column_names[i]);
    for (int64_t i = 0; i < folder->plan->count; i++) folder->cells[i] = (eab_cell_state){.status = -1};
    for (reader.table = 0; reader.table < EAB_TABLE_COUNT; reader.table++) {
        g_array_set_size(folder->rows[reader.table], 0);
        EAB_TRY(eab_table_scan(folder->table_paths[reader.table], eab_run_table(reader.table), read_row, &reader,
                               &folder->facts[reader.table]));
        if (reader.table != EAB_TABLE_ACCURACY && eab_run_folder_has_table(folder, reader.table))
            find_lost(folder, reader.table);
    }
    /* Readers want failed cells, too. */
    for (int64_t i = 0; i < folder->plan->count; i++)
        if (!(folder->read_only ? has_all_rows(folder, i) : eab_run_folder_is_done(folder, i)))
            folder->cells[i] = (eab_cell_state){.status = -1};
    return EAB_OK;
}

/* ---- repairing and sorting ----------------------------------------------------------------------------------- */

/* Keeps the rows of cells that are done; whether that drops any. */
static bool drop_undone(const eab_run_folder *folder, GArray *rows) {
    guint kept = 0;
    for (guint i = 0; i < rows->len; i++) {
        const eab_table_rows at = g_array_index(rows, eab_table_rows, i);
        if (eab_run_folder_is_done(folder, at.cell)) g_array_index(rows, eab_table_rows, kept++) = at;
    }
    const bool dropped = kept < rows->len;
    g_array_set_size(rows, kept);
    return dropped;
}

static int compare_rows(const void *a, const void *b) {
    const eab_table_rows *left = a, *right = b;
    if (left->cell != right->cell) return left->cell < right->cell ? -1 : 1;
    return left->begin < right->begin ? -1 : left->begin > right->begin;
}

bool eab_table_rows_sort(GArray *rows) {
    bool sorted = true;
    for (guint i = 1; i < rows->len; i++)
        sorted =
            sorted && g_array_index(rows, eab_table_rows, i - 1).cell < g_array_index(rows, eab_table_rows, i).cell;
    if (!sorted) g_array_sort(rows, compare_rows);
    return !sorted;
}

int eab_run_folder_tidy(eab_run_folder *folder, eab_table table, bool in_order) {
    GArray *rows = folder->rows[table];
    const eab_table_facts facts = folder->facts[table];
    const bool changed = in_order ? eab_table_rows_sort(rows) : drop_undone(folder, rows);
    if (facts.exists && !facts.torn && !changed) return EAB_OK;
    return eab_table_rewrite(folder->table_paths[table], eab_run_table(table), &g_array_index(rows, eab_table_rows, 0),
                             rows->len);
}
