/* Mixtures: several levels, of one family or of several, that one model learns together.
 *
 * A mixture is a set: its parts are sorted, by family and options, and stand once. Like an interned string it is read
 * once and known by a number from then on, so that it fits wherever an option's value does. */
#ifndef EAB_SPEC_MIXTURE_H
#define EAB_SPEC_MIXTURE_H

#include "tasks/parts.h"

/* Not all who ask for a mixture have GLib (tests/bare). */
struct _GArray; /* NOLINT(bugprone-reserved-identifier): GLib's own name */

enum { EAB_MIXTURE_MIN_PARTS = 2, EAB_MIXTURE_TEXT_SIZE = 1500 };

/* How a model is told which part a sequence is of. */
typedef enum {
    EAB_CUE_TOKEN, /* by the sequence's first token */
    EAB_CUE_NONE   /* by nothing but the sequence itself */
} eab_cue;

typedef struct {
    int32_t count;
    eab_level levels[EAB_MAX_PARTS];
    char text[EAB_MIXTURE_TEXT_SIZE]; /* "recurrence(basis=4 delay=3) + recurrence(basis=8 delay=4)"; reads back */
} eab_mixture;

/* Appends to `values` (of double) the numbers of the mixtures that `text` lists: mixtures between commas, each with its
 * parts between +, each of these a family's name, or name(key=value key=value ...), one value a key; options that are
 * not written have their default. EAB_BAD_INPUT with "WHERE: what; allowed: ..." for every mistake. */
int eab_mixture_parse(const char *text, const char *where, struct _GArray *values);

/* The mixture of a number that eab_mixture_parse() gave; it is there as long as the process. Thread-safe. */
const eab_mixture *eab_mixture_at(int32_t number);

/* Forgets all mixtures, whose numbers mean nothing then: for a process that reads millions of specs (tests/fuzz). */
void eab_mixtures_forget(void);

#endif
