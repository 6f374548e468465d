/* The data of a fleet's checkpoint (checkpoint_file.h), in this order:
 *
 *   head     backend, options, sizes, step, times
 *   ids      of each cell, CELL_ID_BYTES
 *   results  of each cell: the struct, its curve, its geometry
 *   members  each one's cell; then each one's tally since the previous evaluation
 *   reals    of each member: weights, first and second moments, as the device stores them
 *
 * Nothing else is needed: a step's training sequences are a pure function of seed and step, and gradients are zero
 * between steps. A file may hold cells that are no longer wanted, because their results were stored before a crash. */
#include "checkpoint.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_file.h"
#include "geometry.h"
#include "kernels/clock.h"
#include "spec/identity.h"

enum { CELL_ID_BYTES = 16 };
enum { EVALUATION_DUE = 1, WITH_CURVES = 2, WITH_GEOMETRY = 4, WITH_MODELS = 8, STOPPED = 16, MAX_BLOCKS = 3 };

typedef struct {
    char backend[16];
    int32_t flags, cells, members, vocab;
    int64_t step, trained_tokens, peak_bytes;
    double training_s, wall_s;
    eab_load load; /* in wall_s */
} checkpoint_head;

/* The blocks of reals that are stored, and their number. */
static int32_t list_blocks(const eab_model *model, eab_tensor blocks[MAX_BLOCKS]) {
    blocks[0] = model->weights;
    blocks[1] = model->moment1;
    blocks[2] = model->moment2;
    return model->moment2.data ? 3 : 2;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static checkpoint_head make_head(const eab_fleet_state *fleet) {
    const eab_model *model = &fleet->model;
    const eab_train_options *options = fleet->options;
    checkpoint_head head;
    memset(&head, 0, sizeof head);
    snprintf(head.backend, sizeof head.backend, "%s", model->device->backend->name);
    if (fleet->evaluation_due) head.flags |= EVALUATION_DUE;
    if (options->keep_curves) head.flags |= WITH_CURVES;
    if (options->geometry_paths) head.flags |= WITH_GEOMETRY;
    if (options->model_paths) head.flags |= WITH_MODELS;
    if (fleet->stopped) head.flags |= STOPPED;
    head.cells = fleet->cells;
    head.members = model->shape.members;
    head.vocab = model->shape.vocab;
    head.step = fleet->step;
    head.trained_tokens = fleet->trained_tokens;
    head.peak_bytes = (int64_t)model->device->peak_bytes;
    head.training_s = fleet->training_s;
    head.wall_s = eab_now_s() - fleet->started_s;
    head.load = eab_load_between(fleet->started_load, eab_system_load());
    return head;
}

static int put_result(eab_checkpoint_writer *writer, const eab_cell_result *result) {
    const eab_geometry *geometry = result->geometry;
    eab_cell_result stored;
    memcpy(&stored, result, sizeof stored);
    stored.curve = NULL;
    stored.geometry = NULL;
    EAB_TRY(eab_checkpoint_put(writer, &stored, sizeof stored));
    EAB_TRY(eab_checkpoint_put(writer, result->curve, (size_t)result->curve_points * sizeof *result->curve));
    if (!geometry) return EAB_OK;
    return eab_checkpoint_put(writer, geometry->head,
                              (size_t)(geometry->layers * geometry->heads) * sizeof *geometry->head);
}

static int put_reals(const eab_model *model, eab_checkpoint_writer *writer) {
    const eab_backend *backend = model->device->backend;
    const size_t bytes = (size_t)model->parameters.count * backend->real_bytes;
    eab_tensor blocks[MAX_BLOCKS];
    const int32_t count = list_blocks(model, blocks);
    void *reals = malloc(bytes);
    int status = reals ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory for a checkpoint");
    for (int32_t member = 0; member < model->shape.members; member++)
        for (int32_t i = 0; i < count && !status; i++) {
            status = backend->download(model->device, reals, eab_model_member(model, blocks[i], member), bytes);
            if (!status) status = eab_checkpoint_put(writer, reals, bytes);
        }
    free(reals);
    return status;
}

static int put_all(eab_fleet_state *fleet, eab_checkpoint_writer *writer) {
    const checkpoint_head head = make_head(fleet);
    const size_t members = (size_t)head.members;
    EAB_TRY(eab_checkpoint_put(writer, &head, sizeof head));
    for (int32_t cell = 0; cell < fleet->cells; cell++) {
        char id[CELL_ID_BYTES + 1];
        eab_config_id(&fleet->configs[cell], id);
        EAB_TRY(eab_checkpoint_put(writer, id, CELL_ID_BYTES));
    }
    for (int32_t cell = 0; cell < fleet->cells; cell++) EAB_TRY(put_result(writer, &fleet->results[cell]));
    if (!fleet->evaluation_due) EAB_TRY(eab_fleet_read_tallies(fleet));
    EAB_TRY(eab_checkpoint_put(writer, fleet->cell, members * sizeof *fleet->cell));
    EAB_TRY(eab_checkpoint_put(writer, fleet->training, members * sizeof *fleet->training));
    return put_reals(&fleet->model, writer);
}

int eab_fleet_save(eab_fleet_state *fleet) {
    eab_checkpoint_writer *writer;
    EAB_TRY(eab_checkpoint_create(fleet->options->checkpoint->path, &writer));
    return eab_checkpoint_end(writer, put_all(fleet, writer));
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* A checkpoint that is being read into a fleet. */
typedef struct {
    eab_checkpoint_reader *reader;
    checkpoint_head head;
    int32_t *wanted;     /* [head.cells]: the cell's index in the fleet, or -1 */
    int32_t *cell;       /* [head.members]: the file's cell */
    eab_tally *training; /* [head.members] */
} loading;

/* The checksum may still be unchecked: the file must be long enough for its cells' ids. */
static int get_head(eab_checkpoint_reader *reader, checkpoint_head *head) {
    EAB_TRY(eab_checkpoint_get(reader, head, sizeof *head));
    if (head->cells < 1 || head->cells > eab_checkpoint_left(reader) / CELL_ID_BYTES)
        return eab_checkpoint_refuse(reader, "cut off");
    if (head->members < 1 || head->members > head->cells) return eab_checkpoint_refuse(reader, "of no fleet");
    return EAB_OK;
}

/* ids: NULL-terminated, g_strfreev, also after an error. */
static int get_ids(eab_checkpoint_reader *reader, int32_t cells, char ***ids) {
    *ids = g_new0(char *, cells + 1);
    for (int32_t i = 0; i < cells; i++) {
        (*ids)[i] = g_malloc0(CELL_ID_BYTES + 1);
        EAB_TRY(eab_checkpoint_get(reader, (*ids)[i], CELL_ID_BYTES));
    }
    return EAB_OK;
}

/* Fills in wanted[]. */
static int find_cells(const eab_fleet_state *fleet, loading *l) {
    GHashTable *places = g_hash_table_new(g_str_hash, g_str_equal); /* index in the file + 1 */
    char **ids;
    const int status = get_ids(l->reader, l->head.cells, &ids);
    for (int32_t i = 0; i < l->head.cells && !status; i++) {
        g_hash_table_insert(places, ids[i], GINT_TO_POINTER(i + 1));
        l->wanted[i] = -1;
    }
    int32_t found = 0;
    for (int32_t cell = 0; cell < fleet->cells && !status; cell++) {
        char id[CELL_ID_BYTES + 1];
        eab_config_id(&fleet->configs[cell], id);
        const int32_t place = GPOINTER_TO_INT(g_hash_table_lookup(places, id)) - 1;
        if (place < 0) break;
        l->wanted[place] = cell;
        found++;
    }
    g_hash_table_destroy(places);
    g_strfreev(ids);
    if (status) return status;
    return found == fleet->cells ? EAB_OK : eab_checkpoint_refuse(l->reader, "of other cells");
}

/* Whether the file can be used. The fleet stays as it is. */
static int check(const eab_fleet_state *fleet, loading *l) {
    const checkpoint_head own = make_head(fleet);
    EAB_TRY(eab_checkpoint_verify(l->reader));
    EAB_TRY(get_head(l->reader, &l->head));
    if (strcmp(l->head.backend, own.backend) != 0) return eab_checkpoint_refuse(l->reader, "from another backend");
    if (own.flags & ~l->head.flags)
        return eab_checkpoint_refuse(l->reader, "made without the --save-curves, --save-geometry or --save-models "
                                                "that is requested now");
    l->wanted = g_new(int32_t, l->head.cells);
    EAB_TRY(find_cells(fleet, l));
    const int64_t last = fleet->configs[0].steps - !(l->head.flags & EVALUATION_DUE); /* behind it nothing is left */
    if (l->head.step < 0 || l->head.step > last)
        return eab_checkpoint_refuse(l->reader, "of a step that its cells do not have");
    return l->head.vocab == own.vocab ? EAB_OK : eab_checkpoint_refuse(l->reader, "of a fleet with another vocabulary");
}

static int get_curve(loading *l, eab_cell_result *result) {
    const size_t bytes = (size_t)result->curve_points * sizeof *result->curve;
    if (result->curve_points < 0 || (int64_t)bytes > eab_checkpoint_left(l->reader))
        return eab_checkpoint_refuse(l->reader, "cut off in a curve");
    if (!bytes) return EAB_OK;
    result->curve = malloc(bytes);
    if (!result->curve) return eab_fail(EAB_NO_MEMORY, "no memory for a curve of %d points", result->curve_points);
    return eab_checkpoint_get(l->reader, result->curve, bytes);
}

/* Only cells that are ok have a geometry. */
static int get_geometry(loading *l, const eab_config *config, eab_cell_result *result) {
    if (!(l->head.flags & WITH_GEOMETRY) || result->status != EAB_CELL_OK) return EAB_OK;
    const size_t bytes = (size_t)(config->layers * config->heads) * sizeof(eab_geometry_head);
    eab_geometry *geometry = malloc(sizeof *geometry + bytes);
    if (!geometry) return eab_fail(EAB_NO_MEMORY, "no memory for the geometry of a model");
    result->geometry = geometry;
    *geometry = (eab_geometry){.layers = config->layers, .heads = config->heads};
    return eab_checkpoint_get(l->reader, geometry->head, bytes);
}

/* Results of cells that are not wanted are read and dropped. */
static int get_result(eab_fleet_state *fleet, loading *l, int32_t cell) {
    eab_cell_result unwanted, *result = cell >= 0 ? &fleet->results[cell] : &unwanted;
    const int got = eab_checkpoint_get(l->reader, result, sizeof *result);
    result->curve = NULL; /* whatever the file has there */
    result->geometry = NULL;
    result->reason[sizeof result->reason - 1] = '\0';
    if (got) return got;
    if (result->status < EAB_CELL_NONE || result->status > EAB_CELL_TIMEOUT)
        return eab_checkpoint_refuse(l->reader, "of a cell with an unknown status");
    int status = get_curve(l, result);
    if (!status) status = get_geometry(l, &fleet->configs[0], result);
    if (cell < 0) eab_cell_result_free(result);
    return status;
}

/* Whether the members are different cells of the file. */
static int check_members(const loading *l) {
    bool *seen = g_new0(bool, l->head.cells);
    int status = EAB_OK;
    for (int32_t i = 0; i < l->head.members && !status; i++) {
        const int32_t cell = l->cell[i];
        if (cell < 0 || cell >= l->head.cells || seen[cell])
            status = eab_checkpoint_refuse(l->reader, "of members that are not its cells");
        else seen[cell] = true;
    }
    g_free(seen);
    return status;
}

/* Puts the members into the file's order and removes those that are done. */
static int arrange_members(eab_fleet_state *fleet, const loading *l) {
    int32_t next = 0;
    for (int32_t i = 0; i < l->head.members; i++) {
        const int32_t cell = l->wanted[l->cell[i]];
        if (cell < 0) continue;
        int32_t place = next;
        while (fleet->cell[place] != cell) place++;
        if (place != next) EAB_TRY(eab_fleet_swap(fleet, next, place));
        fleet->training[next++] = l->training[i];
    }
    while (fleet->model.shape.members > next) EAB_TRY(eab_fleet_remove(fleet, fleet->model.shape.members - 1));
    return EAB_OK;
}

static int get_reals(const eab_fleet_state *fleet, loading *l) {
    const eab_model *model = &fleet->model;
    const size_t bytes = (size_t)model->parameters.count * model->device->backend->real_bytes;
    eab_tensor blocks[MAX_BLOCKS];
    const int32_t count = list_blocks(model, blocks);
    void *reals = malloc(bytes);
    int status = reals ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory for a checkpoint");
    int32_t member = 0;
    for (int32_t i = 0; i < l->head.members; i++) {
        const bool wanted = l->wanted[l->cell[i]] >= 0;
        for (int32_t k = 0; k < count && !status; k++) {
            status = eab_checkpoint_get(l->reader, reals, bytes);
            if (!status && wanted)
                status = model->device->backend->upload(model->device, eab_model_member(model, blocks[k], member),
                                                        reals, bytes);
        }
        member += wanted;
    }
    free(reals);
    return status;
}

static int restore_counts(eab_fleet_state *fleet, const checkpoint_head *head) {
    eab_device *device = fleet->model.device;
    _Atomic int64_t *steps_restored = fleet->options->checkpoint->steps_restored;
    const int32_t members = fleet->model.shape.members;
    fleet->step = head->step;
    fleet->evaluation_due = head->flags & EVALUATION_DUE;
    fleet->training_s = head->training_s;
    fleet->started_s = eab_now_s() - head->wall_s;
    fleet->started_load = eab_load_between(head->load, eab_system_load());
    fleet->stopped = head->flags & STOPPED;
    fleet->trained_tokens = head->trained_tokens;
    device->peak_bytes = MAX(device->peak_bytes, (size_t)head->peak_bytes);
    /* A cell that is done has no steps left. */
    if (steps_restored) *steps_restored += members * head->step + (fleet->cells - members) * fleet->configs[0].steps;
    if (fleet->evaluation_due) return EAB_OK;
    return device->backend->upload(device, fleet->tokens.training, fleet->training,
                                   (size_t)members * sizeof *fleet->training);
}

static int restore(eab_fleet_state *fleet, loading *l) {
    const size_t members = (size_t)l->head.members;
    for (int32_t i = 0; i < l->head.cells; i++) EAB_TRY(get_result(fleet, l, l->wanted[i]));
    l->cell = g_new(int32_t, members);
    l->training = g_new(eab_tally, members);
    EAB_TRY(eab_checkpoint_get(l->reader, l->cell, members * sizeof *l->cell));
    EAB_TRY(eab_checkpoint_get(l->reader, l->training, members * sizeof *l->training));
    EAB_TRY(check_members(l));
    EAB_TRY(arrange_members(fleet, l));
    EAB_TRY(get_reals(fleet, l));
    return restore_counts(fleet, &l->head);
}

int eab_fleet_load(eab_fleet_state *fleet) {
    loading l = {.reader = NULL};
    EAB_TRY(eab_checkpoint_open(fleet->options->checkpoint->path, &l.reader));
    if (!l.reader) return EAB_OK;
    int status = check(fleet, &l);
    if (!status) {
        status = restore(fleet, &l);
        if (status == EAB_BAD_INPUT) status = EAB_IO; /* the file can no longer be read */
    }
    eab_checkpoint_close(l.reader);
    g_free(l.wanted);
    g_free(l.cell);
    g_free(l.training);
    return status;
}

int eab_checkpoint_cells(const char *path, char ***ids, int64_t *step) {
    eab_checkpoint_reader *reader;
    checkpoint_head head;
    *ids = NULL;
    EAB_TRY(eab_checkpoint_open(path, &reader));
    if (!reader) return EAB_OK;
    int status = get_head(reader, &head);
    if (!status) status = get_ids(reader, head.cells, ids);
    if (!status && step) *step = head.step;
    if (status) g_clear_pointer(ids, g_strfreev);
    eab_checkpoint_close(reader);
    return status;
}
