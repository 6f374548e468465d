#include "peak_cache.h"

#include <glib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "base/replace.h"

enum { LIFETIME_S = 24 * 3600 };
enum { KEY, MEASURED_AT, VALUE, DEVICE, FIELDS }; /* of a line */

/* NULL where the environment names no place. */
static char *cache_folder(void) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache) return g_build_filename(cache, "eabench", NULL);
    return home && *home ? g_build_filename(home, ".cache", "eabench", NULL) : NULL;
}

static bool makes_sense(double value) { return value > 0 && value < 1e9; }

/* The fields of a line that is whole and from the last day, else NULL. */
static char **read_line(const char *line) {
    char **fields = g_strsplit(line, "\t", FIELDS);
    if (g_strv_length(fields) == FIELDS) {
        const gint64 age_s = (gint64)time(NULL) - g_ascii_strtoll(fields[MEASURED_AT], NULL, 10);
        if (age_s >= 0 && age_s < LIFETIME_S && makes_sense(g_ascii_strtod(fields[VALUE], NULL))) return fields;
    }
    g_strfreev(fields);
    return NULL;
}

static bool is_of(char *const *fields, const char *device, const char *key) {
    return strcmp(fields[KEY], key) == 0 && strcmp(fields[DEVICE], device) == 0;
}

/* The cache's lines; none where it cannot be read. */
static char **read_lines(const char *folder) {
    char *path = g_build_filename(folder, "peaks.txt", NULL), *text = NULL;
    char **lines = g_strsplit(g_file_get_contents(path, &text, NULL, NULL) ? text : "", "\n", -1);
    g_free(path);
    g_free(text);
    return lines;
}

/* A device's description is hardware's and a driver's word. */
static char *field_of(const char *device) {
    char *field = g_strdup(device);
    for (char *c = field; *c; c++)
        if (g_ascii_iscntrl(*c)) *c = ' ';
    return field;
}

double eab_peak_cache_find(const char *device, const char *key) {
    char *folder = cache_folder();
    double value = 0;
    if (!folder) return 0;
    char **lines = read_lines(folder), *field = field_of(device);
    for (char **line = lines; *line; line++) {
        char **fields = read_line(*line);
        if (fields && is_of(fields, field, key)) value = g_ascii_strtod(fields[VALUE], NULL);
        g_strfreev(fields);
    }
    g_strfreev(lines);
    g_free(field);
    g_free(folder);
    return value;
}

void eab_peak_cache_keep(const char *device, const char *key, double value) {
    char number[G_ASCII_DTOSTR_BUF_SIZE], *folder = cache_folder();
    if (!folder || !makes_sense(value) || g_mkdir_with_parents(folder, 0777)) {
        g_free(folder);
        return;
    }
    char **lines = read_lines(folder), *field = field_of(device), *path = g_build_filename(folder, "peaks.txt", NULL);
    GString *text = g_string_new(NULL);
    for (char **line = lines; *line; line++) {
        char **fields = read_line(*line);
        if (fields && !is_of(fields, field, key)) g_string_append_printf(text, "%s\n", *line);
        g_strfreev(fields);
    }
    g_string_append_printf(text, "%s\t%" G_GINT64_FORMAT "\t%s\t%s\n", key, (gint64)time(NULL),
                           g_ascii_formatd(number, sizeof number, "%.17g", value), field);
    (void)eab_replace_file(path, text->str, text->len);
    g_string_free(text, TRUE);
    g_strfreev(lines);
    g_free(path);
    g_free(field);
    g_free(folder);
}
