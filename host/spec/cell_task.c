#include "cell_task.h"

#include <math.h>
#include <stdio.h>

#include "tasks/task.h"

int32_t eab_config_part_count(const eab_config *config) { return config->mixture ? config->mixture->count : 1; }

const eab_level *eab_config_part(const eab_config *config, int32_t part) {
    return config->mixture ? &config->mixture->levels[part] : &config->level;
}

static bool is_cued(const eab_config *config) { return config->mixture && config->cue == EAB_CUE_TOKEN; }

static int32_t widest_part(const eab_config *config) {
    int32_t widest = 0;
    for (int32_t i = 0; i < eab_config_part_count(config); i++) {
        const eab_level *level = eab_config_part(config, i);
        const int32_t vocab = eab_task_at(level->family)->vocab(level);
        if (vocab > widest) widest = vocab;
    }
    return widest;
}

int32_t eab_config_cue_token(const eab_config *config) { return is_cued(config) ? widest_part(config) : -1; }

int32_t eab_config_part_context(const eab_config *config) { return config->context - is_cued(config); }

int32_t eab_config_evaluated_count(const eab_config *config) {
    const eab_task *task = eab_task_at(config->level.family);
    return config->mixture || !task->evaluated ? 0 : task->evaluated(&config->level, 0, NULL);
}

eab_level eab_config_evaluated(const eab_config *config, int32_t index) {
    eab_level level;
    eab_task_at(config->level.family)->evaluated(&config->level, index, &level);
    return level;
}

bool eab_config_holds_out(const eab_config *config, const eab_level *level) {
    if (config->heldout == EAB_HELD_OUT_AUTO) return eab_level_auto_held_out(level, eab_config_part_context(config));
    return config->heldout == EAB_HELD_OUT_HASH;
}

bool eab_config_part_held_out(const eab_config *config, int32_t part) {
    return eab_config_holds_out(config, eab_config_part(config, part));
}

eab_parts eab_config_list_parts(const eab_config *config, int32_t first, eab_level *levels, uint8_t *held_out) {
    const int32_t count = eab_config_part_count(config);
    for (int32_t part = 0; part < count; part++) {
        levels[first + part] = *eab_config_part(config, part);
        held_out[first + part] = eab_config_part_held_out(config, part);
    }
    return (eab_parts){first, count, eab_config_cue_token(config)};
}

/* Of the first `sequences` indices, those that are part modulo count. */
static int64_t count_turns(int64_t sequences, int32_t part, int64_t count) {
    return (sequences - part + count - 1) / count;
}

int64_t eab_config_part_sequences(const eab_config *config, int32_t part, int64_t sequences) {
    const int64_t count = eab_config_part_count(config), repeated = config->sequences;
    if (!repeated) return count_turns(sequences, part, count);
    return sequences / repeated * count_turns(repeated, part, count) + count_turns(sequences % repeated, part, count);
}

const char *eab_config_task_name(const eab_config *config) {
    return config->mixture ? "mixture" : eab_task_at(config->level.family)->name;
}

void eab_config_level_name(const eab_config *config, char *name, size_t size) {
    if (!config->mixture) eab_level_name(&config->level, name, size);
    else snprintf(name, size, "%s cue=%s", config->mixture->text, config->cue == EAB_CUE_TOKEN ? "token" : "none");
}

int32_t eab_config_vocab(const eab_config *config) {
    return widest_part(config) + (is_cued(config) ? eab_config_part_count(config) : 0);
}

double eab_config_complexity_bits(const eab_config *config) {
    const int32_t count = eab_config_part_count(config);
    double most = 0, sum = 0;
    for (int32_t i = 0; i < count; i++) {
        const eab_level *level = eab_config_part(config, i);
        most = fmax(most, eab_task_at(level->family)->complexity_bits(level, eab_config_part_context(config)));
    }
    if (count == 1) return most;
    for (int32_t i = 0; i < count; i++) { /* relative to the largest, which may be past any power of 2 */
        const eab_level *level = eab_config_part(config, i);
        sum += exp2(eab_task_at(level->family)->complexity_bits(level, eab_config_part_context(config)) - most);
    }
    return most + log2(sum);
}

double eab_config_chance_accuracy(const eab_config *config) {
    const int32_t count = eab_config_part_count(config);
    double sum = 0;
    for (int32_t i = 0; i < count; i++) {
        const eab_level *level = eab_config_part(config, i);
        sum += eab_task_at(level->family)->chance_accuracy(level);
    }
    return sum / count;
}
