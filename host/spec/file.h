/* A spec: what a sweep's file and its --set say, before it is multiplied out. docs/spec-files.md has the grammar. */
#ifndef EAB_SPEC_FILE_H
#define EAB_SPEC_FILE_H

#include <glib.h>

#include "options.h"

enum { EAB_SPEC_MAX_BYTES = 1 << 20 };

/* One option and its values, for the cells of one mechanism or (mechanism -1) of those that have no list of their
 * own. */
typedef struct {
    const eab_option *option;
    int32_t mechanism;
    GArray *values; /* of double, at least one */
    int line;       /* where the file gives it; 0: by default or by --set */
} eab_axis;

/* "model", "train", or a task section with its label. */
typedef struct {
    char *name;
    int family; /* of a task section; -1 otherwise */
    int line;   /* 0: not in the file */
    GArray
        *axes; /* of eab_axis: every option of the section once for all mechanisms, and at most once for each; those of
                     the file first, in its order */
} eab_section;

typedef struct {
    GPtrArray *sections; /* of eab_section, in the file's order; task sections together, at the first one's place */
    int64_t value_count; /* of all axes */
} eab_spec;

/* The option's axis for `mechanism` (-1: the one for all others), or NULL. */
const eab_axis *eab_section_axis(const eab_section *section, const eab_option *option, int32_t mechanism);

/* Reads a file and applies `sets` (NULL-terminated "section.key=value", or NULL). EAB_BAD_INPUT with one line (file and
 * line, what, what is allowed, the nearest valid name) for every mistake; the spec is then empty. */
int eab_spec_read(const char *path, const char *const *sets, eab_spec *spec);
void eab_spec_free(eab_spec *spec);

/* The same of a file's text, as eab_spec_file_read() gives it; `path` is for the error lines. */
int eab_spec_parse(const char *path, const char *text, const char *const *sets, eab_spec *spec);

/* The text of a file that can be a spec: a regular file of 1..EAB_SPEC_MAX_BYTES bytes, UTF-8, no NUL; a byte order
 * mark is dropped. EAB_BAD_INPUT with one line otherwise. Free with g_free(). */
int eab_spec_file_read(const char *path, char **text);

/* What of that concerns the bytes, text[length + 1]: ends them with a NUL and drops the mark, in place. */
int eab_spec_text_check(const char *path, char *text, size_t length);

/* The same spec as text with every option written out, without comments; free with g_free(). Values are listed one by
 * one, but for more than 100 integers at equal steps, which become a range: the text must stay a spec file itself. */
char *eab_spec_print(const eab_spec *spec);

#endif
