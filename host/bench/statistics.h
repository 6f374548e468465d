/* Statistics of a row's samples: the median, its standard error, quantiles; and when to stop sampling. */
#ifndef EAB_BENCH_STATISTICS_H
#define EAB_BENCH_STATISTICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    size_t samples;
    double median, p05, p95; /* in the samples' unit; NAN without samples */
    double median_error;     /* standard error of the median, in the same unit; NAN for fewer than 3 samples */
} eab_bench_summary;

/* Sorts values[count] in place. Quantiles interpolate linearly between order statistics (Hyndman & Fan, "Sample
 * quantiles in statistical packages", Am. Stat. 50, 1996: type 7, numpy's default). The median's standard error is
 * that of McKean & Schrader ("A comparison of methods for studentizing the sample median", Commun. Stat. Simul.
 * Comput. 13, 1984): with c = (n + 1) / 2 - z sqrt(n / 4) rounded and z = 2.5758, the 99.5 % point of the normal
 * distribution, (x_(n - c + 1) - x_(c)) / (2 z): the binomial interval of the median over its width in standard
 * errors. It assumes that the samples are independent, and no particular distribution. */
void eab_bench_summarize(double *values, size_t count, eab_bench_summary *summary);

/* Time of the harness itself: in each call (the loop, the operation's call) and in each sample (reading the clock
 * twice). */
typedef struct {
    double call_s, sample_s;
} eab_bench_cost;

/* Its share in a row whose calls take `call_s`, with `calls` calls in a sample. */
double eab_bench_cost_share(const eab_bench_cost *cost, double call_s, int64_t calls);

/* When to stop. */
typedef struct {
    double precision; /* relative standard error of the median */
    int min_samples;
    double max_s; /* wall-clock time of the row's sampling */
} eab_bench_rule;

/* Whether the precision is reached or the time is over, after at least one sample. */
bool eab_bench_enough(const eab_bench_rule *rule, const eab_bench_summary *summary, double elapsed_s);

#endif
