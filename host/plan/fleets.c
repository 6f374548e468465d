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
    int64_t left;             /* not yet in a fleet */
    guint fleet;              /* the one that is being filled, if `open` */
    bool open;
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

/* Only the shapes found last are asked, which bounds the search where every cell has a shape of its own; at worst one
 * shape is then taken for several. */
static GArray *find_shapes(const eab_cell *cells, sized_cell *sized, int64_t count) {
    enum { MAX_ASKED = 256 };
    GArray *shapes = g_array_new(FALSE, FALSE, sizeof(cell_shape));
    for (int64_t i = 0; i < count; i++) {
        const eab_config *config = &cells[sized[i].index].config;
        const guint first = shapes->len > MAX_ASKED ? shapes->len - MAX_ASKED : 0;
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

/* A fleet for the cells of a shape that are left: they fill as few fleets as they can, of sizes that differ by one. */
static eab_fleet open_fleet(const cell_shape *shape, int32_t most) {
    const int64_t fleets = (shape->left + most - 1) / most;
    const int32_t room = (int32_t)((shape->left + fleets - 1) / fleets);
    return (eab_fleet){.indices = g_new(int64_t, (gsize)room), .room = room};
}

GArray *eab_fleets_make(const eab_cell *cells, const int64_t *indices, int64_t count, int32_t most,
                        const int32_t *by_cell) {
    GArray *fleets = g_array_new(FALSE, FALSE, sizeof(eab_fleet));
    sized_cell *sized = sort_cells(cells, indices, count);
    GArray *shapes = find_shapes(cells, sized, count);
    for (int64_t i = 0; i < count; i++) {
        cell_shape *shape = &g_array_index(shapes, cell_shape, sized[i].shape);
        if (!shape->open) {
            const eab_fleet fresh = open_fleet(shape, MAX(1, by_cell ? by_cell[sized[i].index] : most));
            g_array_append_val(fleets, fresh);
            shape->fleet = fleets->len - 1;
        }
        eab_fleet *found = &g_array_index(fleets, eab_fleet, shape->fleet);
        found->indices[found->members++] = sized[i].index;
        found->flop += sized[i].flop;
        shape->open = found->members < found->room;
        shape->left--;
    }
    g_array_free(shapes, TRUE);
    g_free(sized);
    return fleets;
}

GArray *eab_fleets_make_after(const GArray *begun, const eab_cell *cells, const int64_t *indices, int64_t count,
                              int32_t most, const int32_t *by_cell) {
    if (!begun || !begun->len) return eab_fleets_make(cells, indices, count, most, by_cell);
    GArray *fleets = g_array_new(FALSE, FALSE, sizeof(eab_fleet));
    GHashTable *taken = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < begun->len; i++) {
        eab_fleet fleet = g_array_index(begun, eab_fleet, i);
        int64_t *own = g_new(int64_t, (gsize)fleet.members);
        fleet.flop = 0;
        for (int32_t k = 0; k < fleet.members; k++) {
            own[k] = fleet.indices[k];
            fleet.flop += eab_cell_flop(&cells[own[k]].config);
            g_hash_table_add(taken, GSIZE_TO_POINTER((gsize)own[k] + 1));
        }
        fleet.indices = own;
        g_array_append_val(fleets, fleet);
    }
    int64_t *others = g_new(int64_t, (gsize)count), other_count = 0;
    for (int64_t i = 0; i < count; i++)
        if (!g_hash_table_contains(taken, GSIZE_TO_POINTER((gsize)indices[i] + 1))) others[other_count++] = indices[i];
    GArray *made = eab_fleets_make(cells, others, other_count, most, by_cell);
    g_array_append_vals(fleets, made->data, made->len);
    g_array_free(made, TRUE);
    g_free(others);
    g_hash_table_destroy(taken);
    return fleets;
}

void eab_fleets_add_suspects(GArray *begun, const eab_cell *cells, const int64_t *indices, int64_t count,
                             const eab_suspects *suspects) {
    GHashTable *taken = g_hash_table_new(NULL, NULL);
    for (guint i = 0; i < begun->len; i++)
        for (int32_t k = 0; k < g_array_index(begun, eab_fleet, i).members; k++)
            g_hash_table_add(taken, GSIZE_TO_POINTER((gsize)g_array_index(begun, eab_fleet, i).indices[k] + 1));
    sized_cell *sized = sort_cells(cells, indices, count);
    int64_t *found = g_new(int64_t, (gsize)MAX(1, count)), found_count = 0;
    bool reached = false;
    for (int64_t i = 0; i < count && found_count < suspects->cells; i++) {
        reached = reached || sized[i].index == suspects->first;
        if (reached && !g_hash_table_contains(taken, GSIZE_TO_POINTER((gsize)sized[i].index + 1)) &&
            eab_train_same_fleet(&cells[suspects->first].config, &cells[sized[i].index].config))
            found[found_count++] = sized[i].index;
    }
    GArray *made = eab_fleets_make(cells, found, found_count, suspects->fleet, NULL);
    for (guint i = 0; i < made->len; i++) g_array_index(made, eab_fleet, i).careful = true;
    g_array_append_vals(begun, made->data, made->len);
    g_array_free(made, TRUE);
    g_free(found);
    g_free(sized);
    g_hash_table_destroy(taken);
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
    const double fits = MEMORY_SHARE * (double)free_bytes / eab_config_memory_bytes(config);
    const double work =
        REALS_PER_THREAD * (double)resident_threads / ((double)config->batch * config->context * config->d_model);
    const double members = fmin(fmin(fits, ceil(work)), LARGEST);
    return members > 1 ? (int32_t)members : 1;
}
