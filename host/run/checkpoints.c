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

/* A checkpoint that may be used. */
typedef struct {
    char *path, **ids;
    int64_t step;
} candidate;

static void clear_candidate(gpointer pointer) {
    candidate *own = pointer;
    g_free(own->path);
    g_strfreev(own->ids);
}

/* The most advanced ones first, so that a cell in several files takes the best. */
static int compare_candidates(const void *a, const void *b) {
    const candidate *left = a, *right = b;
    if (left->step != right->step) return left->step > right->step ? -1 : 1;
    return strcmp(left->path, right->path);
}

static bool has_cell_of(const eab_plan *plan, char *const *ids) {
    for (; *ids; ids++)
        if (eab_plan_find(plan, *ids) >= 0) return true;
    return false;
}

/* Files of other runs are left alone. */
static GArray *list_candidates(const char *run, const eab_plan *plan) {
    GPtrArray *paths = list_files(run, ENDING);
    GArray *found = g_array_new(FALSE, FALSE, sizeof(candidate));
    g_array_set_clear_func(found, clear_candidate);
    for (guint i = 0; i < paths->len; i++) {
        candidate own = {.path = g_strdup(paths->pdata[i])};
        if (!eab_checkpoint_cells(own.path, &own.ids, &own.step) && own.ids && has_cell_of(plan, own.ids))
            g_array_append_val(found, own);
        else clear_candidate(&own);
    }
    g_ptr_array_unref(paths);
    g_array_sort(found, compare_candidates);
    return found;
}

/* Whether the cell can be resumed with the fleet's other cells. */
static bool belongs(const eab_fleet *fleet, const eab_plan *plan, int64_t index) {
    return !fleet->members || eab_train_same_fleet(&plan->cells[fleet->indices[0]].config, &plan->cells[index].config);
}

/* The cells of a file that are not done and that its fleet does not take. */
typedef struct {
    int32_t count, needed; /* needed: in no more advanced file */
} other_cells;

/* Takes the file's cells that are in `open` (indices into the plan) from there into a fleet. covered: those of more
 * advanced files. */
static eab_fleet take_cells(const candidate *file, const eab_plan *plan, GHashTable *open, GHashTable *covered,
                            const bool *done, other_cells *others) {
    eab_fleet fleet = {.indices = g_new(int64_t, g_strv_length(file->ids))};
    *others = (other_cells){0, 0};
    for (char **id = file->ids; *id; id++) {
        const int64_t index = eab_plan_find(plan, *id);
        const gpointer key = GSIZE_TO_POINTER((gsize)index);
        if (index < 0) continue;
        if (belongs(&fleet, plan, index) && g_hash_table_remove(open, key)) {
            fleet.indices[fleet.members++] = index;
        } else if (!done[index]) {
            others->count++;
            others->needed += !g_hash_table_contains(covered, key);
        }
        g_hash_table_add(covered, key);
    }
    return fleet;
}

/* Gives all files new names, so that none is in the way of another. They stay checkpoints to the next sweep if this one
 * is killed. */
static void set_aside(const char *run, GArray *files) {
    for (guint i = 0; i < files->len; i++) {
        candidate *file = &g_array_index(files, candidate, i);
        char *unique = g_uuid_string_random();
        char *aside = g_strdup_printf("%s/%s/kept-%s" ENDING, run, FOLDER, unique);
        if (rename(file->path, aside) == 0) {
            g_free(file->path);
            file->path = g_steal_pointer(&aside);
        }
        g_free(aside);
        g_free(unique);
    }
}

/* Names the file after its fleet's first cell. Training replaces and removes files of such names: what a later sweep
 * needs keeps its other name, too. */
static void name_file(const char *run, const char *path, const eab_cell *first, bool needed_later) {
    char *own = eab_run_checkpoint_path(run, first);
    if (!needed_later || eab_file_link(path, own)) (void)!rename(path, own);
    g_free(own);
}

GArray *eab_run_checkpoints_find(const char *run, const eab_plan *plan, const int64_t *todo, int64_t count,
                                 const bool *done) {
    GArray *fleets = g_array_new(FALSE, FALSE, sizeof(eab_fleet)), *files = list_candidates(run, plan);
    GHashTable *open = g_hash_table_new(NULL, NULL), *covered = g_hash_table_new(NULL, NULL);
    for (int64_t i = 0; files->len && i < count; i++) g_hash_table_add(open, GSIZE_TO_POINTER((gsize)todo[i]));
    set_aside(run, files);
    for (guint i = 0; i < files->len; i++) {
        const candidate *file = &g_array_index(files, candidate, i);
        other_cells others;
        const eab_fleet fleet = take_cells(file, plan, open, covered, done, &others);
        if (fleet.members) {
            name_file(run, file->path, &plan->cells[fleet.indices[0]], others.needed > 0);
            g_array_append_val(fleets, fleet);
        } else {
            g_free(fleet.indices);
            if (!others.count) unlink(file->path);
        }
    }
    g_hash_table_destroy(covered);
    g_hash_table_destroy(open);
    g_array_unref(files);
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
