/* The run's folder: crashes, a full disk, foreign files and a second sweep. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/run/manifest.h"
#include "host/run/tables.h"
#include "tables_fixture.h"

Test(run_folder, rows_summary_and_order) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *path = fixture_folder();
    eab_run_folder *folder = fixture_open(path, &plan);
    cr_expect_not(eab_run_folder_has(folder, 0));
    cr_assert_eq(fixture_append_missing(folder, &plan), EAB_OK);
    eab_run_summary summary;
    eab_run_folder_summary(folder, &summary);
    cr_expect_eq(summary.done, plan.count);
    cr_expect_eq(summary.failed, 0);
    cr_expect_eq(summary.accuracy_count[0] + summary.accuracy_count[1] + summary.diverged, plan.count);
    cr_assert_eq(eab_run_folder_close(folder), EAB_OK);

    GString *text = fixture_read(path, "accuracy.csv");
    char **lines = g_strsplit(text->str, "\n", -1);
    cr_assert_eq(g_strv_length(lines), plan.count + 2);
    for (int64_t i = 0; i < plan.count; i++) cr_expect(g_str_has_prefix(lines[i + 1], plan.cells[i].id));
    cr_expect_null(strstr(text->str, ",nan"));
    g_strfreev(lines);
    g_string_free(text, TRUE);
    cr_expect_null(fixture_read(path, ".lock"));
    fixture_remove(path);
    eab_plan_free(&plan);
}

#ifdef __SANITIZE_ADDRESS__
enum { STRIDE = 7 }; /* bytes; all of them would take minutes */
#else
enum { STRIDE = 1 };
#endif

/* Replays the writes of a sweep byte by byte and resumes after each of them: the crash model of docs/design.md 6. */
static void resume_from_every_byte(const char *spec) {
    eab_plan plan = fixture_plan(spec);
    char *whole = fixture_folder(), *path = fixture_folder();
    GString *final[FIXTURE_TABLES], *headers[FIXTURE_TABLES];
    size_t size[FIXTURE_TABLES];
    fixture_complete(whole, &plan);
    fixture_read_tables(whole, final);
    for (int table = 0; table < FIXTURE_TABLES; table++) {
        headers[table] = g_string_new(NULL);
        eab_table_header(eab_run_table((eab_table)table, 0), headers[table]);
        size[table] = 0;
    }
    GString *log[FIXTURE_TABLES];
    for (int table = 0; table < FIXTURE_TABLES; table++) log[table] = g_string_new(headers[table]->str);
    for (int64_t i = plan.count - 1; i >= 0; i--) {
        eab_cell_result result = fixture_result(&plan.cells[i]);
        const size_t before[FIXTURE_TABLES] = {log[0]->len, log[1]->len, log[2]->len, log[3]->len};
        for (int table = 0; table < FIXTURE_TABLES; table++)
            eab_table_add_rows((eab_table)table, &fixture_settings, &plan.cells[i], &result, log[table]);
        fixture_free(&result);
        memcpy(size, before, sizeof size);
        if (i == plan.count - 1) memset(size, 0, sizeof size);    /* the headers, too */
        for (int table = FIXTURE_TABLES - 1; table >= 0; table--) /* geometry, curves, throughput, accuracy */
            for (; size[table] <= log[table]->len; size[table] += table == EAB_TABLE_GEOMETRY ? 13 : STRIDE) {
                char when[100];
                for (int other = 0; other < FIXTURE_TABLES; other++) {
                    const size_t bytes = MIN(size[other], log[other]->len);
                    fixture_write(path, fixture_table_name(other), log[other]->str, bytes);
                }
                snprintf(when, sizeof when, "cell %d, byte %zu of %s", (int)i, size[table], fixture_table_name(table));
                fixture_complete(path, &plan);
                fixture_expect_tables(path, final, when);
            }
    }
    fixture_free_tables(final);
    fixture_free_tables(headers);
    fixture_free_tables(log);
    fixture_remove(whole);
    fixture_remove(path);
    eab_plan_free(&plan);
}

