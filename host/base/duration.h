/* A time on a command line: "90" or "90s", "1.5h", "1h30m", "2d". scripts/analysis/duration.py has the same grammar. */
#ifndef EAB_BASE_DURATION_H
#define EAB_BASE_DURATION_H

#include <stdbool.h>

#define EAB_DURATION_ALLOWED "seconds, or like 90s, 10m, 1h30m, 2d"
#define EAB_DURATION_HELP                                                                                     \
    "A TIME is " EAB_DURATION_ALLOWED ": numbers with d, h, m, s, each at most once and in this order; 1.5h " \
    "is 1h30m."

/* Reads seconds, 0 to 1e9. False for any other text. */
bool eab_duration_read(const char *text, double *seconds);

#endif
