/* A fleet's checkpoint. Behind the preamble (checkpoint_file.h), in this order:
 *
 *   head     what it is of: backend, sizes, step, times; EAB_CELL_ID_BYTES of id for each of its cells
 *   results  of each cell: whether it is done, what is known of it, its curve, its geometry
 *   members  of each cell that is still trained: which it is, its tally since the last look
 *   reals    of each of these: weights, first and second moments, as the device stores them
 *
 * Nothing else is needed: the training sequences of a step are a pure function of seed and step, gradients are zero
 * between steps. A file may hold more cells than are wanted (some were delivered before a crash): the others are
 * left. */
#include "checkpoint.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checkpoint_file.h"
#include "geometry.h"
#include "kernels/clock.h"
#include "spec/cell_task.h"
#include "spec/identity.h"
#include "spec/options.h"
#include "train_state.h"

enum { MAX_CELLS = 65536, BLOCKS = 3, LOOKING = 1, WITH_CURVES = 2, WITH_GEOMETRY = 4, WITH_MODELS = 8 };

typedef struct {
    char backend[16];
    uint32_t real_bytes, cells, live, flags;
    int32_t fleet, vocab;  /* cells that it began with; the widest vocabulary */
    int64_t count;         /* reals of a block */
    uint32_t blocks, zero; /* a bit for each of the three; 0 */
    int64_t step, trained_tokens, peak_bytes;
    double training_s, wall_s;
} checkpoint_head;

/* Of a result, all that is not a pointer. */
typedef struct {
    int32_t done, status;
    char reason[256];
    int64_t steps_done, tokens, steps_to_solve, fleet_tokens, memory_bytes;
    double loss_nats, validation_accuracy, token_accuracy, sequence_accuracy, rollout_accuracy, seen_share;
    double train_s, wall_s;
    int32_t solved, fleet, curve_points, geometry_heads; /* heads of all layers; 0: no geometry */
    eab_part_result parts[EAB_MAX_PARTS];
} stored_result;

typedef struct {
    int32_t cell; /* its place among the file's */
    int32_t zero;
    eab_tally training;
} stored_member;