Test(run_folder, resumes_from_every_byte, .timeout = 300) { resume_from_every_byte(fixture_small_spec); }

/* The rows of a mixture and of its parts are one commit. */
Test(run_folder, resumes_mixtures_from_every_byte, .timeout = 300) {
    resume_from_every_byte("[task mixture]\nparts = recurrence + recurrence(delay=2)\n[train]\nmechanism = dpa, ea\n");
}

Test(run_folder, reopening_changes_nothing) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *path = fixture_folder();
    fixture_complete(path, &plan);
    GString *before[FIXTURE_TABLES], *manifest = fixture_read(path, "manifest.ini");
    fixture_read_tables(path, before);
    fixture_complete(path, &plan);
    fixture_expect_tables(path, before, "the second time");
    GString *again = fixture_read(path, "manifest.ini");
    cr_expect(g_string_equal(manifest, again));
    g_string_free(manifest, TRUE);
    g_string_free(again, TRUE);
    fixture_free_tables(before);
    fixture_remove(path);
    eab_plan_free(&plan);
}

Test(run_folder, failed_cells_are_trained_again) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *whole = fixture_folder(), *path = fixture_folder();
    GString *final[FIXTURE_TABLES];
    fixture_complete(whole, &plan);
    fixture_read_tables(whole, final);
    eab_run_folder *folder = fixture_open(path, &plan);
    for (int i = EAB_CELL_FAIL; i <= EAB_CELL_TIMEOUT; i++) {
        eab_cell_result failed;
        eab_cell_result_failed(&failed, &plan.cells[i - EAB_CELL_FAIL].config, (eab_cell_status)i, "for a test");
        cr_assert_eq(fixture_append(folder, &plan, i - EAB_CELL_FAIL, &failed), EAB_OK);
    }
    cr_assert_eq(eab_run_folder_sync(folder), EAB_OK);
    eab_run_summary summary;
    eab_run_folder_summary(folder, &summary);
    cr_expect_eq(summary.failed, 3);
    cr_expect_eq(summary.done, 0);
    cr_assert_eq(eab_run_folder_close(folder), EAB_OK);
    GString *text = fixture_read(path, "accuracy.csv");
    cr_expect_not_null(strstr(text->str, ",oom,for a test,"));
    g_string_free(text, TRUE);
    fixture_complete(path, &plan);
    fixture_expect_tables(path, final, "after failures");
    fixture_free_tables(final);
    fixture_remove(whole);
    fixture_remove(path);
    eab_plan_free(&plan);
}

Test(run_folder, reading_changes_nothing) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *path = fixture_folder(), *missing = g_build_filename(path, "none", NULL);
    eab_run_folder *folder;
    cr_assert_eq(eab_run_folder_peek(missing, &plan, &folder), EAB_OK);
    cr_expect_not(eab_run_folder_has(folder, 0));
    cr_assert_eq(eab_run_folder_close(folder), EAB_OK);
    cr_expect_not(g_file_test(missing, G_FILE_TEST_EXISTS));

    fixture_complete(path, &plan);
    GString *text = fixture_read(path, "accuracy.csv");
    fixture_write(path, "accuracy.csv", text->str, text->len - 3);
    GString *before[FIXTURE_TABLES];
    fixture_read_tables(path, before);
    cr_assert_eq(eab_run_folder_peek(path, &plan, &folder), EAB_OK);
    cr_expect(eab_run_folder_has(folder, 0));
    cr_expect_not(eab_run_folder_has(folder, plan.count - 1));
    cr_assert_eq(eab_run_folder_close(folder), EAB_OK);
    fixture_expect_tables(path, before, "reading");
    g_string_free(text, TRUE);
    fixture_free_tables(before);
    g_free(missing);
    fixture_remove(path);
    eab_plan_free(&plan);
}

