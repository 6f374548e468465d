#include "tables_fixture.h"

#include <criterion/criterion.h>
#include <string.h>

const char *fixture_table_name(int table) { return eab_run_table((eab_table)table, 0)->file_name; }

eab_run_folder *fixture_open(const char *path, const eab_plan *plan) {
    eab_run_folder *folder = NULL;
    cr_assert_eq(eab_run_folder_open(path, plan, &fixture_settings, &folder), EAB_OK, "%s", eab_last_error());
    return folder;
}

void fixture_complete(const char *path, const eab_plan *plan) {
    eab_run_folder *folder = fixture_open(path, plan);
    cr_assert_eq(fixture_append_missing(folder, plan), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(eab_run_folder_close(folder), EAB_OK, "%s", eab_last_error());
}

void fixture_expect_tables(const char *path, GString *const expected[FIXTURE_TABLES], const char *when) {
    for (int table = 0; table < FIXTURE_TABLES; table++) {
        GString *text = fixture_read(path, fixture_table_name(table));
        cr_assert_not_null(text, "%s: no %s", when, fixture_table_name(table));
        cr_assert(g_string_equal(text, expected[table]), "%s: %s differs:\n%s", when, fixture_table_name(table),
                  text->str);
        g_string_free(text, TRUE);
    }
}

void fixture_read_tables(const char *path, GString *tables[FIXTURE_TABLES]) {
    for (int table = 0; table < FIXTURE_TABLES; table++) tables[table] = fixture_read(path, fixture_table_name(table));
}

void fixture_free_tables(GString *tables[FIXTURE_TABLES]) {
    for (int table = 0; table < FIXTURE_TABLES; table++)
        if (tables[table]) g_string_free(tables[table], TRUE);
}

void fixture_expect_refused(const char *path, const eab_plan *plan, int status, const char *message) {
    GString *before[FIXTURE_TABLES], *manifest = fixture_read(path, "manifest.ini");
    fixture_read_tables(path, before);
    eab_run_folder *folder = NULL;
    cr_expect_eq(eab_run_folder_open(path, plan, &fixture_settings, &folder), status, "%s", eab_last_error());
    cr_expect_not_null(strstr(eab_last_error(), message), "'%s' lacks '%s'", eab_last_error(), message);
    cr_expect_null(strchr(eab_last_error(), '\n'));
    for (int table = 0; table < FIXTURE_TABLES; table++) {
        GString *after = fixture_read(path, fixture_table_name(table));
        cr_expect_eq(!after, !before[table]);
        if (after) cr_expect(g_string_equal(after, before[table]), "%s was changed", fixture_table_name(table));
        if (after) g_string_free(after, TRUE);
    }
    GString *manifest_after = fixture_read(path, "manifest.ini");
    cr_expect_eq(!manifest_after, !manifest);
    if (manifest_after && manifest) cr_expect(g_string_equal(manifest, manifest_after));
    if (manifest) g_string_free(manifest, TRUE);
    if (manifest_after) g_string_free(manifest_after, TRUE);
    fixture_free_tables(before);
}
