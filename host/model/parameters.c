#include "parameters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "spec/cell_task.h"

enum { MAX_PER_LAYER = 14, MAX_OUTSIDE = 6 };
enum { INITIAL_WEIGHTS_KEY = 0x57454947 }; /* keeps these draws apart from every task's */

/* The layout runs twice over the same calls: matrices and embeddings first, then gains and biases. */
typedef struct {
    eab_parameters *parameters;
    bool decayed;
} layout;

static int64_t place(layout *pass, const char *name, uint32_t draw, eab_parameter_kind kind, int32_t rows,
                     int32_t columns, int64_t before) {
    const bool decayed = kind == EAB_PARAMETER_MATRIX || kind == EAB_PARAMETER_EMBEDDING;
    if (decayed != pass->decayed) return before;
    eab_parameters *parameters = pass->parameters;
    eab_parameter *parameter = &parameters->list[parameters->length++];
    *parameter =
        (eab_parameter){.kind = kind, .offset = parameters->count, .rows = rows, .columns = columns, .draw = draw};
    snprintf(parameter->name, sizeof parameter->name, "%s", name);
    parameters->count += (int64_t)rows * columns;
    return parameter->offset;
}

static void place_layer(layout *pass, const eab_config *config, int32_t layer) {
    const int32_t d_model = config->d_model, mlp_dim = config->mlp_ratio * d_model;
    const uint32_t draw = 16u * ((uint32_t)layer + 1);
    char name[48];
#define PLACE(field, suffix, number, kind, rows, columns)                                                   \
    do {                                                                                                    \
        snprintf(name, sizeof name, "blocks.%d." suffix, layer);                                            \
        pass->parameters->layers[layer].field =                                                             \
            place(pass, name, draw + (number), kind, rows, columns, pass->parameters->layers[layer].field); \
    } while (0)
    if (config->norm == EAB_NORM_LAYER) {
        PLACE(norm_gain, "attention.norm.gain", 0, EAB_PARAMETER_GAIN, 1, d_model);
        if (config->bias) PLACE(norm_bias, "attention.norm.bias", 1, EAB_PARAMETER_BIAS, 1, d_model);
    }
    PLACE(qkv, "attention.qkv.weight", 2, EAB_PARAMETER_MATRIX, d_model, 3 * d_model);
    if (config->qk_norm) {
        PLACE(q_gain, "attention.q_norm.gain", 12, EAB_PARAMETER_GAIN, 1, d_model / config->heads);
        PLACE(k_gain, "attention.k_norm.gain", 13, EAB_PARAMETER_GAIN, 1, d_model / config->heads);
    }
    PLACE(out, "attention.out.weight", 4, EAB_PARAMETER_MATRIX, d_model, d_model);
    if (config->bias) {
        PLACE(qkv_bias, "attention.qkv.bias", 3, EAB_PARAMETER_BIAS, 1, 3 * d_model);
        PLACE(out_bias, "attention.out.bias", 5, EAB_PARAMETER_BIAS, 1, d_model);
    }
    if (mlp_dim == 0) return;
    if (config->norm == EAB_NORM_LAYER) {
        PLACE(mlp_norm_gain, "mlp.norm.gain", 6, EAB_PARAMETER_GAIN, 1, d_model);
        if (config->bias) PLACE(mlp_norm_bias, "mlp.norm.bias", 7, EAB_PARAMETER_BIAS, 1, d_model);
    }
    PLACE(up, "mlp.up.weight", 8, EAB_PARAMETER_MATRIX, d_model, mlp_dim);
    PLACE(down, "mlp.down.weight", 10, EAB_PARAMETER_MATRIX, mlp_dim, d_model);
    if (config->bias) {
        PLACE(up_bias, "mlp.up.bias", 9, EAB_PARAMETER_BIAS, 1, mlp_dim);
        PLACE(down_bias, "mlp.down.bias", 11, EAB_PARAMETER_BIAS, 1, d_model);
    }
#undef PLACE
}

static void place_all(layout *pass, const eab_config *config, int32_t vocab) {
    eab_parameters *parameters = pass->parameters;
    const int32_t d_model = config->d_model;
    if (config->embedding == EAB_EMBEDDING_LEARNED)
        parameters->token =
            place(pass, "embedding.token", 1, EAB_PARAMETER_EMBEDDING, vocab, d_model, parameters->token);
    if (config->position == EAB_POSITION_LEARNED)
        parameters->position = place(pass, "embedding.position", 2, EAB_PARAMETER_EMBEDDING, config->context, d_model,
                                     parameters->position);
    for (int32_t layer = 0; layer < config->layers; layer++) place_layer(pass, config, layer);
    if (config->norm == EAB_NORM_LAYER) {
        parameters->head.norm_gain =
            place(pass, "head.norm.gain", 3, EAB_PARAMETER_GAIN, 1, d_model, parameters->head.norm_gain);
        if (config->bias)
            parameters->head.norm_bias =
                place(pass, "head.norm.bias", 4, EAB_PARAMETER_BIAS, 1, d_model, parameters->head.norm_bias);
    }
    parameters->head.out =
        place(pass, "head.out.weight", 5, EAB_PARAMETER_MATRIX, d_model, vocab, parameters->head.out);
    if (config->bias)
        parameters->head.out_bias =
            place(pass, "head.out.bias", 6, EAB_PARAMETER_BIAS, 1, vocab, parameters->head.out_bias);
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
    /* every offset of a layer is -1 until it is placed */
    for (int64_t *offset = (int64_t *)parameters->layers; offset < (int64_t *)(parameters->layers + config->layers);
         offset++)
        *offset = -1;
    layout pass = {parameters, true};
    place_all(&pass, config, vocab);
    parameters->decayed = parameters->count;
    pass.decayed = false;
    place_all(&pass, config, vocab);
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

void eab_parameters_initialize(const eab_parameters *parameters, const eab_config *config, double *values) {
    const int32_t vocab = eab_config_vocab(config);
    for (int32_t i = 0; i < parameters->length; i++) {
        const eab_parameter *parameter = &parameters->list[i];
        double std = config->embedding_scale;
        if (parameter->kind == EAB_PARAMETER_MATRIX) std = config->init_scale / sqrt(parameter->rows);
        const bool is_qkv = parameter->kind == EAB_PARAMETER_MATRIX && parameter->columns == 3 * config->d_model &&
                            parameter->draw % 16 == 2;
        for (int32_t row = 0; row < parameter->rows; row++)
            for (int32_t column = 0; column < parameter->columns; column++) {
                double value = parameter->kind == EAB_PARAMETER_GAIN ? 1 : 0;
                if (parameter->kind == EAB_PARAMETER_MATRIX || parameter->kind == EAB_PARAMETER_EMBEDDING)
                    value = std * sqrt(3.0) * draw_uniform((uint32_t)config->seed, parameter->draw, row, column);
                if (is_qkv && column < 2 * config->d_model) value *= config->qk_init;
                if ((parameter->vocab_rows && row >= vocab) || (parameter->vocab_columns && column >= vocab)) value = 0;
                values[parameter->offset + (int64_t)row * parameter->columns + column] = value;
            }
    }
}