/* Each case: the file, the text to replace, its replacement, and the expected message. */
Test(run_folder, damage_is_refused_and_left_alone) {
    static const struct {
        const char *name, *from, *to, *message;
    } cases[] = {
        {"accuracy.csv", "cell,status", "cell,state", "accuracy.csv:1: column 2 is 'state'; nearest: status;"},
        {"accuracy.csv", "cell,status", "x,cell,status", "accuracy.csv:1: column 1 is 'x'"},
        {"accuracy.csv", ",steps_to_solve", "", "accuracy.csv:1: column 'steps_to_solve' is missing"},
        {"accuracy.csv", ",heads,", ",d_model,", "accuracy.csv:1: column 39 is 'd_model', as is column 38"},
        {"accuracy.csv", ",level,", ",task_name,", "accuracy.csv:1: column 7 is 'task_name'"},
        {"accuracy.csv", "steps_to_solve\n", "steps_to_solve,more\n", "accuracy.csv:1: "},
        {"accuracy.csv", ",recurrence,", ",recurrence,,", "accuracy.csv:2: "},
        {"accuracy.csv", ",recurrence,", ",other,", "has no task 'other'"},
        {"accuracy.csv", "basis=2 delay=4", "basis=3 delay=4", "level 'basis=3 delay=4'"},
        {"accuracy.csv", ",cpu,", "\",cpu,", "accuracy.csv:2: "},
        {"accuracy.csv", "\n", "\n\n", "accuracy.csv:2: 1 field; the header has"},
        {"accuracy.csv", "\n", "\n0123456789abcdef,ok\n", "accuracy.csv:2: 2 fields"},
        {"throughput.csv", "cell,backend", "cell,backends", "throughput.csv:1: column 2"},
        {"throughput.csv", ",lr,", ",", "throughput.csv:1: column 'lr' is missing"},
        {"geometry.csv", "\n", "\n0123456789abcdef,0,0,key_norm,,,3\n",
         "geometry.csv:2: cell '0123456789abcdef' is not one of this spec"},
        {"curves.csv", "\n", "\n0123456789abcdef,1,2,3\n",
         "curves.csv:2: cell '0123456789abcdef' is not one of this spec"},
        {"manifest.ini", "[environment]", "[environs]", "manifest.ini: it has no [environment] section"},
    };
    eab_plan plan = fixture_plan(fixture_small_spec);
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        char *path = fixture_folder();
        fixture_complete(path, &plan);
        GString *text = fixture_read(path, cases[i].name);
        const guint changed = g_string_replace(text, cases[i].from, cases[i].to, 1);
        cr_assert_eq(changed, 1, "case %zu: nothing to replace", i);
        fixture_write(path, cases[i].name, text->str, text->len);
        fixture_expect_refused(path, &plan, EAB_BAD_INPUT, cases[i].message);
        g_string_free(text, TRUE);
        fixture_remove(path);
    }
    eab_plan_free(&plan);
}

/* accuracy.csv as eabench's first version wrote it. */
static const char first_columns[] =
    "cell,status,reason,backend,dtype,task,level,complexity_bits,vocab,parameters,basis,delay,a,b,layers,d_model,heads,"
    "mlp_ratio,context,position,alibi_span,norm,activation,bias,embedding,init_scale,embedding_scale,qk_init,mechanism,"
    "scale,optimizer,lr,beta1,beta2,momentum,weight_decay,clip,steps,batch,warmup,schedule,lr_final,seed,eval_every,"
    "eval_tokens,stop_when_solved,heldout,tokens,steps_done,loss_nats,validation_accuracy,token_accuracy,"
    "sequence_accuracy,rollout_accuracy,chance_accuracy,seen_share,solved,steps_to_solve";

typedef struct {
    char **columns;
    GString *text;
} chosen_columns;

