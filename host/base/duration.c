#include "duration.h"

#include <glib.h>
#include <string.h>

/* Reads a decimal number; NULL if there is none. strtod alone would take signs, spaces, "inf" and "0x1". */
static const char *read_number(const char *text, double *value) {
    char *end;
    if (!g_ascii_isdigit(*text) && *text != '.') return NULL;
    *value = g_ascii_strtod(text, &end);
    return end == text + strspn(text, "0123456789.eE+-") ? end : NULL;
}

bool eab_duration_read(const char *text, double *seconds) {
    static const char units[] = "dhms";
    static const double unit_s[] = {86400, 3600, 60, 1};
    const char *at = read_number(text, seconds);
    if (!at) return false;
    if (!*at) return *seconds <= 1e9;
    double sum = 0, value = *seconds;
    for (const char *next = units; at; at = read_number(at, &value)) {
        const char *unit = *at ? strchr(next, *at) : NULL;
        if (!unit) return false;
        sum += value * unit_s[unit - units];
        next = unit + 1;
        if (!*++at) break;
    }
    *seconds = sum;
    return at && sum <= 1e9;
}
