/* A run of `eabench bench`. */
#ifndef EAB_BENCH_SESSION_H
#define EAB_BENCH_SESSION_H

#include "cases.h"
#include "statistics.h"

typedef struct {
    const char *backend; /* "cpu" */
    int device;
    const char *out; /* the folder, or NULL: rows are only printed */
    bool cold, samples, resume;
    eab_bench_rule rule;
    const char *resolved; /* the request as INI text */
    const char *command;  /* the command line */
} eab_bench;

/* How a run ended. */
typedef struct {
    int rows, skipped, failed; /* measured now; left out, as the folder had them; measured without a result */
    double elapsed_s;
    eab_bench_cost cost;       /* of the harness itself */
    double largest_cost_share; /* of it in a row; 0: no row has one */
} eab_bench_outcome;

/* Measures every point; prints rows to stdout and progress to stderr. Rows that failed are results: EAB_OK.
 * EAB_INTERRUPTED after a signal: finished rows are kept. */
int eab_bench_run(const eab_bench *bench, const eab_bench_plan *plan, eab_bench_outcome *outcome);

#endif