static int choose(void *context, const eab_csv_row *row) {
    const chosen_columns *chosen = context;
    eab_csv_line line = {.text = chosen->text};
    for (char **name = chosen->columns; *name; name++)
        eab_csv_add_text(&line, row->field[eab_table_column(eab_run_table(EAB_TABLE_ACCURACY, 0), *name)]);
    eab_csv_end(&line);
    return EAB_OK;
}

/* Rewrites accuracy.csv with these columns. */
static void choose_columns(const char *path, const char *columns) {
    char *file = g_build_filename(path, "accuracy.csv", NULL);
    chosen_columns chosen = {g_strsplit(columns, ",", -1), g_string_new(columns)};
    eab_table_facts facts;
    g_string_append_c(chosen.text, '\n');
    cr_assert_eq(eab_table_scan(file, eab_run_table(EAB_TABLE_ACCURACY, 0), choose, &chosen, &facts, NULL), EAB_OK);
    fixture_write(path, "accuracy.csv", chosen.text->str, chosen.text->len);
    g_string_free(chosen.text, TRUE);
    g_strfreev(chosen.columns);
    g_free(file);
}

/* Completes a folder whose first `cells` cells have a table with `columns`, which loses its last `torn` bytes. */
static void expect_continued(const eab_plan *plan, const char *columns, int64_t cells, size_t torn,
                             GString *const expected[FIXTURE_TABLES]) {
    char when[80], *path = fixture_folder();
    eab_plan part = *plan;
    part.count = cells;
    fixture_complete(path, &part);
    choose_columns(path, columns);
    GString *text = fixture_read(path, "accuracy.csv");
    fixture_write(path, "accuracy.csv", text->str, text->len - torn);
    g_string_free(text, TRUE);
    eab_run_folder *folder;
    cr_assert_eq(eab_run_folder_peek(path, plan, &folder), EAB_OK, "%s", eab_last_error());
    for (int64_t i = 0; i < plan->count; i++) { /* the last cell has too few rows in the fixture's geometry.csv */
        eab_cell_outcome outcome;
        const bool found = eab_run_folder_outcome(folder, i, &outcome);
        if (i != cells - 1) cr_expect_eq(found, i < cells, "cell %d of %d", (int)i, (int)cells);
    }
    eab_run_folder_close(folder);
    fixture_complete(path, plan);
    snprintf(when, sizeof when, "%d cells, %zu bytes torn off", (int)cells, torn);
    fixture_expect_tables(path, expected, when);
    fixture_remove(path);
}

Test(run_folder, older_columns_are_continued) {
    static const char *const specs[] = {
        "[task recurrence]\nbasis = 2, 4\n[model]\nd_model = 8\nheads = 2\n[train]\nmechanism = dpa, ea\nsteps = 40\n",
        "[task mixture]\nparts = recurrence(basis=2 delay=3) + recurrence(basis=3 delay=2)\n[model]\nd_model = 8\n"
        "heads = 2\n[train]\nmechanism = dpa, ea\nsteps = 40\n"};
    for (size_t i = 0; i < G_N_ELEMENTS(specs); i++) {
        eab_plan plan = fixture_plan(specs[i]);
        char *whole = fixture_folder();
        GString *final[FIXTURE_TABLES];
        fixture_complete(whole, &plan);
        fixture_read_tables(whole, final);
        GString *reversed = g_string_new(NULL); /* the order of columns does not matter */
        for (const char *const *name = eab_run_table(EAB_TABLE_ACCURACY, 0)->columns; *name; name++)
            g_string_prepend(reversed, reversed->len ? "," : ""), g_string_prepend(reversed, *name);
        for (int64_t cells = 1; cells <= plan.count; cells++) {
            expect_continued(&plan, first_columns, cells, 0, final);
            expect_continued(&plan, first_columns, cells, 5, final);
            expect_continued(&plan, reversed->str, cells, 0, final);
        }
        g_string_free(reversed, TRUE);
        fixture_free_tables(final);
        fixture_remove(whole);
        eab_plan_free(&plan);
    }
}

