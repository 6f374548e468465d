/* The geometry of a fleet's members: runs the model on held-out sequences and reads q and k of every layer. */
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "geometry.h"
#include "safetensors.h"

static const int64_t MAX_MAP_BYTES = 64 << 20;

/* The sums of one member. */
typedef struct {
    eab_geometry_sums *sums; /* [layers][heads] */
    float *maps;             /* [EAB_GEOMETRY_MAPS][layers][heads][context][context], or NULL */
    int32_t *map_tokens;     /* [EAB_GEOMETRY_MAPS][context + 1] */
} member_geometry;

typedef struct {
    eab_model *model;
    eab_fleet_tokens *tokens;
    member_geometry *members;
    int32_t *inputs, *targets; /* of the batch, on the host */
    size_t token_bytes;        /* of each */
    int64_t done;              /* sequences before this batch */
    double *qkv;               /* of one layer of one member's micro-batch */
    int32_t *sequence;         /* [context + 1] */
    uint8_t *determined;       /* [context] */
} measurement;

static int64_t map_reals(const eab_shape *shape, int32_t layers) {
    return (int64_t)layers * shape->heads * shape->context * shape->context;
}

/* Restores the sequence from the inputs and targets that generate() wrote (backend.h). */
static void read_sequence(const measurement *m, int32_t member, int32_t sequence) {
    const int32_t context = m->model->shape.context;
    const int64_t row = ((int64_t)member * m->model->batch + sequence) * context;
    m->sequence[0] = m->inputs[row];
    for (int32_t t = 0; t < context; t++) {
        const int32_t target = m->targets[row + t];
        m->determined[t] = target >= 0;
        m->sequence[t + 1] = target >= 0 ? target : -1 - target;
    }
}

static int add_sequence(const measurement *m, int32_t member, int32_t layer, int32_t sequence, const double *qkv) {
    const eab_model *model = m->model;
    const eab_shape *shape = &model->shape;
    member_geometry *own = &m->members[member];
    const int32_t head_dim = shape->d_model / shape->heads;
    const int64_t index = m->done + sequence;
    const eab_attention_args args = {.members = 1,
                                     .batch = 1,
                                     .heads = shape->heads,
                                     .context = shape->context,
                                     .head_dim = head_dim,
                                     .causal = true,
                                     .scores = {&model->mechanism[member], &model->scale[member], &model->mix[member]},
                                     .slopes = shape->slopes,
                                     .in_head = head_dim,
                                     .in_time = 3 * (int64_t)shape->d_model};
    const eab_parts parts = eab_generate_parts(&m->tokens->generate, member);
    const eab_geometry_sequence seen = {&m->tokens->generate.levels[parts.first + index % parts.count], m->sequence,
                                        m->determined, parts.cue >= 0};
    read_sequence(m, member, sequence);
    float *map = NULL;
    if (own->maps && index < EAB_GEOMETRY_MAPS) {
        map = own->maps + index * map_reals(shape, model->config.layers) + layer * map_reals(shape, 1);
        memcpy(own->map_tokens + index * (shape->context + 1), m->sequence,
               ((size_t)shape->context + 1) * sizeof *m->sequence);
    }
    for (int32_t head = 0; head < shape->heads; head++) {
        EAB_TRY(eab_geometry_add(&own->sums[layer * shape->heads + head], &args, head, qkv, qkv + shape->d_model, &seen,
                                 map));
        if (map) map += (int64_t)shape->context * shape->context;
    }
    return EAB_OK;
}

/* Adds sequences first..first + count - 1 of the batch, after their forward pass. */
static int add_micro_batch(const measurement *m, int32_t first, int32_t count) {
    const eab_model *model = m->model;
    const eab_backend *backend = model->device->backend;
    const int64_t reals = (int64_t)model->shape.context * 3 * model->shape.d_model;
    for (int32_t member = 0; member < model->shape.members; member++)
        for (int32_t layer = 0; layer < model->config.layers; layer++) {
            const void *from = eab_model_member(model, model->attention_saved[layer].qkv, member);
            EAB_TRY(backend->read_reals(model->device, m->qkv, from, count * reals));
            for (int32_t i = 0; i < count; i++) EAB_TRY(add_sequence(m, member, layer, first + i, m->qkv + i * reals));
        }
    return EAB_OK;
}

