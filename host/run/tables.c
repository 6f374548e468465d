#include "tables.h"

#include <math.h>
#include <string.h>

#include "model/cost.h"
#include "model/geometry.h"
#include "spec/cell_task.h"
#include "tasks/task.h"

/* ---- columns ------------------------------------------------------------------------------------------------- */

/* Keys of the tasks' options, NULL-terminated, in the registry's order; tasks that share a key share its column. */
static char **task_columns(void) {
    static char **columns;
    static gsize ready;
    if (g_once_init_enter(&ready)) {
        GPtrArray *keys = g_ptr_array_new();
        for (int family = 0; family < eab_task_count(); family++)
            for (int32_t i = 0; i < eab_task_at(family)->option_count; i++) {
                const char *key = eab_task_at(family)->options[i].key;
                if (!g_ptr_array_find_with_equal_func(keys, key, g_str_equal, NULL))
                    g_ptr_array_add(keys, g_strdup(key));
            }
        g_ptr_array_add(keys, NULL);
        columns = (char **)g_ptr_array_free(keys, FALSE);
        g_once_init_leave(&ready, 1);
    }
    return columns;
}

static char *accuracy_header(void) {
    GString *text = g_string_new("cell,status,reason,backend,dtype,task,level,complexity_bits,vocab,parameters");
    for (char **key = task_columns(); *key; key++) g_string_append_printf(text, ",%s", *key);
    for (int i = 0; i < eab_option_count; i++) g_string_append_printf(text, ",%s", eab_options[i].key);
    g_string_append(text, ",tokens,steps_done,loss_nats,validation_accuracy,token_accuracy,sequence_accuracy,"
                          "rollout_accuracy,chance_accuracy,seen_share,solved,steps_to_solve");
    return g_string_free(text, FALSE);
}

static const char throughput_header[] =
    "cell,backend,device,dtype,mechanism,task,level,layers,d_model,heads,context,batch,seed,lr,fleet,workers,train_s,"
    "wall_s,tokens_per_s,fleet_tokens_per_s,flop_per_token,gflop_per_s,peak_gflop_per_s,peak_fraction,memory_bytes";

const eab_table_layout *eab_run_table(eab_table table) {
    static const char *const names[] = {"accuracy.csv", "throughput.csv", "curves.csv", "geometry.csv"};
    static eab_table_layout layouts[EAB_TABLE_COUNT];
    static gsize ready;
    if (g_once_init_enter(&ready)) {
        char *accuracy = accuracy_header();
        const char *const headers[] = {accuracy, throughput_header, "cell,step,loss_nats,validation_accuracy",
                                       "cell,layer,head,quantity,low,high,value"};
        for (int i = 0; i < EAB_TABLE_COUNT; i++)
            layouts[i] = (eab_table_layout){names[i], (const char *const *)g_strsplit(headers[i], ",", -1)};
        g_free(accuracy);
        g_once_init_leave(&ready, 1);
    }
    return &layouts[table];
}

/* ---- rows ---------------------------------------------------------------------------------------------------- */

int32_t eab_accuracy_row_count(const eab_config *config) {
    return config->mixture ? eab_config_part_count(config) + 1 : 1;
}

int32_t eab_accuracy_row_part(const eab_config *config, const char *task, const char *level) {
    char name[EAB_LEVEL_NAME_SIZE];
    eab_config_level_name(config, name, sizeof name);
    if (strcmp(task, eab_config_task_name(config)) == 0 && strcmp(level, name) == 0) return 0;
    for (int32_t part = 0; part < eab_config_part_count(config) && config->mixture; part++) {
        const eab_level *own = eab_config_part(config, part);
        eab_level_name(own, name, sizeof name);
        if (strcmp(task, eab_task_at(own->family)->name) == 0 && strcmp(level, name) == 0) return part + 1;
    }
    return -1;
}

