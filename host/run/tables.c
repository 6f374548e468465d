#include "tables.h"

#include <math.h>
#include <string.h>

#include "model/geometry.h"
#include "spec/cell_task.h"
#include "tasks/task.h"

static const char *const accuracy_before[] = {"cell", "status", "reason",          "backend", "dtype",
                                              "task", "level",  "complexity_bits", "vocab",   "parameters"};
static const char *const accuracy_after[] = {"tokens",           "steps_done",
                                             "loss_nats",        "validation_accuracy",
                                             "token_accuracy",   "sequence_accuracy",
                                             "rollout_accuracy", "chance_accuracy",
                                             "seen_share",       "solved",
                                             "steps_to_solve"};
static const char *const throughput_columns[] = {"cell",
                                                 "backend",
                                                 "device",
                                                 "dtype",
                                                 "mechanism",
                                                 "task",
                                                 "level",
                                                 "layers",
                                                 "d_model",
                                                 "heads",
                                                 "context",
                                                 "batch",
                                                 "seed",
                                                 "lr",
                                                 "fleet",
                                                 "workers",
                                                 "train_s",
                                                 "wall_s",
                                                 "tokens_per_s",
                                                 "fleet_tokens_per_s",
                                                 "flop_per_token",
                                                 "gflop_per_s",
                                                 "peak_gflop_per_s",
                                                 "peak_fraction",
                                                 "memory_bytes",
                                                 NULL};
static const char *const curves_columns[] = {"cell", "step", "loss_nats", "validation_accuracy", NULL};
static const char *const geometry_columns[] = {"cell", "layer", "head", "quantity", "low", "high", "value", NULL};

/* ---- columns ------------------------------------------------------------------------------------------------- */

static bool has_column(const GPtrArray *columns, const char *name) {
    for (guint i = 0; i < columns->len; i++)
        if (strcmp(columns->pdata[i], name) == 0) return true;
    return false;
}

static void add_column(GPtrArray *columns, const char *name) { g_ptr_array_add(columns, g_strdup(name)); }

/* The options of the tasks come in the registry's order; tasks that share an option's name share its column. */
static const char *const *make_accuracy_columns(void) {
    GPtrArray *columns = g_ptr_array_new();
    for (size_t i = 0; i < G_N_ELEMENTS(accuracy_before); i++) add_column(columns, accuracy_before[i]);
    for (int family = 0; family < eab_task_count(); family++) {
        const eab_task *task = eab_task_at(family);
        for (int32_t i = 0; i < task->option_count; i++)
            if (!has_column(columns, task->options[i].key)) add_column(columns, task->options[i].key);
    }
    for (int i = 0; i < eab_option_count; i++) add_column(columns, eab_options[i].key);
    for (size_t i = 0; i < G_N_ELEMENTS(accuracy_after); i++) add_column(columns, accuracy_after[i]);
    g_ptr_array_add(columns, NULL);
    return (const char *const *)g_ptr_array_free(columns, FALSE);
}

