#include "network.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cost.h"
#include "kernels/mechanism.h"
#include "spec/cell_task.h"

enum { ALIGNMENT_REALS = 16 };

/* Allocates tensors one after another from a block; with memory NULL it only counts. */
typedef struct {
    char *memory;
    size_t real_bytes;
    int64_t used; /* reals of all members so far */
    int64_t members;
} tensor_arena;

static int64_t aligned(int64_t reals) { return (reals + ALIGNMENT_REALS - 1) / ALIGNMENT_REALS * ALIGNMENT_REALS; }

static eab_tensor take(tensor_arena *arena, int64_t members, int64_t reals) {
    const eab_tensor tensor = {arena->memory ? arena->memory + arena->used * (int64_t)arena->real_bytes : NULL,
                               aligned(reals)};
    arena->used += members * aligned(reals);
    return tensor;
}

static void take_activations(eab_model *model, tensor_arena *arena, int32_t micro_batch) {
    const eab_shape *shape = &model->shape;
    const int64_t rows = (int64_t)micro_batch * shape->context, members = arena->members;
    const int64_t norm_rows = shape->norm == EAB_NORM_LAYER ? rows : 0;
    eab_shape micro_shape = *shape;
    micro_shape.batch = micro_batch;
    for (int32_t layer = 0; layer < model->config.layers; layer++) {
        eab_attention_saved *attention = &model->attention_saved[layer];
        attention->normalized = take(arena, members, norm_rows * shape->d_model);
        attention->inv_std = take(arena, members, norm_rows);
        attention->input = take(arena, members, rows * shape->d_model);
        attention->qkv = take(arena, members, rows * 3 * shape->d_model);
        const int64_t qk_rows = shape->qk_norm ? rows : 0;
        attention->qk_unit = take(arena, members, qk_rows * 2 * shape->d_model);
        attention->qk_inv_rms = take(arena, members, qk_rows * 2 * shape->heads);
        attention->attended = take(arena, members, rows * shape->d_model);
        attention->row_stat = take(arena, members, rows * shape->heads);
        if (shape->mlp_dim == 0) continue;
        eab_mlp_saved *mlp = &model->mlp_saved[layer];
        mlp->normalized = take(arena, members, norm_rows * shape->d_model);
        mlp->inv_std = take(arena, members, norm_rows);
        mlp->input = take(arena, members, rows * shape->d_model);
        if (shape->activation == EAB_ACTIVATION_GELU) mlp->before = take(arena, members, rows * shape->mlp_dim);
        mlp->hidden = take(arena, members, rows * shape->mlp_dim);
    }
    model->head_saved.normalized = take(arena, members, norm_rows * shape->d_model);
    model->head_saved.inv_std = take(arena, members, norm_rows);
    model->head_saved.input = take(arena, members, rows * shape->d_model);
    model->head_saved.logits = take(arena, members, rows * shape->vocab);
    model->x = take(arena, members, rows * shape->d_model);
    model->dx = take(arena, members, rows * shape->d_model);
    model->scratch = take(arena, members, eab_scratch_reals(&micro_shape));
}

static void take_weights(eab_model *model, tensor_arena *arena) {
    const eab_config *config = &model->config;
    const int64_t count = model->parameters.count;
    model->weights = take(arena, arena->members, count);
    model->gradients = take(arena, arena->members, count);
    model->moment1 = take(arena, arena->members, count);
    model->moment2 = take(arena, arena->members, config->optimizer == EAB_OPTIMIZER_ADAMW ? count : 0);
    if (config->optimizer != EAB_OPTIMIZER_ADAMW) model->moment2 = (eab_tensor){NULL, 0};
    if (config->embedding == EAB_EMBEDDING_ONEHOT)
        model->one_hot = take(arena, 1, (int64_t)model->shape.vocab * config->d_model);
    if (config->position == EAB_POSITION_ROPE)
        model->rope = take(arena, 1, (int64_t)config->context * (config->d_model / config->heads));
    model->one_hot.stride = model->rope.stride = 0;
}

