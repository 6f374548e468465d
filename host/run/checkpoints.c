#include "checkpoints.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model/checkpoint.h"
#include "model/train.h"

static const char FOLDER[] = "checkpoints", ENDING[] = ".ckpt";
static const char HALF_ENDING[] = ".ckpt.new"; /* what a crash leaves of one that was being written */

char *eab_run_checkpoint_path(const char *run, const eab_cell *cell) {
    return g_strdup_printf("%s/%s/%s%s", run, FOLDER, cell->id, ENDING);
}

/* Names in the folder that end so, sorted, so that all who look go on alike. */
static GPtrArray *list_names(const char *run, const char *ending) {
    GPtrArray *names = g_ptr_array_new_with_free_func(g_free);
    char *path = g_build_filename(run, FOLDER, NULL);
    GDir *folder = g_file_test(path, G_FILE_TEST_IS_SYMLINK) ? NULL : g_dir_open(path, 0, NULL);
    const char *name;
    while (folder && (name = g_dir_read_name(folder)))
        if (g_str_has_suffix(name, ending)) g_ptr_array_add(names, g_strdup(name));
    if (folder) g_dir_close(folder);
    g_free(path);
    for (guint i = 1; i < names->len; i++) /* insertion: as many as there were workers */
        for (guint k = i; k > 0 && strcmp(names->pdata[k - 1], names->pdata[k]) > 0; k--) {
            gpointer other = names->pdata[k];
            names->pdata[k] = names->pdata[k - 1];
            names->pdata[k - 1] = other;
        }
    return names;
}

/* Adds the file's fleet if it has cells that are still in `places` (id -> index in the plan + 1), and takes them out. */
static void add_fleet(GArray *fleets, const char *run, const char *path, const eab_plan *plan, GHashTable *places) {
    char *ids;
    int32_t count;
    if (eab_checkpoint_cells(path, &ids, &count) || !ids) return;
    eab_fleet fleet = {.indices = g_new(int64_t, (gsize)count)};
    for (int32_t i = 0; i < count; i++) {
        char id[EAB_CELL_ID_BYTES + 1] = "";
        memcpy(id, ids + (size_t)i * EAB_CELL_ID_BYTES, EAB_CELL_ID_BYTES);
        const gsize place = GPOINTER_TO_SIZE(g_hash_table_lookup(places, id));
        if (!place) continue;
        if (fleet.members &&
            !eab_train_same_fleet(&plan->cells[fleet.indices[0]].config, &plan->cells[place - 1].config))
            continue; /* nobody trained these two together */
        fleet.indices[fleet.members++] = (int64_t)place - 1;
        fleet.room = fleet.members;
        g_hash_table_remove(places, id);
    }
    free(ids);
    if (!fleet.members) {
        g_free(fleet.indices);
        return;
    }
    g_array_append_val(fleets, fleet);
    /* Its first cell may have been delivered already when the sweep was killed. */
    char *expected = eab_run_checkpoint_path(run, &plan->cells[fleet.indices[0]]);
    if (strcmp(path, expected) != 0) (void)!rename(path, expected);
    g_free(expected);
}

GArray *eab_run_checkpoints_find(const char *run, const eab_plan *plan, const int64_t *todo, int64_t count) {
    GArray *fleets = g_array_new(FALSE, FALSE, sizeof(eab_fleet));
    GPtrArray *names = list_names(run, ENDING);
    GHashTable *places = g_hash_table_new(g_str_hash, g_str_equal);
    for (int64_t i = 0; names->len && i < count; i++)
        g_hash_table_insert(places, (gpointer)(uintptr_t)plan->cells[todo[i]].id, GSIZE_TO_POINTER((gsize)todo[i] + 1));
    for (guint i = 0; i < names->len; i++) {
        char *path = g_strdup_printf("%s/%s/%s", run, FOLDER, (const char *)names->pdata[i]);
        add_fleet(fleets, run, path, plan, places);
        g_free(path);
    }
    g_hash_table_destroy(places);
    g_ptr_array_free(names, TRUE);
    return fleets;
}

static void remove_files(const char *run, const char *ending) {
    GPtrArray *names = list_names(run, ending);
    for (guint i = 0; i < names->len; i++) {
        char *path = g_build_filename(run, FOLDER, names->pdata[i], NULL);
        unlink(path);
        g_free(path);
    }
    g_ptr_array_free(names, TRUE);
}

void eab_run_checkpoints_remove(const char *run) {
    remove_files(run, ENDING);
    remove_files(run, HALF_ENDING);
    char *path = g_build_filename(run, FOLDER, NULL);
    rmdir(path); /* stays if anything is in it */
    g_free(path);
}
