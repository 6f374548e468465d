#include "suggest.h"

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_NAME = 63 };

static int smaller(int a, int b) { return a < b ? a : b; }

/* Optimal string alignment: Damerau, "A technique for computer detection and correction of spelling errors", CACM
 * 1964, without edits of an edit. Three rows of the table are enough. */
int eab_edit_distance(const char *a, const char *b) {
    const size_t a_length = strnlen(a, LONGEST_NAME), b_length = strnlen(b, LONGEST_NAME);
    int rows[3][LONGEST_NAME + 1];
    int *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= b_length; j++) last[j] = before[j] = (int)j;
    for (size_t i = 1; i <= a_length; i++) {
        row[0] = (int)i;
        for (size_t j = 1; j <= b_length; j++) {
            const char ca = g_ascii_tolower(a[i - 1]), cb = g_ascii_tolower(b[j - 1]);
            row[j] = smaller(smaller(last[j], row[j - 1]) + 1, last[j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == g_ascii_tolower(b[j - 2]) && cb == g_ascii_tolower(a[i - 2]))
                row[j] = smaller(row[j], before[j - 2] + 1);
        }
        int *const oldest = before;
        before = last;
        last = row;
        row = oldest;
    }
    return last[b_length];
}

const char *eab_suggest(const char *name, const char *const *candidates) {
    const char *nearest = NULL;
    int least = 0;
    for (; *candidates; candidates++) {
        const int distance = eab_edit_distance(name, *candidates);
        if (nearest && distance >= least) continue;
        nearest = *candidates;
        least = distance;
    }
    return nearest;
}

void eab_join(const char *const *candidates, char *text, size_t size) {
    text[0] = '\0';
    for (int i = 0; candidates[i]; i++) {
        if (i) g_strlcat(text, ", ", size);
        g_strlcat(text, candidates[i], size);
    }
}

/* Whether a terminal shows the character as what it is and nothing else: no controls, no format characters (Unicode 15,
 * category Cf), which turn lines around or hide what follows, and no separators of lines. Unassigned ones show as a
 * box. */
static bool is_visible(gunichar character) {
    static const gunichar hidden[][2] = {{0x0000, 0x001F},   {0x007F, 0x009F},   {0x00AD, 0x00AD},   {0x0600, 0x0605},
                                         {0x061C, 0x061C},   {0x06DD, 0x06DD},   {0x070F, 0x070F},   {0x0890, 0x0891},
                                         {0x08E2, 0x08E2},   {0x180E, 0x180E},   {0x200B, 0x200F},   {0x2028, 0x202E},
                                         {0x2060, 0x206F},   {0xFEFF, 0xFEFF},   {0xFFF9, 0xFFFB},   {0x110BD, 0x110BD},
                                         {0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A},
                                         {0xE0000, 0xE0FFF}};
    for (size_t i = 0; i < G_N_ELEMENTS(hidden); i++)
        if (character >= hidden[i][0] && character <= hidden[i][1]) return false;
    return character <= 0x10FFFF; /* above: what GLib says of bytes that are not UTF-8 */
}

char *eab_excerpt(const char *text, size_t limit, char *out, size_t size) {
    const size_t tail = sizeof "\\xNN..."; /* room that one more character and the dots may need */
    const size_t full = size > tail ? size - tail : 0;
    size_t used = 0, taken = 0;
    while (text[taken] && taken < limit && used < full) {
        const unsigned char byte = (unsigned char)text[taken];
        const gunichar character = g_utf8_get_char_validated(text + taken, -1);
        if (is_visible(character)) {
            const size_t length = character < 0x80 ? 1 : character < 0x800 ? 2 : character < 0x10000 ? 3 : 4;
            memcpy(out + used, text + taken, length);
            used += length;
            taken += length;
        } else {
            used += (size_t)snprintf(out + used, size - used, "\\x%02X", byte);
            taken++;
        }
    }
    g_strlcpy(out + used, text[taken] ? "..." : "", size - used);
    return out;
}