/* The type of the matrix products' inputs: the backend's own, or the one that the cell asks for. */
static void add_dtype(eab_csv_line *line, const eab_run_settings *settings, const eab_config *config) {
    const eab_backend *backend = eab_backend_from_name(settings->backend);
    char precision[16];
    eab_option_print(eab_option_find("train", "precision"), config, precision, sizeof precision);
    if (config->precision != EAB_PRECISION_FLOAT32) eab_csv_add_text(line, precision);
    else eab_csv_add_text(line, backend ? backend->dtype : "");
}

static void add_task_and_level(eab_csv_line *line, const eab_config *config) {
    char level[EAB_LEVEL_NAME_SIZE];
    eab_config_level_name(config, level, sizeof level);
    eab_csv_add_text(line, eab_config_task_name(config));
    eab_csv_add_text(line, level);
}

/* A column stays empty where the level's family lacks the option; all are empty for the whole of a mixture (NULL). */
static void add_task_options(eab_csv_line *line, const eab_level *level) {
    const eab_task *task = level ? eab_task_at(level->family) : NULL;
    for (char **key = task_columns(); *key; key++) {
        char text[64] = "";
        for (int32_t i = 0; task && i < task->option_count; i++)
            if (strcmp(task->options[i].key, *key) == 0)
                eab_option_print_value(eab_option_of_task(level->family, i), level->option[i], text, sizeof text);
        eab_csv_add_text(line, text);
    }
}

static void add_scores(eab_csv_line *line, const eab_part_result *scores, double chance_accuracy) {
    eab_csv_add_real(line, scores->loss_nats);
    eab_csv_add_real(line, scores->validation_accuracy);
    eab_csv_add_real(line, scores->token_accuracy);
    eab_csv_add_real(line, scores->sequence_accuracy);
    eab_csv_add_real(line, scores->rollout_accuracy);
    eab_csv_add_real(line, chance_accuracy);
    eab_csv_add_real(line, scores->seen_share);
    eab_csv_add_count(line, scores->solved);
    eab_csv_add_count(line, scores->steps_to_solve);
}

/* The trained positions that lie in sequences of this part. */
static int64_t part_tokens(const eab_config *config, int32_t part, const eab_cell_result *result) {
    if (result->steps_done < 0) return -1;
    return eab_config_part_sequences(config, part, result->steps_done * config->batch) * config->context;
}

/* part: of a mixture; -1: the cell as a whole. */
static void add_accuracy_row(GString *text, const eab_run_settings *settings, const eab_cell *cell,
                             const eab_cell_result *result, int32_t part) {
    const eab_config *config = &cell->config;
    const bool whole = part < 0;
    const eab_level *level = !whole ? eab_config_part(config, part) : config->mixture ? NULL : &config->level;
    const eab_task *task = whole ? NULL : eab_task_at(level->family);
    const eab_part_result all = {
        result->loss_nats,        result->validation_accuracy, result->token_accuracy, result->sequence_accuracy,
        result->rollout_accuracy, result->seen_share,          result->solved,         result->steps_to_solve};
    eab_csv_line line = {.text = text};
    char level_name[EAB_LEVEL_NAME_SIZE], value[64];
    if (whole) eab_config_level_name(config, level_name, sizeof level_name);
    else eab_level_name(level, level_name, sizeof level_name);

    eab_csv_add_text(&line, cell->id);
    eab_csv_add_text(&line, eab_cell_status_name(result->status));
    eab_csv_add_line(&line, result->reason);
    eab_csv_add_text(&line, settings->backend);
    add_dtype(&line, settings, config);
    eab_csv_add_text(&line, whole ? eab_config_task_name(config) : task->name);
    eab_csv_add_text(&line, level_name);
    eab_csv_add_real(&line, whole ? eab_config_complexity_bits(config)
                                  : task->complexity_bits(level, eab_config_part_context(config)));
    eab_csv_add_count(&line, whole ? eab_config_vocab(config) : task->vocab(level));
    eab_csv_add_count(&line, result->parameters);
    add_task_options(&line, level);
    for (int i = 0; i < eab_option_count; i++) {
        eab_option_print(&eab_options[i], config, value, sizeof value);
        eab_csv_add_text(&line, value);
    }
    eab_csv_add_count(&line, whole ? result->tokens : part_tokens(config, part, result));
    eab_csv_add_count(&line, result->steps_done);
    add_scores(&line, whole ? &all : &result->parts[part],
               whole ? eab_config_chance_accuracy(config) : task->chance_accuracy(level));
    eab_csv_end(&line);
}