const eab_table_layout *eab_run_table(eab_table table) {
    static eab_table_layout layouts[EAB_TABLE_COUNT] = {
        {"accuracy.csv", NULL},
        {"throughput.csv", throughput_columns},
        {"curves.csv", curves_columns},
        {"geometry.csv", geometry_columns},
    };
    static gsize ready;
    if (g_once_init_enter(&ready)) {
        layouts[EAB_TABLE_ACCURACY].columns = make_accuracy_columns();
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

/* Of the products' inputs: the backend's own type, or what the cell asks for. */
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
    const char *const *column = eab_run_table(EAB_TABLE_ACCURACY)->columns + G_N_ELEMENTS(accuracy_before);
    for (; strcmp(*column, eab_options[0].key) != 0; column++) {
        char text[64] = "";
        for (int32_t i = 0; task && i < task->option_count; i++)
            if (strcmp(task->options[i].key, *column) == 0)
                eab_option_print_value(eab_option_of_task(level->family, i), level->option[i], text, sizeof text);
        eab_csv_add_text(line, text);
    }
}

static void add_option(eab_csv_line *line, const eab_option *option, const eab_config *config) {
    char text[64];
    eab_option_print(option, config, text, sizeof text);
    eab_csv_add_text(line, text);
}

/* What a row of accuracy.csv is about: a cell as a whole, or a part of a mixture. */
typedef struct {
    const char *task, *level;
    const eab_level *options; /* NULL: of no one family */
    double complexity_bits, chance_accuracy;
    int32_t vocab;
    int64_t tokens; /* -1: not measured */
    const eab_part_result *scores;
} accuracy_subject;

static void add_accuracy_row(GString *text, const eab_run_settings *settings, const eab_cell *cell,
                             const eab_cell_result *result, const accuracy_subject *subject) {
    const eab_part_result *scores = subject->scores;
    eab_csv_line line = {.text = text};
    eab_csv_add_text(&line, cell->id);
    eab_csv_add_text(&line, eab_cell_status_name(result->status));
    eab_csv_add_line(&line, result->reason);
    eab_csv_add_text(&line, settings->backend);
    add_dtype(&line, settings, &cell->config);
    eab_csv_add_text(&line, subject->task);
    eab_csv_add_text(&line, subject->level);
    eab_csv_add_real(&line, subject->complexity_bits);
    eab_csv_add_count(&line, subject->vocab);
    eab_csv_add_count(&line, result->parameters);
    add_task_options(&line, subject->options);
    for (int i = 0; i < eab_option_count; i++) add_option(&line, &eab_options[i], &cell->config);
    eab_csv_add_count(&line, subject->tokens);
    eab_csv_add_count(&line, result->steps_done);
    eab_csv_add_real(&line, scores->loss_nats);
    eab_csv_add_real(&line, scores->validation_accuracy);
    eab_csv_add_real(&line, scores->token_accuracy);
    eab_csv_add_real(&line, scores->sequence_accuracy);
    eab_csv_add_real(&line, scores->rollout_accuracy);
    eab_csv_add_real(&line, subject->chance_accuracy);
    eab_csv_add_real(&line, scores->seen_share);
    eab_csv_add_count(&line, scores->solved);
    eab_csv_add_count(&line, scores->steps_to_solve);
    eab_csv_end(&line);
}

/* Of the cell's trained positions those in sequences of this part. */
static int64_t part_tokens(const eab_config *config, int32_t part, const eab_cell_result *result) {
    if (result->steps_done < 0) return -1;
    return eab_config_part_sequences(config, part, result->steps_done * config->batch) * config->context;
}

void eab_accuracy_rows(GString *text, const eab_run_settings *settings, const eab_cell *cell,
                       const eab_cell_result *result) {
    const eab_config *config = &cell->config;
    char name[EAB_LEVEL_NAME_SIZE];
    eab_config_level_name(config, name, sizeof name);
    const eab_part_result all = {
        result->loss_nats,        result->validation_accuracy, result->token_accuracy, result->sequence_accuracy,
        result->rollout_accuracy, result->seen_share,          result->solved,         result->steps_to_solve};
    const accuracy_subject whole = {.task = eab_config_task_name(config),
                                    .level = name,
                                    .options = config->mixture ? NULL : &config->level,
                                    .complexity_bits = eab_config_complexity_bits(config),
                                    .chance_accuracy = eab_config_chance_accuracy(config),
                                    .vocab = eab_config_vocab(config),
                                    .tokens = result->tokens,
                                    .scores = &all};
    add_accuracy_row(text, settings, cell, result, &whole);
    for (int32_t part = 0; part < eab_config_part_count(config) && config->mixture; part++) {
        const eab_level *level = eab_config_part(config, part);
        const eab_task *task = eab_task_at(level->family);
        eab_level_name(level, name, sizeof name);
        const accuracy_subject own = {.task = task->name,
                                      .level = name,
                                      .options = level,
                                      .complexity_bits = task->complexity_bits(level, eab_config_part_context(config)),
                                      .chance_accuracy = task->chance_accuracy(level),
                                      .vocab = task->vocab(level),
                                      .tokens = part_tokens(config, part, result),
                                      .scores = &result->parts[part]};
        add_accuracy_row(text, settings, cell, result, &own);
    }
}

void eab_throughput_rows(GString *text, const eab_run_settings *settings, const eab_cell *cell,
                         const eab_cell_result *result) {
    if (!eab_cell_status_is_result(result->status)) return;
    const eab_config *config = &cell->config;
    const double train_s = result->train_s > 0 ? result->train_s : NAN;
    const double fleet_tokens_per_s = (double)result->fleet_tokens / train_s;
    /* The members of a fleet share one shape: what the device does is the fleet's rate times one member's work. */
    const double gflop_per_s = result->flop_per_token * fleet_tokens_per_s * 1e-9;
    /* The peak was measured in the backend's own type. */
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
