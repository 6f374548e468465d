#include "statistics.h"

#include <math.h>
#include <stdlib.h>

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const double *sorted, size_t count, double share) {
    const double place = share * (double)(count - 1);
    const size_t below = (size_t)place, above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (place - (double)below) * (sorted[above] - sorted[below]);
}

static double median_error(const double *sorted, size_t count) {
    static const double z = 2.5758293035489004;
    if (count < 3) return NAN;
    const double place = floor((double)(count + 1) / 2 - z * sqrt((double)count / 4) + 0.5);
    const size_t c = place < 1 ? 1 : (size_t)place; /* from 1, as in the formula */
    return (sorted[count - c] - sorted[c - 1]) / (2 * z);
}

void eab_bench_summarize(double *values, size_t count, eab_bench_summary *summary) {
    *summary = (eab_bench_summary){count, NAN, NAN, NAN, NAN};
    if (!count) return;
    qsort(values, count, sizeof *values, ascending);
    summary->median = quantile(values, count, 0.5);
    summary->p05 = quantile(values, count, 0.05);
    summary->p95 = quantile(values, count, 0.95);
    summary->median_error = median_error(values, count);
}

double eab_bench_cost_share(const eab_bench_cost *cost, double call_s, int64_t calls) {
    return (cost->call_s + cost->sample_s / (double)calls) / call_s;
}

bool eab_bench_enough(const eab_bench_rule *rule, const eab_bench_summary *summary, double elapsed_s) {
    if (!summary->samples) return false;
    if (elapsed_s >= rule->max_s) return true;
    return summary->samples >= (size_t)rule->min_samples &&
           summary->median_error <= rule->precision * summary->median; /* false for NAN */
}
