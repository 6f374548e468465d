#include "table.h"

#include <math.h>
#include <string.h>

/* The columns that say what was measured, in two groups: later versions added the second. */
#define FIRST_KEY                                                                                           \
    "backend", "device", "op", "implementation", "mechanism", "dtype", "pass", "batch", "heads", "context", \
        "head_dim", "causal", "position"
#define RESULTS                                                                                                     \
    "status", "reason", "samples", "time_median_us", "time_p05_us", "time_p95_us", "gflop", "gbyte", "tflop_per_s", \
        "gbyte_per_s", "roof_fraction", "memory_bytes", "error_ratio", "throttled"
#define SECOND_KEY "m", "n", "k", "transpose", "label", "cache"

static const char *const first_key[] = {FIRST_KEY, NULL}, *const second_key[] = {SECOND_KEY, NULL};
static const char *const columns[] = {FIRST_KEY, RESULTS, SECOND_KEY, "median_error", "tokens_per_s", "marks", NULL};
static const char *const sample_columns[] = {FIRST_KEY, SECOND_KEY, "sample", "time_us", NULL};

/* The first version had no marks. */
static const char *absent_column(const char *column, char *const *field) {
    (void)field;
    return strcmp(column, "marks") == 0 ? "" : NULL;
}

const eab_table_layout eab_kernels_table = {"kernels.csv", columns, absent_column, NULL},
                       eab_samples_table = {"samples.csv", sample_columns, NULL, NULL};

/* ---- results ---------------------------------------------------------------------------------------------------- */

const char *eab_bench_status_name(int status) {
    return status == EAB_OK            ? "ok"
           : status == EAB_NO_MEMORY   ? "oom"
           : status == EAB_UNSUPPORTED ? "unsupported"
                                       : "fail";
}

eab_bench_results eab_bench_results_of(const eab_bench_row *row) {
    const bool ok = row->status == EAB_OK,
               roofs = row->peak_gbyte_per_s > 0 && (!(row->flop > 0) || row->peak_gflop_per_s > 0);
    const double seconds = ok ? row->seconds.median : NAN;
    eab_bench_results results = {.samples = ok ? (double)row->seconds.samples : NAN,
                                 .median_us = 1e6 * seconds,
                                 .p05_us = ok ? 1e6 * row->seconds.p05 : NAN,
                                 .p95_us = ok ? 1e6 * row->seconds.p95 : NAN,
                                 .relative_error = row->seconds.median_error / seconds,
                                 .gflop_per_s = row->flop > 0 ? 1e-9 * row->flop / seconds : NAN,
                                 .gbyte_per_s = row->bytes > 0 ? 1e-9 * row->bytes / seconds : NAN,
                                 .tokens_per_s = row->tokens > 0 ? row->tokens / seconds : NAN,
                                 .roof_fraction = NAN,
                                 .error_ratio = row->error_ratio};
    if (roofs) /* fmax of NAN and a number: the number */
        results.roof_fraction =
            fmax(results.gflop_per_s / row->peak_gflop_per_s, results.gbyte_per_s / row->peak_gbyte_per_s);
    return results;
}

void eab_bench_marks(const eab_bench_row *row, char *text, size_t size) {
    const eab_bench_results results = eab_bench_results_of(row);
    const bool cached = strcmp(row->cache, "warm") == 0 && !(results.gflop_per_s > row->peak_gflop_per_s);
    const char *above = !(results.roof_fraction > 1) ? "" : cached ? "cached" : "above_roof";
    const bool busy = row->busy && row->status == EAB_OK;
    g_snprintf(text, (gulong)size, "%s%s%s", busy ? "busy" : "", busy && *above ? " " : "", above);
}

/* ---- CSV -------------------------------------------------------------------------------------------------------- */

static void add_key(eab_csv_line *line, const eab_bench_row *row, const char *const *names) {
    for (; *names; names++) {
        const int axis = eab_bench_axis_from_name(*names);
        char value[32];
        if (axis >= 0) {
            eab_bench_print((eab_bench_axis)axis, &row->point, value, sizeof value);
            eab_csv_add_text(line, value);
        } else
            eab_csv_add_line(line, strcmp(*names, "backend") == 0  ? row->backend
                                   : strcmp(*names, "device") == 0 ? row->device
                                   : strcmp(*names, "label") == 0  ? row->point.label
                                                                   : row->cache);
    }
}

void eab_bench_row_csv(GString *text, const eab_bench_row *row) {
    const eab_bench_results results = eab_bench_results_of(row);
    const bool ok = row->status == EAB_OK;
    char marks[32];
    eab_csv_line line = {.text = text};
    add_key(&line, row, first_key);
    eab_csv_add_text(&line, eab_bench_status_name(row->status));
    eab_csv_add_line(&line, row->reason);
    eab_csv_add_real(&line, results.samples);
    eab_csv_add_real(&line, results.median_us);
    eab_csv_add_real(&line, results.p05_us);
    eab_csv_add_real(&line, results.p95_us);
    eab_csv_add_real(&line, row->flop > 0 ? 1e-9 * row->flop : NAN);
    eab_csv_add_real(&line, row->bytes > 0 ? 1e-9 * row->bytes : NAN);
    eab_csv_add_real(&line, 1e-3 * results.gflop_per_s);
    eab_csv_add_real(&line, results.gbyte_per_s);
    eab_csv_add_real(&line, results.roof_fraction);
    eab_csv_add_count(&line, ok ? row->memory_bytes : -1);
    eab_csv_add_real(&line, results.error_ratio);
    eab_csv_add_count(&line, ok ? row->throttled : -1);
    add_key(&line, row, second_key);
    eab_csv_add_real(&line, results.relative_error);
    eab_csv_add_real(&line, results.tokens_per_s);
    eab_bench_marks(row, marks, sizeof marks);
    eab_csv_add_text(&line, marks);
    eab_csv_end(&line);
}

void eab_bench_samples_csv(GString *text, const eab_bench_row *row, const GArray *seconds) {
    eab_csv_line line = {.text = text};
    for (guint i = 0; i < seconds->len; i++) {
        add_key(&line, row, first_key);
        add_key(&line, row, second_key);
        eab_csv_add_count(&line, i);
        eab_csv_add_real(&line, 1e6 * g_array_index(seconds, double, i));
        eab_csv_end(&line);
    }
}

char *eab_bench_row_key(const eab_bench_row *row) {
    eab_csv_line line = {.text = g_string_new(NULL)};
    add_key(&line, row, first_key);
    add_key(&line, row, second_key);
    return g_string_free(line.text, FALSE);
}

char *eab_bench_fields_key(char *const *fields) {
    eab_csv_line line = {.text = g_string_new(NULL)};
    for (int i = 0; columns[i]; i++)
        if (g_strv_contains(first_key, columns[i]) || g_strv_contains(second_key, columns[i]))
            eab_csv_add_text(&line, fields[i]);
    return g_string_free(line.text, FALSE);
}
