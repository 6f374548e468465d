/* The tables: columns and values. */
#include <criterion/criterion.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/model/geometry.h"
#include "host/run/tables.h"
#include "sweep_fixture.h"

/* The value in `column` of a one-row table; g_free. */
static char *field_of(eab_table table, const GString *row, const char *column) {
    char *folder = fixture_folder(), *path = g_build_filename(folder, "row.csv", NULL);
    fixture_write(folder, "row.csv", row->str, row->len);
    FILE *file = fopen(path, "rb");
    eab_csv_reader *reader = eab_csv_reader_new(file);
    eab_csv_row fields;
    cr_assert_eq(eab_csv_read(reader, &fields), EAB_CSV_ROW);
    const int32_t at = eab_table_column(eab_run_table(table, 0), column);
    cr_assert(at >= 0 && at < fields.fields, "no column %s", column);
    char *value = g_strdup(fields.field[at]);
    eab_csv_reader_free(reader);
    fclose(file);
    g_free(path);
    fixture_remove(folder);
    return value;
}

static void expect_field(eab_table table, const GString *row, const char *column, const char *expected) {
    char *value = field_of(table, row, column);
    cr_expect_str_eq(value, expected, "%s is '%s', not '%s'", column, value, expected);
    g_free(value);
}

static int32_t commas(const char *text) {
    int32_t count = 0;
    for (; *text; text++) count += *text == ',';
    return count;
}

Test(tables, headers) {
    GString *text = g_string_new(NULL);
    eab_table_header(eab_run_table(EAB_TABLE_ACCURACY, 0), text);
    cr_expect(g_str_has_prefix(text->str,
                               "cell,status,reason,backend,dtype,task,level,complexity_bits,vocab,parameters,"
                               "basis,delay,a,b,rule,table_seed,modulus,ops,switch_percent,symbols,items,mode,"
                               "distance_min,distance_max,test_distance_min,test_distance_max,pairs,keys,values,"
                               "operation,test_percent,bits,marked,answer,blanks,triggers,layers,d_model,heads,"));
    cr_expect(g_str_has_suffix(text->str, ",tokens,steps_done,loss_nats,validation_accuracy,token_accuracy,"
                                          "sequence_accuracy,rollout_accuracy,chance_accuracy,seen_share,solved,"
                                          "steps_to_solve\n"));
    for (int i = 0; i < eab_option_count; i++)
        cr_expect_eq(eab_table_column(eab_run_table(EAB_TABLE_ACCURACY, 0), eab_options[i].key) >= 0,
                     !eab_options[i].later, "%s", eab_options[i].key);
    g_string_truncate(text, 0);
    eab_table_header(eab_run_table(EAB_TABLE_THROUGHPUT, 0), text);
    cr_expect_str_eq(text->str,
                     "cell,backend,device,dtype,mechanism,task,level,layers,d_model,heads,context,batch,seed,lr,"
                     "fleet,workers,train_s,wall_s,tokens_per_s,fleet_tokens_per_s,flop_per_token,gflop_per_s,"
                     "peak_gflop_per_s,peak_fraction,memory_bytes,other_cores,steal_cores,marks\n");
    g_string_truncate(text, 0);
    eab_table_header(eab_run_table(EAB_TABLE_CURVES, 0), text);
    cr_expect_str_eq(text->str, "cell,step,loss_nats,validation_accuracy\n");
    cr_expect_eq(eab_table_column(eab_run_table(EAB_TABLE_CURVES, 0), "nothing"), -1);
    g_string_truncate(text, 0);
    eab_table_header(eab_run_table(EAB_TABLE_GEOMETRY, 0), text);
    cr_expect_str_eq(text->str, "cell,layer,head,quantity,low,high,value\n");
    g_string_free(text, TRUE);
}

/* No column is twice in a header, also if several families have an option of one name. */
Test(tables, columns_are_distinct) {
    GString *text = g_string_new(NULL);
    eab_table_header(eab_run_table(EAB_TABLE_ACCURACY, UINT64_MAX), text);
    g_string_truncate(text, text->len - 1);
    char **names = g_strsplit(text->str, ",", -1);
    for (int i = 0; names[i]; i++)
        for (int j = 0; j < i; j++) cr_expect_str_neq(names[i], names[j]);
    g_strfreev(names);
    g_string_free(text, TRUE);
}

