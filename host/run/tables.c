#include "tables.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "model/cost.h"
#include "model/geometry.h"
#include "spec/cell_task.h"
#include "spec/text.h"
#include "tasks/task.h"

/* ---- columns ------------------------------------------------------------------------------------------------- */

/* A later option outside the set `later` has no column. */
static bool is_shown(const char *key, uint64_t later) { return (eab_option_later(key) & ~later) == 0; }

static char *accuracy_header(uint64_t later) {
    GString *text = g_string_new("cell,status,reason,backend,dtype,task,level,complexity_bits,vocab,parameters");
    for (int family = 0; family < eab_task_count(); family++)
        for (int32_t i = 0; i < eab_task_at(family)->option_count; i++) {
            const char *key = eab_task_at(family)->options[i].key;
            if (is_shown(key, later) && !eab_option_is_before(family, key)) g_string_append_printf(text, ",%s", key);
        }
    for (int i = 0; i < eab_option_count; i++)
        if (is_shown(eab_options[i].key, later)) g_string_append_printf(text, ",%s", eab_options[i].key);
    g_string_append(text, ",tokens,steps_done,loss_nats,validation_accuracy,token_accuracy,sequence_accuracy,"
                          "rollout_accuracy,chance_accuracy,seen_share,solved,steps_to_solve");
    return g_string_free(text, FALSE);
}

enum { TASK_COLUMN = 5 };

/* Versions of eabench differ in their options. A row without the column had the option's default, and no value where
 * its task lacks the option. NULL: not an option's column. */
static const char *absent_option(const char *column, char *const *field) {
    const char *const sections[] = {"model", "train", field ? field[TASK_COLUMN] : ""};
    for (size_t i = 0; i < G_N_ELEMENTS(sections); i++) {
        const eab_option *option = eab_option_find(sections[i], column);
        char text[EAB_OPTION_TEXT_SIZE];
        if (!option) continue;
        eab_option_print_value(option, option->default_value, text, sizeof text);
        return g_intern_string(text);
    }
    return eab_option_is_before(eab_task_count(), column) ? "" : NULL;
}

/* Columns of throughput.csv that the first version did not measure. */
static const char *absent_speed(const char *column, char *const *field) {
    static const char *const later[] = {"other_cores", "steal_cores", "marks", NULL};
    (void)field;
    return g_strv_contains(later, column) ? "" : NULL;
}

typedef struct {
    uint64_t later;
    eab_table_layout layouts[EAB_TABLE_COUNT];
} table_set;

static table_set *make_tables(uint64_t later) {
    static const char *const names[] = {"accuracy.csv", "throughput.csv", "curves.csv", "geometry.csv", "text.csv"};
    char *accuracy = accuracy_header(later), *all = accuracy_header(UINT64_MAX);
    const char *const headers[] = {
        accuracy,
        "cell,backend,device,dtype,mechanism,task,level,layers,d_model,heads,context,batch,seed,lr,fleet,workers,"
        "train_s,wall_s,tokens_per_s,fleet_tokens_per_s,flop_per_token,gflop_per_s,peak_gflop_per_s,peak_fraction,"
        "memory_bytes,other_cores,steal_cores,marks",
        "cell,step,loss_nats,validation_accuracy", "cell,layer,head,quantity,low,high,value",
        "cell,file,sha256,unit,bytes,characters,vocab,training_tokens,validation_tokens,heldout_tokens,loss_nats,"
        "bits_per_character,bits_per_byte,token_accuracy,chance_accuracy"};
    table_set *set = g_new0(table_set, 1);
    set->later = later;
    for (int i = 0; i < EAB_TABLE_COUNT; i++)
        set->layouts[i] =
            (eab_table_layout){.file_name = names[i], .columns = (const char *const *)g_strsplit(headers[i], ",", -1)};
    set->layouts[EAB_TABLE_ACCURACY].absent = absent_option;
    set->layouts[EAB_TABLE_ACCURACY].dropped = (const char *const *)g_strsplit(all, ",", -1);
    set->layouts[EAB_TABLE_THROUGHPUT].absent = absent_speed;
    g_free(accuracy);
    g_free(all);
    return set;
}

