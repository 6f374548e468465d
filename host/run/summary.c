#include "summary.h"

#include <glib.h>
#include <math.h>
#include <string.h>

#include "kernels/mechanism.h"
#include "spec/cell_task.h"
#include "tables.h"

enum { MAX_LEVELS_SHOWN = 60 };

/* A level's name for people: a long mixture is cut, and identified by its size. */
static void name_level(const eab_config *config, char *text, size_t size) {
    char name[EAB_LEVEL_NAME_SIZE];
    enum { LONGEST = 72, KEPT = 34 };
    eab_config_level_name(config, name, sizeof name);
    if (!config->mixture || strlen(name) <= LONGEST) g_strlcpy(text, name, size);
    else
        g_snprintf(text, size, "%.*s... %d parts, %.4g bits, cue=%s", KEPT, name, eab_config_part_count(config),
                   eab_config_complexity_bits(config), strrchr(name, '=') + 1);
}

void eab_cell_label(const eab_config *config, char *text, size_t size) {
    char level[256], lr[64];
    name_level(config, level, sizeof level);
    eab_real_print(config->lr, lr, sizeof lr);
    g_snprintf(text, size, "%s  %s %s  lr=%s seed=%" G_GINT64_FORMAT, eab_mechanism_name(config->mechanism),
               eab_config_task_name(config), level, lr, (gint64)config->seed);
}

/* Cells of one level and mechanism. */
typedef struct {
    int64_t cells, measured, judged, solved; /* all; with an accuracy; known to be solved or not; solved */
    double accuracy_sum;
} tally;

typedef struct {
    char *name; /* "basis=8 delay=4", after the task's name if the plan has several tasks */
    tally by_mechanism[EAB_MECHANISM_COUNT];
} level_row;

static void free_row(gpointer row) {
    g_free(((level_row *)row)->name);
    g_free(row);
}

static bool has_several_tasks(const eab_plan *plan) {
    for (int64_t i = 1; i < plan->count; i++)
        if (eab_config_task_name(&plan->cells[i].config) != eab_config_task_name(&plan->cells[0].config)) return true;
    return false;
}

/* The row of the config's level, created if it is new. rows_by_name: by the names of the task and the level. */
static level_row *find_level(GPtrArray *rows, GHashTable *rows_by_name, const eab_config *config, bool several_tasks) {
    char name[EAB_LEVEL_NAME_SIZE], shown[256];
    eab_config_level_name(config, name, sizeof name);
    char *key = g_strconcat(eab_config_task_name(config), " ", name, NULL);
    level_row *row = g_hash_table_lookup(rows_by_name, key);
    if (row) {
        g_free(key);
        return row;
    }
    row = g_new0(level_row, 1);
    name_level(config, shown, sizeof shown);
    row->name = several_tasks ? g_strconcat(eab_config_task_name(config), " ", shown, NULL) : g_strdup(shown);
    g_hash_table_insert(rows_by_name, key, row);
    g_ptr_array_add(rows, row);
    return row;
}

static void count_outcome(tally *at, const eab_cell_outcome *outcome) {
    at->cells++;
    at->judged += outcome->solved >= 0;
    at->solved += outcome->solved == 1;
    if (isnan(outcome->token_accuracy)) return;
    at->measured++;
    at->accuracy_sum += outcome->token_accuracy;
}

/* The levels (level_row) in the plan's order, with the folder's results, or without a folder (NULL) with all cells.
 * *width: of the longest name. */
static GPtrArray *tally_levels(const eab_plan *plan, eab_run_folder *folder, int *width) {
    GPtrArray *rows = g_ptr_array_new_with_free_func(free_row);
    GHashTable *rows_by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    const bool several_tasks = has_several_tasks(plan);
    *width = (int)strlen("level");
    for (int64_t i = 0; i < plan->count; i++) {
        const eab_config *config = &plan->cells[i].config;
        level_row *row = find_level(rows, rows_by_name, config, several_tasks);
        eab_cell_outcome outcome = {.status = EAB_CELL_OK, .token_accuracy = NAN, .solved = -1};
        *width = MAX(*width, (int)strlen(row->name));
        if (folder && !eab_run_folder_outcome(folder, i, &outcome)) continue;
        if (eab_cell_status_is_result(outcome.status)) count_outcome(&row->by_mechanism[config->mechanism], &outcome);
    }
    g_hash_table_destroy(rows_by_name);
    return rows;
}

static guint shown_levels(const GPtrArray *rows) { return MIN(rows->len, MAX_LEVELS_SHOWN); }

/* Ends a table of levels. */
static void finish(FILE *file, GPtrArray *rows) {
    if (rows->len > MAX_LEVELS_SHOWN) fprintf(file, "... and %u more levels\n", rows->len - MAX_LEVELS_SHOWN);
    g_ptr_array_unref(rows);
}

static void print_tally(FILE *file, int width, const char *level, int32_t mechanism, const tally *at) {
    char accuracy[32] = "-", solved[32] = "-";
    if (at->measured) g_snprintf(accuracy, sizeof accuracy, "%.4f", at->accuracy_sum / (double)at->measured);
    if (at->judged) g_snprintf(solved, sizeof solved, "%.0f%%", 100 * (double)at->solved / (double)at->judged);
    fprintf(file, "%-*s  %-11s  %14s  %6s  %5lld\n", width, level, eab_mechanism_name(mechanism), accuracy, solved,
            (long long)at->cells);
}

void eab_summary_print(FILE *file, const eab_plan *plan, eab_run_folder *folder) {
    int width;
    GPtrArray *rows = tally_levels(plan, folder, &width);
    fprintf(file, "%-*s  %-11s  %14s  %6s  %5s\n", width, "level", "mechanism", "token accuracy", "solved", "cells");
    for (guint i = 0; i < shown_levels(rows); i++) {
        const level_row *row = rows->pdata[i];
        const char *name = row->name;
        for (int32_t mechanism = 0; mechanism < EAB_MECHANISM_COUNT; mechanism++) {
            if (!row->by_mechanism[mechanism].cells) continue;
            print_tally(file, width, name, mechanism, &row->by_mechanism[mechanism]);
            name = "";
        }
    }
    finish(file, rows);
}

void eab_plan_print(FILE *file, const eab_plan *plan) {
    int width;
    GPtrArray *rows = tally_levels(plan, NULL, &width);
    int64_t used[EAB_MECHANISM_COUNT] = {0};
    for (int64_t i = 0; i < plan->count; i++) used[plan->cells[i].config.mechanism]++;
    fprintf(file, "%-*s", width, "level");
    for (int32_t i = 0; i < EAB_MECHANISM_COUNT; i++)
        if (used[i]) fprintf(file, "  %8s", eab_mechanism_name(i));
    fputc('\n', file);
    for (guint k = 0; k < shown_levels(rows); k++) {
        const level_row *row = rows->pdata[k];
        fprintf(file, "%-*s", width, row->name);
        for (int32_t i = 0; i < EAB_MECHANISM_COUNT; i++)
            if (used[i])
                fprintf(file, "  %*lld", MAX(8, (int)strlen(eab_mechanism_name(i))),
                        (long long)row->by_mechanism[i].cells);
        fputc('\n', file);
    }
    finish(file, rows);
}