/* A column of an option that the cells have at another value than the default: the default would be wrong. */
Test(run_folder, an_absent_option_has_its_default) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *path = fixture_folder();
    fixture_complete(path, &plan);
    GString *columns = g_string_new(first_columns);
    g_string_replace(columns, ",steps,", ",", 1);
    choose_columns(path, columns->str);
    fixture_expect_refused(path, &plan, EAB_BAD_INPUT, "accuracy.csv:2: steps is '3000', but cell ");
    g_string_free(columns, TRUE);
    fixture_remove(path);
    eab_plan_free(&plan);
}

/* A header of the first version that was cut off after any byte. */
Test(run_folder, an_older_torn_header) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *whole = fixture_folder(), *path = fixture_folder();
    GString *final[FIXTURE_TABLES];
    fixture_complete(whole, &plan);
    fixture_read_tables(whole, final);
    for (size_t size = 0; size < strlen(first_columns); size += 7) {
        fixture_write(path, "accuracy.csv", first_columns, size);
        fixture_complete(path, &plan);
        fixture_expect_tables(path, final, "torn header");
    }
    fixture_free_tables(final);
    fixture_remove(whole);
    fixture_remove(path);
    eab_plan_free(&plan);
}

Test(run_folder, foreign_files_are_refused) {
    static const struct {
        const char *bytes;
        size_t size;
    } files[] = {{"hello", 5},
                 {"hello\n", 6},
                 {"\x7f"
                  "ELF\0\0\n\0",
                  8},
                 {"cell;status\n", 12},
                 {"\xEF\xBB\xBF"
                  "cell\n",
                  8}};
    eab_plan plan = fixture_plan(fixture_small_spec);
    for (size_t i = 0; i < G_N_ELEMENTS(files); i++)
        for (int table = 0; table < FIXTURE_TABLES; table++) {
            char *path = fixture_folder();
            fixture_write(path, fixture_table_name(table), files[i].bytes, files[i].size);
            fixture_expect_refused(path, &plan, EAB_BAD_INPUT, fixture_table_name(table));
            fixture_remove(path);
        }
    char *path = fixture_folder(), *fifo = g_build_filename(path, "accuracy.csv", NULL);
    cr_assert_eq(mkfifo(fifo, 0600), 0);
    eab_run_folder *folder;
    cr_expect_eq(eab_run_folder_open(path, &plan, &fixture_settings, &folder), EAB_BAD_INPUT);
    cr_expect_not_null(strstr(eab_last_error(), "not a regular file"));
    g_free(fifo);
    fixture_remove(path);
    eab_plan_free(&plan);
}

Test(run_folder, a_second_row_and_another_plan_are_refused) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    eab_plan other =
        fixture_plan("[task recurrence]\nbasis = 2\n[model]\nd_model = 8\nheads = 2\n[train]\nsteps = 40\n");
    char *path = fixture_folder();
    fixture_complete(path, &plan);
    fixture_expect_refused(path, &other, EAB_BAD_INPUT, "is not one of this spec");
    for (int table = 0; table <= EAB_TABLE_THROUGHPUT; table++) {
        GString *text = fixture_read(path, fixture_table_name(table));
        const char *row = strchr(text->str, '\n') + 1;
        GString *twice = g_string_new_len(text->str, (gssize)text->len);
        g_string_append_len(twice, row, strchr(row, '\n') + 1 - row);
        fixture_write(path, fixture_table_name(table), twice->str, twice->len);
        fixture_expect_refused(path, &plan, EAB_BAD_INPUT, ":6: a second row for cell");
        fixture_write(path, fixture_table_name(table), text->str, text->len);
        g_string_free(twice, TRUE);
        g_string_free(text, TRUE);
    }
    fixture_complete(path, &plan); /* nothing was lost */
    fixture_remove(path);
    eab_plan_free(&plan);
    eab_plan_free(&other);
}