static void take_all(eab_model *model, tensor_arena *arena) {
    take_weights(model, arena);
    take_activations(model, arena, model->micro_batch);
}

static eab_shape config_shape(const eab_config *config, int32_t members, int32_t vocab) {
    return (eab_shape){.members = members,
                       .batch = config->batch,
                       .context = config->context,
                       .d_model = config->d_model,
                       .heads = config->heads,
                       .mlp_dim = config->mlp_ratio * config->d_model,
                       .vocab = vocab,
                       .norm = (eab_norm)config->norm,
                       .activation = (eab_activation)config->activation,
                       .qk_norm = config->qk_norm,
                       .precision = (eab_precision)config->precision};
}

/* Reals of the activations of `sequences` sequences, all layers. */
static int64_t activation_reals(const eab_config *config, int32_t vocab, int32_t sequences) {
    /* Counted by the code that places the tensors, for one layer and for none. */
    eab_attention_saved attention;
    eab_mlp_saved mlp;
    eab_model model = {.config = *config, .attention_saved = &attention, .mlp_saved = &mlp};
    model.config.layers = 1;
    model.shape = config_shape(config, 1, vocab);
    tensor_arena with_layer = {.members = 1}, without = {.members = 1};
    take_activations(&model, &with_layer, sequences);
    model.config.layers = 0;
    take_activations(&model, &without, sequences);
    return without.used + (with_layer.used - without.used) * config->layers;
}

/* The most sequences whose activations fit micro_batch_bytes. A smaller number, down to half of that, is preferred if
 * it divides the batch; else the micro-batches have about the same size. A backend may round sums by micro-batch, so
 * the choice must not depend on the fleet: d_model replaces the vocabulary, which other members may have padded. */
int32_t eab_model_micro_batch(const eab_backend *backend, const eab_config *config) {
    const int64_t limit = backend->micro_batch_bytes;
    if (limit == 0) return config->batch;
    const int64_t sequence_bytes = activation_reals(config, config->d_model, 1) * (int64_t)backend->real_bytes;
    int64_t most = limit / sequence_bytes;
    if (most < 1) most = 1;
    if (most > config->batch) most = config->batch;
    for (int64_t size = most; size > most / 2; size--)
        if (config->batch % size == 0) return (int32_t)size;
    const int64_t parts = (config->batch + most - 1) / most;
    return (int32_t)((config->batch + parts - 1) / parts);
}

int64_t eab_model_bytes(const eab_backend *backend, const eab_config *config) {
    const int32_t vocab = eab_config_vocab(config);
    eab_model model = {.config = *config, .shape = config_shape(config, 1, vocab)};
    tensor_arena weights = {.members = 1};
    model.parameters.count = eab_config_parameters(config);
    take_weights(&model, &weights);
    const int64_t activations = activation_reals(config, vocab, eab_model_micro_batch(backend, config));
    return (weights.used + activations) * (int64_t)backend->real_bytes;
}

static int write_tables(eab_model *model) {
    const eab_config *config = &model->config;
    const eab_backend *backend = model->device->backend;
    const int32_t head_dim = config->d_model / config->heads, half = head_dim / 2;
    const int64_t one_hot = model->one_hot.data ? (int64_t)model->shape.vocab * config->d_model : 0;
    const int64_t rope = model->rope.data ? (int64_t)config->context * head_dim : 0;
    double *values = calloc((size_t)(one_hot > rope ? one_hot : rope) + 1, sizeof *values);
    if (!values) return eab_fail(EAB_NO_MEMORY, "no memory for the embedding tables");
    int status = EAB_OK;
    if (rope) {
        /* angles t * 10000^(-i / half): Su et al., arXiv 2104.09864 */
        for (int32_t t = 0; t < config->context; t++)
            for (int32_t i = 0; i < half; i++) {
                const double angle = t * pow(10000, -(double)i / half);
                double *pair = values + (int64_t)t * head_dim + 2 * (int64_t)i;
                pair[0] = cos(angle);
                pair[1] = sin(angle);
            }
        status = backend->write_reals(model->device, model->rope.data, values, rope);
        memset(values, 0, (size_t)rope * sizeof *values);
    }
    if (one_hot && !status) {
        /* Tokens from d_model on are other members' padding and never used. */
        for (int32_t token = 0; token < model->shape.vocab && token < config->d_model; token++)
            values[(int64_t)token * config->d_model + token] = 1;
        status = backend->write_reals(model->device, model->one_hot.data, values, one_hot);
    }
    free(values);
    return status;
}

