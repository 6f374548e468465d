/* eabench sweep --dry-run --list: what would be trained, for other programs. */
#include <math.h>
#include <string.h>

#include "base/csv.h"
#include "kernels/status.h"
#include "plan/fleets.h"
#include "run/folder.h"
#include "session.h"
#include "spec/cell_task.h"

double eab_cell_flop_with_evaluation(const eab_config *config) {
    const double evaluations =
        (ceil((double)config->steps / (double)config->eval_every) + 8) * eab_config_part_count(config);
    return eab_cell_flop(config) + evaluations * (double)config->eval_tokens * eab_config_flop_per_token(config) / 3;
}

static void add_cell(GString *text, const eab_cell *cell, int64_t order, int64_t fleet) {
    const eab_config *config = &cell->config;
    char level[EAB_LEVEL_NAME_SIZE], lr[64];
    eab_csv_line line = {.text = text};
    eab_config_level_name(config, level, sizeof level);
    eab_real_print(config->lr, lr, sizeof lr);
    eab_csv_add_count(&line, order);
    eab_csv_add_count(&line, fleet);
    eab_csv_add_text(&line, cell->id);
    eab_csv_add_text(&line, eab_mechanism_name(config->mechanism));
    eab_csv_add_text(&line, eab_config_task_name(config));
    eab_csv_add_text(&line, level);
    eab_csv_add_count(&line, config->layers);
    eab_csv_add_count(&line, config->d_model);
    eab_csv_add_count(&line, config->heads);
    eab_csv_add_count(&line, config->context);
    eab_csv_add_count(&line, config->batch);
    eab_csv_add_count(&line, config->steps);
    eab_csv_add_text(&line, lr);
    eab_csv_add_count(&line, config->seed);
    eab_csv_add_real(&line, eab_cell_flop(config));
    eab_csv_add_real(&line, eab_cell_flop_with_evaluation(config));
    eab_csv_end(&line);
}

int eab_list_cells(FILE *file, const eab_sweep *sweep, const eab_plan *plan) {
    eab_run_folder *folder;
    EAB_TRY(eab_run_folder_peek(sweep->out, plan, &folder));
    int64_t *todo = g_new(int64_t, (gsize)plan->count), count = 0, order = 0;
    for (int64_t i = 0; i < plan->count; i++)
        if (!eab_run_folder_has(folder, i)) todo[count++] = i;
    eab_run_folder_close(folder);
    GArray *fleets = eab_fleets_make(plan->cells, todo, count, sweep->fleet, NULL);
    g_free(todo);
    GString *text =
        g_string_new("order,fleet,cell,mechanism,task,level,layers,d_model,heads,context,batch,steps,lr,seed,"
                     "flop,flop_with_evaluation\n");
    for (guint i = 0; i < fleets->len; i++) {
        const eab_fleet *fleet = &g_array_index(fleets, eab_fleet, i);
        for (int32_t k = 0; k < fleet->members; k++) add_cell(text, &plan->cells[fleet->indices[k]], ++order, i + 1);
        fputs(text->str, file);
        g_string_truncate(text, 0);
    }
    fputs(text->str, file); /* the header, where no cell is left */
    g_string_free(text, TRUE);
    eab_fleets_free(fleets);
    return EAB_OK;
}