/* Kept for good: a process has one plan, or a test a few. */
const eab_table_layout *eab_run_table(eab_table table, uint64_t later) {
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static GPtrArray *sets;
    table_set *found = NULL;
    pthread_mutex_lock(&mutex);
    if (!sets) sets = g_ptr_array_new();
    for (guint i = 0; i < sets->len && !found; i++) {
        table_set *set = g_ptr_array_index(sets, i);
        if (set->later == later) found = set;
    }
    if (!found) g_ptr_array_add(sets, found = make_tables(later));
    pthread_mutex_unlock(&mutex);
    return &found->layouts[table];
}

/* ---- accuracy.csv and throughput.csv --------------------------------------------------------------------------- */

int32_t eab_accuracy_row_count(const eab_config *config) {
    return 1 + (config->mixture ? eab_config_part_count(config) : eab_config_evaluated_count(config));
}

eab_level eab_accuracy_row_level(const eab_config *config, int32_t row) {
    if (config->mixture) return *eab_config_part(config, row - 1);
    return row ? eab_config_evaluated(config, row - 1) : config->level;
}

/* The task's name, and the level's into `level`, of a row. */
static const char *name_row(const eab_config *config, int32_t row, char level[EAB_LEVEL_NAME_SIZE]) {
    if (row == 0) {
        eab_config_level_name(config, level, EAB_LEVEL_NAME_SIZE);
        return eab_config_task_name(config);
    }
    const eab_level own = eab_accuracy_row_level(config, row);
    eab_level_name(&own, level, EAB_LEVEL_NAME_SIZE);
    return eab_task_at(own.family)->name;
}

int32_t eab_accuracy_row_find(const eab_config *config, const char *task, const char *level, int64_t first) {
    char name[EAB_LEVEL_NAME_SIZE];
    const int32_t count = eab_accuracy_row_count(config);
    for (int32_t i = 0; i < count; i++) {
        const int32_t row = (int32_t)((first + i) % count);
        if (strcmp(task, name_row(config, row, name)) == 0 && strcmp(level, name) == 0) return row;
    }
    return -1;
}

static void add_task_and_level(eab_csv_line *line, const eab_config *config, int32_t row) {
    char level[EAB_LEVEL_NAME_SIZE];
    eab_csv_add_text(line, name_row(config, row, level));
    eab_csv_add_text(line, level);
}

static void add_option(eab_csv_line *line, const eab_option *option, const eab_config *config) {
    char value[64];
    eab_option_print(option, config, value, sizeof value);
    eab_csv_add_text(line, value);
}

/* The type of the matrix products' inputs: the one that the cell requests, or else the backend's. */
static void add_dtype(eab_csv_line *line, const eab_run_settings *settings, const eab_config *config) {
    const eab_backend *backend = eab_backend_from_name(settings->backend);
    if (config->precision != EAB_PRECISION_FLOAT32) add_option(line, eab_option_find("train", "precision"), config);
    else eab_csv_add_text(line, backend ? backend->dtype : "");
}

/* The columns of task options, which lie between `parameters` and the first option of the model. They stay empty if
 * the level's family lacks the option; all do for a mixture as a whole (NULL). */
static void add_task_options(eab_csv_line *line, const eab_level *level, uint64_t later) {
    const eab_table_layout *layout = eab_run_table(EAB_TABLE_ACCURACY, later);
    const int32_t begin = eab_table_column(layout, "parameters") + 1;
    for (int32_t column = begin; strcmp(layout->columns[column], eab_options[0].key) != 0; column++) {
        const char *family = level ? eab_task_at(level->family)->name : "";
        const eab_option *option = eab_option_find(family, layout->columns[column]);
        char text[64] = "";
        if (option) eab_option_print(option, &(eab_config){.level = *level}, text, sizeof text);
        eab_csv_add_text(line, text);
    }
}

/* The trained positions in sequences of this part. */
static int64_t part_tokens(const eab_config *config, int32_t part, const eab_cell_result *result) {
    if (result->steps_done < 0) return -1;
    return eab_config_part_sequences(config, part, result->steps_done * config->batch) * config->context;
}

