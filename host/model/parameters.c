#include "parameters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spec/cell_task.h"

enum { MAX_PER_LAYER = 14, MAX_OUTSIDE = 6 };
enum { INITIAL_WEIGHTS_KEY = 0x57454947 }; /* no task uses this key */
enum { LAYER_DRAWS = 16, QKV_DRAW = 2 };   /* draw numbers of each layer; that of qkv.weight */

/* place_all() runs twice: first for matrices and embeddings, then for gains and biases. */
typedef struct {
    eab_parameters *parameters;
    bool decayed;
    int32_t layer; /* current layer; -1: outside the layers */
} layout;

static bool is_decayed(eab_parameter_kind kind) {
    return kind == EAB_PARAMETER_MATRIX || kind == EAB_PARAMETER_EMBEDDING;
}

/* Appends a tensor and sets its offset, if this run places its kind. draw: number within the layer, or outside. */
static void place(layout *run, int64_t *offset, const char *name, uint32_t draw, eab_parameter_kind kind, int32_t rows,
                  int32_t columns) {
    if (is_decayed(kind) != run->decayed) return;
    eab_parameters *parameters = run->parameters;
    eab_parameter *parameter = &parameters->list[parameters->length++];
    *parameter = (eab_parameter){.kind = kind,
                                 .offset = parameters->count,
                                 .rows = rows,
                                 .columns = columns,
                                 .draw = LAYER_DRAWS * (uint32_t)(run->layer + 1) + draw};
    if (run->layer < 0) snprintf(parameter->name, sizeof parameter->name, "%s", name);
    else snprintf(parameter->name, sizeof parameter->name, "blocks.%d.%s", run->layer, name);
    *offset = parameters->count;
    parameters->count += (int64_t)rows * columns;
}

static void place_attention(layout *run, const eab_config *config, eab_layer_offsets *own) {
    const int32_t d_model = config->d_model, head_dim = d_model / config->heads;
    if (config->norm == EAB_NORM_LAYER) {
        place(run, &own->norm_gain, "attention.norm.gain", 0, EAB_PARAMETER_GAIN, 1, d_model);
        if (config->bias) place(run, &own->norm_bias, "attention.norm.bias", 1, EAB_PARAMETER_BIAS, 1, d_model);
    }
    place(run, &own->qkv, "attention.qkv.weight", QKV_DRAW, EAB_PARAMETER_MATRIX, d_model, 3 * d_model);
    if (config->qk_norm) {
        place(run, &own->q_gain, "attention.q_norm.gain", 12, EAB_PARAMETER_GAIN, 1, head_dim);
        place(run, &own->k_gain, "attention.k_norm.gain", 13, EAB_PARAMETER_GAIN, 1, head_dim);
    }
    place(run, &own->out, "attention.out.weight", 4, EAB_PARAMETER_MATRIX, d_model, d_model);
    if (!config->bias) return;
    place(run, &own->qkv_bias, "attention.qkv.bias", 3, EAB_PARAMETER_BIAS, 1, 3 * d_model);
    place(run, &own->out_bias, "attention.out.bias", 5, EAB_PARAMETER_BIAS, 1, d_model);
}

static void place_mlp(layout *run, const eab_config *config, eab_layer_offsets *own) {
    const int32_t d_model = config->d_model, mlp_dim = config->mlp_ratio * d_model;
    if (config->norm == EAB_NORM_LAYER) {
        place(run, &own->mlp_norm_gain, "mlp.norm.gain", 6, EAB_PARAMETER_GAIN, 1, d_model);
        if (config->bias) place(run, &own->mlp_norm_bias, "mlp.norm.bias", 7, EAB_PARAMETER_BIAS, 1, d_model);
    }
    place(run, &own->up, "mlp.up.weight", 8, EAB_PARAMETER_MATRIX, d_model, mlp_dim);
    place(run, &own->down, "mlp.down.weight", 10, EAB_PARAMETER_MATRIX, mlp_dim, d_model);
    if (!config->bias) return;
    place(run, &own->up_bias, "mlp.up.bias", 9, EAB_PARAMETER_BIAS, 1, mlp_dim);
    place(run, &own->down_bias, "mlp.down.bias", 11, EAB_PARAMETER_BIAS, 1, d_model);
}

static void place_head(layout *run, const eab_config *config, int32_t vocab) {
    eab_parameters *own = run->parameters;
    if (config->norm == EAB_NORM_LAYER) {
        place(run, &own->head.norm_gain, "head.norm.gain", 3, EAB_PARAMETER_GAIN, 1, config->d_model);
        if (config->bias) place(run, &own->head.norm_bias, "head.norm.bias", 4, EAB_PARAMETER_BIAS, 1, config->d_model);
    }
    place(run, &own->head.out, "head.out.weight", 5, EAB_PARAMETER_MATRIX, config->d_model, vocab);
    if (config->bias) place(run, &own->head.out_bias, "head.out.bias", 6, EAB_PARAMETER_BIAS, 1, vocab);
}

