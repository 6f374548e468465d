/* A row of measurements, and its lines in kernels.csv and samples.csv. */
#ifndef EAB_BENCH_TABLE_H
#define EAB_BENCH_TABLE_H

#include "operation.h"
#include "run/table_file.h"
#include "statistics.h"

typedef struct {
    eab_bench_point point;
    const char *backend, *device, *cache; /* cache: "cold" or "warm" */
    int status;                           /* an eab_status */
    char reason[256];                     /* of every status but EAB_OK */
    eab_bench_summary seconds;            /* of a call */
    double flop, bytes, tokens;
    double peak_gflop_per_s, peak_gbyte_per_s; /* the roofs; 0: not known */
    double error_ratio;                        /* NAN: not known */
    int64_t memory_bytes;                      /* -1: not known */
    int throttled;                             /* -1: not known */
    bool busy;                                 /* others used the machine during the row or its roofs */
} eab_bench_row;

/* "ok"; "oom": does not fit into memory; "unsupported" by this backend, build or machine; "fail": an error over its
 * bound, or a fault. */
const char *eab_bench_status_name(int status);

/* Results of a row. NAN if not known, and of every row that is not ok: no speed without its check. */
typedef struct {
    double samples, median_us, p05_us, p95_us; /* of the time of a call */
    double relative_error;                     /* standard error of the median over the median */
    double gflop_per_s, gbyte_per_s, tokens_per_s;
    double roof_fraction; /* share of the lower of the two roofs, min(peak, bandwidth * flop / bytes), that the row
                             reaches; without FLOP its share of the bandwidth */
    double error_ratio;   /* known of rows that fail, too */
} eab_bench_results;
eab_bench_results eab_bench_results_of(const eab_bench_row *row);

/* Reasons why the results of a row may not be those of the code, separated by spaces: "busy"; "cached": above the roof
 * of the memory, as its operands may have been in a cache; "above_roof": above a roof for another reason. */
void eab_bench_marks(const eab_bench_row *row, char *text, size_t size);

/* kernels.csv and samples.csv. */
extern const eab_table_layout eab_kernels_table, eab_samples_table;

void eab_bench_row_csv(GString *text, const eab_bench_row *row);

/* A line of samples.csv for each sample: the times of a call, of double. */
void eab_bench_samples_csv(GString *text, const eab_bench_row *row, const GArray *seconds);

/* What was measured, where and how: equal for rows that measure the same. fields: of a row of kernels.csv. g_free */
char *eab_bench_row_key(const eab_bench_row *row);
char *eab_bench_fields_key(char *const *fields);

#endif