static void add_accuracy_row(const eab_run_settings *settings, const eab_cell *cell, const eab_cell_result *result,
                             int32_t row, GString *text) {
    const eab_config *config = &cell->config;
    const int32_t part = row - 1;
    const bool whole = row == 0;
    const eab_level own = whole ? config->level : eab_accuracy_row_level(config, row);
    const eab_level *level = whole && config->mixture ? NULL : &own;
    const eab_task *task = whole ? NULL : eab_task_at(own.family);
    const eab_cell_scores *scores = whole ? &result->scores : &result->parts[part];
    eab_csv_line line = {.text = text};

    eab_csv_add_text(&line, cell->id);
    eab_csv_add_text(&line, eab_cell_status_name(result->status));
    eab_csv_add_line(&line, result->reason);
    eab_csv_add_text(&line, settings->backend);
    add_dtype(&line, settings, config);
    add_task_and_level(&line, config, row);
    eab_csv_add_real(&line, whole ? eab_config_complexity_bits(config)
                                  : task->complexity_bits(level, eab_config_part_context(config)));
    eab_csv_add_count(&line, whole ? eab_config_vocab(config) : task->vocab(level));
    eab_csv_add_count(&line, result->parameters);
    add_task_options(&line, level, settings->later);
    for (int i = 0; i < eab_option_count; i++)
        if (is_shown(eab_options[i].key, settings->later)) add_option(&line, &eab_options[i], config);
    eab_csv_add_count(&line, whole || !config->mixture ? result->tokens : part_tokens(config, part, result));
    eab_csv_add_count(&line, result->steps_done);
    eab_csv_add_real(&line, scores->loss_nats);
    eab_csv_add_real(&line, scores->validation_accuracy);
    eab_csv_add_real(&line, scores->token_accuracy);
    eab_csv_add_real(&line, scores->sequence_accuracy);
    eab_csv_add_real(&line, scores->rollout_accuracy);
    eab_csv_add_real(&line, whole ? eab_config_chance_accuracy(config) : task->chance_accuracy(level));
    eab_csv_add_real(&line, scores->seen_share);
    eab_csv_add_count(&line, scores->solved);
    eab_csv_add_count(&line, scores->steps_to_solve);
    eab_csv_end(&line);
}

/* Reasons why the speed of a row is not that of the code: docs/reading-results.md. */
static void add_marks(eab_csv_line *line, const eab_cell_result *result, const eab_load *load, double peak_fraction) {
    GString *marks = g_string_new(NULL);
    if (eab_load_is_busy(load)) g_string_append(marks, " busy");
    if (result->stopped) g_string_append(marks, " stopped");
    if (peak_fraction > 1) g_string_append(marks, " above_peak");
    eab_csv_add_text(line, marks->len ? marks->str + 1 : "");
    g_string_free(marks, TRUE);
}

/* The peak that the cell's rate is compared with, in GFLOP/s; NAN in other precisions, where it is not measured. */
static double peak_of(const eab_run_settings *settings, const eab_config *config) {
    const bool has_peak = settings->peak_gflop_per_s > 0 && config->precision == EAB_PRECISION_FLOAT32;
    return has_peak ? settings->peak_gflop_per_s : NAN;
}

/* The members of a fleet have one shape, so the device's rate is the fleet's rate of tokens times one member's work per
 * token. */
static double gflop_per_s_of(const eab_cell_result *result) {
    const double train_s = result->train_s > 0 ? result->train_s : NAN;
    return 1e-9 * result->flop_per_token * (double)result->fleet_tokens / train_s;
}

double eab_peak_fraction(const eab_run_settings *settings, const eab_cell *cell, const eab_cell_result *result) {
    return gflop_per_s_of(result) / peak_of(settings, &cell->config);
}