/* A folder with cells of a part of the spec is continued with the whole spec. */
Test(run_folder, a_plan_may_grow) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    eab_plan part = fixture_plan("[task recurrence]\nbasis = 4\n[model]\nd_model = 8\nheads = 2\n"
                                 "[train]\nmechanism = ea, dpa\nsteps = 40\n");
    char *whole = fixture_folder(), *path = fixture_folder();
    GString *final[FIXTURE_TABLES];
    fixture_complete(whole, &plan);
    fixture_read_tables(whole, final);
    fixture_complete(path, &part);
    fixture_complete(path, &plan);
    fixture_expect_tables(path, final, "grown");
    fixture_free_tables(final);
    fixture_remove(whole);
    fixture_remove(path);
    eab_plan_free(&plan);
    eab_plan_free(&part);
}

Test(run_folder, one_process_at_a_time) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *path = fixture_folder(), *lock = g_build_filename(path, ".lock", NULL);
    fixture_complete(path, &plan);
    int ready[2];
    cr_assert_eq(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        eab_run_folder *folder;
        const char byte = eab_run_folder_open(path, &plan, &fixture_settings, &folder) == EAB_OK ? 'y' : 'n';
        if (write(ready[1], &byte, 1) == 1) pause(); /* with the folder open, until it is killed */
        _exit(1);
    }
    char byte = 0, expected[64];
    cr_assert_eq(read(ready[0], &byte, 1), 1);
    cr_assert_eq(byte, 'y');
    snprintf(expected, sizeof expected, "is in use by process %d on ", (int)child);
    fixture_expect_refused(path, &plan, EAB_BAD_INPUT, expected);
    eab_run_folder *reader;
    cr_expect_eq(eab_run_folder_peek(path, &plan, &reader), EAB_OK);
    eab_run_folder_close(reader);
    cr_assert_eq(kill(child, SIGKILL), 0);
    waitpid(child, NULL, 0);
    cr_expect(g_file_test(lock, G_FILE_TEST_EXISTS), "a stale lock file was expected");
    fixture_complete(path, &plan);
    cr_expect_not(g_file_test(lock, G_FILE_TEST_EXISTS));

    fixture_write(path, ".lock", "\x01\x02 hostile \n text",
                  17); /* locked by another program, which has written other text */
    const int fd = open(lock, O_RDWR);
    cr_assert_eq(flock(fd, LOCK_EX), 0);
    fixture_expect_refused(path, &plan, EAB_BAD_INPUT, "is in use by");
    close(fd);
    g_free(lock);
    fixture_remove(path);
    eab_plan_free(&plan);
}

static int note_rows(void *context, const eab_csv_row *row) {
    eab_table_rows *rows = context;
    if (!rows->begin) rows->begin = row->begin;
    rows->end = row->end;
    return EAB_OK;
}

/* A merge reads a shard whose sweep may end, and sort its tables, in the meantime. */
Test(run_folder, a_table_that_is_replaced_can_still_be_read) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *path = fixture_folder(), *file = g_build_filename(path, "accuracy.csv", NULL);
    fixture_complete(path, &plan);
    GString *before = fixture_read(path, "accuracy.csv"), *text = g_string_new(NULL);
    eab_table_rows rows = {0};
    eab_table_facts facts;
    eab_table_reader *scanned;
    const eab_table_layout *layout = eab_run_table(EAB_TABLE_ACCURACY, plan.later);
    cr_assert_eq(eab_table_scan(file, layout, note_rows, &rows, &facts, &scanned), EAB_OK);
    cr_assert_not_null(scanned);
    cr_assert_eq(eab_table_rewrite(file, layout, NULL, 0), EAB_OK);
    const size_t begin = (size_t)rows.begin;
    while (rows.begin < rows.end) cr_assert_eq(eab_table_read(scanned, &rows, text), EAB_OK, "%s", eab_last_error());
    cr_expect_str_eq(text->str, before->str + begin);
    eab_table_reader_close(scanned);
    g_string_free(before, TRUE);
    g_string_free(text, TRUE);
    g_free(file);
    fixture_remove(path);
    eab_plan_free(&plan);
}

