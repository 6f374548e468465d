#include "suggest.h"

#include <glib.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum { LONGEST_NAME = 63 };

/* Optimal string alignment: Damerau, "A technique for computer detection and correction of spelling errors", CACM
 * 1964, where no part of a name is edited twice. */
int eab_edit_distance(const char *a, const char *b) {
    const size_t a_length = strnlen(a, LONGEST_NAME), b_length = strnlen(b, LONGEST_NAME);
    int cost[LONGEST_NAME + 1][LONGEST_NAME + 1]; /* [i][j]: from the first i characters of a to the first j of b */
    for (size_t i = 0; i <= a_length; i++)
        for (size_t j = 0; j <= b_length; j++) {
            if (!i || !j) {
                cost[i][j] = (int)(i + j);
                continue;
            }
            const char ca = g_ascii_tolower(a[i - 1]), cb = g_ascii_tolower(b[j - 1]);
            cost[i][j] = MIN(MIN(cost[i - 1][j], cost[i][j - 1]) + 1, cost[i - 1][j - 1] + (ca != cb));
            if (i > 1 && j > 1 && ca == g_ascii_tolower(b[j - 2]) && cb == g_ascii_tolower(a[i - 2]))
                cost[i][j] = MIN(cost[i][j], cost[i - 2][j - 2] + 1);
        }
    return cost[a_length][b_length];
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

/* Not visible are control and format characters, which hide or reorder text, separators of lines, and invalid UTF-8. */
static bool is_visible(gunichar character) {
    return g_unichar_isprint(character) && character != 0x2028 && character != 0x2029;
}

char *eab_excerpt(const char *text, size_t limit, char *out, size_t size) {
    const size_t tail = sizeof "\\xNN..."; /* room for one more character and the dots */
    const size_t full = size > tail ? size - tail : 0;
    size_t used = 0, taken = 0;
    while (text[taken] && taken < limit && used < full) {
        if (is_visible(g_utf8_get_char_validated(text + taken, -1))) {
            const size_t length = (size_t)(g_utf8_next_char(text + taken) - (text + taken));
            memcpy(out + used, text + taken, length);
            used += length;
            taken += length;
        } else {
            used += (size_t)snprintf(out + used, size - used, "\\x%02X", (unsigned char)text[taken]);
            taken++;
        }
    }
    g_strlcpy(out + used, text[taken] ? "..." : "", size - used);
    return out;
}
