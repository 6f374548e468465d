#include "shard.h"

#include <glib.h>
#include <string.h>

#include "fleets.h"
#include "kernels/status.h"

/* parts 0 where the text is no pair. */
static eab_shard read_pair(const char *text, const char *between) {
    guint64 part = 0, parts = 0;
    char **numbers = g_strsplit(text, between, 2);
    const bool valid = g_strv_length(numbers) == 2 &&
                       g_ascii_string_to_unsigned(numbers[0], 10, 1, EAB_SHARD_MAX, &part, NULL) &&
                       g_ascii_string_to_unsigned(numbers[1], 10, 1, EAB_SHARD_MAX, &parts, NULL) && part <= parts;
    g_strfreev(numbers);
    return valid ? (eab_shard){(int32_t)part, (int32_t)parts} : (eab_shard){0, 0};
}

bool eab_shard_read(const char *text, eab_shard *shard) {
    *shard = read_pair(text, "/");
    return shard->parts > 0;
}

char *eab_shard_folder(const char *run, eab_shard shard) {
    return g_strdup_printf("%s/shards/%d-of-%d", run, shard.part, shard.parts);
}

/* Reads "2-of-8", but not "02-of-8". */
static eab_shard read_name(const char *name) {
    char written[64];
    const eab_shard shard = read_pair(name, "-of-");
    g_snprintf(written, sizeof written, "%d-of-%d", shard.part, shard.parts);
    return strcmp(name, written) == 0 ? shard : (eab_shard){0, 0};
}

eab_shard eab_shard_of_folder(const char *folder) {
    char *whole = g_canonicalize_filename(folder, NULL);
    char **names = g_strsplit(whole, G_DIR_SEPARATOR_S, -1);
    const guint count = g_strv_length(names);
    const bool in_shards = count >= 2 && strcmp(names[count - 2], "shards") == 0;
    const eab_shard shard = in_shards ? read_name(names[count - 1]) : (eab_shard){0, 0};
    g_strfreev(names);
    g_free(whole);
    return shard;
}

static int compare_shards(const void *a, const void *b) {
    const eab_shard *left = a, *right = b;
    return left->parts != right->parts ? left->parts - right->parts : left->part - right->part;
}

int eab_shard_list(const char *run, GArray **shards) {
    char *path = g_build_filename(run, "shards", NULL);
    GError *error = NULL;
    GDir *folder = g_dir_open(path, 0, &error);
    *shards = g_array_new(FALSE, FALSE, sizeof(eab_shard));
    int status = EAB_OK;
    if (!folder) {
        const bool missing = g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOENT) ||
                             g_error_matches(error, G_FILE_ERROR, G_FILE_ERROR_NOTDIR);
        if (!missing) status = eab_fail(EAB_IO, "%s", error->message);
        g_error_free(error);
    }
    const char *name;
    while (folder && (name = g_dir_read_name(folder))) {
        const eab_shard shard = read_name(name);
        if (shard.parts) g_array_append_val(*shards, shard);
    }
    if (folder) g_dir_close(folder);
    g_array_sort(*shards, compare_shards);
    g_free(path);
    return status;
}

/* ---- splitting -------------------------------------------------------------------------------------------- */

typedef struct {
    double flop;
    int32_t part;
} load;

static int compare_loads(const void *a, const void *b, void *unused) {
    const load *left = a, *right = b;
    (void)unused;
    if (left->flop < right->flop || left->flop > right->flop) return left->flop < right->flop ? -1 : 1;
    return left->part - right->part;
}

int32_t *eab_shard_split(const eab_plan *plan, int32_t parts) {
    int32_t *part_of = g_new(int32_t, (gsize)plan->count);
    int64_t *order = g_new(int64_t, (gsize)plan->count);
    load *loads = g_new0(load, (gsize)parts);
    GSequence *sorted = g_sequence_new(NULL); /* the least load first */
    for (int64_t i = 0; i < plan->count; i++) order[i] = i;
    for (int32_t i = 0; i < parts; i++) {
        loads[i].part = i + 1;
        g_sequence_append(sorted, &loads[i]);
    }
    eab_cells_sort_by_length(plan->cells, order, plan->count);
    for (int64_t i = 0; i < plan->count; i++) {
        GSequenceIter *least = g_sequence_get_begin_iter(sorted);
        load *chosen = g_sequence_get(least);
        part_of[order[i]] = chosen->part;
        chosen->flop += eab_cell_flop(&plan->cells[order[i]].config);
        g_sequence_sort_changed(least, compare_loads, NULL);
    }
    g_sequence_free(sorted);
    g_free(loads);
    g_free(order);
    return part_of;
}

void eab_shard_take(const eab_shard *shard, eab_plan *plan) {
    int32_t *part_of = eab_shard_split(plan, shard->parts);
    int64_t count = 0;
    g_hash_table_remove_all(plan->places);
    for (int64_t i = 0; i < plan->count; i++) {
        if (part_of[i] != shard->part) continue;
        plan->cells[count] = plan->cells[i];
        g_hash_table_insert(plan->places, plan->cells[count].id, GSIZE_TO_POINTER((gsize)count));
        count++;
    }
    plan->count = count;
    g_free(part_of);
}
