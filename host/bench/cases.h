/* The rows of a run: the table of cases, narrowed and changed by the command line. */
#ifndef EAB_BENCH_CASES_H
#define EAB_BENCH_CASES_H

#include <glib.h>

#include "operation.h"

enum { EAB_BENCH_MAX_POINTS = 100000 };

/* Of the command line. */
typedef struct {
    const char *backend;            /* name; decides the micro-batches of models */
    const char *tag;                /* NULL: "default" */
    GArray *values[EAB_AXIS_COUNT]; /* of double, as eab_range_parse lists them; NULL: not given */
    const char *const *sets;        /* "section.key=value" of a model, NULL-terminated, or NULL */
} eab_bench_request;

typedef struct {
    GArray *points;     /* of eab_bench_point, without duplicates */
    GPtrArray *configs; /* owner of points[].config */
} eab_bench_plan;

/* Reads "--KEY TEXT" into the request. EAB_BAD_INPUT with one line for every mistake. */
int eab_bench_request_axis(eab_bench_request *request, int axis, const char *text);
void eab_bench_request_free(eab_bench_request *request);

/* All cases with the tag. Where an axis or a model's option is given: for each operation that has it, the first such
 * case with its values replaced. EAB_BAD_INPUT if nothing is left, or more than EAB_BENCH_MAX_POINTS points. */
int eab_bench_plan_make(const eab_bench_request *request, eab_bench_plan *plan);
void eab_bench_plan_free(eab_bench_plan *plan);

/* All tags, NULL-terminated. */
const char *const *eab_bench_tags(void);

#endif
