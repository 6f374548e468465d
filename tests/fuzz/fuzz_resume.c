/* Resuming from damaged tables. The first byte chooses the table, and whether a correct header comes before the rest of
 * the input. There "$N$" stands for the row of the plan's cell N as a sweep writes it, and "$N:COLUMN=TEXT$" for that
 * row with TEXT in a column, so that inputs stay useful when columns are added. The tables are read as a resume reads
 * them, without writing. */
#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../host/run/folder.h"
#include "../../host/run/tables.h"
#include "fuzz.h"

static const char spec_text[] =
    "[task recurrence low]\nbasis = 4\ndelay = 2\n[task parity]\n[task mixture]\n"
    "parts = recurrence(basis=4 delay=2) + recurrence(basis=4 delay=3)\n[model]\nd_model = 8\n"
    "[train]\nseed = 1:3\nsteps = 2\n";
enum { ROWS = 10 }; /* the number of cells that an input can name */

static eab_plan plan;
static fuzz_file file;
static char *folders[EAB_TABLE_COUNT],
    *links[EAB_TABLE_COUNT]; /* each folder has one table, a link to the file in memory */
static GString *headers[EAB_TABLE_COUNT], *rows[EAB_TABLE_COUNT][ROWS];

static void remove_folders(void) {
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        unlink(links[table]);
        rmdir(folders[table]);
    }
}

static void append_row(GString *text, eab_table table, const eab_cell *cell) {
    const eab_run_settings settings = {.backend = "cpu", .device = "fuzz", .workers = 1, .fleet = 1};
    const eab_curve_point point = {.step = 1, .loss_nats = 1, .validation_accuracy = 0.5};
    const eab_cell_result result = {.status = EAB_CELL_OK,
                                    .scores.solved = 1,
                                    .scores.token_accuracy = 1,
                                    .steps_done = 2,
                                    .curve = (eab_curve_point *)(uintptr_t)&point,
                                    .curve_points = 1};
    eab_table_add_rows(table, &settings, cell, &result, text);
    if (table == EAB_TABLE_GEOMETRY) g_string_append_printf(text, "%s,0,0,query_norm,,,1\n", cell->id);
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    eab_spec spec;
    (void)argc;
    (void)argv;
    fuzz_expect(eab_spec_parse("fuzz.ini", spec_text, strlen(spec_text), NULL, &spec) == 0, "a spec");
    fuzz_expect(eab_plan_make("fuzz.ini", &spec, &plan) == 0, "a plan");
    eab_spec_free(&spec);
    fuzz_file_open(&file);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) {
        folders[table] = g_dir_make_tmp("eabench-fuzz-XXXXXX", NULL);
        fuzz_expect(folders[table], "a folder");
        links[table] = g_build_filename(folders[table], eab_run_table((eab_table)table, 0)->file_name, NULL);
        fuzz_expect(symlink(file.path, links[table]) == 0, "a table in memory");
        headers[table] = g_string_new(NULL);
        eab_table_header(eab_run_table((eab_table)table, 0), headers[table]);
        for (int i = 0; i < ROWS; i++) {
            rows[table][i] = g_string_new(NULL);
            append_row(rows[table][i], (eab_table)table, &plan.cells[i % plan.count]);
        }
    }
    atexit(remove_folders);
    return 0;
}

/* Replaces the column by `value` in the rows of `text` from `begin` on; these rows have no quoted fields. */
static void replace_column(GString *text, gsize begin, int32_t column, const char *value) {
    char **lines = g_strsplit(text->str + begin, "\n", -1);
    g_string_truncate(text, begin);
    for (char **row = lines; *row && **row; row++) {
        char **fields = g_strsplit(*row, ",", -1);
        for (int32_t i = 0; fields[i]; i++)
            g_string_append_printf(text, "%s%s", i ? "," : "", i == column ? value : fields[i]);
        g_string_append_c(text, '\n');
        g_strfreev(fields);
    }
    g_strfreev(lines);
}

/* Appends the input, with the rows of cells in place of $...$. */
static void append_input(GString *text, eab_table table, const char *input) {
    while (*input) {
        const char *end = input[0] == '$' && g_ascii_isdigit(input[1]) ? strchr(input + 1, '$') : NULL;
        if (!end || (input[2] != ':' && input + 2 != end)) {
            g_string_append_c(text, *input++);
            continue;
        }
        const gsize begin = text->len;
        const GString *row = rows[table][input[1] - '0'];
        g_string_append_len(text, row->str, (gssize)row->len);
        if (input[2] == ':') {
            char **pair = g_strsplit(input + 3, "=", 2);
            char *value = pair[0] && pair[1] ? g_strndup(pair[1], strcspn(pair[1], "$")) : g_strdup("");
            if (pair[0]) replace_column(text, begin, eab_table_column(eab_run_table(table, 0), pair[0]), value);
            g_free(value);
            g_strfreev(pair);
        }
        input = end + 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    const int chosen = data[0] % EAB_TABLE_COUNT;
    GString *text = g_string_new(NULL);
    if (data[0] & 0x80) g_string_append_len(text, headers[chosen]->str, (gssize)headers[chosen]->len);
    char *input = fuzz_text(data + 1, size - 1);
    append_input(text, (eab_table)chosen, input);
    free(input);
    fuzz_file_set(&file, (const uint8_t *)text->str, text->len);
    g_string_free(text, TRUE);

    eab_run_folder *run;
    const int status = eab_run_folder_peek(folders[chosen], &plan, &run);
    if (status) {
        fuzz_expect_refusal(status);
        return 0;
    }
    eab_run_summary summary;
    eab_run_folder_summary(run, &summary);
    fuzz_expect(summary.done >= 0 && summary.done <= plan.count, "no more cells than the plan has");
    fuzz_expect(summary.diverged <= summary.done && summary.solved <= summary.done,
                "diverged and solved cells among those done");
    for (int64_t i = 0; i < plan.count; i++) {
        eab_cell_outcome outcome;
        const bool known = eab_run_folder_outcome(run, i, &outcome);
        const bool result = known && eab_cell_status_is_result(outcome.status);
        fuzz_expect(result == eab_run_folder_has(run, i), "a cell that is done if and only if it has a result");
    }
    eab_run_folder_close(run);
    return 0;
}
