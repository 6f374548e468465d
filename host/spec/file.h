/* A spec: the options and their values from a file and --set, before they are multiplied out to cells.
 * docs/spec-files.md has the grammar. */
#ifndef EAB_SPEC_FILE_H
#define EAB_SPEC_FILE_H

#include <glib.h>

#include "options.h"

enum { EAB_SPEC_MAX_BYTES = 1 << 20 };

/* One option and its values, for the cells of one mechanism or (mechanism -1) of those without their own list. */
typedef struct {
    const eab_option *option;
    int32_t mechanism;
    GArray *values; /* of double, at least one; of EAB_OPTION_MIXTURE and EAB_OPTION_FILE: indices into the
                               spec's mixtures and texts */
    int line;       /* in the file; 0: by default or by --set */
} eab_axis;

/* "model", "train", or a task section with its label. */
typedef struct {
    char *name;
    const char *options; /* the options of the section: eab_option_at(options, index) */
    int family;          /* of a task section; -1 otherwise */
    int line;            /* 0: not in the file */
    GArray *axes;        /* of eab_axis: each option of the section once for all mechanisms, and at most once for each;
                            those of the file first, in its order */
} eab_section;

typedef struct {
    GPtrArray *sections; /* of eab_section, in the file's order; task sections together, at the first one's place */
    GPtrArray *mixtures; /* of eab_mixture */
    GPtrArray *texts;    /* of eab_text */
    int64_t value_count; /* of all axes */
} eab_spec;

/* The option's axis for `mechanism` (-1: the one for all others), or NULL. */
eab_axis *eab_section_axis(const eab_section *section, const eab_option *option, int32_t mechanism);

/* The axis that lists the sweep's mechanisms. */
const eab_axis *eab_spec_mechanisms(const eab_spec *spec);

/* Reads a file, or "-": standard input, and applies `sets` (NULL-terminated "section.key=value", or NULL).
 * EAB_BAD_INPUT with one line (file and line, what, what is allowed, the nearest valid name) for every mistake; the
 * spec is then empty. */
int eab_spec_read(const char *path, const char *const *sets, eab_spec *spec);

/* The same for a run's manifest, of whose cells only the names are wanted: its text files may have changed or be absent
 * (eab_text_stand_in). */
int eab_spec_read_manifest(const char *path, eab_spec *spec);

/* Whether the path is that of standard input or a pipe: it can be read only once, and cannot name the run. */
bool eab_spec_is_stream(const char *path);

/* The same for a file's content, with text[length] = NUL; `path` is for the error lines. */
int eab_spec_parse(const char *path, const char *text, size_t length, const char *const *sets, eab_spec *spec);
void eab_spec_free(eab_spec *spec);

/* The spec as a spec file with every option written out; free with g_free(). Values are listed one by one, except more
 * than 100 integers at equal steps, which become a range: the text must not be larger than a file may be. */
char *eab_spec_print(const eab_spec *spec);

#endif
