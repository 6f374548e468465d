#include "table.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "operation.h"

static const char *const status_names[] = {"ok", "fail", "oom", "unsupported"};

/* The columns up to `position` and those from `m` to `cache` say what was measured; the others what came out. */
static const char *const columns[] = {"backend",
                                      "device",
                                      "op",
                                      "implementation",
                                      "mechanism",
                                      "dtype",
                                      "pass",
                                      "batch",
                                      "heads",
                                      "context",
                                      "head_dim",
                                      "causal",
                                      "position",
                                      "status",
                                      "reason",
                                      "samples",
                                      "time_median_us",
                                      "time_p05_us",
                                      "time_p95_us",
                                      "gflop",
                                      "gbyte",
                                      "tflop_per_s",
                                      "gbyte_per_s",
                                      "roof_fraction",
                                      "memory_bytes",
                                      "error_ratio",
                                      "throttled",
                                      "m",
                                      "n",
                                      "k",
                                      "transpose",
                                      "label",
                                      "cache",
                                      "median_error",
                                      "tokens_per_s",
                                      NULL};
enum { KEY_END = 13, SECOND_KEY_BEGIN = 27, SECOND_KEY_END = 33 };

static const char *const sample_columns[] = {
    "backend",   "device",  "op",       "implementation", "mechanism", "dtype", "pass", "batch",
    "heads",     "context", "head_dim", "causal",         "position",  "m",     "n",    "k",
    "transpose", "label",   "cache",    "sample",         "time_us",   NULL};

const eab_table_layout eab_kernels_table = {"kernels.csv", columns},
                       eab_samples_table = {"samples.csv", sample_columns};

double eab_bench_roof_fraction(const eab_bench_row *row) {
    const double seconds = row->seconds.median, peak = row->peak_gflop_per_s * 1e9, band = row->peak_gbyte_per_s * 1e9;
    if (!(seconds > 0) || (row->flop > 0 && !(peak > 0)) || !(band > 0)) return NAN;
    const double of_peak = row->flop > 0 ? row->flop / seconds / peak : 0;
    const double share = fmax(of_peak, row->bytes / seconds / band);
    return share > 0 ? share : NAN;
}

static void add_axes(eab_csv_line *line, const eab_bench_axis *axes, size_t count, const eab_bench_point *point) {
    char value[32];
    for (size_t i = 0; i < count; i++) {
        eab_bench_print(axes[i], point, value, sizeof value);
        eab_csv_add_text(line, value);
    }
}

static void add_first_key(eab_csv_line *line, const eab_bench_row *row) {
    static const eab_bench_axis axes[] = {
        EAB_AXIS_OP,    EAB_AXIS_IMPLEMENTATION, EAB_AXIS_MECHANISM, EAB_AXIS_DTYPE,  EAB_AXIS_PASS,    EAB_AXIS_BATCH,
        EAB_AXIS_HEADS, EAB_AXIS_CONTEXT,        EAB_AXIS_HEAD_DIM,  EAB_AXIS_CAUSAL, EAB_AXIS_POSITION};
    eab_csv_add_text(line, row->backend);
    eab_csv_add_line(line, row->device);
    add_axes(line, axes, G_N_ELEMENTS(axes), &row->point);
}

static void add_second_key(eab_csv_line *line, const eab_bench_row *row) {
    static const eab_bench_axis axes[] = {EAB_AXIS_M, EAB_AXIS_N, EAB_AXIS_K, EAB_AXIS_TRANSPOSE};
    add_axes(line, axes, G_N_ELEMENTS(axes), &row->point);
    eab_csv_add_text(line, row->point.label);
    eab_csv_add_text(line, row->cache);
}

void eab_bench_row_csv(GString *text, const eab_bench_row *row) {
    const bool ok = row->status == EAB_BENCH_OK;
    const double seconds = ok ? row->seconds.median : NAN;
    eab_csv_line line = {.text = text};
    add_first_key(&line, row);
    eab_csv_add_text(&line, status_names[row->status]);
    eab_csv_add_line(&line, row->reason);
    eab_csv_add_count(&line, ok ? (int64_t)row->seconds.samples : -1);
    eab_csv_add_real(&line, 1e6 * seconds);
    eab_csv_add_real(&line, ok ? 1e6 * row->seconds.p05 : NAN);
    eab_csv_add_real(&line, ok ? 1e6 * row->seconds.p95 : NAN);
    eab_csv_add_real(&line, row->flop > 0 ? 1e-9 * row->flop : NAN);
    eab_csv_add_real(&line, row->bytes > 0 ? 1e-9 * row->bytes : NAN);
    eab_csv_add_real(&line, row->flop > 0 ? 1e-12 * row->flop / seconds : NAN);
    eab_csv_add_real(&line, row->bytes > 0 ? 1e-9 * row->bytes / seconds : NAN);
    eab_csv_add_real(&line, ok ? eab_bench_roof_fraction(row) : NAN);
    eab_csv_add_count(&line, ok ? row->memory_bytes : -1);
    eab_csv_add_real(&line, row->error_ratio);
    eab_csv_add_count(&line, ok ? row->throttled : -1);
    add_second_key(&line, row);
    eab_csv_add_real(&line, ok ? row->seconds.median_error / seconds : NAN);
    eab_csv_add_real(&line, row->tokens > 0 ? row->tokens / seconds : NAN);
    eab_csv_end(&line);
}

