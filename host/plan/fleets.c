#include "fleets.h"

#include <math.h>
#include <stdlib.h>

#include "model/cost.h"
#include "model/train.h"

typedef struct {
    int64_t index;
    double flop;
    guint shape;
} sized_cell;

/* Cells that can share a fleet. */
typedef struct {
    const eab_config *config; /* of one of them */
    int64_t left;             /* cells that are in no fleet yet */
    guint fleet;              /* the fleet that is being filled */
    int32_t room;             /* for further members in it; 0: no fleet is being filled */
} cell_shape;

static int compare_sizes(const void *a, const void *b) {
    const sized_cell *left = a, *right = b;
    if (left->flop > right->flop || left->flop < right->flop) return left->flop > right->flop ? -1 : 1;
    return left->index < right->index ? -1 : left->index > right->index;
}

static sized_cell *sort_cells(const eab_cell *cells, const int64_t *indices, int64_t count) {
    sized_cell *sized = g_new(sized_cell, (gsize)count);
    for (int64_t i = 0; i < count; i++)
        sized[i] = (sized_cell){indices[i], eab_cell_flop(&cells[indices[i]].config), 0};
    if (count) qsort(sized, (size_t)count, sizeof *sized, compare_sizes);
    return sized;
}

void eab_cells_sort_by_length(const eab_cell *cells, int64_t *indices, int64_t count) {
    sized_cell *sized = sort_cells(cells, indices, count);
    for (int64_t i = 0; i < count; i++) indices[i] = sized[i].index;
    g_free(sized);
}

/* A cell is compared with the last shapes only, which bounds the search if every cell has its own shape. At worst one
 * shape is listed several times. */
static GArray *find_shapes(const eab_cell *cells, sized_cell *sized, int64_t count) {
    enum { MAX_COMPARED = 256 };
    GArray *shapes = g_array_new(FALSE, FALSE, sizeof(cell_shape));
    for (int64_t i = 0; i < count; i++) {
        const eab_config *config = &cells[sized[i].index].config;
        const guint first = shapes->len > MAX_COMPARED ? shapes->len - MAX_COMPARED : 0;
        guint k = shapes->len;
        while (k > first && !eab_train_same_fleet(g_array_index(shapes, cell_shape, k - 1).config, config)) k--;
        if (k == first) {
            const cell_shape fresh = {.config = config};
            g_array_append_val(shapes, fresh);
            k = shapes->len;
        }
        sized[i].shape = k - 1;
        g_array_index(shapes, cell_shape, k - 1).left++;
    }
    return shapes;
}

/* Begins a fleet for the shape's remaining cells, which fill as few fleets as possible, of sizes that differ by one at
 * most. */
static void open_fleet(GArray *fleets, cell_shape *shape, int32_t most) {
    const int64_t count = (shape->left + most - 1) / most;
    shape->room = (int32_t)((shape->left + count - 1) / count);
    const eab_fleet fresh = {.indices = g_new(int64_t, (gsize)shape->room)};
    shape->fleet = fleets->len;
    g_array_append_val(fleets, fresh);
}

static void add_fleets(GArray *fleets, const eab_cell *cells, const int64_t *indices, int64_t count, int32_t most,
                       const int32_t *by_cell) {
    sized_cell *sized = sort_cells(cells, indices, count);
    GArray *shapes = find_shapes(cells, sized, count);
    for (int64_t i = 0; i < count; i++) {
        cell_shape *shape = &g_array_index(shapes, cell_shape, sized[i].shape);
        if (!shape->room) open_fleet(fleets, shape, MAX(1, by_cell ? by_cell[sized[i].index] : most));
        eab_fleet *fleet = &g_array_index(fleets, eab_fleet, shape->fleet);
        fleet->indices[fleet->members++] = sized[i].index;
        fleet->flop += sized[i].flop;
        shape->room--;
        shape->left--;
    }
    g_array_free(shapes, TRUE);
    g_free(sized);
}

