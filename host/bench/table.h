/* A row of measurements: as a line of kernels.csv, and as a line of the terminal. */
#ifndef EAB_BENCH_TABLE_H
#define EAB_BENCH_TABLE_H

#include "point.h"
#include "run/table_file.h"
#include "statistics.h"

typedef enum {
    EAB_BENCH_OK,
    EAB_BENCH_FAIL,        /* an error over its bound, or a fault: no speed is reported */
    EAB_BENCH_OOM,         /* does not fit into memory */
    EAB_BENCH_UNSUPPORTED, /* this backend, build or machine cannot do it */
} eab_bench_status;

typedef struct {
    eab_bench_point point;
    const char *backend, *device, *cache; /* cache: "cold" or "warm" */
    eab_bench_status status;
    char reason[256];
    eab_bench_summary seconds; /* of a call; void unless status is ok */
    double flop, bytes, tokens;
    double peak_gflop_per_s, peak_gbyte_per_s; /* the roofs; 0: not known */
    double error_ratio;                        /* NAN: not known */
    int64_t memory_bytes;                      /* -1: not known */
    int throttled;                             /* -1: not known */
} eab_bench_row;

/* kernels.csv and samples.csv. */
extern const eab_table_layout eab_kernels_table, eab_samples_table;

void eab_bench_row_csv(GString *text, const eab_bench_row *row);

/* A line of samples.csv for each sample. */
void eab_bench_samples_csv(GString *text, const eab_bench_row *row, const double *seconds, size_t count);

/* What was measured, where and how: equal for rows that measure the same. fields: of a row of kernels.csv. g_free. */
char *eab_bench_row_key(const eab_bench_row *row);
char *eab_bench_fields_key(char *const *fields);

/* The share of the lower of the two roofs, min(peak, bandwidth * flop / bytes), that a row reaches; for a row without FLOP
 * its share of the bandwidth. NAN where it is not known. */
double eab_bench_roof_fraction(const eab_bench_row *row);

/* One line for the terminal, without a newline, in at most `columns` columns: the names and the units above the rows of an
 * operation (which: 0, 1), and a row. `columns` below 120 leaves some out. */
char *eab_bench_heading(int op, int columns, int which);
char *eab_bench_line(const eab_bench_row *row, int columns);

#endif