void eab_bench_samples_csv(GString *text, const eab_bench_row *row, const double *seconds, size_t count) {
    eab_csv_line line = {.text = text};
    for (size_t i = 0; i < count; i++) {
        add_first_key(&line, row);
        add_second_key(&line, row);
        eab_csv_add_count(&line, (int64_t)i);
        eab_csv_add_real(&line, 1e6 * seconds[i]);
        eab_csv_end(&line);
    }
}

char *eab_bench_row_key(const eab_bench_row *row) {
    eab_csv_line line = {.text = g_string_new(NULL)};
    add_first_key(&line, row);
    add_second_key(&line, row);
    return g_string_free(line.text, FALSE);
}

char *eab_bench_fields_key(char *const *fields) {
    eab_csv_line line = {.text = g_string_new(NULL)};
    for (int i = 0; i < KEY_END; i++) eab_csv_add_text(&line, fields[i]);
    for (int i = SECOND_KEY_BEGIN; i < SECOND_KEY_END; i++) eab_csv_add_text(&line, fields[i]);
    return g_string_free(line.text, FALSE);
}

/* ---- the terminal -------------------------------------------------------------------------------------------- */

enum { WIDE = 132, TEXT = 64 };

/* A column of the terminal: its text for a row, "" where it has none. */
typedef struct {
    const char *name, *unit;
    int width;         /* negative: to the left */
    bool wide, figure; /* only on wide terminals; not shown for rows without a speed */
    void (*print)(const eab_bench_row *row, char *text, size_t size);
} line_column;

static void print_real(double value, int digits, char *text, size_t size) {
    if (isfinite(value)) snprintf(text, size, "%.*f", digits, value);
    else text[0] = '\0';
}

#define AXIS_COLUMN(name, axis)                                                   \
    static void print_##name(const eab_bench_row *row, char *text, size_t size) { \
        eab_bench_print(axis, &row->point, text, size);                           \
    }
AXIS_COLUMN(implementation, EAB_AXIS_IMPLEMENTATION)
AXIS_COLUMN(mechanism, EAB_AXIS_MECHANISM)
AXIS_COLUMN(pass, EAB_AXIS_PASS)
AXIS_COLUMN(dtype, EAB_AXIS_DTYPE)
AXIS_COLUMN(causal, EAB_AXIS_CAUSAL)
AXIS_COLUMN(position, EAB_AXIS_POSITION)
AXIS_COLUMN(transpose, EAB_AXIS_TRANSPOSE)

static void join_axes(const eab_bench_axis *axes, size_t count, const eab_bench_row *row, char *text, size_t size) {
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        char value[32];
        eab_bench_print(axes[i], &row->point, value, sizeof value);
        if (*value && *text) g_strlcat(text, "x", size);
        g_strlcat(text, value, size);
    }
}

static void print_heads(const eab_bench_row *row, char *text, size_t size) {
    static const eab_bench_axis axes[] = {EAB_AXIS_BATCH, EAB_AXIS_HEADS, EAB_AXIS_CONTEXT, EAB_AXIS_HEAD_DIM};
    join_axes(axes, G_N_ELEMENTS(axes), row, text, size);
}

static void print_matrix(const eab_bench_row *row, char *text, size_t size) {
    static const eab_bench_axis axes[] = {EAB_AXIS_M, EAB_AXIS_N, EAB_AXIS_K};
    join_axes(axes, G_N_ELEMENTS(axes), row, text, size);
}

static void print_label(const eab_bench_row *row, char *text, size_t size) { g_strlcpy(text, row->point.label, size); }

static void print_model(const eab_bench_row *row, char *text, size_t size) { print_label(row, text, size); }

