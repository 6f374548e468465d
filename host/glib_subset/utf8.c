/* UTF-8 as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#include "internal.h"

static const gunichar INVALID = (gunichar)-1, CUT_OFF = (gunichar)-2;

/* The character at `text`, of which `length` > 0 bytes are there. */
static gunichar decode(const guchar *text, gsize length, gsize *bytes) {
    static const gunichar least[] = {0, 0, 0x80, 0x800, 0x10000}; /* that needs so many bytes */
    const guchar lead = text[0];
    const gsize needed = lead < 0x80 ? 1 : lead < 0xC0 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : 0;
    if (needed == 0) return INVALID;
    gunichar character = needed == 1 ? lead : lead & (0x7Fu >> needed);
    for (gsize i = 1; i < needed; i++) {
        if (i == length) return CUT_OFF;
        if ((text[i] & 0xC0) != 0x80) return text[i] ? INVALID : CUT_OFF;
        character = character << 6 | (text[i] & 0x3F);
    }
    if (character < least[needed] || character > 0x10FFFF || (character >= 0xD800 && character < 0xE000))
        return INVALID;
    *bytes = needed;
    return character;
}

gunichar g_utf8_get_char_validated(const gchar *text, gssize length) {
    gsize bytes;
    if (length == 0) return CUT_OFF;
    return decode((const guchar *)text, length < 0 ? SIZE_MAX : (gsize)length, &bytes);
}

gboolean g_utf8_validate(const gchar *text, gssize length, const gchar **end) {
    const gsize all = length < 0 ? strlen(text) : (gsize)length;
    gsize at = 0, bytes = 0;
    while (at < all && text[at] && decode((const guchar *)text + at, all - at, &bytes) < CUT_OFF) at += bytes;
    if (end) *end = text + at;
    return at == all;
}

gchar *g_utf8_make_valid(const gchar *text, gssize length) {
    GString *valid = g_string_new(NULL);
    gsize left = length < 0 ? strlen(text) : (gsize)length;
    const gchar *bad;
    while (!g_utf8_validate(text, (gssize)left, &bad)) {
        g_string_append_len(valid, text, bad - text);
        g_string_append(valid, "\xEF\xBF\xBD"); /* U+FFFD for each byte that fits nowhere */
        left -= (gsize)(bad - text) + 1;
        text = bad + 1;
    }
    g_string_append_len(valid, text, (gssize)left);
    return g_string_free(valid, FALSE);
}
