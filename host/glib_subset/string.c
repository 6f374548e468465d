/* GString: a text that grows. */
#include <stdio.h>

#include "internal.h"

/* Room for `more` bytes and the NUL. */
static void reserve(GString *string, gsize more) {
    const gsize needed = eab_subset_sum(eab_subset_sum(string->len, more), 1);
    if (needed <= string->allocated_len) return;
    string->allocated_len = eab_subset_capacity(string->allocated_len, needed);
    string->str = g_realloc(string->str, string->allocated_len);
}

GString *g_string_new(const gchar *text) {
    GString *string = g_new0(GString, 1);
    return g_string_append(string, text ? text : "");
}

gchar *g_string_free(GString *string, gboolean free_text) {
    gchar *text = string->str;
    if (free_text) g_clear_pointer(&text, g_free);
    g_free(string);
    return text;
}

GString *g_string_append_len(GString *string, const gchar *text, gssize length) {
    const gsize more = length < 0 ? strlen(text) : (gsize)length;
    reserve(string, more);
    if (more) memcpy(string->str + string->len, text, more);
    string->len += more;
    string->str[string->len] = '\0';
    return string;
}

GString *g_string_append(GString *string, const gchar *text) { return g_string_append_len(string, text, -1); }

GString *g_string_prepend_len(GString *string, const gchar *text, gssize length) {
    const gsize more = length < 0 ? strlen(text) : (gsize)length;
    reserve(string, more);
    memmove(string->str + more, string->str, string->len + 1);
    if (more) memcpy(string->str, text, more);
    string->len += more;
    return string;
}

GString *g_string_append_c(GString *string, gchar c) {
    if (string->len + 1 >= string->allocated_len) reserve(string, 1);
    string->str[string->len++] = c;
    string->str[string->len] = '\0';
    return string;
}

void g_string_append_printf(GString *string, const gchar *format, ...) {
    va_list arguments;
    gsize length;
    va_start(arguments, format);
    gchar *text = eab_subset_vprintf(format, arguments, &length);
    va_end(arguments);
    g_string_append_len(string, text, (gssize)length);
    g_free(text);
}

void g_string_printf(GString *string, const gchar *format, ...) {
    va_list arguments;
    gsize length;
    va_start(arguments, format);
    gchar *text = eab_subset_vprintf(format, arguments, &length); /* what is there may be among the arguments */
    va_end(arguments);
    g_string_truncate(string, 0);
    g_string_append_len(string, text, (gssize)length);
    g_free(text);
}

GString *g_string_set_size(GString *string, gsize length) {
    if (length > string->len) reserve(string, length - string->len);
    string->len = length;
    string->str[length] = '\0';
    return string;
}

GString *g_string_truncate(GString *string, gsize length) {
    string->len = MIN(length, string->len);
    string->str[string->len] = '\0';
    return string;
}