static void add_throughput(const eab_run_settings *settings, const eab_cell *cell, const eab_cell_result *result,
                           GString *text) {
    static const char *const options[] = {"layers", "d_model", "heads", "context", "batch", "seed", "lr"};
    const eab_config *config = &cell->config;
    const double train_s = result->train_s > 0 ? result->train_s : NAN;
    const double fleet_tokens_per_s = (double)result->fleet_tokens / train_s;
    const double peak_fraction = eab_peak_fraction(settings, cell, result);
    eab_load load = result->load;
    if (settings->ranks > 1) load.used_s = NAN; /* includes the other ranks' use of the cores */

    eab_csv_line line = {.text = text};
    eab_csv_add_text(&line, cell->id);
    eab_csv_add_text(&line, settings->backend);
    eab_csv_add_line(&line, settings->device ? settings->device : "");
    add_dtype(&line, settings, config);
    eab_csv_add_text(&line, eab_mechanism_name(config->mechanism));
    add_task_and_level(&line, config, 0);
    for (size_t i = 0; i < G_N_ELEMENTS(options); i++) {
        const eab_option *option = eab_option_find("model", options[i]);
        add_option(&line, option ? option : eab_option_find("train", options[i]), config);
    }
    eab_csv_add_count(&line, result->fleet);
    eab_csv_add_count(&line, settings->workers);
    eab_csv_add_real(&line, result->train_s);
    eab_csv_add_real(&line, result->wall_s);
    eab_csv_add_real(&line, (double)result->tokens / train_s);
    eab_csv_add_real(&line, fleet_tokens_per_s);
    eab_csv_add_real(&line, result->flop_per_token);
    eab_csv_add_real(&line, gflop_per_s_of(result));
    eab_csv_add_real(&line, peak_of(settings, config));
    eab_csv_add_real(&line, peak_fraction);
    eab_csv_add_count(&line, result->memory_bytes);
    eab_csv_add_real(&line, eab_load_other_cores(&load));
    eab_csv_add_real(&line, eab_load_stolen_cores(&load));
    add_marks(&line, result, &load, peak_fraction);
    eab_csv_end(&line);
}

/* ---- curves.csv and geometry.csv ------------------------------------------------------------------------------- */

static void add_curve(const eab_cell *cell, const eab_cell_result *result, GString *text) {
    eab_csv_line line = {.text = text};
    for (int32_t i = 0; i < result->curve_points; i++) {
        eab_csv_add_text(&line, cell->id);
        eab_csv_add_count(&line, result->curve[i].step);
        eab_csv_add_real(&line, result->curve[i].loss_nats);
        eab_csv_add_real(&line, result->curve[i].validation_accuracy);
        eab_csv_end(&line);
    }
}

/* bin: of the angles; -1 for a quantity without bins, which leaves low and high empty. */
static void add_geometry_row(GString *text, const eab_cell *cell, const int32_t place[2], const char *quantity, int bin,
                             double value) {
    eab_csv_line line = {.text = text};
    eab_csv_add_text(&line, cell->id);
    eab_csv_add_count(&line, place[0]);
    eab_csv_add_count(&line, place[1]);
    eab_csv_add_text(&line, quantity);
    eab_csv_add_count(&line, bin < 0 ? -1 : bin * 180 / EAB_GEOMETRY_BINS);
    eab_csv_add_count(&line, bin < 0 ? -1 : (bin + 1) * 180 / EAB_GEOMETRY_BINS);
    eab_csv_add_real(&line, value);
    eab_csv_end(&line);
}

enum { GEOMETRY_SCALARS = 7 };

int64_t eab_geometry_row_count(const eab_config *config) {
    return (int64_t)config->layers * config->heads * (2 * EAB_GEOMETRY_BINS + GEOMETRY_SCALARS);
}

static void add_geometry(const eab_cell *cell, const eab_geometry *geometry, GString *text) {
    for (int32_t i = 0; i < geometry->layers * geometry->heads; i++) {
        const eab_geometry_head *head = &geometry->head[i];
        const int32_t place[] = {i / geometry->heads, i % geometry->heads};
        const struct {
            const char *quantity;
            double value;
        } scalars[GEOMETRY_SCALARS] = {{"row_entropy_nats", head->row_entropy_nats},
                                       {"row_entropy_share", head->row_entropy_share},
                                       {"determining_mass", head->determining_mass},
                                       {"query_norm", head->query_norm},
                                       {"query_norm_sd", head->query_norm_sd},
                                       {"key_norm", head->key_norm},
                                       {"key_norm_sd", head->key_norm_sd}};
        for (int bin = 0; bin < EAB_GEOMETRY_BINS; bin++)
            add_geometry_row(text, cell, place, "angle_density", bin, head->angle_density[bin]);
        for (int bin = 0; bin < EAB_GEOMETRY_BINS; bin++)
            add_geometry_row(text, cell, place, "angle_mass", bin, head->angle_mass[bin]);
        for (int j = 0; j < GEOMETRY_SCALARS; j++)
            add_geometry_row(text, cell, place, scalars[j].quantity, -1, scalars[j].value);
    }
}

