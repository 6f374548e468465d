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

/* Measures every point; prints rows to stdout, and progress and a summary to stderr. *failed counts the
 * rows measured now that have an error over its bound or a fault; they are results: EAB_OK. EAB_UNSUPPORTED with a
 * reason if every row is oom or unsupported. EAB_INTERRUPTED after a signal: finished rows are kept. */
int eab_bench_run(const eab_bench *bench, const eab_bench_plan *plan, int *failed);

#endif