/* The indices of all members. */
static GHashTable *list_members(const GArray *fleets) {
    GHashTable *members = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < fleets->len; i++) {
        const eab_fleet *fleet = &g_array_index(fleets, eab_fleet, i);
        for (int32_t k = 0; k < fleet->members; k++)
            g_hash_table_add(members, GSIZE_TO_POINTER((gsize)fleet->indices[k]));
    }
    return members;
}

static bool is_member(GHashTable *members, int64_t index) {
    return g_hash_table_contains(members, GSIZE_TO_POINTER((gsize)index));
}

static eab_fleet copy_fleet(const eab_fleet *fleet, const eab_cell *cells) {
    eab_fleet copy = *fleet;
    copy.indices = g_memdup2(fleet->indices, (gsize)fleet->members * sizeof *fleet->indices);
    copy.flop = 0;
    for (int32_t i = 0; i < fleet->members; i++) copy.flop += eab_cell_flop(&cells[fleet->indices[i]].config);
    return copy;
}

GArray *eab_fleets_make(const GArray *begun, const eab_cell *cells, const int64_t *indices, int64_t count, int32_t most,
                        const int32_t *by_cell) {
    GArray *fleets = g_array_new(FALSE, FALSE, sizeof(eab_fleet));
    for (guint i = 0; begun && i < begun->len; i++) {
        const eab_fleet copy = copy_fleet(&g_array_index(begun, eab_fleet, i), cells);
        g_array_append_val(fleets, copy);
    }
    GHashTable *members = list_members(fleets);
    int64_t *others = g_new(int64_t, (gsize)count), other_count = 0;
    for (int64_t i = 0; i < count; i++)
        if (!is_member(members, indices[i])) others[other_count++] = indices[i];
    add_fleets(fleets, cells, others, other_count, most, by_cell);
    g_free(others);
    g_hash_table_destroy(members);
    return fleets;
}

void eab_fleets_add_suspects(GArray *begun, const eab_cell *cells, const int64_t *indices, int64_t count,
                             const eab_suspects *suspects) {
    GHashTable *members = list_members(begun);
    sized_cell *sized = sort_cells(cells, indices, count);
    int64_t *found = g_new(int64_t, (gsize)count), found_count = 0;
    bool reached = false;
    for (int64_t i = 0; i < count && found_count < suspects->cells; i++) {
        reached = reached || sized[i].index == suspects->first;
        if (reached && !is_member(members, sized[i].index) &&
            eab_train_same_fleet(&cells[suspects->first].config, &cells[sized[i].index].config))
            found[found_count++] = sized[i].index;
    }
    const guint first = begun->len;
    add_fleets(begun, cells, found, found_count, suspects->fleet, NULL);
    for (guint i = first; i < begun->len; i++) g_array_index(begun, eab_fleet, i).sync_every_kernel = true;
    g_free(found);
    g_free(sized);
    g_hash_table_destroy(members);
}

void eab_fleets_free(GArray *fleets) {
    for (guint i = 0; i < fleets->len; i++) g_free(g_array_index(fleets, eab_fleet, i).indices);
    g_array_free(fleets, TRUE);
}

int32_t eab_preferred_fleet(eab_device *device, const eab_config *config) {
    /* Reals of an activation for each thread that the device runs at a time; these keep it full most of the time. */
    static const double REALS_PER_THREAD = 64, MEMORY_SHARE = 0.8, LARGEST = 4096;
    size_t free_bytes;
    int64_t resident_threads;
    const eab_backend *backend = device->backend;
    if (!backend->capacity || backend->capacity(device, &free_bytes, &resident_threads)) return 1;
    const double fits = MEMORY_SHARE * (double)free_bytes / eab_config_memory_bytes(backend, config);
    const double work =
        REALS_PER_THREAD * (double)resident_threads / ((double)config->batch * config->context * config->d_model);
    const double members = fmin(fmin(fits, ceil(work)), LARGEST);
    return members > 1 ? (int32_t)members : 1;
}
