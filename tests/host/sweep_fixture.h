/* What the tests of the sweep share: a small plan, results made up from a cell's id, files. */
#ifndef EAB_TESTS_HOST_SWEEP_FIXTURE_H
#define EAB_TESTS_HOST_SWEEP_FIXTURE_H

#include <glib.h>

#include "host/run/folder.h"

/* A fresh folder; fixture_remove deletes it with all that is in it. */
char *fixture_folder(void);
void fixture_remove(char *folder);

/* The plan of a spec's text. */
eab_plan fixture_plan(const char *text);

/* 2 levels, 2 mechanisms, 1 seed: 4 cells. */
extern const char *const fixture_small_spec;
extern const eab_run_settings fixture_settings;

/* A result that depends only on the cell; status ok, or diverged for one cell in four. fixture_free frees its curve and
 * geometry. */
eab_cell_result fixture_result(const eab_cell *cell);
void fixture_free(eab_cell_result *result);

/* Appends the rows of the plan's cell `index`; an eab_status. */
int fixture_append(eab_run_folder *folder, const eab_plan *plan, int64_t index, const eab_cell_result *result);

/* Appends the result of every cell that the folder lacks; an eab_status. */
int fixture_append_missing(eab_run_folder *folder, const eab_plan *plan);

/* A file's bytes; NULL if there is none. fixture_write replaces the file. */
GString *fixture_read(const char *folder, const char *name);
void fixture_write(const char *folder, const char *name, const char *bytes, size_t size);

#endif
