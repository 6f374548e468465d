/* Tables that end too early, as after a crash of the machine: lost cells are trained again. Error messages about rows
 * are printable. */
#include <criterion/criterion.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>

#include "host/run/folder.h"
#include "host/run/tables.h"
#include "kernels/status.h"
#include "tables_fixture.h"

static const char spec[] = "[task recurrence]\nbasis = 4\ndelay = 2, 3\n[model]\nd_model = 8\nheads = 1\n"
                           "[train]\nmechanism = dpa, ea\nsteps = 40\neval_every = 15\n";

/* Opens, appends the missing cells, closes; returns how many were missing. */
static int64_t complete(const char *path, const eab_plan *plan) {
    eab_run_settings settings = fixture_settings;
    eab_run_folder *folder = NULL;
    int64_t missing = 0;
    settings.save_curves = settings.save_geometry = true;
    cr_assert_eq(eab_run_folder_open(path, plan, &settings, &folder), EAB_OK, "%s", eab_last_error());
    for (int64_t i = 0; i < plan->count; i++) {
        if (eab_run_folder_has(folder, i)) continue;
        eab_cell_result result = fixture_result(&plan->cells[i]);
        if (result.status == EAB_CELL_DIVERGED) result.curve_points = 2; /* the third evaluation found the divergence */
        cr_assert_eq(fixture_append(folder, plan, i, &result), EAB_OK, "%s", eab_last_error());
        fixture_free(&result);
        missing++;
    }
    cr_assert_eq(eab_run_folder_close(folder), EAB_OK, "%s", eab_last_error());
    return missing;
}

/* Cuts one table at this size, with noise after the cut if requested, and resumes. */
static void lose_and_resume(const char *path, const eab_plan *plan, GString *const whole[FIXTURE_TABLES], int table,
                            gsize size, bool noise) {
    GString *cut = g_string_new_len(whole[table]->str, (gssize)size);
    if (noise) g_string_append_len(cut, "\0x\",\xFF", 5);
    fixture_write(path, fixture_table_name(table), cut->str, cut->len);
    g_string_free(cut, TRUE);
    const int64_t missing = complete(path, plan);
    cr_expect(missing > 0, "%s cut at %zu: nothing was trained again", fixture_table_name(table), (size_t)size);
    for (int other = 0; other < FIXTURE_TABLES; other++) {
        GString *text = fixture_read(path, fixture_table_name(other));
        cr_assert(g_string_equal(text, whole[other]), "%s cut at %zu: %s differs", fixture_table_name(table),
                  (size_t)size, fixture_table_name(other));
        g_string_free(text, TRUE);
    }
}

Test(run_tail, lost_rows_are_trained_again) {
    eab_plan plan = fixture_plan(spec);
    char *path = fixture_folder();
    GString *whole[FIXTURE_TABLES];
    cr_assert_eq(complete(path, &plan), plan.count);
    fixture_read_tables(path, whole);
    cr_expect_eq(complete(path, &plan), 0);
    for (int table = 0; table < FIXTURE_TABLES; table++) {
        const gsize header = (gsize)(strchr(whole[table]->str, '\n') - whole[table]->str) + 1;
        for (gsize size = whole[table]->len - 1; size >= header; size -= MIN(size, 97)) {
            /* If curves or geometry end with a whole row between two cells, nothing shows that rows were lost. */
            if (whole[table]->str[size - 1] == '\n' && table >= EAB_TABLE_CURVES) continue;
            lose_and_resume(path, &plan, whole, table, size, false);
            lose_and_resume(path, &plan, whole, table, size, true);
        }
    }
    fixture_free_tables(whole);
    fixture_remove(path);
    eab_plan_free(&plan);
}

