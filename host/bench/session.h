/* A run of `eabench bench`. */
#ifndef EAB_BENCH_SESSION_H
#define EAB_BENCH_SESSION_H

#include "cases.h"
#include "statistics.h"

typedef struct {
    const char *backend; /* "cpu" */
    int device;
    const char *out; /* the folder, or NULL: rows go to the terminal only */
    bool cold, samples, resume;
    eab_bench_rule rule;
    const char *resolved; /* the request as INI text */
    const char *command;  /* the command line */
} eab_bench;

/* Measures every point; prints rows to stdout and progress to stderr. Returns the program's exit code. */
int eab_bench_run(const eab_bench *bench, const eab_bench_plan *plan);

#endif
