/* Reading, repairing and sorting the tables of a folder; what they have of a cell. */
#include <math.h>
#include <string.h>

#include "base/suggest.h"
#include "folder_state.h"
#include "kernels/status.h"
#include "spec/cell_task.h"

bool eab_run_folder_outcome(eab_run_folder *folder, int64_t index, eab_cell_outcome *outcome) {
    pthread_mutex_lock(&folder->mutex);
    *outcome = folder->cells[index];
    pthread_mutex_unlock(&folder->mutex);
    return outcome->status != EAB_CELL_NONE;
}

bool eab_run_folder_has(eab_run_folder *folder, int64_t index) {
    eab_cell_outcome cell;
    if (!eab_run_folder_outcome(folder, index, &cell)) return false;
    if (cell.status == EAB_CELL_TIMEOUT) return folder->keep_timeouts;
    return folder->keep_failures || eab_cell_status_is_result(cell.status);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* Columns of accuracy.csv that a resume reads. */
enum { STATUS, TASK, LEVEL, STEPS_DONE, TOKEN_ACCURACY, SOLVED, COLUMNS };
static const char *const column_names[COLUMNS] = {"status", "task", "level", "steps_done", "token_accuracy", "solved"};

enum { PART_WORDS = (1 + EAB_MAX_EVALUATED + 63) / 64 };

/* What reading notes of one cell. */
typedef struct {
    uint64_t parts[PART_WORDS]; /* a bit for each of its rows in accuracy.csv */
    int64_t steps_done;
    int64_t place; /* of its first row in accuracy.csv */
    int64_t rows;  /* in the table that is read */
} cell_note;

typedef struct {
    eab_run_folder *folder;
    eab_table table;
    int32_t column[COLUMNS]; /* their places in a row */
    cell_note *notes;        /* [plan->count] */
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

/* The bit of a row, in its word of cell_note.parts. */
static uint64_t part_bit(int32_t part) { return UINT64_C(1) << part % 64; }

/* Which of its cell's rows this is; -1 with a message. */
static int32_t find_part(const table_reader *reader, const eab_csv_row *row, int64_t index) {
    const eab_run_folder *folder = reader->folder;
    const char *task = row->field[reader->column[TASK]], *level = row->field[reader->column[LEVEL]];
    const int32_t part = eab_accuracy_row_find(&folder->plan->cells[index].config, task, level,
                                               reader->notes[index].rows - 1); /* rows are in order */
    char shown[64], shown_level[112];
    if (part < 0)
        eab_fail(EAB_BAD_INPUT, "cell %s has no task '%s' with level '%s'; the spec's own is allowed", row->field[0],
                 eab_excerpt(task, 40, shown, sizeof shown), eab_excerpt(level, 80, shown_level, sizeof shown_level));
    if (part < 0 || !(reader->notes[index].parts[part / 64] & part_bit(part))) return part;
    eab_fail(EAB_BAD_INPUT, "a second row for cell %s, task %s, level %s; one is allowed", row->field[0], task, level);
    return -1;
}

/* Refuses a row of an older table whose options are not the cell's. Options that the table lacks have their defaults.
 * part: as in find_part. */
static int check_options(const table_reader *reader, const eab_csv_row *row, int64_t index, int32_t part) {
    const char *const *columns = eab_run_table(EAB_TABLE_ACCURACY, reader->folder->plan->later)->columns;
    const char *const sections[] = {"model", "train", row->field[reader->column[TASK]]};
    eab_config config = reader->folder->plan->cells[index].config;
    if (part > 0) config.level = eab_accuracy_row_level(&config, part);
    for (int32_t i = 0; columns[i]; i++) {
        const eab_option *option = NULL;
        for (size_t j = 0; j < G_N_ELEMENTS(sections) && !option; j++)
            option = eab_option_find(sections[j], columns[i]);
        char value[EAB_OPTION_TEXT_SIZE], shown[64];
        if (!option) continue;
        eab_option_print(option, &config, value, sizeof value);
        if (strcmp(row->field[i], value) != 0)
            return eab_fail(EAB_BAD_INPUT, "%s is '%s', but cell %s has %s; a row of that cell is allowed", columns[i],
                            eab_excerpt(row->field[i], 40, shown, sizeof shown), row->field[0], value);
    }
    return EAB_OK;
}

static int read_accuracy(const table_reader *reader, const eab_csv_row *row, int64_t index) {
    eab_cell_outcome *cell = &reader->folder->cells[index];
    cell_note *note = &reader->notes[index];
    const int32_t part = find_part(reader, row, index);
    if (part < 0) return EAB_BAD_INPUT;
    if (reader->folder->facts[EAB_TABLE_ACCURACY].older) EAB_TRY(check_options(reader, row, index, part));
    const char *status_name = row->field[reader->column[STATUS]];
    const eab_cell_status status = eab_cell_status_from_name(status_name);
    double accuracy, solved;
    char shown[64];
    if (status == EAB_CELL_NONE)
        return eab_fail(EAB_BAD_INPUT, "status is '%s'; ok, diverged, fail, oom, timeout are allowed",
                        eab_excerpt(status_name, 40, shown, sizeof shown));
    EAB_TRY(read_share(reader, row, TOKEN_ACCURACY, &accuracy));
    EAB_TRY(read_share(reader, row, SOLVED, &solved));

    if (note->rows == 1) {
        note->place = row->begin;
        note->steps_done = g_ascii_strtoll(row->field[reader->column[STEPS_DONE]], NULL, 10);
    }
    note->parts[part / 64] |= part_bit(part);
    if (cell->status == EAB_CELL_NONE || eab_cell_status_is_result(cell->status)) cell->status = status;
    if (part == 0) { /* the cell as a whole */
        cell->token_accuracy = accuracy;
        cell->solved = isnan(solved) ? -1 : solved > 0.5;
    }
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
    const int64_t count = ++reader->notes[index].rows;
    if (reader->table == EAB_TABLE_TEXT && !reader->folder->plan->cells[index].config.level.text)
        return eab_fail(EAB_BAD_INPUT, "cell %s is of another task; a cell of task text is allowed", row->field[0]);
    if (reader->table == EAB_TABLE_ACCURACY) return read_accuracy(reader, row, index);
    if ((reader->table == EAB_TABLE_THROUGHPUT || reader->table == EAB_TABLE_TEXT) && count > 1)
        return eab_fail(EAB_BAD_INPUT, "a second row for cell %s; one is allowed", row->field[0]);
    return EAB_OK;
}

/* ---- rows lost at a table's end ------------------------------------------------------------------------------ */

/* The number of rows that the cell's result has in the table, if they were saved. */
static int64_t full_rows(const table_reader *reader, int64_t index) {
    const eab_config *config = &reader->folder->plan->cells[index].config;
    const int64_t steps = reader->notes[index].steps_done;
    const bool diverged = reader->folder->cells[index].status == EAB_CELL_DIVERGED;
    if (reader->table == EAB_TABLE_THROUGHPUT) return 1;
    if (reader->table == EAB_TABLE_TEXT) return config->level.text != NULL;
    if (reader->table == EAB_TABLE_GEOMETRY) return diverged ? 0 : eab_geometry_row_count(config);
    const int64_t evaluations = steps / config->eval_every + (steps % config->eval_every > 0);
    return evaluations - diverged; /* the evaluation that found the divergence is not in the curve */
}

/* A cell's other rows are on the disk before its commit, so a crash of the program loses none of them. A crash of the
 * machine may cut off a table's end. These cells are trained again: the last cell of the table if some of its rows are
 * missing; results without their row in throughput.csv or text.csv; and, where a torn line shows that something was
 * lost, all cells that were committed after the last one that has rows. */
static void find_lost(const table_reader *reader) {
    const eab_run_folder *folder = reader->folder;
    const GArray *rows = folder->rows[reader->table];
    const int64_t last = rows->len ? g_array_index(rows, eab_table_rows, rows->len - 1).cell : -1;
    const bool one_row = reader->table == EAB_TABLE_THROUGHPUT || reader->table == EAB_TABLE_TEXT;
    int64_t last_place = -1;
    for (int64_t i = 0; i < folder->plan->count; i++)
        if (reader->notes[i].rows && folder->cells[i].status != EAB_CELL_NONE)
            last_place = MAX(last_place, reader->notes[i].place);
    for (int64_t i = 0; i < folder->plan->count; i++) {
        if (!eab_cell_status_is_result(folder->cells[i].status)) continue;
        const int64_t count = reader->notes[i].rows, full = full_rows(reader, i);
        const bool after_last = folder->facts[reader->table].torn && reader->notes[i].place > last_place;
        bool lost = full > 0 && (one_row || after_last);
        if (count) lost = i == last && count < full;
        if (lost) folder->cells[i].status = EAB_CELL_NONE;
    }
}

/* Cells without all their rows in accuracy.csv are not committed. */
static void drop_uncommitted(const table_reader *reader) {
    const eab_run_folder *folder = reader->folder;
    for (int64_t i = 0; i < folder->plan->count; i++) {
        const int32_t rows = eab_accuracy_row_count(&folder->plan->cells[i].config);
        if (reader->notes[i].rows < rows) folder->cells[i].status = EAB_CELL_NONE;
    }
}

/* A read_only folder keeps the file that was scanned, because a sweep may replace it. */
static int read_table(table_reader *reader) {
    eab_run_folder *folder = reader->folder;
    const eab_table table = reader->table;
    for (int64_t i = 0; i < folder->plan->count; i++) reader->notes[i].rows = 0;
    g_array_set_size(folder->rows[table], 0);
    EAB_TRY(eab_table_scan(folder->table_paths[table], eab_run_table(table, folder->plan->later), read_row, reader,
                           &folder->facts[table], folder->read_only ? &folder->scanned[table] : NULL));
    if (table == EAB_TABLE_ACCURACY) drop_uncommitted(reader);
    else if (folder->facts[table].exists) find_lost(reader);
    return EAB_OK;
}

int eab_run_folder_read(eab_run_folder *folder) {
    table_reader reader = {.folder = folder, .notes = g_new0(cell_note, (gsize)folder->plan->count)};
    int status = EAB_OK;
    for (int i = 0; i < COLUMNS; i++)
        reader.column[i] = eab_table_column(eab_run_table(EAB_TABLE_ACCURACY, folder->plan->later), column_names[i]);
    for (int64_t i = 0; i < folder->plan->count; i++) folder->cells[i].status = EAB_CELL_NONE;
    for (reader.table = 0; reader.table < EAB_TABLE_COUNT && !status; reader.table++) status = read_table(&reader);
    for (int64_t i = 0; i < folder->plan->count && !folder->read_only; i++)
        if (!eab_run_folder_has(folder, i)) folder->cells[i].status = EAB_CELL_NONE;
    g_free(reader.notes);
    return status;
}

/* ---- repairing and sorting ----------------------------------------------------------------------------------- */

/* Keeps the rows of cells that are done; whether that drops any. */
static bool drop_undone(eab_run_folder *folder, GArray *rows) {
    guint kept = 0;
    for (guint i = 0; i < rows->len; i++) {
        const eab_table_rows at = g_array_index(rows, eab_table_rows, i);
        if (eab_run_folder_has(folder, at.cell)) g_array_index(rows, eab_table_rows, kept++) = at;
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

/* By cell, and for each cell by place; whether that changes the order. */
static bool sort_rows(GArray *rows) {
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
    const bool changed = in_order ? sort_rows(rows) : drop_undone(folder, rows);
    if (facts.exists && !facts.torn && !facts.older && !changed) return EAB_OK;
    return eab_table_rewrite(folder->table_paths[table], eab_run_table(table, folder->plan->later),
                             &g_array_index(rows, eab_table_rows, 0), rows->len);
}
