/* Characters of ASCII, and numbers written with a point whatever the locale. */
#define _GNU_SOURCE /* newlocale, strtod_l */
#include <locale.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "glib.h"

gboolean g_ascii_isspace(gchar c) { return c == ' ' || c == '\t' || c == '\n' || c == '\f' || c == '\r'; }
gboolean g_ascii_isdigit(gchar c) { return c >= '0' && c <= '9'; }
gchar g_ascii_tolower(gchar c) { return c >= 'A' && c <= 'Z' ? (gchar)(c - 'A' + 'a') : c; }
gboolean g_ascii_isalnum(gchar c) {
    const gchar lower = g_ascii_tolower(c);
    return g_ascii_isdigit(c) || (lower >= 'a' && lower <= 'z');
}
gboolean g_ascii_iscntrl(gchar c) { return (guchar)c < 0x20 || c == 0x7F; }
gboolean g_ascii_isprint(gchar c) { return (guchar)c >= 0x20 && (guchar)c < 0x7F; }

static locale_t c_locale;

static void make_c_locale(void) { c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); }

static locale_t plain(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_c_locale);
    g_assert(c_locale);
    return c_locale;
}

gdouble g_ascii_strtod(const gchar *text, gchar **end) { return strtod_l(text, end, plain()); }

gchar *g_ascii_formatd(gchar *text, gint size, const gchar *format, gdouble number) {
    const locale_t before = uselocale(plain());
    g_assert(size >= 0);
    snprintf(text, (gsize)size, format, number);
    uselocale(before);
    return text;
}

gchar *g_ascii_dtostr(gchar *text, gint size, gdouble number) { return g_ascii_formatd(text, size, "%.17g", number); }

gint64 g_ascii_strtoll(const gchar *text, gchar **end, guint base) { return strtoll(text, end, (int)base); }
guint64 g_ascii_strtoull(const gchar *text, gchar **end, guint base) { return strtoull(text, end, (int)base); }