/* A plan of one cell and the fields of its first row in accuracy.csv, by the plan's columns. */
static void expect_fields(const char *spec, const char *const *names, const char *const *values) {
    eab_plan plan = fixture_plan(spec);
    eab_run_settings settings = fixture_settings;
    settings.later = plan.later;
    const eab_table_layout *layout = eab_run_table(EAB_TABLE_ACCURACY, plan.later);
    eab_cell_result result = fixture_result(&plan.cells[0]);
    result.reason[0] = '\0'; /* the only field that may have commas */
    GString *row = g_string_new(NULL);
    eab_table_add_rows(EAB_TABLE_ACCURACY, &settings, &plan.cells[0], &result, row);
    char **lines = g_strsplit(row->str, "\n", 2), **fields = g_strsplit(lines[0], ",", -1);
    cr_expect_eq(g_strv_length(fields), g_strv_length((char **)layout->columns));
    for (int i = 0; names[i]; i++) {
        const int32_t column = eab_table_column(layout, names[i]);
        cr_expect_eq(column >= 0, values[i] != NULL, "%s", names[i]);
        if (column >= 0 && values[i]) cr_expect_str_eq(fields[column], values[i], "%s", names[i]);
    }
    g_strfreev(fields);
    g_strfreev(lines);
    g_string_free(row, TRUE);
    fixture_free(&result);
    eab_plan_free(&plan);
}

/* Of the later options, those have a column that some cell uses, or a level of a mixture. */
Test(tables, columns_of_later_options) {
    const char *const names[] = {"pairs", "gaps", "filler", "group", "answer", "symbols", NULL};
    expect_fields("[task recall]\n", names, (const char *[]){"4", NULL, NULL, NULL, "", ""});
    expect_fields("[task recall]\ngaps = uniform\n", names, (const char *[]){"4", "uniform", NULL, NULL, "", ""});
    expect_fields("[task recall]\ngaps = power\nfiller = blank\n", names,
                  (const char *[]){"4", "power", "blank", NULL, "", ""});
    expect_fields("[task group]\nlength = 4\n", names, (const char *[]){"", NULL, NULL, NULL, "final", ""});
    expect_fields("[task group]\ngroup = A5, S3\n", names, (const char *[]){"", NULL, NULL, "A5", "final", ""});
    expect_fields("[task mixture]\nparts = parity + recall(gaps=power)\n", names,
                  (const char *[]){"", "", NULL, NULL, "", ""});
}

Test(tables, rows) {
    setlocale(LC_ALL, "de_DE.UTF-8"); /* if it is installed: no decimal commas in a table */
    eab_plan plan = fixture_plan("[task recurrence]\nbasis = 8\n[train]\nmechanism = ea\nlr = 0.015\nseed = 7\n");
    eab_cell_result result = fixture_result(&plan.cells[0]);
    result.status = EAB_CELL_OK;
    result.reason[0] = '\0';
    result.scores.token_accuracy = 1.0 / 3;
    result.scores.loss_nats = NAN;
    result.scores.solved = -1;
    GString *row = g_string_new(NULL);
    eab_table_add_rows(EAB_TABLE_ACCURACY, &fixture_settings, &plan.cells[0], &result, row);
    static const char *const accuracy[][2] = {{"cell", NULL},
                                              {"status", "ok"},
                                              {"reason", ""},
                                              {"backend", "cpu"},
                                              {"dtype", "float32"},
                                              {"task", "recurrence"},
                                              {"level", "basis=8 delay=4"},
                                              {"complexity_bits", "12"},
                                              {"vocab", "8"},
                                              {"basis", "8"},
                                              {"delay", "4"},
                                              {"mechanism", "ea"},
                                              {"scale", "auto"},
                                              {"lr", "0.015"},
                                              {"seed", "7"},
                                              {"bias", "on"},
                                              {"loss_nats", ""},
                                              {"token_accuracy", "0.333333333"},
                                              {"chance_accuracy", "0.125"},
                                              {"solved", ""},
                                              {"steps_to_solve", ""}};
    for (size_t i = 0; i < G_N_ELEMENTS(accuracy); i++)
        expect_field(EAB_TABLE_ACCURACY, row, accuracy[i][0], accuracy[i][1] ? accuracy[i][1] : plan.cells[0].id);

    g_string_truncate(row, 0);
    result.train_s = 2;
    result.tokens = 1000;
    result.fleet_tokens = 4000;
    result.flop_per_token = 1e6;
    eab_run_settings settings = fixture_settings;
    settings.peak_gflop_per_s = 4;
    eab_table_add_rows(EAB_TABLE_THROUGHPUT, &settings, &plan.cells[0], &result, row);
    static const char *const throughput[][2] = {{"device", "A processor, \"quoted\""},
                                                {"tokens_per_s", "500"},
                                                {"fleet_tokens_per_s", "2000"},
                                                {"gflop_per_s", "2"},
                                                {"peak_gflop_per_s", "4"},
                                                {"peak_fraction", "0.5"},
                                                {"workers", "2"},
                                                {"lr", "0.015"}};
    for (size_t i = 0; i < G_N_ELEMENTS(throughput); i++)
        expect_field(EAB_TABLE_THROUGHPUT, row, throughput[i][0], throughput[i][1]);

    g_string_truncate(row, 0);
    result.train_s = 0;
    eab_table_add_rows(EAB_TABLE_THROUGHPUT, &fixture_settings, &plan.cells[0], &result, row);
    expect_field(EAB_TABLE_THROUGHPUT, row, "tokens_per_s", "");
    expect_field(EAB_TABLE_THROUGHPUT, row, "gflop_per_s", "");
    expect_field(EAB_TABLE_THROUGHPUT, row, "peak_gflop_per_s", "");
    expect_field(EAB_TABLE_THROUGHPUT, row, "peak_fraction", "");
    fixture_free(&result);
    g_string_free(row, TRUE);
    eab_plan_free(&plan);
}