static void place_all(layout *run, const eab_config *config, int32_t vocab) {
    eab_parameters *own = run->parameters;
    run->layer = -1;
    if (config->embedding == EAB_EMBEDDING_LEARNED)
        place(run, &own->token, "embedding.token", 1, EAB_PARAMETER_EMBEDDING, vocab, config->d_model);
    if (config->position == EAB_POSITION_LEARNED)
        place(run, &own->position, "embedding.position", 2, EAB_PARAMETER_EMBEDDING, config->context, config->d_model);
    for (run->layer = 0; run->layer < config->layers; run->layer++) {
        place_attention(run, config, &own->layers[run->layer]);
        if (config->mlp_ratio) place_mlp(run, config, &own->layers[run->layer]);
    }
    run->layer = -1;
    place_head(run, config, vocab);
}

int eab_parameters_layout(const eab_config *config, int32_t vocab, eab_parameters *parameters) {
    const size_t most = (size_t)config->layers * MAX_PER_LAYER + MAX_OUTSIDE;
    *parameters = (eab_parameters){.token = -1, .position = -1, .head = {-1, -1, -1, -1}};
    parameters->list = malloc(most * sizeof *parameters->list);
    parameters->layers = malloc((size_t)config->layers * sizeof *parameters->layers);
    if (!parameters->list || !parameters->layers) {
        eab_parameters_free(parameters);
        return eab_fail(EAB_NO_MEMORY, "no memory for the names of %zu parameters", most);
    }
    memset(parameters->layers, 0xff, (size_t)config->layers * sizeof *parameters->layers); /* offsets of -1 */
    layout run = {parameters, true, -1};
    place_all(&run, config, vocab);
    parameters->decayed = parameters->count;
    run.decayed = false;
    place_all(&run, config, vocab);
    for (int32_t i = 0; i < parameters->length; i++) {
        eab_parameter *parameter = &parameters->list[i];
        parameter->vocab_rows = parameter->offset == parameters->token;
        parameter->vocab_columns =
            parameter->offset == parameters->head.out || parameter->offset == parameters->head.out_bias;
    }
    return EAB_OK;
}

void eab_parameters_free(eab_parameters *parameters) {
    free(parameters->list);
    free(parameters->layers);
    *parameters = (eab_parameters){0};
}

/* Uniform in (-1, 1), symmetric, a multiple of 2^-32. */
static double draw_uniform(uint32_t seed, uint32_t draw, int32_t row, int32_t column) {
    const eab_philox_block counter = {{(uint32_t)column, (uint32_t)row, draw, 0}};
    const uint32_t word = eab_philox(counter, seed, INITIAL_WEIGHTS_KEY).word[0];
    return ((double)word + 0.5) / 2147483648.0 - 1.0;
}

/* The standard deviation of a tensor's random initial values; 0: they are not random. */
static double initial_std(const eab_parameter *parameter, const eab_config *config) {
    if (parameter->kind == EAB_PARAMETER_MATRIX) return config->init_scale / sqrt(parameter->rows);
    return parameter->kind == EAB_PARAMETER_EMBEDDING ? config->embedding_scale : 0;
}

void eab_parameters_initialize(const eab_parameters *parameters, const eab_config *config, double *values) {
    const int32_t vocab = eab_config_vocab(config);
    for (int32_t i = 0; i < parameters->length; i++) {
        const eab_parameter *parameter = &parameters->list[i];
        const double std = initial_std(parameter, config);
        const bool is_qkv = parameter->kind == EAB_PARAMETER_MATRIX && parameter->draw % LAYER_DRAWS == QKV_DRAW;
        for (int32_t row = 0; row < parameter->rows; row++)
            for (int32_t column = 0; column < parameter->columns; column++) {
                double value = parameter->kind == EAB_PARAMETER_GAIN ? 1 : 0;
                if (is_decayed(parameter->kind))
                    value = std * sqrt(3.0) * draw_uniform((uint32_t)config->seed, parameter->draw, row, column);
                if (is_qkv && column < 2 * config->d_model) value *= config->qk_init;
                if ((parameter->vocab_rows && row >= vocab) || (parameter->vocab_columns && column >= vocab)) value = 0;
                values[parameter->offset + (int64_t)row * parameter->columns + column] = value;
            }
    }
}
