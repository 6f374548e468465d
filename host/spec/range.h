/* The grammar of an option's value, in spec files and in --set: a list of values and ranges. */
#ifndef EAB_SPEC_RANGE_H
#define EAB_SPEC_RANGE_H

#include <glib.h>

#include "options.h"

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
enum { EAB_RANGE_MAX_VALUES = 1000 }; /* so that an input costs microseconds */
#else
enum { EAB_RANGE_MAX_VALUES = 1000000 };
#endif

/* Appends to `values` (of double) the values that `text` lists: items between commas, each one value or, for numbers, a
 * range `a:b` (step 1), `a:b:+step` or `a:b:*factor`. A range includes its end if it hits it. Numbers are decimal in
 * any locale. Reals of a range are computed from its start, so that no error adds up, and rounded to 12 significant
 * digits: 0.01:0.1:+0.01 has 0.06 and not 0.060000000000000005, which would be another cell.
 * EAB_BAD_INPUT with "WHERE: what; allowed: ..." for every mistake. */
int eab_range_parse(const eab_option *option, const char *text, const char *where, GArray *values);

#endif