Test(tables, failed_cells_have_a_reason_and_nothing_else) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    eab_cell_result result;
    GString *row = g_string_new(NULL), *none = g_string_new(NULL);
    char reason[1000];
    memset(reason, 'r', sizeof reason);
    memcpy(reason, "two\nlines, \"quoted\"", 19);
    reason[sizeof reason - 1] = '\0';
    eab_cell_result_failed(&result, &plan.cells[0].config, EAB_CELL_OOM, reason);
    eab_table_add_rows(EAB_TABLE_ACCURACY, &fixture_settings, &plan.cells[0], &result, row);
    for (int table = EAB_TABLE_THROUGHPUT; table < EAB_TABLE_COUNT; table++)
        eab_table_add_rows((eab_table)table, &fixture_settings, &plan.cells[0], &result, none);
    cr_expect_eq(none->len, 0);
    cr_expect_eq(strchr(row->str, '\n') - row->str, (ptrdiff_t)row->len - 1);
    cr_expect_null(strstr(row->str, "nan"));
    expect_field(EAB_TABLE_ACCURACY, row, "status", "oom");
    expect_field(EAB_TABLE_ACCURACY, row, "tokens", "");
    expect_field(EAB_TABLE_ACCURACY, row, "token_accuracy", "");
    expect_field(EAB_TABLE_ACCURACY, row, "loss_nats", "");
    cr_expect(commas(row->str) > 40);
    g_string_free(none, TRUE);
    g_string_free(row, TRUE);
    eab_plan_free(&plan);
}

Test(tables, float64_of_the_reference) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    eab_run_settings settings = fixture_settings;
    settings.backend = "reference";
    eab_cell_result result = fixture_result(&plan.cells[0]);
    GString *row = g_string_new(NULL);
    eab_table_add_rows(EAB_TABLE_ACCURACY, &settings, &plan.cells[0], &result, row);
    expect_field(EAB_TABLE_ACCURACY, row, "dtype", "float64");
    fixture_free(&result);
    g_string_free(row, TRUE);
    eab_plan_free(&plan);
}

Test(tables, geometry_of_each_head) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    eab_cell_result result = {.status = EAB_CELL_OK};
    GString *text = g_string_new(NULL);
    result.geometry = calloc(1, sizeof *result.geometry + 4 * sizeof result.geometry->head[0]);
    *result.geometry = (eab_geometry){.layers = 2, .heads = 2};
    result.geometry->head[3].angle_density[17] = 0.25;
    result.geometry->head[3].determining_mass = NAN;
    result.geometry->head[3].key_norm_sd = 1.5;
    eab_table_add_rows(EAB_TABLE_GEOMETRY, &fixture_settings, &plan.cells[0], &result, text);
    char **lines = g_strsplit(text->str, "\n", -1), *expected;
    cr_assert_eq(g_strv_length(lines), 4 * 43 + 1);
    const struct {
        int line;
        const char *rest;
    } some[] = {{0, "0,0,angle_density,0,10,0"},
                {43, "0,1,angle_density,0,10,0"},
                {3 * 43 + 17, "1,1,angle_density,170,180,0.25"},
                {3 * 43 + 18, "1,1,angle_mass,0,10,0"},
                {3 * 43 + 36, "1,1,row_entropy_nats,,,0"},
                {3 * 43 + 38, "1,1,determining_mass,,,"},
                {3 * 43 + 42, "1,1,key_norm_sd,,,1.5"}};
    for (size_t i = 0; i < G_N_ELEMENTS(some); i++) {
        expected = g_strdup_printf("%s,%s", plan.cells[0].id, some[i].rest);
        cr_expect_str_eq(lines[some[i].line], expected, "got %s", lines[some[i].line]);
        g_free(expected);
    }
    g_strfreev(lines);
    g_string_free(text, TRUE);
    free(result.geometry);
    eab_plan_free(&plan);
}

