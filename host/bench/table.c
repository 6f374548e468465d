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
static const char *const columns[] = {FIRST_KEY, RESULTS, SECOND_KEY, "median_error", "tokens_per_s", NULL};
static const char *const sample_columns[] = {FIRST_KEY, SECOND_KEY, "sample", "time_us", NULL};

const eab_table_layout eab_kernels_table = {"kernels.csv", columns},
                       eab_samples_table = {"samples.csv", sample_columns};

const char *eab_bench_status_name(eab_bench_status status) {
    static const char *const names[] = {"ok", "fail", "oom", "unsupported"};
    return names[status];
}

/* ---- results ---------------------------------------------------------------------------------------------------- */

double eab_bench_seconds(const eab_bench_row *row) { return row->status == EAB_BENCH_OK ? row->seconds.median : NAN; }

double eab_bench_relative_error(const eab_bench_row *row) { return row->seconds.median_error / eab_bench_seconds(row); }

double eab_bench_gflop_per_s(const eab_bench_row *row) {
    return row->flop > 0 ? 1e-9 * row->flop / eab_bench_seconds(row) : NAN;
}

double eab_bench_gbyte_per_s(const eab_bench_row *row) {
    return row->bytes > 0 ? 1e-9 * row->bytes / eab_bench_seconds(row) : NAN;
}

double eab_bench_tokens_per_s(const eab_bench_row *row) {
    return row->tokens > 0 ? row->tokens / eab_bench_seconds(row) : NAN;
}

double eab_bench_roof_fraction(const eab_bench_row *row) {
    const double peak = row->peak_gflop_per_s, band = row->peak_gbyte_per_s;
    if ((row->flop > 0 && !(peak > 0)) || !(band > 0)) return NAN;
    return fmax(eab_bench_gflop_per_s(row) / peak,
                eab_bench_gbyte_per_s(row) / band); /* of NAN and a number: the number */
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
    const bool ok = row->status == EAB_BENCH_OK;
    eab_csv_line line = {.text = text};
    add_key(&line, row, first_key);
    eab_csv_add_text(&line, eab_bench_status_name(row->status));
    eab_csv_add_line(&line, row->reason);
    eab_csv_add_count(&line, ok ? (int64_t)row->seconds.samples : -1);
    eab_csv_add_real(&line, 1e6 * eab_bench_seconds(row));
    eab_csv_add_real(&line, ok ? 1e6 * row->seconds.p05 : NAN);
    eab_csv_add_real(&line, ok ? 1e6 * row->seconds.p95 : NAN);
    eab_csv_add_real(&line, row->flop > 0 ? 1e-9 * row->flop : NAN);
    eab_csv_add_real(&line, row->bytes > 0 ? 1e-9 * row->bytes : NAN);
    eab_csv_add_real(&line, 1e-3 * eab_bench_gflop_per_s(row));
    eab_csv_add_real(&line, eab_bench_gbyte_per_s(row));
    eab_csv_add_real(&line, eab_bench_roof_fraction(row));
    eab_csv_add_count(&line, ok ? row->memory_bytes : -1);
    eab_csv_add_real(&line, row->error_ratio);
    eab_csv_add_count(&line, ok ? row->throttled : -1);
    add_key(&line, row, second_key);
    eab_csv_add_real(&line, eab_bench_relative_error(row));
    eab_csv_add_real(&line, eab_bench_tokens_per_s(row));
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