void eab_accuracy_rows(GString *text, const eab_run_settings *settings, const eab_cell *cell,
                       const eab_cell_result *result) {
    for (int32_t row = 0; row < eab_accuracy_row_count(&cell->config); row++)
        add_accuracy_row(text, settings, cell, result, row - 1);
}

void eab_throughput_rows(GString *text, const eab_run_settings *settings, const eab_cell *cell,
                         const eab_cell_result *result) {
    if (!eab_cell_status_is_result(result->status)) return;
    const eab_config *config = &cell->config;
    const double train_s = result->train_s > 0 ? result->train_s : NAN;
    const double fleet_tokens_per_s = (double)result->fleet_tokens / train_s;
    /* The members of a fleet share one shape, so the device's rate is the fleet's tokens times one member's work per
     * token. */
    const double gflop_per_s = result->flop_per_token * fleet_tokens_per_s * 1e-9;
    /* The peak was measured in the backend's own type only. */
    const bool has_peak = settings->peak_gflop_per_s > 0 && config->precision == EAB_PRECISION_FLOAT32;
    const double peak = has_peak ? settings->peak_gflop_per_s : NAN;

    eab_csv_line line = {.text = text};
    char lr[64];
    eab_csv_add_text(&line, cell->id);
    eab_csv_add_text(&line, settings->backend);
    eab_csv_add_line(&line, settings->device ? settings->device : "");
    add_dtype(&line, settings, config);
    eab_csv_add_text(&line, eab_mechanism_name(config->mechanism));
    add_task_and_level(&line, config);
    eab_csv_add_count(&line, config->layers);
    eab_csv_add_count(&line, config->d_model);
    eab_csv_add_count(&line, config->heads);
    eab_csv_add_count(&line, config->context);
    eab_csv_add_count(&line, config->batch);
    eab_csv_add_count(&line, config->seed);
    eab_real_print(config->lr, lr, sizeof lr);
    eab_csv_add_text(&line, lr);
    eab_csv_add_count(&line, result->fleet);
    eab_csv_add_count(&line, settings->workers);
    eab_csv_add_real(&line, result->train_s);
    eab_csv_add_real(&line, result->wall_s);
    eab_csv_add_real(&line, (double)result->tokens / train_s);
    eab_csv_add_real(&line, fleet_tokens_per_s);
    eab_csv_add_real(&line, result->flop_per_token);
    eab_csv_add_real(&line, gflop_per_s);
    eab_csv_add_real(&line, peak);
    eab_csv_add_real(&line, gflop_per_s / peak);
    eab_csv_add_count(&line, result->memory_bytes);
    eab_csv_end(&line);
}

void eab_curves_rows(GString *text, const eab_cell *cell, const eab_cell_result *result) {
    if (!eab_cell_status_is_result(result->status) || !result->curve) return;
    eab_csv_line line = {.text = text};
    for (int32_t i = 0; i < result->curve_points; i++) {
        eab_csv_add_text(&line, cell->id);
        eab_csv_add_count(&line, result->curve[i].step);
        eab_csv_add_real(&line, result->curve[i].loss_nats);
        eab_csv_add_real(&line, result->curve[i].validation_accuracy);
        eab_csv_end(&line);
    }
}

static void add_geometry_row(GString *text, const eab_cell *cell, const int32_t place[2], const char *quantity, int bin,
                             double value) {
    eab_csv_line line = {.text = text};
    eab_csv_add_text(&line, cell->id);
    eab_csv_add_count(&line, place[0]);
    eab_csv_add_count(&line, place[1]);
    eab_csv_add_text(&line, quantity);
    eab_csv_add_count(&line, bin < 0 ? -1 : bin * 180 / EAB_GEOMETRY_BINS); /* -1: empty */
    eab_csv_add_count(&line, bin < 0 ? -1 : (bin + 1) * 180 / EAB_GEOMETRY_BINS);
    eab_csv_add_real(&line, value);
    eab_csv_end(&line);
}

