#include "cost.h"

#include "network.h"
#include "spec/cell_task.h"

/* Weights in matrix products. Counts are doubles: options at their bounds give numbers above 2^63. */
static double product_weights(const eab_config *config) {
    const double d_model = config->d_model, mlp_dim = d_model * config->mlp_ratio;
    return config->layers * (4 * d_model * d_model + 2 * d_model * mlp_dim) + d_model * eab_config_vocab(config);
}

static double parameter_count(const eab_config *config) {
    const double d_model = config->d_model, mlp_dim = d_model * config->mlp_ratio, vocab = eab_config_vocab(config);
    const double norm = config->norm == EAB_NORM_LAYER ? d_model * (config->bias ? 2 : 1) : 0;
    const double bias = config->bias ? 1 : 0;
    const double qk_gains = config->qk_norm ? 2 * d_model / config->heads : 0;
    const double layer = norm + qk_gains + bias * 4 * d_model + (mlp_dim > 0 ? norm + bias * (mlp_dim + d_model) : 0);
    return product_weights(config) + config->layers * layer + norm + bias * vocab +
           (config->embedding == EAB_EMBEDDING_LEARNED ? vocab * d_model : 0) +
           (config->position == EAB_POSITION_LEARNED ? config->context * d_model : 0);
}

int64_t eab_config_parameters(const eab_config *config) { return (int64_t)parameter_count(config); }

double eab_config_flop_per_token(const eab_config *config) {
    const double mean_keys = (config->context + 1) / 2.0; /* causal: 1 for the first position, context for the last */
    return 6 * product_weights(config) + 12.0 * config->layers * config->d_model * mean_keys;
}

double eab_config_memory_bytes(const eab_backend *backend, const eab_config *config) {
    const double tokens = 3 * sizeof(int32_t) * (double)config->batch * config->context;
    /* The initial weights are drawn as doubles, in the host's memory. */
    const double initial = backend->capacity ? 0 : sizeof(double) * parameter_count(config);
    const double text = config->level.text ? sizeof(uint16_t) * (double)eab_text_of(&config->level)->count : 0;
    return (double)eab_model_bytes(backend, config) + tokens + initial + (backend->capacity ? text : 0);
}
