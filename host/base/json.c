#include "json.h"

#include <math.h>

#include "csv.h"

static void append_text(GString *json, const char *text) {
    char *clean = eab_line_clean(text);
    g_string_append_c(json, '"');
    for (const char *c = clean; *c; c++) {
        if (*c == '"' || *c == '\\') g_string_append_c(json, '\\');
        g_string_append_c(json, *c);
    }
    g_string_append_c(json, '"');
    g_free(clean);
}

static void append_key(GString *json, const char *key) {
    const char last = json->len ? json->str[json->len - 1] : '{';
    if (last != '{' && last != '[') g_string_append_c(json, ',');
    if (!key) return;
    append_text(json, key);
    g_string_append_c(json, ':');
}

void eab_json_begin(GString *json, const char *key, char bracket) {
    append_key(json, key);
    g_string_append_c(json, bracket);
}

void eab_json_end(GString *json, char bracket) { g_string_append_c(json, bracket); }

void eab_json_text(GString *json, const char *key, const char *text) {
    append_key(json, key);
    append_text(json, text);
}

void eab_json_count(GString *json, const char *key, int64_t count) {
    append_key(json, key);
    g_string_append_printf(json, "%" G_GINT64_FORMAT, (gint64)count);
}

void eab_json_real(GString *json, const char *key, double value) {
    char text[G_ASCII_DTOSTR_BUF_SIZE];
    append_key(json, key);
    g_string_append(json, isfinite(value) ? g_ascii_formatd(text, sizeof text, "%.9g", value) : "null");
}