static const char *const geometry_scalars[] = {"row_entropy_nats", "row_entropy_share", "determining_mass",
                                               "query_norm",       "query_norm_sd",     "key_norm",
                                               "key_norm_sd"};
enum { GEOMETRY_SCALARS = sizeof geometry_scalars / sizeof *geometry_scalars };

int64_t eab_geometry_row_count(const eab_config *config) {
    return (int64_t)config->layers * config->heads * (2 * EAB_GEOMETRY_BINS + GEOMETRY_SCALARS);
}

void eab_geometry_rows(GString *text, const eab_cell *cell, const eab_cell_result *result) {
    const eab_geometry *geometry = result->geometry;
    if (!geometry) return;
    for (int32_t i = 0; i < geometry->layers * geometry->heads; i++) {
        const eab_geometry_head *head = &geometry->head[i];
        const int32_t place[] = {i / geometry->heads, i % geometry->heads};
        const double scalars[GEOMETRY_SCALARS] = {
            head->row_entropy_nats, head->row_entropy_share, head->determining_mass, head->query_norm,
            head->query_norm_sd,    head->key_norm,          head->key_norm_sd};
        for (int bin = 0; bin < EAB_GEOMETRY_BINS; bin++)
            add_geometry_row(text, cell, place, "angle_density", bin, head->angle_density[bin]);
        for (int bin = 0; bin < EAB_GEOMETRY_BINS; bin++)
            add_geometry_row(text, cell, place, "angle_mass", bin, head->angle_mass[bin]);
        for (int j = 0; j < GEOMETRY_SCALARS; j++)
            add_geometry_row(text, cell, place, geometry_scalars[j], -1, scalars[j]);
    }
}

void eab_cell_rows(const eab_run_settings *settings, const eab_cell *cell, const eab_cell_result *result, char **rows) {
    GString *text[EAB_TABLE_COUNT];
    for (int table = 0; table < EAB_TABLE_COUNT; table++) text[table] = g_string_new(NULL);
    eab_accuracy_rows(text[EAB_TABLE_ACCURACY], settings, cell, result);
    eab_throughput_rows(text[EAB_TABLE_THROUGHPUT], settings, cell, result);
    if (settings->save_curves) eab_curves_rows(text[EAB_TABLE_CURVES], cell, result);
    if (settings->save_geometry) eab_geometry_rows(text[EAB_TABLE_GEOMETRY], cell, result);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) rows[table] = g_string_free(text[table], FALSE);
}

/* ---- statuses ------------------------------------------------------------------------------------------------ */

static const char *const status_names[] = {"ok", "diverged", "fail", "oom", "timeout"};

const char *eab_cell_status_name(eab_cell_status status) { return status_names[status]; }

int eab_cell_status_from_name(const char *name) {
    for (size_t i = 0; i < G_N_ELEMENTS(status_names); i++)
        if (strcmp(status_names[i], name) == 0) return (int)i;
    return -1;
}

bool eab_cell_status_is_result(eab_cell_status status) { return status == EAB_CELL_OK || status == EAB_CELL_DIVERGED; }

void eab_cell_result_failed(eab_cell_result *result, const eab_config *config, eab_cell_status status,
                            const char *reason) {
    char *clean = eab_line_clean(reason);
    *result = (eab_cell_result){
        .status = status,
        .parameters = eab_config_parameters(config),
        .tokens = -1,
        .steps_done = -1,
        .train_s = NAN,
        .wall_s = NAN,
        .flop_per_token = NAN,
        .memory_bytes = -1,
    };
    eab_cell_result_clear(result);
    g_strlcpy(result->reason, clean, sizeof result->reason);
    g_free(clean);
}
