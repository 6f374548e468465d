/* The layout of a model's parameters and their initial values. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "default_config.h"
#include "host/model/cost.h"
#include "host/model/parameters.h"
#include "host/spec/options.h"

enum { VOCAB = 8, D_MODEL = 12, HEADS = 3 };

static eab_config small(void) {
    eab_config config = default_config(0);
    config.d_model = D_MODEL;
    config.heads = HEADS;
    config.layers = 2;
    return config;
}

static double *initial(const eab_config *config, eab_parameters *parameters) {
    cr_assert_eq(eab_parameters_layout(config, VOCAB, parameters), EAB_OK);
    double *values = calloc((size_t)parameters->count, sizeof *values);
    cr_assert_not_null(values);
    eab_parameters_initialize(parameters, config, values);
    return values;
}

static const eab_parameter *find(const eab_parameters *parameters, const char *name) {
    for (int32_t i = 0; i < parameters->length; i++)
        if (strcmp(parameters->list[i].name, name) == 0) return &parameters->list[i];
    return NULL;
}

/* qk_init multiplies the q and k columns of every layer and nothing else. */
Test(parameters, qk_init_scales_the_q_and_k_maps) {
    eab_config config = small();
    eab_parameters parameters, same;
    double *plain = initial(&config, &parameters);
    config.qk_init = 0.25;
    double *scaled = initial(&config, &same);
    int maps = 0;
    for (int32_t i = 0; i < parameters.length; i++) {
        const eab_parameter *parameter = &parameters.list[i];
        const bool is_map = strstr(parameter->name, "attention.qkv.weight") != NULL;
        maps += is_map;
        for (int32_t row = 0; row < parameter->rows; row++)
            for (int32_t column = 0; column < parameter->columns; column++) {
                const int64_t at = parameter->offset + (int64_t)row * parameter->columns + column;
                const double factor = is_map && column < 2 * D_MODEL ? 0.25 : 1;
                cr_assert_eq(scaled[at], factor * plain[at], "%s[%d][%d]", parameter->name, row, column);
            }
    }
    cr_expect_eq(maps, 2);
    free(plain);
    free(scaled);
    eab_parameters_free(&parameters);
    eab_parameters_free(&same);
}

/* qk_norm adds two gains of 1 a layer, without weight decay, and changes no other parameter's initial value. */
Test(parameters, qk_norm_adds_gains) {
    eab_config config = small();
    eab_parameters off, on;
    double *before = initial(&config, &off);
    config.qk_norm = 1;
    double *after = initial(&config, &on);
    cr_assert_eq(on.length, off.length + 4);
    cr_expect_eq(on.count, off.count + 4 * D_MODEL / HEADS);
    cr_expect_eq(on.decayed, off.decayed);
    for (int32_t i = 0; i < on.length; i++) {
        const eab_parameter *own = &on.list[i], *other = find(&off, own->name);
        if (other) {
            cr_expect_arr_eq(after + own->offset, before + other->offset,
                             (size_t)own->rows * (size_t)own->columns * sizeof *after, "%s", own->name);
            continue;
        }
        cr_expect(strstr(own->name, "attention.q_norm.gain") || strstr(own->name, "attention.k_norm.gain"), "%s",
                  own->name);
        cr_expect_eq(own->rows * own->columns, D_MODEL / HEADS);
        cr_expect_geq(own->offset, on.decayed, "%s", own->name);
        for (int32_t j = 0; j < own->columns; j++) cr_expect_eq(after[own->offset + j], 1, "%s", own->name);
    }
    cr_expect_not_null(find(&on, "blocks.1.attention.k_norm.gain"));
    free(before);
    free(after);
    eab_parameters_free(&off);
    eab_parameters_free(&on);
}

/* The number of parameters that a dry run prints is that of the layout, for all options. */
Test(parameters, count_is_the_layouts) {
    for (int which = 0; which < 64; which++) {
        eab_config config = small();
        config.qk_norm = which & 1;
        config.bias = which >> 1 & 1;
        config.norm = which & 4 ? EAB_NORM_NONE : EAB_NORM_LAYER;
        config.mlp_ratio = which & 8 ? 0 : 2;
        config.position = which & 16 ? EAB_POSITION_LEARNED : EAB_POSITION_ALIBI;
        config.embedding = which & 32 ? EAB_EMBEDDING_ONEHOT : EAB_EMBEDDING_LEARNED;
        eab_parameters parameters;
        cr_assert_eq(eab_parameters_layout(&config, VOCAB, &parameters), EAB_OK);
        cr_expect_eq(eab_config_parameters(&config), parameters.count, "options %d", which);
        eab_parameters_free(&parameters);
    }
}
