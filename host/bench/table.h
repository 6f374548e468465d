/* A row of measurements, and its lines in kernels.csv and samples.csv. */
#ifndef EAB_BENCH_TABLE_H
#define EAB_BENCH_TABLE_H

#include "operation.h"
#include "run/table_file.h"
#include "statistics.h"

typedef enum {
    EAB_BENCH_OK,
    EAB_BENCH_FAIL,        /* an error over its bound, or a fault */
    EAB_BENCH_OOM,         /* does not fit into memory */
    EAB_BENCH_UNSUPPORTED, /* by this backend, build or machine */
} eab_bench_status;

typedef struct {
    eab_bench_point point;
    const char *backend, *device, *cache; /* cache: "cold" or "warm" */
    eab_bench_status status;
    char reason[256];
    eab_bench_summary seconds; /* of a call */
    double flop, bytes, tokens;
    double peak_gflop_per_s, peak_gbyte_per_s; /* the roofs; 0: not known */
    double error_ratio;                        /* NAN: not known */
    int64_t memory_bytes;                      /* -1: not known */
    int throttled;                             /* -1: not known */
} eab_bench_row;

/* kernels.csv and samples.csv. */
extern const eab_table_layout eab_kernels_table, eab_samples_table;

/* "ok", ... */
const char *eab_bench_status_name(eab_bench_status status);

void eab_bench_row_csv(GString *text, const eab_bench_row *row);

/* A line of samples.csv for each sample: the times of a call, of double. */
void eab_bench_samples_csv(GString *text, const eab_bench_row *row, const GArray *seconds);

/* What was measured, where and how: equal for rows that measure the same. fields: of a row of kernels.csv. Free with
 * g_free. */
char *eab_bench_row_key(const eab_bench_row *row);
char *eab_bench_fields_key(char *const *fields);

/* Results of a row. NAN if not known, and of every row that is not ok: no speed without its check. */
double eab_bench_seconds(const eab_bench_row *row);        /* of a call, median */
double eab_bench_relative_error(const eab_bench_row *row); /* standard error of the median over the median */
double eab_bench_gflop_per_s(const eab_bench_row *row);
double eab_bench_gbyte_per_s(const eab_bench_row *row);
double eab_bench_tokens_per_s(const eab_bench_row *row);

/* The share of the lower of the two roofs, min(peak, bandwidth * flop / bytes), that a row reaches; for a row
 * without FLOP its share of the bandwidth. */
double eab_bench_roof_fraction(const eab_bench_row *row);

#endif
