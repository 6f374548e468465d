/* The tables of a run's folder: completed, read, compared. */
#ifndef EAB_TESTS_HOST_TABLES_FIXTURE_H
#define EAB_TESTS_HOST_TABLES_FIXTURE_H

#include "host/run/tables.h"
#include "sweep_fixture.h"

enum { FIXTURE_TABLES = EAB_TABLE_TEXT }; /* those before it: no plan here has a text */

const char *fixture_table_name(int table);
eab_run_folder *fixture_open(const char *path, const eab_plan *plan);

/* Opens, appends the missing cells, closes. */
void fixture_complete(const char *path, const eab_plan *plan);

/* Tables that do not exist are NULL. fixture_free_tables frees the texts. */
void fixture_read_tables(const char *path, GString *tables[FIXTURE_TABLES]);
void fixture_free_tables(GString *tables[FIXTURE_TABLES]);
void fixture_expect_tables(const char *path, GString *const expected[FIXTURE_TABLES], const char *when);

/* Opening ends with the status and one line that has `message`, and changes no file. */
void fixture_expect_refused(const char *path, const eab_plan *plan, int status, const char *message);

#endif
