#include "checkpoints.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/files.h"
#include "model/checkpoint.h"
#include "model/train.h"

#define ENDING ".ckpt"
static const char FOLDER[] = "checkpoints";

char *eab_run_checkpoint_path(const char *run, const eab_cell *cell) {
    return g_strdup_printf("%s/%s/%s" ENDING, run, FOLDER, cell->id);
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Paths of the folder's files with this ending, sorted, so that every process resumes alike. */
static GPtrArray *list_files(const char *run, const char *ending) {
    GPtrArray *paths = g_ptr_array_new_with_free_func(g_free);
    char *path = g_build_filename(run, FOLDER, NULL);
    GDir *folder = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;
    while (folder && (name = g_dir_read_name(folder)))
        if (g_str_has_suffix(name, ending)) g_ptr_array_add(paths, g_build_filename(path, name, NULL));
    if (folder) g_dir_close(folder);
    g_free(path);
    g_ptr_array_sort(paths, compare_names);
    return paths;
}

/* Whether the cell can be resumed with the fleet's other cells. */
static bool belongs(const eab_fleet *fleet, const eab_plan *plan, int64_t index) {
    return !fleet->members || eab_train_same_fleet(&plan->cells[fleet->indices[0]].config, &plan->cells[index].config);
}

/* Adds the file's fleet, with those of its cells that are in `open` (indices into the plan), and removes these from
 * `open`. Cells that are neither there nor done keep a checkpoint of their own. */
static void add_fleet(GArray *fleets, const char *run, const char *path, const eab_plan *plan, GHashTable *open,
                      const bool *done) {
    char **ids;
    if (eab_checkpoint_cells(path, &ids) || !ids) return;
    eab_fleet fleet = {.indices = g_new(int64_t, g_strv_length(ids))};
    const eab_cell *left_out = NULL;
    for (char **id = ids; *id; id++) {
        const int64_t index = eab_plan_find(plan, *id);
        if (index < 0 || !belongs(&fleet, plan, index)) continue;
        if (g_hash_table_remove(open, GSIZE_TO_POINTER((gsize)index))) fleet.indices[fleet.members++] = index;
        else if (!left_out && !done[index]) left_out = &plan->cells[index];
    }
    g_strfreev(ids);
    if (!fleet.members) {
        g_free(fleet.indices);
        return;
    }
    g_array_append_val(fleets, fleet);
    /* The cell that the file is named after may have ended before the sweep was killed. */
    char *expected = eab_run_checkpoint_path(run, &plan->cells[fleet.indices[0]]);
    if (strcmp(path, expected) != 0) (void)!rename(path, expected);
    if (left_out) { /* training replaces or removes the file of its cells; the others keep this one */
        char *other = eab_run_checkpoint_path(run, left_out);
        (void)!link(expected, other);
        g_free(other);
    }
    g_free(expected);
}

GArray *eab_run_checkpoints_find(const char *run, const eab_plan *plan, const int64_t *todo, int64_t count,
                                 const bool *done) {
    GArray *fleets = g_array_new(FALSE, FALSE, sizeof(eab_fleet));
    GPtrArray *paths = list_files(run, ENDING);
    GHashTable *open = g_hash_table_new(NULL, NULL);
    for (int64_t i = 0; paths->len && i < count; i++) g_hash_table_add(open, GSIZE_TO_POINTER((gsize)todo[i]));
    for (guint i = 0; i < paths->len; i++) add_fleet(fleets, run, paths->pdata[i], plan, open, done);
    g_hash_table_destroy(open);
    g_ptr_array_unref(paths);
    return fleets;
}

static void remove_files(const char *run, const char *ending) {
    GPtrArray *paths = list_files(run, ending);
    for (guint i = 0; i < paths->len; i++) unlink(paths->pdata[i]);
    g_ptr_array_unref(paths);
}

void eab_run_checkpoints_remove(const char *run) {
    remove_files(run, ENDING);
    remove_files(run, ENDING EAB_REPLACEMENT_ENDING);
    char *path = g_build_filename(run, FOLDER, NULL);
    rmdir(path); /* fails if anything else is in it */
    g_free(path);
}