static void print_time(double seconds, char *text, size_t size) {
    print_real(1e6 * seconds, seconds < 1e-3 ? 3 : seconds < 1 ? 1 : 0, text, size);
}
static void print_median(const eab_bench_row *row, char *text, size_t size) {
    print_time(row->seconds.median, text, size);
}
static void print_p05(const eab_bench_row *row, char *text, size_t size) { print_time(row->seconds.p05, text, size); }
static void print_p95(const eab_bench_row *row, char *text, size_t size) { print_time(row->seconds.p95, text, size); }
static void print_samples(const eab_bench_row *row, char *text, size_t size) {
    snprintf(text, size, "%zu", row->seconds.samples);
}
static void print_precision(const eab_bench_row *row, char *text, size_t size) {
    print_real(100 * row->seconds.median_error / row->seconds.median, 2, text, size);
}
static void print_gflop(const eab_bench_row *row, char *text, size_t size) {
    print_real(row->flop > 0 ? 1e-9 * row->flop / row->seconds.median : NAN, 1, text, size);
}
static void print_gbyte(const eab_bench_row *row, char *text, size_t size) {
    print_real(row->bytes > 0 ? 1e-9 * row->bytes / row->seconds.median : NAN, 1, text, size);
}
static void print_roof(const eab_bench_row *row, char *text, size_t size) {
    print_real(eab_bench_roof_fraction(row), 2, text, size);
}
static void print_error(const eab_bench_row *row, char *text, size_t size) {
    print_real(row->error_ratio, 2, text, size);
}
static void print_throttled(const eab_bench_row *row, char *text, size_t size) {
    g_strlcpy(text, row->throttled == 1 ? "yes" : row->throttled == 0 ? "no" : "?", size);
}
static void print_tokens(const eab_bench_row *row, char *text, size_t size) {
    print_real(row->tokens > 0 ? 1e-6 * row->tokens / row->seconds.median : NAN, 3, text, size);
}

static const line_column line_columns[] = {
    {"implem.", "", -8, false, false, print_implementation},
    {"mechanism", "", -10, false, false, print_mechanism},
    {"pass", "", -8, false, false, print_pass},
    {"dtype", "", -7, true, false, print_dtype},
    {"BxHxTxD", "", -15, false, false, print_heads},
    {"caus", "", -4, false, false, print_causal},
    {"posit", "", -5, false, false, print_position},
    {"m x n x k", "", -15, false, false, print_matrix},
    {"transp.", "", -7, false, false, print_transpose},
    {"of", "", -20, false, false, print_label},
    {"model", "", -31, false, false, print_model},
    {"median", "us", 9, false, true, print_median},
    {"p05", "us", 10, true, true, print_p05},
    {"p95", "us", 10, true, true, print_p95},
    {"samples", "", 7, true, true, print_samples},
    {"+-", "%", 5, false, true, print_precision},
    {"speed", "Mtoken/s", 8, false, true, print_tokens},
    {"speed", "GFLOP/s", 7, false, true, print_gflop},
    {"traffic", "GB/s", 7, false, true, print_gbyte},
    {"roof", "share", 5, false, true, print_roof},
    {"error", "ratio", 5, false, true, print_error},
    {"throttled", "", -9, true, true, print_throttled},
};

/* Columns that an operation has nothing for are left out. */
static bool shown(const line_column *column, int op, int columns_there) {
    const uint32_t axes = eab_bench_operation_at(op)->axes;
    if (column->wide && columns_there < WIDE) return false;
    if (column->print == print_mechanism) return axes & EAB_AXIS_BIT(MECHANISM);
    if (column->print == print_pass) return axes & EAB_AXIS_BIT(PASS);
    if (column->print == print_dtype) return axes & EAB_AXIS_BIT(DTYPE);
    if (column->print == print_heads) return axes & EAB_AXIS_BIT(CONTEXT);
    if (column->print == print_causal) return axes & EAB_AXIS_BIT(CAUSAL);
    if (column->print == print_position) return axes & EAB_AXIS_BIT(POSITION);
    if (column->print == print_matrix) return axes & EAB_AXIS_BIT(N);
    if (column->print == print_transpose) return axes & EAB_AXIS_BIT(TRANSPOSE);
    if (column->print == print_label) return axes & EAB_AXIS_BIT(N);
    if (column->print == print_model) return eab_bench_operation_at(op)->keeps_state;
    if (column->print == print_tokens) return eab_bench_operation_at(op)->counts_tokens;
    if (column->print == print_gbyte) return !eab_bench_operation_at(op)->counts_tokens;
    return true;
}

static char *finish(GString *line) {
    while (line->len && line->str[line->len - 1] == ' ') g_string_truncate(line, line->len - 1);
    return g_string_free(line, FALSE);
}

char *eab_bench_heading(int op, int columns_there, int which) {
    GString *line = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(line_columns); i++)
        if (shown(&line_columns[i], op, columns_there))
            g_string_append_printf(line, "%*s ", line_columns[i].width,
                                   which ? line_columns[i].unit : line_columns[i].name);
    return finish(line);
}

char *eab_bench_line(const eab_bench_row *row, int columns_there) {
    GString *line = g_string_new(NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(line_columns); i++) {
        const line_column *column = &line_columns[i];
        char text[TEXT];
        if (!shown(column, row->point.op, columns_there) || (column->figure && row->status != EAB_BENCH_OK)) continue;
        column->print(row, text, sizeof text);
        g_string_append_printf(line, "%*s ", column->width, text);
    }
    if (row->status != EAB_BENCH_OK) g_string_append_printf(line, "%s: %s", status_names[row->status], row->reason);
    else if (row->throttled == 1 && columns_there < WIDE) g_string_append(line, "throttled");
    return finish(line);
}
