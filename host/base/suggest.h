/* What error lines about names share: the nearest valid name, and the user's text made fit to print. */
#ifndef EAB_BASE_SUGGEST_H
#define EAB_BASE_SUGGEST_H

#include <stddef.h>

/* The edits (insert, delete, replace, swap of neighbours; letters' case is ignored) from one name to another. Only the
 * first 63 bytes of each count. */
int eab_edit_distance(const char *a, const char *b);

/* The candidate nearest to `name` (the first of equals); candidates end with NULL. NULL if there are none. */
const char *eab_suggest(const char *name, const char *const *candidates);

/* "a, b, c" of the candidates, cut to `size`. */
void eab_join(const char *const *candidates, char *text, size_t size);

/* Copies at most `limit` bytes of `text` into one printable line: control bytes and bytes that are not UTF-8 become
 * \xNN, what does not fit becomes "...". Returns `out`. */
char *eab_excerpt(const char *text, size_t limit, char *out, size_t size);

#endif
