#include "shard.h"

#include <errno.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleets.h"
#include "kernels/status.h"

static bool read_number(const char **text, long most, int32_t *number) {
    char *end;
    if (!g_ascii_isdigit(**text)) return false;
    errno = 0;
    const long value = strtol(*text, &end, 10);
    if (errno || value < 1 || value > most) return false;
    *text = end;
    *number = (int32_t)value;
    return true;
}

static bool read_pair(const char *text, const char *between, eab_shard *shard) {
    if (!read_number(&text, EAB_SHARD_MAX, &shard->part) || !g_str_has_prefix(text, between)) return false;
    text += strlen(between);
    return read_number(&text, EAB_SHARD_MAX, &shard->parts) && !*text && shard->part <= shard->parts;
}

bool eab_shard_read(const char *text, eab_shard *shard) { return read_pair(text, "/", shard); }

char *eab_shard_folder(const char *run, eab_shard shard) {
    return g_strdup_printf("%s/shards/%d-of-%d", run, shard.part, shard.parts);
}

/* Reads "2-of-8", but not "02-of-8". */
static bool read_name(const char *name, eab_shard *shard) {
    char written[64];
    if (!read_pair(name, "-of-", shard)) return false;
    g_snprintf(written, sizeof written, "%d-of-%d", shard->part, shard->parts);
    return strcmp(name, written) == 0;
}

eab_shard eab_shard_of_folder(const char *folder) {
    char *whole = g_canonicalize_filename(folder, NULL), *above = g_path_get_dirname(whole);
    char *name = g_path_get_basename(whole), *kind = g_path_get_basename(above);
    eab_shard shard = {0, 0};
    if (strcmp(kind, "shards") != 0 || !read_name(name, &shard)) shard.parts = 0;
    g_free(whole);
    g_free(above);
    g_free(name);
    g_free(kind);
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
        eab_shard shard;
        if (read_name(name, &shard)) g_array_append_val(*shards, shard);
    }
    if (folder) g_dir_close(folder);
    g_array_sort(*shards, compare_shards);
    g_free(path);
    return status;
}

/* ---- splitting -------------------------------------------------------------------------------------------- */

/* A part's load, in a heap with the least one on top; of equal loads the first part's. */
typedef struct {
    double flop;
    int32_t part;
} load;

static bool is_less(const load *a, const load *b) {
    return a->flop < b->flop || (!(a->flop > b->flop) && a->part < b->part);
}

static void sink_top(load *heap, int32_t count) {
    for (int32_t at = 0;;) {
        int32_t least = at;
        for (int32_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
            if (is_less(&heap[child], &heap[least])) least = child;
        if (least == at) return;
        const load moved = heap[at];
        heap[at] = heap[least];
        heap[least] = moved;
        at = least;
    }
}

int32_t *eab_shard_split(const eab_plan *plan, int32_t parts) {
    int32_t *part_of = g_new(int32_t, (gsize)plan->count);
    int64_t *order = g_new(int64_t, (gsize)plan->count);
    load *heap = g_new(load, (gsize)parts);
    for (int64_t i = 0; i < plan->count; i++) order[i] = i;
    for (int32_t i = 0; i < parts; i++) heap[i] = (load){0, i + 1};
    eab_cells_sort_by_length(plan->cells, order, plan->count);
    for (int64_t i = 0; i < plan->count; i++) {
        part_of[order[i]] = heap[0].part;
        heap[0].flop += eab_cell_flop(&plan->cells[order[i]].config);
        sink_top(heap, parts);
    }
    g_free(heap);
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
