/* The text of a mixture, as the option `parts` lists it. */
#ifndef EAB_SPEC_MIXTURE_H
#define EAB_SPEC_MIXTURE_H

#include <glib.h>

#include "config.h"

/* Appends to `mixtures` (of eab_mixture, g_free) the mixtures that `text` lists between commas. The parts of a mixture
 * are joined by +; a part is a family's name, or name(key=value key=value ...) with one value for each key. Options
 * that are not written have their default. EAB_BAD_INPUT with "WHERE: what; allowed: ..." for every mistake. */
int eab_mixture_parse(const char *text, const char *where, GPtrArray *mixtures);

#endif