static int write_initial_weights(eab_model *model, const eab_config *configs) {
    const int64_t count = model->parameters.count;
    double *values = malloc((size_t)count * sizeof *values);
    if (!values) return eab_fail(EAB_NO_MEMORY, "no memory for the initial weights");
    int status = EAB_OK;
    for (int32_t member = 0; member < model->shape.members && !status; member++) {
        eab_parameters_initialize(&model->parameters, &configs[member], values);
        status = model->device->backend->write_reals(model->device, eab_model_member(model, model->weights, member),
                                                     values, count);
    }
    free(values);
    return status;
}

static eab_optimizer config_optimizer(const eab_config *config) {
    return (eab_optimizer){.kind = (eab_optimizer_kind)config->optimizer,
                           .schedule = (eab_schedule)config->schedule,
                           .lr = config->lr,
                           .beta1 = config->beta1,
                           .beta2 = config->beta2,
                           .momentum = config->momentum,
                           .weight_decay = config->weight_decay,
                           .clip = config->clip,
                           .lr_final = config->lr_final,
                           .warmup = config->warmup,
                           .steps = config->steps};
}

/* The arrays on the host. */
static int fill_members(eab_model *model, int32_t members, const eab_config *configs) {
    const eab_config *config = &configs[0];
    const size_t n = (size_t)members;
    model->mechanism = malloc(n * sizeof *model->mechanism);
    model->vocab = malloc(n * sizeof *model->vocab);
    model->scale = malloc(n * sizeof *model->scale);
    model->mix = malloc(n * sizeof *model->mix);
    model->optimizers = malloc(n * sizeof *model->optimizers);
    model->seeds = malloc(n * sizeof *model->seeds);
    model->attention_saved = calloc((size_t)config->layers, sizeof *model->attention_saved);
    model->mlp_saved = calloc((size_t)config->layers, sizeof *model->mlp_saved);
    if (!model->mechanism || !model->vocab || !model->scale || !model->mix || !model->optimizers || !model->seeds ||
        !model->attention_saved || !model->mlp_saved)
        return eab_fail(EAB_NO_MEMORY, "no memory for a fleet of %d", members);
    int32_t widest = 0;
    for (int32_t member = 0; member < members; member++) {
        const eab_config *own = &configs[member];
        model->vocab[member] = eab_config_vocab(own);
        model->mechanism[member] = own->mechanism;
        model->scale[member] =
            own->scale > 0 ? (float)own->scale : eab_mechanism_default_scale(own->mechanism, own->d_model / own->heads);
        model->mix[member] = (float)own->mix;
        model->optimizers[member] = config_optimizer(own);
        model->seeds[member] = (uint32_t)own->seed;
        if (model->vocab[member] > widest) widest = model->vocab[member];
    }
    model->shape = config_shape(config, members, widest);
    if (config->position != EAB_POSITION_ALIBI) return EAB_OK;
    model->slopes = malloc((size_t)config->heads * sizeof *model->slopes);
    if (!model->slopes) return eab_fail(EAB_NO_MEMORY, "no memory for %d slopes", config->heads);
    for (int32_t head = 0; head < config->heads; head++)
        model->slopes[head] = (float)exp2(-config->alibi_span * (head + 1) / config->heads);
    return EAB_OK;
}

static int fill_extents(eab_model *model) {
    const eab_parameters *parameters = &model->parameters;
    model->extents = malloc((size_t)parameters->length * sizeof *model->extents);
    if (!model->extents) return eab_fail(EAB_NO_MEMORY, "no memory for %d extents", parameters->length);
    for (int32_t i = 0; i < parameters->length; i++)
        model->extents[i] = (eab_extent){parameters->list[i].offset, parameters->list[i].rows,
                                         parameters->list[i].columns, parameters->list[i].vocab_columns != 0};
    return EAB_OK;
}