Test(run_folder, manifest) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *path = fixture_folder();
    setenv("TZ", "Mars/Phobos", 1);
    eab_run_folder *folder = fixture_open(path, &plan);
    cr_expect_str_eq(eab_run_folder_warning(folder), "");
    eab_environment *first, *second;
    cr_assert_eq(eab_manifest_read(path, &first), EAB_OK);
    cr_assert_not_null(first);
    cr_expect_str_eq(eab_environment_get(first, "backend"), "cpu");
    cr_expect_str_eq(eab_environment_get(first, "isa"), "base");
    cr_expect_str_eq(eab_environment_get(first, "driver"), "");
    cr_expect_str_eq(eab_environment_get(first, "peak_gflop_per_s"), "");
    cr_expect_eq(strlen(eab_environment_get(first, "started")), strlen("2025-11-22T08:31:00Z"));
    cr_assert_eq(eab_run_folder_set_peak(folder, 123.4), EAB_OK);
    cr_assert_eq(eab_run_folder_close(folder), EAB_OK);
    GString *text = fixture_read(path, "manifest.ini");
    cr_expect(g_str_has_prefix(text->str, plan.resolved));
    for (int i = 0; eab_environment_keys[i]; i++) {
        char *line = g_strdup_printf("\n%s = ", eab_environment_keys[i]);
        cr_expect_not_null(strstr(text->str, line), "%s", line);
        g_free(line);
    }
    g_string_replace(text, eab_environment_get(first, "started"), "2001-02-03T04:05:06Z", 1);
    g_string_replace(text, "isa = base", "isa = avx2", 1);
    fixture_write(path, "manifest.ini", text->str, text->len);

    folder = fixture_open(path, &plan);
    cr_expect_not_null(strstr(eab_run_folder_warning(folder), "isa 'avx2' (now 'base')"), "%s",
                       eab_run_folder_warning(folder));
    cr_assert_eq(eab_manifest_read(path, &second), EAB_OK);
    cr_expect_str_eq(eab_environment_get(second, "started"), "2001-02-03T04:05:06Z");
    cr_expect_str_eq(eab_environment_get(second, "isa"), "base");
    cr_assert_eq(eab_run_folder_close(folder), EAB_OK);
    eab_environment_free(first);
    eab_environment_free(second);
    g_string_free(text, TRUE);
    fixture_remove(path);
    eab_plan_free(&plan);
}

Test(run_folder, leftovers_of_a_replacement_are_removed) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *path = fixture_folder();
    fixture_write(path, "accuracy.csv.new", "half of a ta", 12);
    fixture_write(path, "manifest.ini.new", "[tra", 4);
    fixture_complete(path, &plan);
    cr_expect_null(fixture_read(path, "accuracy.csv.new"));
    cr_expect_null(fixture_read(path, "manifest.ini.new"));
    fixture_remove(path);
    eab_plan_free(&plan);
}

Test(run_folder, curves_and_geometry_only_on_request) {
    eab_plan plan = fixture_plan(fixture_small_spec);
    char *path = fixture_folder();
    eab_run_settings settings = fixture_settings;
    settings.save_curves = settings.save_geometry = false;
    eab_run_folder *folder;
    cr_assert_eq(eab_run_folder_open(path, &plan, &settings, &folder), EAB_OK);
    cr_assert_eq(fixture_append_missing(folder, &plan), EAB_OK);
    cr_assert_eq(eab_run_folder_close(folder), EAB_OK);
    cr_expect_null(fixture_read(path, "curves.csv"));
    cr_expect_null(fixture_read(path, "geometry.csv"));
    fixture_remove(path);
    eab_plan_free(&plan);
}
