#include "identity.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

#include "options.h"
#include "tasks/task.h"

/* One option's part of the text. */
typedef struct {
    const eab_option *option; /* NULL: the line that names the family */
    int family;               /* whose cells have the option; -1: all cells */
    char *key;                /* "section.key=": the lines' order */
    double value;             /* which `text` shows */
    const void *object;       /* likewise, of the options `parts` and `file` */
    GString *text;            /* with line breaks; empty at the option's default */
} identity_line;

struct eab_identity {
    GArray *lines; /* of identity_line, sorted by key */
    GString *text;
    gsize unchanged;   /* bytes at the start of `text` that are those of the cell before */
    GChecksum *prefix; /* of the first prefix_size bytes of `text` */
    gsize prefix_size;
};

static void add_line(GArray *lines, int family, const eab_option *option) {
    const identity_line line = {.option = option,
                                .family = family,
                                .key = option ? g_strdup_printf("%s.%s=", option->section, option->key)
                                              : g_strdup("task="),
                                .value = option ? option->default_value : -1,
                                .text = g_string_new(NULL)};
    g_array_append_val(lines, line);
}

static int compare_lines(const void *a, const void *b) {
    return strcmp(((const identity_line *)a)->key, ((const identity_line *)b)->key);
}

eab_identity *eab_identity_new(void) {
    eab_identity *identity = g_new(eab_identity, 1);
    *identity = (eab_identity){.lines = g_array_new(FALSE, FALSE, sizeof(identity_line)),
                               .text = g_string_new(NULL),
                               .prefix = g_checksum_new(G_CHECKSUM_SHA256)};
    add_line(identity->lines, -1, NULL);
    for (int i = 0; i < eab_option_count; i++) add_line(identity->lines, -1, &eab_options[i]);
    for (int family = 0; family < EAB_FAMILY_COUNT; family++) {
        const eab_option *option;
        for (int i = 0; (option = eab_option_at(eab_family_name(family), i)); i++)
            add_line(identity->lines, family, option);
    }
    g_array_sort(identity->lines, compare_lines);
    return identity;
}

void eab_identity_free(eab_identity *identity) {
    for (guint i = 0; i < identity->lines->len; i++) {
        identity_line *line = &g_array_index(identity->lines, identity_line, i);
        g_free(line->key);
        g_string_free(line->text, TRUE);
    }
    g_array_free(identity->lines, TRUE);
    g_string_free(identity->text, TRUE);
    g_checksum_free(identity->prefix);
    g_free(identity);
}

/* ---- the lines' texts ---------------------------------------------------------------------------------------- */

/* A part of a mixture, too, is identified by the options that are not at their default: a new option of its family does
 * not change the mixture's identity. */
static char *print_part(const eab_level *level) {
    const char *family = eab_family_name(level->family);
    const eab_config config = {.level = *level};
    const eab_option *option;
    GString *options = g_string_new(NULL);
    for (int i = 0; (option = eab_option_at(family, i)); i++) {
        char value[EAB_OPTION_TEXT_SIZE];
        if (eab_option_get(option, &config) == option->default_value) continue;
        eab_option_print(option, &config, value, sizeof value);
        g_string_append_printf(options, "%s%s.%s=%s", options->len ? " " : "", family, option->key, value);
    }
    char *text = g_strdup_printf("mixture.part=%s %s\n", family, options->str);
    g_string_free(options, TRUE);
    return text;
}

static int compare_texts(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void print_parts(GString *text, const eab_mixture *mixture) {
    char *parts[EAB_MAX_PARTS];
    for (int32_t i = 0; i < mixture->count; i++) parts[i] = print_part(&mixture->levels[i]);
    qsort(parts, (size_t)mixture->count, sizeof *parts, compare_texts);
    for (int32_t i = 0; i < mixture->count; i++) {
        g_string_append(text, parts[i]);
        g_free(parts[i]);
    }
}

/* Updates the line's text for this cell; false if it stays. Consecutive cells of a sweep differ in few options. */
static bool update_line(identity_line *line, int family, const eab_config *config) {
    char text[EAB_OPTION_TEXT_SIZE];
    const eab_option *option = line->option;
    const bool has = line->family < 0 || line->family == family;
    if (option && !eab_option_is_number(option)) {
        const eab_text *file = option->kind == EAB_OPTION_FILE ? config->level.text : NULL;
        const void *object = option->kind == EAB_OPTION_FILE ? (const void *)file : config->mixture;
        if (object == line->object) return false;
        line->object = object;
        g_string_truncate(line->text, 0);
        if (file) g_string_append_printf(line->text, "text.sha256=%s\n", file->sha256); /* wherever the file lies */
        else if (object) print_parts(line->text, object);
        return true;
    }
    const double value = !option ? family : has ? eab_option_get(option, config) : option->default_value;
    if (value == line->value) return false;
    line->value = value;
    g_string_truncate(line->text, 0);
    if (!option) g_string_printf(line->text, "task=%s\n", eab_family_name(family));
    else if (value != option->default_value) {
        eab_option_print_value(option, value, text, sizeof text);
        g_string_append(g_string_append(line->text, line->key), text);
        g_string_append_c(line->text, '\n');
    }
    return true;
}

/* Sets `text` and `unchanged`. */
static void print_text(eab_identity *identity, const eab_config *config) {
    const int family = config->mixture ? EAB_FAMILY_MIXTURE : config->level.family;
    gsize size = 0; /* of the lines so far */
    bool changed = false;
    for (guint i = 0; i < identity->lines->len; i++) {
        identity_line *line = &g_array_index(identity->lines, identity_line, i);
        const bool updates = line->family < 0 || line->family == family || line->text->len;
        if (updates && update_line(line, family, config) && !changed) {
            changed = true;
            identity->unchanged = size;
            g_string_truncate(identity->text, size);
        }
        if (changed) g_string_append_len(identity->text, line->text->str, (gssize)line->text->len);
        size += line->text->len;
    }
    if (!changed) identity->unchanged = size;
}

/* The digest of the text. What neighbours have in common, most of it, is hashed once. */
static void digest_text(eab_identity *identity, guint8 digest[32]) {
    const guchar *text = (const guchar *)identity->text->str;
    gsize size = 32;
    if (identity->prefix_size > identity->unchanged) {
        g_checksum_reset(identity->prefix);
        identity->prefix_size = 0;
    }
    g_checksum_update(identity->prefix, text + identity->prefix_size,
                      (gssize)(identity->unchanged - identity->prefix_size));
    identity->prefix_size = identity->unchanged;
    GChecksum *checksum = g_checksum_copy(identity->prefix);
    g_checksum_update(checksum, text + identity->prefix_size, (gssize)(identity->text->len - identity->prefix_size));
    g_checksum_get_digest(checksum, digest, &size);
    g_checksum_free(checksum);
}

void eab_identity_print(eab_identity *identity, const eab_config *config, char id[17]) {
    guint8 digest[32];
    print_text(identity, config);
    digest_text(identity, digest);
    for (int i = 0; i < 8; i++) {
        id[2 * i] = "0123456789abcdef"[digest[i] >> 4];
        id[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
    }
    id[16] = '\0';
}

void eab_config_id(const eab_config *config, char id[17]) {
    eab_identity *identity = eab_identity_new();
    eab_identity_print(identity, config, id);
    eab_identity_free(identity);
}
