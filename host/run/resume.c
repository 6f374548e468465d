/* Reading the tables of a folder, repairing and ordering them. */
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

/* An empty field is NAN. */
static int read_number(const char *name, const char *text, double *value) {
    char *end, shown[64];
    *value = *text ? g_ascii_strtod(text, &end) : NAN;
    if (!*text || (*end == '\0' && *value >= 0 && *value <= 1)) return EAB_OK;
    return eab_fail(EAB_BAD_INPUT, "%s is '%s'; a number 0..1 or nothing is allowed", name,
                    eab_excerpt(text, 40, shown, sizeof shown));
}

/* Which of its cell's rows this is, of 0..63; -1 with a message. */
static int32_t find_part(const eab_run_folder *folder, const eab_csv_row *row, int64_t index) {
    const char *task = row->field[folder->column.task], *level = row->field[folder->column.level];
    const int32_t part = eab_accuracy_row_part(&folder->plan->cells[index].config, task, level);
    char shown[64], shown_level[112];
    if (part < 0)
        eab_fail(EAB_BAD_INPUT, "cell %s has no task '%s' with level '%s'; the spec's own is allowed", row->field[0],
                 eab_excerpt(task, 40, shown, sizeof shown), eab_excerpt(level, 80, shown_level, sizeof shown_level));
    if (part < 0 || !(folder->cells[index].parts & UINT64_C(1) << part)) return part;
    eab_fail(EAB_BAD_INPUT, "a second row for cell %s, task %s, level %s; one is allowed", row->field[0], task, level);
    return -1;
}

static int visit_accuracy(void *context, const eab_csv_row *row) {
    eab_run_folder *folder = context;
    const int64_t index = find_cell(folder, row);
    const int32_t part = index < 0 ? -1 : find_part(folder, row, index);
    if (part < 0) return EAB_BAD_INPUT;
    const char *status_name = row->field[folder->column.status];
    const int status = eab_cell_status_from_name(status_name);
    double accuracy, solved;
    char shown[64];
    if (status < 0)
        return eab_fail(EAB_BAD_INPUT, "status is '%s'; ok, diverged, fail, oom, timeout are allowed",
                        eab_excerpt(status_name, 40, shown, sizeof shown));
    EAB_TRY(read_number("token_accuracy", row->field[folder->column.token_accuracy], &accuracy));
    EAB_TRY(read_number("solved", row->field[folder->column.solved], &solved));

    eab_cell_state *state = &folder->cells[index];
    if (!state->parts) {
        state->place = row->begin;
        state->steps_done = g_ascii_strtoll(row->field[folder->column.steps_done], NULL, 10);
    }
    if (state->status < 0 || eab_cell_status_is_result((eab_cell_status)state->status)) state->status = (int8_t)status;
    if (part == 0) { /* the whole */
        state->token_accuracy = accuracy;
        state->solved = isnan(solved) ? -1 : (int8_t)(solved > 0.5);
    }
    state->parts |= UINT64_C(1) << part;
    return EAB_OK;
}

static int visit_throughput(void *context, const eab_csv_row *row) {
    eab_run_folder *folder = context;
    const int64_t index = find_cell(folder, row);
    if (index < 0) return EAB_BAD_INPUT;
    if (folder->cells[index].rows[EAB_TABLE_THROUGHPUT]++)
        return eab_fail(EAB_BAD_INPUT, "a second row for cell %s; one is allowed", row->field[0]);
    return EAB_OK;
}

static int visit_rows(eab_run_folder *folder, eab_table table, const eab_csv_row *row) {
    const int64_t index = find_cell(folder, row);
    if (index < 0) return EAB_BAD_INPUT;
    folder->cells[index].rows[table] += folder->cells[index].rows[table] < INT32_MAX;
    folder->last_read[table] = index;
    return EAB_OK;
}

static int visit_curves(void *context, const eab_csv_row *row) { return visit_rows(context, EAB_TABLE_CURVES, row); }

static int visit_geometry(void *context, const eab_csv_row *row) {
    return visit_rows(context, EAB_TABLE_GEOMETRY, row);
}

/* ---- rows lost at a table's end ---------------------------------------------------------------------------- */

/* The number of rows that the cell's result has in the table, if they were saved. */
static int64_t full_rows(const eab_run_folder *folder, int64_t index, eab_table table) {
    const eab_config *config = &folder->plan->cells[index].config;
    const eab_cell_state *state = &folder->cells[index];
    const bool diverged = state->status == EAB_CELL_DIVERGED;
    if (table == EAB_TABLE_THROUGHPUT) return 1;
    if (table == EAB_TABLE_GEOMETRY) return diverged ? 0 : eab_geometry_row_count(config);
    const int64_t evaluations = state->steps_done / config->eval_every + (state->steps_done % config->eval_every > 0);
    return evaluations - diverged; /* the one that found the divergence is no point of the curve */
}