static bool is_live(const eab_fleet_state *fleet, int32_t cell) {
    for (int32_t i = 0; i < fleet->model.shape.members; i++)
        if (fleet->states[i].cell == cell) return true;
    return false;
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static checkpoint_head make_head(const eab_fleet_state *fleet) {
    const eab_model *model = &fleet->model;
    const eab_train_options *options = fleet->options;
    checkpoint_head head;
    memset(&head, 0, sizeof head);
    snprintf(head.backend, sizeof head.backend, "%s", model->device->backend->name);
    head.real_bytes = (uint32_t)model->device->backend->real_bytes;
    head.cells = (uint32_t)fleet->members;
    head.live = (uint32_t)model->shape.members;
    head.flags = (fleet->looking ? LOOKING : 0u) | (options->keep_curves ? WITH_CURVES : 0u) |
                 (options->geometry_paths ? WITH_GEOMETRY : 0u) | (options->model_paths ? WITH_MODELS : 0u);
    head.fleet = fleet->results[0].fleet;
    head.vocab = model->shape.vocab;
    head.count = model->parameters.count;
    head.blocks = model->moment2.data ? 7 : 3;
    head.step = fleet->step;
    head.trained_tokens = fleet->trained_tokens;
    head.peak_bytes = (int64_t)model->device->peak_bytes;
    head.training_s = fleet->training_s;
    head.wall_s = eab_now_s() - fleet->started_s;
    return head;
}

static int put_result(eab_checkpoint_writer *writer, const eab_cell_result *result, bool done) {
    stored_result stored;
    memset(&stored, 0, sizeof stored);
    stored.done = done;
    stored.status = (int32_t)result->status;
    memcpy(stored.reason, result->reason, sizeof stored.reason);
    stored.steps_done = result->steps_done;
    stored.tokens = result->tokens;
    stored.steps_to_solve = result->steps_to_solve;
    stored.fleet_tokens = result->fleet_tokens;
    stored.memory_bytes = result->memory_bytes;
    stored.loss_nats = result->loss_nats;
    stored.validation_accuracy = result->validation_accuracy;
    stored.token_accuracy = result->token_accuracy;
    stored.sequence_accuracy = result->sequence_accuracy;
    stored.rollout_accuracy = result->rollout_accuracy;
    stored.seen_share = result->seen_share;
    stored.train_s = result->train_s;
    stored.wall_s = result->wall_s;
    stored.solved = result->solved;
    stored.fleet = result->fleet;
    stored.curve_points = result->curve_points;
    stored.geometry_heads = result->geometry ? result->geometry->layers * result->geometry->heads : 0;
    memcpy(stored.parts, result->parts, sizeof stored.parts);
    EAB_TRY(eab_checkpoint_put(writer, &stored, sizeof stored));
    if (result->curve_points)
        EAB_TRY(eab_checkpoint_put(writer, result->curve, (size_t)result->curve_points * sizeof *result->curve));
    return result->geometry ? eab_checkpoint_put(writer, result->geometry->head,
                                                 (size_t)stored.geometry_heads * sizeof(eab_geometry_head))
                            : EAB_OK;
}

static char *block_of(const eab_model *model, eab_tensor block, int32_t member) {
    return (char *)block.data + member * block.stride * (int64_t)model->device->backend->real_bytes;
}

static int put_all(eab_fleet_state *fleet, eab_checkpoint_writer *writer, void *reals) {
    const eab_model *model = &fleet->model;
    const eab_backend *backend = model->device->backend;
    const size_t bytes = (size_t)model->parameters.count * backend->real_bytes;
    const checkpoint_head head = make_head(fleet);
    EAB_TRY(eab_checkpoint_put(writer, &head, sizeof head));
    for (int32_t cell = 0; cell < fleet->members; cell++) {
        char id[EAB_CELL_ID_BYTES + 1];
        eab_config_id(&fleet->configs[cell], id);
        EAB_TRY(eab_checkpoint_put(writer, id, EAB_CELL_ID_BYTES));
    }
    for (int32_t cell = 0; cell < fleet->members; cell++)
        EAB_TRY(put_result(writer, &fleet->results[cell], !is_live(fleet, cell)));
    if (!fleet->looking)
        EAB_TRY(backend->download(model->device, fleet->training, fleet->tokens.training,
                                  (size_t)fleet->members * sizeof *fleet->training));
    for (int32_t member = 0; member < model->shape.members; member++) {
        stored_member stored;
        memset(&stored, 0, sizeof stored);
        stored.cell = fleet->states[member].cell;
        stored.training = fleet->looking ? fleet->states[member].training : fleet->training[member];
        EAB_TRY(eab_checkpoint_put(writer, &stored, sizeof stored));
    }
    const eab_tensor blocks[BLOCKS] = {model->weights, model->moment1, model->moment2};
    for (int32_t member = 0; member < model->shape.members; member++)
        for (int i = 0; i < BLOCKS; i++) {
            if (!blocks[i].data) continue;
            EAB_TRY(backend->download(model->device, reals, block_of(model, blocks[i], member), bytes));
            EAB_TRY(eab_checkpoint_put(writer, reals, bytes));
        }
    return EAB_OK;
}

int eab_fleet_save(eab_fleet_state *fleet) {
    eab_checkpoint_writer *writer = NULL;
    void *reals = malloc((size_t)fleet->model.parameters.count * fleet->model.device->backend->real_bytes);
    int status = reals ? eab_checkpoint_create(fleet->options->checkpoint->path, &writer)
                       : eab_fail(EAB_NO_MEMORY, "no memory for a checkpoint");
    if (!status) status = put_all(fleet, writer, reals);
    if (!status) status = eab_checkpoint_commit(writer);
    else eab_checkpoint_abandon(writer);
    free(reals);
    return status;
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

/* A checkpoint being read into a fleet. */
typedef struct {
    eab_fleet_state *fleet;
    eab_checkpoint_reader *reader;
    const char *path;
    checkpoint_head head;
    int32_t *wanted; /* [head.cells]: the fleet's cell, or -1 */
    uint8_t *done;   /* [head.cells]: it is, or its place among the members was found */
} loading;

static int refuse(const loading *l, const char *what) { return eab_fail(EAB_BAD_INPUT, "%s: %s", l->path, what); }

static int get_head(eab_checkpoint_reader *reader, const char *path, checkpoint_head *head) {
    EAB_TRY(eab_checkpoint_get(reader, head, sizeof *head));
    if (head->cells < 1 || head->cells > MAX_CELLS || head->live > head->cells)
        return eab_fail(EAB_BAD_INPUT, "%s: of %u cells; 1..%d are allowed", path, head->cells, MAX_CELLS);
    if (eab_checkpoint_left(reader) < (int64_t)head->cells * EAB_CELL_ID_BYTES)
        return eab_fail(EAB_BAD_INPUT, "%s: cut off", path);
    return EAB_OK;
}

/* Whether the file can be of this fleet at all. */
static int check_head(const loading *l) {
    const checkpoint_head *head = &l->head;
    const eab_model *model = &l->fleet->model;
    const eab_config *shared = &l->fleet->configs[0];
    const eab_train_options *options = l->fleet->options;
    if (strncmp(head->backend, model->device->backend->name, sizeof head->backend) != 0 ||
        head->real_bytes != model->device->backend->real_bytes)
        return refuse(l, "from another backend");
    if (head->count != model->parameters.count || head->vocab != model->shape.vocab ||
        head->blocks != (model->moment2.data ? 7u : 3u) || head->fleet < (int32_t)head->cells)
        return refuse(l, "of models of another size");
    if ((options->keep_curves && !(head->flags & WITH_CURVES)) ||
        (options->geometry_paths && !(head->flags & WITH_GEOMETRY)) ||
        (options->model_paths && !(head->flags & WITH_MODELS)))
        return refuse(l, "made without the --save-curves, --save-geometry or --save-models that is asked for now");
    const bool looking = head->flags & LOOKING;
    if (head->step < 0 || head->step > shared->steps || head->trained_tokens < 0 || head->peak_bytes < 0 ||
        (looking && head->step % shared->eval_every != 0 && head->step != shared->steps) ||
        !(head->training_s >= 0 && head->training_s < 1e10 && head->wall_s >= 0 && head->wall_s < 1e10))
        return refuse(l, "its step or times are not possible");
    return EAB_OK;
}

/* No file of such a fleet is longer. */
static int64_t most_bytes(const loading *l) {
    const eab_config *shared = &l->fleet->configs[0];
    const int64_t points = shared->steps / shared->eval_every + 2;
    const int64_t geometry = (int64_t)shared->layers * shared->heads * (int64_t)sizeof(eab_geometry_head);
    const int64_t reals = BLOCKS * l->head.count * l->head.real_bytes;
    return 4096 + (int64_t)l->head.cells * (EAB_CELL_ID_BYTES + (int64_t)sizeof(stored_result) + geometry + reals +
                                            points * (int64_t)sizeof(eab_curve_point) + (int64_t)sizeof(stored_member));
}

static int find_cells(loading *l) {
    const eab_fleet_state *fleet = l->fleet;
    char(*ids)[EAB_CELL_ID_BYTES + 1] = malloc((size_t)fleet->members * sizeof *ids);
    if (!ids) return eab_fail(EAB_NO_MEMORY, "no memory for %d cells", fleet->members);
    for (int32_t cell = 0; cell < fleet->members; cell++) eab_config_id(&fleet->configs[cell], ids[cell]);
    int32_t found = 0;
    int status = EAB_OK;
    for (uint32_t i = 0; i < l->head.cells && !status; i++) {
        char id[EAB_CELL_ID_BYTES];
        status = eab_checkpoint_get(l->reader, id, sizeof id);
        l->wanted[i] = -1;
        for (int32_t k = 0; k < fleet->members && !status && l->wanted[i] < 0; k++) {
            const int32_t cell = (found + k) % fleet->members; /* most often in the same order */
            if (!ids[cell][0] || memcmp(id, ids[cell], sizeof id) != 0) continue;
            l->wanted[i] = cell;
            ids[cell][0] = '\0'; /* once */
            found++;
        }
    }
    free(ids);
    if (status) return status;
    return found == fleet->members ? EAB_OK : refuse(l, "of other cells");
}

static bool is_share(double value) { return isnan(value) || (value >= 0 && value <= 1); }

/* Whether these could have come from training the cell. */
static bool is_possible(const loading *l, const stored_result *stored, const eab_config *config) {
    const int64_t most_points = l->head.step / config->eval_every + 1;
    const bool right_status = !stored->done || stored->status == EAB_CELL_OK || stored->status == EAB_CELL_DIVERGED ||
                              stored->status == EAB_CELL_TIMEOUT;
    return right_status && memchr(stored->reason, '\0', sizeof stored->reason) && stored->steps_done >= 0 &&
           stored->steps_done <= l->head.step && stored->tokens >= 0 && stored->fleet_tokens >= 0 &&
           stored->memory_bytes >= 0 && stored->steps_to_solve >= -1 && stored->steps_to_solve <= l->head.step &&
           is_share(stored->validation_accuracy) && is_share(stored->token_accuracy) &&
           is_share(stored->sequence_accuracy) && is_share(stored->rollout_accuracy) && is_share(stored->seen_share) &&
           stored->solved >= -1 && stored->solved <= 1 && stored->fleet == l->head.fleet &&
           (isnan(stored->train_s) || stored->train_s >= 0) && (isnan(stored->wall_s) || stored->wall_s >= 0) &&
           stored->curve_points >= 0 && stored->curve_points <= most_points &&
           (!stored->geometry_heads || (stored->done && stored->geometry_heads == config->layers * config->heads));
}

/* A curve's points but one of the look that is to be done again. */
static int get_curve(loading *l, const stored_result *stored, eab_cell_result *result) {
    eab_member_state none = {.cell = 0};
    for (int32_t i = 0; i < stored->curve_points; i++) {
        eab_curve_point point;
        EAB_TRY(eab_checkpoint_get(l->reader, &point, sizeof point));
        if (point.step <= (result->curve_points ? result->curve[result->curve_points - 1].step : 0) ||
            point.step > l->head.step)
            return refuse(l, "a curve that is not possible");
        if (point.step == l->head.step && (l->head.flags & LOOKING) && !stored->done) continue;
        if (l->fleet->options->keep_curves) EAB_TRY(eab_fleet_add_curve_point(&none, result, point));
    }
    return EAB_OK;
}

static int get_geometry(loading *l, const stored_result *stored, const eab_config *config, eab_cell_result *result) {
    const size_t bytes = (size_t)stored->geometry_heads * sizeof(eab_geometry_head);
    if (!bytes || !l->fleet->options->geometry_paths) return eab_checkpoint_skip(l->reader, (int64_t)bytes);
    result->geometry = malloc(sizeof *result->geometry + bytes);
    if (!result->geometry) return eab_fail(EAB_NO_MEMORY, "no memory for the geometry of a model");
    *result->geometry = (eab_geometry){.layers = config->layers, .heads = config->heads};
    return eab_checkpoint_get(l->reader, result->geometry->head, bytes);
}

static int get_result(loading *l, uint32_t place) {
    const int32_t cell = l->wanted[place];
    const eab_config *config = &l->fleet->configs[cell < 0 ? 0 : cell];
    stored_result stored;
    EAB_TRY(eab_checkpoint_get(l->reader, &stored, sizeof stored));
    if (!is_possible(l, &stored, config)) return refuse(l, "a result that is not possible");
    l->done[place] = stored.done != 0;
    if (cell < 0)
        return eab_checkpoint_skip(l->reader, (int64_t)stored.curve_points * (int64_t)sizeof(eab_curve_point) +
                                                  (int64_t)stored.geometry_heads * (int64_t)sizeof(eab_geometry_head));
    eab_cell_result *result = &l->fleet->results[cell];
    if (stored.done) {
        result->status = (eab_cell_status)stored.status;
        memcpy(result->reason, stored.reason, sizeof result->reason);
    }
    result->steps_done = stored.steps_done;
    result->tokens = stored.tokens;
    result->steps_to_solve = stored.steps_to_solve;
    result->fleet_tokens = stored.fleet_tokens;
    result->memory_bytes = stored.memory_bytes;
    result->loss_nats = stored.loss_nats;
    result->validation_accuracy = stored.validation_accuracy;
    result->token_accuracy = stored.token_accuracy;
    result->sequence_accuracy = stored.sequence_accuracy;
    result->rollout_accuracy = stored.rollout_accuracy;
    result->seen_share = stored.seen_share;
    result->train_s = stored.train_s;
    result->wall_s = stored.wall_s;
    result->solved = stored.solved;
    result->fleet = stored.fleet;
    memcpy(result->parts, stored.parts, sizeof result->parts);
    EAB_TRY(get_curve(l, &stored, result));
    return get_geometry(l, &stored, config, result);
}

static int get_members(loading *l, stored_member *members) {
    for (uint32_t i = 0; i < l->head.live; i++) {
        EAB_TRY(eab_checkpoint_get(l->reader, &members[i], sizeof members[i]));
        const int32_t place = members[i].cell;
        if (place < 0 || place >= (int32_t)l->head.cells || l->done[place])
            return refuse(l, "a member that is not possible");
        l->done[place] = true; /* once */
    }
    for (uint32_t place = 0; place < l->head.cells; place++)
        if (!l->done[place]) return refuse(l, "a cell that is neither done nor at work");
    return EAB_OK;
}

static int32_t place_of(const eab_fleet_state *fleet, int32_t cell) {
    int32_t place = 0;
    while (fleet->states[place].cell != cell) place++;
    return place;
}

/* The fleet's members in the file's order, and those that are done taken out. */
static int arrange(loading *l, const stored_member *members) {
    eab_fleet_state *fleet = l->fleet;
    int32_t next = 0;
    for (uint32_t i = 0; i < l->head.live; i++) {
        const int32_t cell = l->wanted[members[i].cell];
        if (cell < 0) continue;
        const int32_t place = place_of(fleet, cell);
        if (place != next) EAB_TRY(eab_fleet_swap(fleet, next, place));
        fleet->states[next].training = members[i].training;
        next++;
    }
    while (fleet->model.shape.members > next) EAB_TRY(eab_fleet_remove(fleet, fleet->model.shape.members - 1));
    return EAB_OK;
}

static int get_reals(loading *l, const stored_member *members, void *reals) {
    const eab_model *model = &l->fleet->model;
    const size_t bytes = (size_t)l->head.count * l->head.real_bytes;
    const eab_tensor blocks[BLOCKS] = {model->weights, model->moment1, model->moment2};
    int32_t next = 0;
    for (uint32_t i = 0; i < l->head.live; i++) {
        const bool wanted = l->wanted[members[i].cell] >= 0;
        for (int block = 0; block < BLOCKS; block++) {
            if (!blocks[block].data) continue;
            EAB_TRY(eab_checkpoint_get(l->reader, reals, bytes));
            if (wanted)
                EAB_TRY(
                    model->device->backend->upload(model->device, block_of(model, blocks[block], next), reals, bytes));
        }
        next += wanted;
    }
    return eab_checkpoint_left(l->reader) ? refuse(l, "longer than it should be") : EAB_OK;
}

/* What is not a cell's own. */
static int restore_fleet(loading *l) {
    eab_fleet_state *fleet = l->fleet;
    eab_device *device = fleet->model.device;
    const eab_train_checkpoint *checkpoint = fleet->options->checkpoint;
    int64_t steps = 0;
    fleet->step = l->head.step;
    fleet->looking = l->head.flags & LOOKING;
    fleet->training_s = l->head.training_s;
    fleet->started_s = eab_now_s() - l->head.wall_s;
    fleet->trained_tokens = l->head.trained_tokens;
    if ((int64_t)device->peak_bytes < l->head.peak_bytes) device->peak_bytes = (size_t)l->head.peak_bytes;
    if (!fleet->looking) {
        for (int32_t member = 0; member < fleet->model.shape.members; member++)
            fleet->training[member] = fleet->states[member].training;
        EAB_TRY(device->backend->upload(device, fleet->tokens.training, fleet->training,
                                        (size_t)fleet->members * sizeof *fleet->training));
    }
    for (int32_t cell = 0; cell < fleet->members; cell++)
        steps +=
            is_live(fleet, cell) ? fleet->step : fleet->configs[cell].steps; /* one that is done has no more to do */
    if (checkpoint->steps_restored) atomic_fetch_add_explicit(checkpoint->steps_restored, steps, memory_order_relaxed);
    return EAB_OK;
}

static int load(loading *l) {
    EAB_TRY(get_head(l->reader, l->path, &l->head));
    EAB_TRY(check_head(l));
    EAB_TRY(eab_checkpoint_verify(l->reader, most_bytes(l)));
    EAB_TRY(get_head(l->reader, l->path, &l->head)); /* again: now it is known to be whole */
    EAB_TRY(check_head(l));
    l->wanted = malloc(l->head.cells * sizeof *l->wanted);
    l->done = calloc(l->head.cells, 1);
    stored_member *members = malloc((l->head.live + 1) * sizeof *members);
    void *reals = malloc((size_t)l->head.count * l->head.real_bytes);
    int status = l->wanted && l->done && members && reals ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory to go on");
    if (!status) status = find_cells(l);
    for (uint32_t i = 0; i < l->head.cells && !status; i++) status = get_result(l, i);
    if (!status) status = get_members(l, members);
    if (!status) status = arrange(l, members);
    if (!status) status = get_reals(l, members, reals);
    if (!status) status = restore_fleet(l);
    free(members);
    free(reals);
    return status;
}

int eab_fleet_load(eab_fleet_state *fleet) {
    loading l = {.fleet = fleet, .path = fleet->options->checkpoint->path};
    EAB_TRY(eab_checkpoint_open(l.path, &l.reader));
    if (!l.reader) return EAB_OK;
    const int status = load(&l);
    eab_checkpoint_close(l.reader);
    free(l.wanted);
    free(l.done);
    return status;
}

int eab_checkpoint_cells(const char *path, char **ids, int32_t *count) {
    eab_checkpoint_reader *reader;
    checkpoint_head head;
    *ids = NULL;
    *count = 0;
    EAB_TRY(eab_checkpoint_open(path, &reader));
    if (!reader) return EAB_OK;
    int status = get_head(reader, path, &head);
    if (!status) {
        *ids = malloc((size_t)head.cells * EAB_CELL_ID_BYTES);
        status = *ids ? eab_checkpoint_get(reader, *ids, (size_t)head.cells * EAB_CELL_ID_BYTES)
                      : eab_fail(EAB_NO_MEMORY, "no memory for the ids of %u cells", head.cells);
    }
    if (status) {
        free(*ids);
        *ids = NULL;
    } else {
        *count = (int32_t)head.cells;
    }
    eab_checkpoint_close(reader);
    return status;
}