/* Cells trained without --save-curves are not trained again for their curves. */
Test(run_tail, rows_that_were_never_saved_are_not_missing) {
    eab_plan plan = fixture_plan(spec);
    char *path = fixture_folder();
    eab_run_settings settings = fixture_settings;
    eab_run_folder *folder;
    settings.save_curves = settings.save_geometry = false;
    cr_assert_eq(eab_run_folder_open(path, &plan, &settings, &folder), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(fixture_append_missing(folder, &plan), EAB_OK);
    cr_assert_eq(eab_run_folder_close(folder), EAB_OK);
    cr_expect_eq(complete(path, &plan), 0);
    cr_expect_eq(complete(path, &plan), 0);
    fixture_remove(path);
    eab_plan_free(&plan);
}

/* Found by fuzz_resume: a message had bytes of a row unescaped. */
Test(run_tail, an_error_on_a_row_is_one_printable_line) {
    static const char *const names[] = {"status", "task", "level", "token_accuracy", "cell"};
    eab_plan plan = fixture_plan(spec);
    char *path = fixture_folder();
    complete(path, &plan);
    GString *whole = fixture_read(path, "accuracy.csv");
    char **lines = g_strsplit(whole->str, "\n", -1), *good = NULL; /* a row without quotes */
    for (char **line = lines; *line && !good; line++)
        if (strstr(*line, ",ok,")) good = *line;
    cr_assert_not_null(good);
    for (size_t i = 0; i < G_N_ELEMENTS(names); i++) {
        char **fields = g_strsplit(good, ",", -1);
        const int32_t column = eab_table_column(eab_run_table(EAB_TABLE_ACCURACY, 0), names[i]);
        g_free(fields[column]);
        fields[column] = g_strdup("\"\033[31m\n\xC3\xA9\xFF\"");
        char *row = g_strjoinv(",", fields), *text = g_strconcat(lines[0], "\n", row, "\n", NULL);
        fixture_write(path, "accuracy.csv", text, strlen(text));
        eab_run_folder *folder;
        cr_expect_eq(eab_run_folder_open(path, &plan, &fixture_settings, &folder), EAB_BAD_INPUT, "%s", names[i]);
        cr_expect(g_utf8_validate(eab_last_error(), -1, NULL), "%s", names[i]);
        cr_expect_null(strpbrk(eab_last_error(), "\033\n"), "%s: %s", names[i], eab_last_error());
        cr_expect_not_null(strstr(eab_last_error(), "\\x1B[31m\\x0A"), "%s: %s", names[i], eab_last_error());
        g_free(text);
        g_free(row);
        g_strfreev(fields);
    }
    g_strfreev(lines);
    g_string_free(whole, TRUE);
    fixture_remove(path);
    eab_plan_free(&plan);
}

/* A long message is not cut within a character. */
Test(run_tail, a_long_error_stays_valid_text) {
    GString *text = g_string_new(NULL);
    for (int i = 0; i < 2000; i++) g_string_append(text, "\xE2\x82\xAC");
    for (int shift = 0; shift < 3; shift++) {
        eab_fail(EAB_BAD_INPUT, "%.*s%s", shift, "ab", text->str);
        cr_expect(g_utf8_validate(eab_last_error(), -1, NULL), "behind %d bytes", shift);
        cr_expect_gt(strlen(eab_last_error()), 1000);
    }
    g_string_free(text, TRUE);
}

/* The folder stays locked after its lock file was removed. */
Test(run_tail, a_removed_lock_still_holds) {
    eab_plan plan = fixture_plan(spec);
    char *path = fixture_folder(), *lock = g_build_filename(path, ".lock", NULL);
    eab_run_folder *first, *second;
    cr_assert_eq(eab_run_folder_open(path, &plan, &fixture_settings, &first), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(remove(lock), 0);
    cr_expect_eq(eab_run_folder_open(path, &plan, &fixture_settings, &second), EAB_BAD_INPUT);
    cr_expect_not_null(strstr(eab_last_error(), "in use by another process"), "%s", eab_last_error());
    cr_expect_eq(eab_run_folder_close(first), EAB_OK);
    cr_assert_eq(eab_run_folder_open(path, &plan, &fixture_settings, &second), EAB_OK, "%s", eab_last_error());
    cr_expect_eq(eab_run_folder_close(second), EAB_OK);
    g_free(lock);
    fixture_remove(path);
    eab_plan_free(&plan);
}