static int create(eab_model *model, int32_t members, const eab_config *configs) {
    const eab_config *config = &configs[0];
    const eab_backend *backend = model->device->backend;
    model->config = *config;
    model->batch = config->batch;
    EAB_TRY(fill_members(model, members, configs));
    EAB_TRY(eab_parameters_layout(config, model->shape.vocab, &model->parameters));
    EAB_TRY(fill_extents(model));
    model->micro_batch = eab_model_micro_batch(backend, config);
    tensor_arena counting = {.members = members, .real_bytes = backend->real_bytes};
    take_all(model, &counting);
    const size_t bytes = (size_t)counting.used * backend->real_bytes;
    EAB_TRY(backend->allocate(model->device, bytes, &model->memory));
    EAB_TRY(backend->zero(model->device, model->memory, bytes));
    tensor_arena real = {.memory = model->memory, .members = members, .real_bytes = backend->real_bytes};
    take_all(model, &real);
    model->shape.rope = model->rope;
    model->shape.slopes = model->slopes;
    model->dropout = (eab_dropout){.probability = config->dropout, .seeds = model->seeds, .scratch = model->scratch};
    EAB_TRY(write_tables(model));
    return write_initial_weights(model, configs);
}

int eab_model_create(eab_device *device, int32_t members, const eab_config *configs, eab_model *model) {
    *model = (eab_model){.device = device};
    if (!eab_backend_has_precision(device->backend, (eab_precision)configs->precision))
        return eab_fail(EAB_UNSUPPORTED, "the products of backend %s are in %s only", device->backend->name,
                        device->backend->dtype);
    const int status = create(model, members, configs);
    if (status) eab_model_destroy(model);
    return status;
}

void eab_model_destroy(eab_model *model) {
    if (model->memory) model->device->backend->release(model->device, model->memory);
    eab_parameters_free(&model->parameters);
    free(model->mechanism);
    free(model->vocab);
    free(model->scale);
    free(model->mix);
    free(model->optimizers);
    free(model->seeds);
    free(model->slopes);
    free(model->extents);
    free(model->attention_saved);
    free(model->mlp_saved);
    *model = (eab_model){0};
}

void eab_swap_elements(void *array, size_t size, int32_t a, int32_t b) {
    char *first = (char *)array + (size_t)a * size, *second = (char *)array + (size_t)b * size;
    for (size_t i = 0; i < size; i++) {
        const char byte = first[i];
        first[i] = second[i];
        second[i] = byte;
    }
}

/* Uses member a's gradients as temporary memory: between steps they are zero, and they are zeroed again. */
int eab_model_swap(eab_model *model, int32_t a, int32_t b) {
    const eab_tensor blocks[] = {model->weights, model->moment1, model->moment2};
    const eab_backend *backend = model->device->backend;
    const size_t bytes = (size_t)model->parameters.count * backend->real_bytes;
    void *const aside = eab_model_member(model, model->gradients, a);
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        if (!blocks[i].data) continue;
        void *const first = eab_model_member(model, blocks[i], a);
        void *const second = eab_model_member(model, blocks[i], b);
        EAB_TRY(backend->copy(model->device, aside, first, bytes));
        EAB_TRY(backend->copy(model->device, first, second, bytes));
        EAB_TRY(backend->copy(model->device, second, aside, bytes));
    }
    eab_swap_elements(model->mechanism, sizeof *model->mechanism, a, b);
    eab_swap_elements(model->vocab, sizeof *model->vocab, a, b);
    eab_swap_elements(model->scale, sizeof *model->scale, a, b);
    eab_swap_elements(model->mix, sizeof *model->mix, a, b);
    eab_swap_elements(model->optimizers, sizeof *model->optimizers, a, b);
    eab_swap_elements(model->seeds, sizeof *model->seeds, a, b);
    return backend->zero(model->device, aside, bytes);
}
