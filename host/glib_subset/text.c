/* Strings. */
#include <stdio.h>

#include "internal.h"

gchar *g_strdup(const gchar *text) { return text ? g_memdup2(text, strlen(text) + 1) : NULL; }

gchar *g_strndup(const gchar *text, gsize length) {
    if (!text) return NULL;
    const gsize used = strnlen(text, length);
    gchar *copy = g_malloc0(eab_subset_sum(length, 1));
    memcpy(copy, text, used);
    return copy;
}

gchar *g_strconcat(const gchar *first, ...) {
    va_list arguments;
    if (!first) return NULL;
    GString *text = g_string_new(first);
    va_start(arguments, first);
    for (const gchar *next; (next = va_arg(arguments, const gchar *));) g_string_append(text, next);
    va_end(arguments);
    return g_string_free(text, FALSE);
}

gchar *eab_subset_vprintf(const gchar *format, va_list arguments, gsize *length) {
    va_list again;
    va_copy(again, arguments);
    const int needed = vsnprintf(NULL, 0, format, arguments);
    g_assert(needed >= 0);
    gchar *text = g_malloc((gsize)needed + 1);
    vsnprintf(text, (gsize)needed + 1, format, again);
    va_end(again);
    if (length) *length = (gsize)needed;
    return text;
}

gchar *g_strdup_vprintf(const gchar *format, va_list arguments) { return eab_subset_vprintf(format, arguments, NULL); }

gchar *g_strdup_printf(const gchar *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    gchar *text = eab_subset_vprintf(format, arguments, NULL);
    va_end(arguments);
    return text;
}

gint g_snprintf(gchar *text, gsize size, const gchar *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const gint needed = vsnprintf(text, size, format, arguments);
    va_end(arguments);
    return needed;
}

gsize g_strlcpy(gchar *to, const gchar *from, gsize size) {
    const gsize length = strlen(from);
    if (size) {
        const gsize fits = MIN(length, size - 1);
        memcpy(to, from, fits);
        to[fits] = '\0';
    }
    return length;
}

gsize g_strlcat(gchar *to, const gchar *from, gsize size) {
    const gsize used = strnlen(to, size);
    return used + g_strlcpy(to + used, from, size - used);
}

gint g_strcmp0(const gchar *a, const gchar *b) {
    if (!a || !b) return (a != NULL) - (b != NULL);
    return strcmp(a, b);
}

gboolean g_str_has_prefix(const gchar *text, const gchar *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

gboolean g_str_has_suffix(const gchar *text, const gchar *suffix) {
    const gsize length = strlen(text), wanted = strlen(suffix);
    return length >= wanted && strcmp(text + length - wanted, suffix) == 0;
}

gchar *g_strchug(gchar *text) {
    const gchar *start = text;
    while (g_ascii_isspace(*start)) start++;
    memmove(text, start, strlen(start) + 1);
    return text;
}

gchar *g_strchomp(gchar *text) {
    gsize length = strlen(text);
    while (length && g_ascii_isspace(text[length - 1])) length--;
    text[length] = '\0';
    return text;
}

/* The words between separators, of which `next` finds the first and its length; most < 1: all of them. */
static gchar **split(const gchar *text, const gchar *separator, gint most,
                     const gchar *(*next)(const gchar *text, const gchar *separator, gsize *length)) {
    GPtrArray *words = g_ptr_array_new();
    const gchar *found = NULL;
    gsize length = 0;
    while (*text && (most < 1 || words->len + 1 < (guint)most) && (found = next(text, separator, &length))) {
        g_ptr_array_add(words, g_strndup(text, (gsize)(found - text)));
        text = found + length;
        if (!*text) break;
    }
    if (*text || found) g_ptr_array_add(words, g_strdup(text)); /* none of an empty text, "" behind a last separator */
    g_ptr_array_add(words, NULL);
    return (gchar **)g_ptr_array_free(words, FALSE);
}

static const gchar *next_delimiter(const gchar *text, const gchar *delimiter, gsize *length) {
    *length = strlen(delimiter);
    return strstr(text, delimiter);
}

static const gchar *next_of_set(const gchar *text, const gchar *set, gsize *length) {
    *length = 1;
    return strpbrk(text, set);
}

gchar **g_strsplit(const gchar *text, const gchar *delimiter, gint most) {
    g_assert(*delimiter);
    return split(text, delimiter, most, next_delimiter);
}

gchar **g_strsplit_set(const gchar *text, const gchar *delimiters, gint most) {
    return split(text, delimiters, most, next_of_set);
}

gchar *g_strjoinv(const gchar *separator, gchar **words) {
    GString *text = g_string_new(NULL);
    for (gchar **word = words; *word; word++) {
        if (word > words && separator) g_string_append(text, separator);
        g_string_append(text, *word);
    }
    return g_string_free(text, FALSE);
}

void g_strfreev(gchar **words) {
    for (gchar **word = words; word && *word; word++) g_free(*word);
    g_free(words);
}

guint g_strv_length(gchar **words) {
    guint length = 0;
    while (words[length]) length++;
    return length;
}

gboolean g_strv_contains(const gchar *const *words, const gchar *word) {
    for (; *words; words++)
        if (strcmp(*words, word) == 0) return TRUE;
    return FALSE;
}

/* Within single quotes all is literal but a single quote, which is written outside of them: 'it'\''s'. */
gchar *g_shell_quote(const gchar *word) {
    GString *quoted = g_string_new("'");
    for (; *word; word++) {
        if (*word == '\'') g_string_append(quoted, "'\\''");
        else g_string_append_c(quoted, *word);
    }
    g_string_append_c(quoted, '\'');
    return g_string_free(quoted, FALSE);
}

const gchar *g_strerror(gint number) { return strerror(number); }