Test(tables, statuses) {
    for (int i = EAB_CELL_OK; i <= EAB_CELL_TIMEOUT; i++)
        cr_expect_eq(eab_cell_status_from_name(eab_cell_status_name((eab_cell_status)i)), i);
    cr_expect_eq(eab_cell_status_from_name("okay"), -1);
    cr_expect(eab_cell_status_is_result(EAB_CELL_DIVERGED));
    cr_expect_not(eab_cell_status_is_result(EAB_CELL_TIMEOUT));
}

/* The row of a cell whose training had this load, in a sweep of so many ranks. */
static GString *loaded_row(eab_load load, bool stopped, double peak_gflop_per_s, int32_t ranks) {
    eab_plan plan = fixture_plan("[task recurrence]\n[train]\nmechanism = ea\n");
    eab_cell_result result = fixture_result(&plan.cells[0]);
    eab_run_settings settings = fixture_settings;
    settings.peak_gflop_per_s = peak_gflop_per_s;
    settings.ranks = ranks;
    result.status = EAB_CELL_OK;
    result.train_s = 2;
    result.flop_per_token = 1e6;
    result.fleet_tokens = 4000; /* 2 GFLOP/s */
    result.load = load;
    result.stopped = stopped;
    GString *row = g_string_new(NULL);
    eab_table_add_rows(EAB_TABLE_THROUGHPUT, &settings, &plan.cells[0], &result, row);
    fixture_free(&result);
    eab_plan_free(&plan);
    return row;
}

/* 10 s on an unknown number of cores, of which this process used one. */
Test(tables, marks_of_a_busy_or_stopped_cell) {
    const double cores = g_get_num_processors(), slack_s = 0.01 * cores;
    const struct {
        const char *what;
        eab_load load;
        bool stopped;
        double peak;
        int32_t ranks;
        const char *others, *stolen, *marks;
    } cases[] = {
        {"idle", {10, 10, 10, 0}, false, 4, 1, "0", "0", ""},
        {"ticks behind", {10, 10, 9.99, 0}, false, 4, 1, "0", "0", ""},
        {"others on all cores", {10, 10, 10 + 10 * cores, 0}, false, 4, 1, NULL, "0", "busy"},
        {"others, a little", {10, 10, 10.9, 0}, false, 4, 1, "0.09", "0", ""},
        {"unknown", {10, 10, NAN, NAN}, false, 4, 1, "", "", ""},
        {"stolen", {10, 10, 10, 1.1 + slack_s}, false, 4, 1, "0", NULL, "busy"},
        {"stolen, a little", {10, 10, 10, 0.9}, false, 4, 1, "0", "0.09", ""},
        {"the other ranks", {10, 10, 10 + 10 * cores, 0}, false, 4, 2, "", "0", ""},
        {"short", {0.01, 0.01, 0.01 + slack_s, 0}, false, 4, 1, NULL, "0", ""},
        {"stopped", {10, 5, 5, 0}, true, 4, 1, "0", "0", "stopped"},
        {"above the peak", {10, 10, 10, 0}, false, 1, 1, "0", "0", "above_peak"},
        {"all", {10, 10, 10 + 10 * cores, 0}, true, 1, 1, NULL, "0", "busy stopped above_peak"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        GString *row = loaded_row(cases[i].load, cases[i].stopped, cases[i].peak, cases[i].ranks);
        char *marks = field_of(EAB_TABLE_THROUGHPUT, row, "marks");
        cr_expect_str_eq(marks, cases[i].marks, "%s: marks '%s'", cases[i].what, marks);
        if (cases[i].others) expect_field(EAB_TABLE_THROUGHPUT, row, "other_cores", cases[i].others);
        if (cases[i].stolen) expect_field(EAB_TABLE_THROUGHPUT, row, "steal_cores", cases[i].stolen);
        g_free(marks);
        g_string_free(row, TRUE);
    }
}

/* The counters of this process grow as it works, and never faster than the cores of the machine. */
Test(tables, the_load_counts_the_work_of_this_process) {
    const eab_load before = eab_system_load();
    eab_load load;
    volatile double sum = 0;
    do {
        for (int i = 0; i < 100000; i++) sum += 1.0 / (i + 1);
        load = eab_load_between(before, eab_system_load());
    } while (load.own_s < 0.05);
    cr_expect_gt(sum, 0);
    cr_expect_geq(load.elapsed_s, 0.05 / g_get_num_processors());
    if (!isnan(load.used_s)) cr_expect_leq(load.used_s, (load.elapsed_s + 0.02) * g_get_num_processors());
}
