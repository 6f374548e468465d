#include "summary.h"

#include <glib.h>
#include <math.h>
#include <string.h>

#include "kernels/mechanism.h"
#include "spec/cell_task.h"
#include "tables.h"

enum { MAX_LEVELS_SHOWN = 60, MECHANISMS = EAB_MECHANISM_COUNT };

/* A level's name as people read it on one line: a long mixture is cut, and told apart by its size. */
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

void eab_level_index_make(const eab_plan *plan, eab_level_index *index) {
    GHashTable *numbers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    GPtrArray *names = g_ptr_array_new();
    bool several = false;
    for (int64_t i = 1; i < plan->count && !several; i++)
        several = eab_config_task_name(&plan->cells[i].config) != eab_config_task_name(&plan->cells[0].config);
    *index = (eab_level_index){.of_cell = g_new(int32_t, (gsize)plan->count)};
    for (int64_t i = 0; i < plan->count; i++) {
        const eab_config *config = &plan->cells[i].config;
        char name[EAB_LEVEL_NAME_SIZE], shown[256], *full;
        gpointer number;
        eab_config_level_name(config, name, sizeof name);
        full = several ? g_strconcat(eab_config_task_name(config), " ", name, NULL) : g_strdup(name);
        if (g_hash_table_lookup_extended(numbers, full, NULL, &number)) {
            index->of_cell[i] = GPOINTER_TO_INT(number);
            g_free(full);
            continue;
        }
        index->of_cell[i] = (int32_t)names->len;
        g_hash_table_insert(numbers, full, GINT_TO_POINTER((gint)names->len));
        name_level(config, shown, sizeof shown);
        g_ptr_array_add(names, several ? g_strconcat(eab_config_task_name(config), " ", shown, NULL) : g_strdup(shown));
        index->width = MAX(index->width, (int32_t)strlen(names->pdata[names->len - 1]));
    }
    index->width = MAX(index->width, (int32_t)strlen("level"));
    index->count = (int32_t)names->len;
    index->names = (char **)g_ptr_array_free(names, FALSE);
    g_hash_table_destroy(numbers);
}

void eab_level_index_free(eab_level_index *index) {
    for (int32_t i = 0; i < index->count; i++) g_free(index->names[i]);
    g_free(index->names);
    g_free(index->of_cell);
    *index = (eab_level_index){0};
}

static void print_left_out(FILE *file, int32_t levels) {
    if (levels > MAX_LEVELS_SHOWN) fprintf(file, "... and %d more levels\n", levels - MAX_LEVELS_SHOWN);
}

/* Of one level and mechanism. */
typedef struct {
    int64_t cells, measured, judged, solved; /* results; with an accuracy; known to be solved or not; solved */
    double accuracy_sum;
} tally;

void eab_summary_print(FILE *file, const eab_plan *plan, eab_run_folder *folder) {
    eab_level_index levels;
    eab_level_index_make(plan, &levels);
    tally(*tallies)[MECHANISMS] = g_malloc0((gsize)levels.count * sizeof *tallies);
    for (int64_t i = 0; i < plan->count; i++) {
        const int32_t mechanism = plan->cells[i].config.mechanism;
        eab_cell_outcome outcome;
        if (!eab_run_folder_outcome(folder, i, &outcome) || !eab_cell_status_is_result(outcome.status)) continue;
        tally *at = &tallies[levels.of_cell[i]][mechanism];
        at->cells++;
        if (!isnan(outcome.token_accuracy)) {
            at->measured++;
            at->accuracy_sum += outcome.token_accuracy;
        }
        at->judged += outcome.solved >= 0;
        at->solved += outcome.solved == 1;
    }
    fprintf(file, "%-*s  %-10s  %14s  %6s  %5s\n", levels.width, "level", "mechanism", "token accuracy", "solved",
            "cells");
    for (int32_t level = 0; level < MIN(levels.count, MAX_LEVELS_SHOWN); level++) {
        const char *name = levels.names[level];
        for (int32_t mechanism = 0; mechanism < MECHANISMS; mechanism++) {
            const tally *at = &tallies[level][mechanism];
            if (!at->cells) continue;
            char accuracy[32] = "-", solved[32] = "-";
            if (at->measured) g_snprintf(accuracy, sizeof accuracy, "%.4f", at->accuracy_sum / (double)at->measured);
            if (at->judged) g_snprintf(solved, sizeof solved, "%.0f%%", 100 * (double)at->solved / (double)at->judged);
            fprintf(file, "%-*s  %-10s  %14s  %6s  %5lld\n", levels.width, name, eab_mechanism_name(mechanism),
                    accuracy, solved, (long long)at->cells);
            name = "";
        }
    }
    print_left_out(file, levels.count);
    g_free(tallies);
    eab_level_index_free(&levels);
}

void eab_plan_print(FILE *file, const eab_plan *plan) {
    eab_level_index levels;
    eab_level_index_make(plan, &levels);
    int64_t(*counts)[MECHANISMS] = g_malloc0((gsize)levels.count * sizeof *counts);
    bool used[MECHANISMS] = {false};
    for (int64_t i = 0; i < plan->count; i++) {
        const int32_t mechanism = plan->cells[i].config.mechanism;
        counts[levels.of_cell[i]][mechanism]++;
        used[mechanism] = true;
    }
    fprintf(file, "%-*s", levels.width, "level");
    for (int32_t i = 0; i < MECHANISMS; i++)
        if (used[i]) fprintf(file, "  %8s", eab_mechanism_name(i));
    fputc('\n', file);
    for (int32_t level = 0; level < MIN(levels.count, MAX_LEVELS_SHOWN); level++) {
        fprintf(file, "%-*s", levels.width, levels.names[level]);
        for (int32_t i = 0; i < MECHANISMS; i++)
            if (used[i])
                fprintf(file, "  %*lld", MAX(8, (int)strlen(eab_mechanism_name(i))), (long long)counts[level][i]);
        fputc('\n', file);
    }
    print_left_out(file, levels.count);
    g_free(counts);
    eab_level_index_free(&levels);
}