/* The next batch of the held-out stream, or as much of it as is measured. */
static int measure_batch(const measurement *m) {
    eab_model *model = m->model;
    eab_fleet_tokens *tokens = m->tokens;
    const eab_backend *backend = model->device->backend;
    const int32_t sequences = (int32_t)MIN(model->batch, EAB_GEOMETRY_SEQUENCES - m->done);
    tokens->generate.first_index = (uint64_t)m->done;
    EAB_TRY(backend->generate(model->device, &tokens->generate, tokens->inputs, tokens->targets, tokens->counts));
    EAB_TRY(backend->download(model->device, m->inputs, tokens->inputs, m->token_bytes));
    EAB_TRY(backend->download(model->device, m->targets, tokens->targets, m->token_bytes));
    for (int32_t first = 0; first < sequences; first += model->micro_batch) {
        const int32_t count = MIN(model->micro_batch, sequences - first);
        EAB_TRY(eab_model_forward(model, tokens->inputs, first, count));
        EAB_TRY(add_micro_batch(m, first, count));
    }
    return EAB_OK;
}

static int save_maps(const eab_model *model, const member_geometry *own, const eab_config *config, const char *path) {
    const eab_shape *shape = &model->shape;
    const int64_t context = shape->context;
    const eab_safetensor tensors[] = {
        {"attention", "F32", 5, {EAB_GEOMETRY_MAPS, model->config.layers, shape->heads, context, context}, own->maps},
        {"tokens", "I32", 2, {EAB_GEOMETRY_MAPS, context + 1}, own->map_tokens}};
    return eab_safetensors_write(path, config, tensors, 2);
}

/* path: where to save the maps, or NULL. */
static int allocate_member(const eab_model *model, const char *path, member_geometry *own) {
    const eab_shape *shape = &model->shape;
    const int64_t reals = EAB_GEOMETRY_MAPS * map_reals(shape, model->config.layers);
    const bool fits = path && reals * (int64_t)sizeof(float) <= MAX_MAP_BYTES;
    own->sums = calloc((size_t)model->config.layers * (size_t)shape->heads, sizeof *own->sums);
    if (fits) own->maps = calloc((size_t)reals, sizeof *own->maps);
    own->map_tokens = calloc(EAB_GEOMETRY_MAPS * ((size_t)shape->context + 1), sizeof *own->map_tokens);
    if (own->sums && own->map_tokens && (own->maps || !fits)) return EAB_OK;
    return eab_fail(EAB_NO_MEMORY, "no memory for the geometry of a model");
}

static int finish_member(eab_fleet_state *fleet, int32_t member, const member_geometry *own) {
    const eab_model *model = &fleet->model;
    const int32_t cell = fleet->cell[member], layers = model->config.layers, heads = model->shape.heads;
    eab_geometry *geometry = malloc(sizeof *geometry + (size_t)layers * (size_t)heads * sizeof geometry->head[0]);
    if (!geometry) return eab_fail(EAB_NO_MEMORY, "no memory for the geometry of a model");
    *geometry = (eab_geometry){.layers = layers, .heads = heads};
    for (int32_t i = 0; i < layers * heads; i++) eab_geometry_finish(&own->sums[i], &geometry->head[i]);
    fleet->results[cell].geometry = geometry;
    return own->maps ? save_maps(model, own, &fleet->configs[cell], fleet->options->geometry_paths[cell]) : EAB_OK;
}

static void free_member(member_geometry *own) {
    free(own->sums);
    free(own->maps);
    free(own->map_tokens);
}

int eab_fleet_measure_geometry(eab_fleet_state *fleet) {
    eab_model *model = &fleet->model;
    eab_fleet_tokens *tokens = &fleet->tokens;
    const int32_t members = model->shape.members;
    const size_t context = (size_t)model->shape.context, d_model = (size_t)model->shape.d_model;
    const size_t token_bytes = (size_t)members * (size_t)model->batch * context * sizeof(int32_t);
    measurement m = {.model = model,
                     .tokens = tokens,
                     .members = g_new0(member_geometry, members),
                     .inputs = malloc(token_bytes),
                     .targets = malloc(token_bytes),
                     .token_bytes = token_bytes,
                     .qkv = malloc((size_t)model->micro_batch * context * 3 * d_model * sizeof *m.qkv),
                     .sequence = g_new(int32_t, context + 1),
                     .determined = g_new(uint8_t, context)};
    int status = m.inputs && m.targets && m.qkv ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory for the geometry");
    tokens->generate.members = members;
    tokens->generate.stream = EAB_STREAM_HELD_OUT;
    tokens->generate.repeat_after = 0;
    for (int32_t member = 0; member < members && !status; member++)
        status = allocate_member(model, fleet->options->geometry_paths[fleet->cell[member]], &m.members[member]);
    for (; m.done < EAB_GEOMETRY_SEQUENCES && !status; m.done += model->batch) status = measure_batch(&m);
    for (int32_t member = 0; member < members && !status; member++)
        status = finish_member(fleet, member, &m.members[member]);
    for (int32_t member = 0; member < members; member++) free_member(&m.members[member]);
    g_free(m.members);
    free(m.inputs);
    free(m.targets);
    free(m.qkv);
    g_free(m.sequence);
    g_free(m.determined);
    return status;
}