/* ---- text.csv -------------------------------------------------------------------------------------------------- */

static void add_text(const eab_cell *cell, const eab_cell_result *result, GString *text) {
    const eab_level *level = &cell->config.level;
    const double loss_nats = result->scores.loss_nats;
    const eab_text_tokens *characters = &level->text->unit[EAB_TEXT_CHARACTERS];
    eab_csv_line line = {.text = text};
    eab_csv_add_text(&line, cell->id);
    eab_csv_add_text(&line, level->text->path);
    eab_csv_add_text(&line, level->text->sha256);
    add_option(&line, eab_option_find("text", "unit"), &cell->config);
    eab_csv_add_count(&line, level->text->unit[EAB_TEXT_BYTES].count);
    eab_csv_add_count(&line, characters->invalid_at < 0 ? characters->count : -1);
    eab_csv_add_count(&line, eab_config_vocab(&cell->config));
    for (uint32_t stream = EAB_STREAM_TRAINING; stream <= EAB_STREAM_HELD_OUT; stream++) {
        int64_t first;
        eab_csv_add_count(&line, eab_text_part(level, stream, &first));
    }
    eab_csv_add_real(&line, loss_nats);
    eab_csv_add_real(&line, eab_text_bits_per_character(level, loss_nats));
    eab_csv_add_real(&line, eab_text_bits_per_byte(level, loss_nats));
    eab_csv_add_real(&line, result->scores.token_accuracy);
    eab_csv_add_real(&line, eab_config_chance_accuracy(&cell->config));
    eab_csv_end(&line);
}

/* ---- rows of a cell -------------------------------------------------------------------------------------------- */

void eab_table_add_rows(eab_table table, const eab_run_settings *settings, const eab_cell *cell,
                        const eab_cell_result *result, GString *text) {
    const int32_t accuracy_rows = table == EAB_TABLE_ACCURACY ? eab_accuracy_row_count(&cell->config) : 0;
    for (int32_t row = 0; row < accuracy_rows; row++) add_accuracy_row(settings, cell, result, row, text);
    if (!eab_cell_status_is_result(result->status)) return;
    if (table == EAB_TABLE_THROUGHPUT) add_throughput(settings, cell, result, text);
    if (table == EAB_TABLE_CURVES) add_curve(cell, result, text);
    if (table == EAB_TABLE_GEOMETRY && result->geometry) add_geometry(cell, result->geometry, text);
    if (table == EAB_TABLE_TEXT && cell->config.level.text) add_text(cell, result, text);
}

void eab_cell_rows(const eab_run_settings *settings, const eab_cell *cell, const eab_cell_result *result, char **rows) {
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        GString *text = g_string_new(NULL);
        eab_table_add_rows((eab_table)table, settings, cell, result, text);
        rows[table] = g_string_free(text, FALSE);
    }
}

/* ---- statuses ------------------------------------------------------------------------------------------------ */

static const char *const status_names[] = {"ok", "diverged", "fail", "oom", "timeout"};

const char *eab_cell_status_name(eab_cell_status status) { return status_names[status]; }

eab_cell_status eab_cell_status_from_name(const char *name) {
    for (size_t i = 0; i < G_N_ELEMENTS(status_names); i++)
        if (strcmp(status_names[i], name) == 0) return (eab_cell_status)i;
    return EAB_CELL_NONE;
}

bool eab_cell_status_is_result(eab_cell_status status) { return status == EAB_CELL_OK || status == EAB_CELL_DIVERGED; }
