/* The registry of all families in families.h. */
#define EAB_TASK_DESCRIPTORS
#include "task.h"

#include <stdlib.h>
#include <string.h>

static const eab_task *const families[] = {
#define EAB_TASK_DESCRIPTOR(name) &name##_task,
    EAB_TASK_LIST(EAB_TASK_DESCRIPTOR)
#undef EAB_TASK_DESCRIPTOR
    & text_task};

int eab_task_count(void) { return EAB_TASK_COUNT; }

const eab_task *eab_task_at(int index) { return families[index]; }

int eab_task_from_name(const char *name) {
    for (int i = 0; i <= EAB_TASK_TEXT; i++)
        if (strcmp(families[i]->name, name) == 0) return i;
    return -1;
}

eab_level eab_level_default(int family) {
    eab_level level = {.family = family};
    for (int i = 0; i < families[family]->option_count; i++)
        level.option[i] = families[family]->options[i].default_value;
    return level;
}

void eab_level_name(const eab_level *level, char *name, size_t size) {
    const eab_task *task = families[level->family];
    size_t used = 0;
    name[0] = '\0';
    if (level->text) used = (size_t)snprintf(name, size, "sha256=%.12s", level->text->sha256);
    for (int i = 0; i < task->option_count; i++) {
        const eab_task_option *option = &task->options[i];
        if (!option->always_named && level->option[i] == option->default_value) continue;
        char value[32];
        if (option->choices) snprintf(value, sizeof value, "%s", option->choices[level->option[i]]);
        else snprintf(value, sizeof value, "%d", level->option[i]);
        const int written = snprintf(name + used, size - used, "%s%s=%s", used ? " " : "", option->key, value);
        if (written < 0 || (size_t)written >= size - used) return;
        used += (size_t)written;
    }
}

void eab_token_name(const eab_level *level, int32_t token, char *name, size_t size) {
    const eab_task *task = families[level->family];
    if (task->token_name) task->token_name(level, token, name, size);
    else snprintf(name, size, "%d", token);
}

bool eab_level_auto_held_out(const eab_level *level, int32_t context) {
    const eab_task *task = families[level->family];
    if (task->splits && task->splits(level)) return false;
    /* 2^12 sequences; the log2 of an exact power may round down by an ulp */
    return task->complexity_bits(level, context) >= 12.0 - 1e-9;
}

bool eab_level_has_held_out(const eab_level *level, int32_t context) {
    const int32_t length = context + 1;
    int32_t *tokens = malloc((size_t)length * sizeof *tokens);
    uint8_t *determined = malloc((size_t)length);
    bool inside = false, outside = false;
    if (tokens && determined) { /* a family may draw different sequences for evaluation */
        for (uint64_t i = 0; i < 65536 && !outside; i++)
            outside = !eab_sequence_is_held_out(
                eab_sequence_generate(level, 0, EAB_STREAM_TRAINING, 0, i, length, tokens, determined));
        for (uint64_t i = 0; i < 65536 && !inside; i++)
            inside = eab_sequence_is_held_out(
                eab_sequence_generate(level, 0, EAB_STREAM_HELD_OUT, 0, i, length, tokens, determined));
    }
    free(tokens);
    free(determined);
    return inside && outside;
}
