#include "identity.h"

#include <glib.h>
#include <string.h>

#include "cell_task.h"
#include "options.h"
#include "tasks/task.h"

/* "section.key=value" of an option that is not at its default. */
static void add_option(GPtrArray *lines, const eab_option *option, const eab_config *config) {
    if (eab_option_get(option, config) == option->default_value) return;
    char value[EAB_OPTION_TEXT_SIZE];
    eab_option_print(option, config, value, sizeof value);
    g_ptr_array_add(lines, g_strdup_printf("%s.%s=%s", option->section, option->key, value));
}

static void add_level(GPtrArray *lines, const eab_level *level) {
    const eab_config config = {.level = *level};
    const eab_option *options = eab_option_at(eab_family_name(level->family), 0);
    for (int i = 0; i < eab_task_at(level->family)->option_count; i++) add_option(lines, &options[i], &config);
}

/* A part of a mixture, too, is identified by the options that are not at their default: a new option of its family does
 * not change the mixture's identity. */
static void add_part(GPtrArray *lines, const eab_level *level) {
    GPtrArray *options = g_ptr_array_new_with_free_func(g_free);
    add_level(options, level);
    g_ptr_array_add(options, NULL);
    char *joined = g_strjoinv(" ", (char **)options->pdata);
    g_ptr_array_add(lines, g_strdup_printf("mixture.part=%s %s", eab_family_name(level->family), joined));
    g_free(joined);
    g_ptr_array_unref(options);
}

static int compare_lines(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

void eab_config_id(const eab_config *config, char id[17]) {
    GPtrArray *lines = g_ptr_array_new_with_free_func(g_free);
    g_ptr_array_add(lines, g_strdup_printf("task=%s", eab_config_task_name(config)));
    if (config->mixture) {
        for (int32_t i = 0; i < config->mixture->count; i++) add_part(lines, &config->mixture->levels[i]);
        add_option(lines, eab_option_find("mixture", "cue"), config);
    } else {
        add_level(lines, &config->level);
    }
    for (int i = 0; i < eab_option_count; i++) add_option(lines, &eab_options[i], config);
    g_ptr_array_sort(lines, compare_lines);

    g_ptr_array_add(lines, g_strdup("")); /* ends the last line */
    g_ptr_array_add(lines, NULL);
    char *text = g_strjoinv("\n", (char **)lines->pdata);
    char *hash = g_compute_checksum_for_string(G_CHECKSUM_SHA256, text, -1);
    g_strlcpy(id, hash, 17);
    g_free(hash);
    g_free(text);
    g_ptr_array_unref(lines);
}
