/* For error messages about names: the nearest valid name, and the user's text made printable. */
#ifndef EAB_BASE_SUGGEST_H
#define EAB_BASE_SUGGEST_H

#include <stddef.h>

/* The number of edits (insert, delete, replace, swap of neighbours; case is ignored) from one name to another. Only the
 * first 63 bytes of each name count. */
int eab_edit_distance(const char *a, const char *b);

/* The first of the candidates that are nearest to `name`; NULL if there are none. The list ends with NULL. */
const char *eab_suggest(const char *name, const char *const *candidates);

/* Writes the candidates as "a, b, c", cut to `size`. */
void eab_join(const char *const *candidates, char *text, size_t size);

/* Copies at most `limit` bytes of `text` as one printable line: bytes of invisible characters and of invalid UTF-8
 * become \xNN, and "..." stands for the rest of a longer text. Returns `out`. */
char *eab_excerpt(const char *text, size_t limit, char *out, size_t size);

#endif