/* A cell's other rows are on the disk before its commit, so a crash of the program loses none of them. A crash of the
 * machine may cut off a table's end. Trained again are: the last cell of the table if some of its rows are missing;
 * results without their row in throughput.csv; and, where a torn line shows that something was lost, all cells that
 * were committed after the last one that has rows. */
static void find_lost(eab_run_folder *folder, eab_table table, const eab_table_facts *facts) {
    int64_t last_place = -1;
    for (int64_t i = 0; i < folder->plan->count; i++)
        if (folder->cells[i].rows[table] && eab_run_folder_is_done(folder, i))
            last_place = MAX(last_place, folder->cells[i].place);
    for (int64_t i = 0; i < folder->plan->count; i++) {
        eab_cell_state *state = &folder->cells[i];
        if (!eab_run_folder_is_done(folder, i) || !eab_cell_status_is_result((eab_cell_status)state->status)) continue;
        const int64_t rows = state->rows[table], full = full_rows(folder, i, table);
        bool lost = full > 0 && (table == EAB_TABLE_THROUGHPUT || (facts->torn && state->place > last_place));
        if (rows) lost = i == folder->last_read[table] && rows < full;
        if (lost) state->parts = 0;
    }
}

/* ---- order ----------------------------------------------------------------------------------------------------- */

/* Rows of a table by cell, in the file's order; neighbours of one cell are one entry. */
typedef struct {
    const eab_run_folder *folder;
    GArray *rows; /* eab_table_rows */
    bool done_only;
    bool dropped; /* some rows, as their cell is not done */
    bool ordered; /* as the plan is */
} row_list;

static int visit_list(void *context, const eab_csv_row *row) {
    row_list *list = context;
    const int64_t index = find_cell(list->folder, row);
    if (index < 0) return EAB_BAD_INPUT;
    if (list->done_only && !eab_run_folder_is_done(list->folder, index)) {
        list->dropped = true;
        return EAB_OK;
    }
    eab_table_rows *last = list->rows->len ? &g_array_index(list->rows, eab_table_rows, list->rows->len - 1) : NULL;
    if (last && last->cell == index && last->end == row->begin) {
        last->end = row->end;
        return EAB_OK;
    }
    if (last && last->cell >= index) list->ordered = false;
    const eab_table_rows rows = {.cell = index, .begin = row->begin, .end = row->end};
    g_array_append_val(list->rows, rows);
    return EAB_OK;
}

static int list_rows(row_list *list, eab_table table, eab_table_facts *facts) {
    list->rows = g_array_new(FALSE, FALSE, sizeof(eab_table_rows));
    list->ordered = true;
    return eab_table_scan(list->folder->table_paths[table], eab_run_table(table), visit_list, list, facts);
}

int eab_run_folder_list_rows(const eab_run_folder *folder, eab_table table, GArray **rows) {
    eab_table_facts facts;
    row_list list = {.folder = folder};
    const int status = list_rows(&list, table, &facts);
    g_array_sort(list.rows, eab_table_rows_compare);
    *rows = list.rows;
    return status;
}

int eab_run_folder_tidy(const eab_run_folder *folder, eab_table table, bool in_order) {
    eab_table_facts facts;
    row_list list = {.folder = folder, .done_only = !in_order};
    int status = list_rows(&list, table, &facts);
    if (in_order) g_array_sort(list.rows, eab_table_rows_compare);
    if (!status && (!facts.exists || facts.torn || list.dropped || (in_order && !list.ordered)))
        status = eab_table_rewrite(eab_run_table(table), (const char *const *)&folder->table_paths[table],
                                   &g_array_index(list.rows, eab_table_rows, 0), list.rows->len);
    g_array_free(list.rows, TRUE);
    return status;
}

int eab_run_folder_read(eab_run_folder *folder) {
    static const eab_table_visitor visitors[EAB_TABLE_COUNT] = {visit_accuracy, visit_throughput, visit_curves,
                                                                visit_geometry};
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        eab_table_facts facts;
        EAB_TRY(eab_table_scan(folder->table_paths[table], eab_run_table((eab_table)table), visitors[table], folder,
                               &facts));
        folder->has_table[table] = facts.exists || facts.torn;
        if (table != EAB_TABLE_ACCURACY && folder->has_table[table]) find_lost(folder, (eab_table)table, &facts);
    }
    /* Readers want failed cells, too. */
    for (int64_t i = 0; i < folder->plan->count; i++)
        if (!(folder->read_only ? has_all_rows(folder, i) : eab_run_folder_is_done(folder, i)))
            folder->cells[i] = (eab_cell_state){.status = -1};
    return EAB_OK;
}
