#include "terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DEFAULT_COLUMNS = 100, LEAST_COLUMNS = 40, MAX_COLUMNS = 400, WIDE = 132, TEXT = 64 };

/* ---- columns ---------------------------------------------------------------------------------------------------- */

enum { BY_SIZE = -1 }; /* digits of a time in us: fewer for longer times */

typedef struct {
    const char *name, *unit;
    int width;            /* negative: left-aligned */
    eab_bench_axis axis;  /* shown for operations with this axis; EAB_AXIS_OP: for all */
    bool wide;            /* only on wide terminals */
    bool training, other; /* only for operations that train; only for others */
    /* The value: text, a figure, or the axis. */
    void (*text)(const eab_bench_row *row, char *text, size_t size);
    double (*figure)(const eab_bench_row *row); /* NAN prints as "" */
    int digits;
} column;

static void join_axes(const eab_bench_axis *axes, size_t count, const eab_bench_row *row, char *text, size_t size) {
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        char value[32];
        eab_bench_print(axes[i], &row->point, value, sizeof value);
        if (*value && *text) g_strlcat(text, "x", size);
        g_strlcat(text, value, size);
    }
}

static void heads_text(const eab_bench_row *row, char *text, size_t size) {
    static const eab_bench_axis axes[] = {EAB_AXIS_BATCH, EAB_AXIS_HEADS, EAB_AXIS_CONTEXT, EAB_AXIS_HEAD_DIM};
    join_axes(axes, G_N_ELEMENTS(axes), row, text, size);
}

static void matrix_text(const eab_bench_row *row, char *text, size_t size) {
    static const eab_bench_axis axes[] = {EAB_AXIS_M, EAB_AXIS_N, EAB_AXIS_K};
    join_axes(axes, G_N_ELEMENTS(axes), row, text, size);
}

static void label_text(const eab_bench_row *row, char *text, size_t size) { g_strlcpy(text, row->point.label, size); }

static void throttled_text(const eab_bench_row *row, char *text, size_t size) {
    g_strlcpy(text, row->throttled == 1 ? "yes" : row->throttled == 0 ? "no" : "?", size);
}

static double median_us(const eab_bench_row *row) { return 1e6 * row->seconds.median; }
static double p05_us(const eab_bench_row *row) { return 1e6 * row->seconds.p05; }
static double p95_us(const eab_bench_row *row) { return 1e6 * row->seconds.p95; }
static double samples(const eab_bench_row *row) { return (double)row->seconds.samples; }
static double precision_percent(const eab_bench_row *row) { return 100 * eab_bench_relative_error(row); }
static double mtokens_per_s(const eab_bench_row *row) { return 1e-6 * eab_bench_tokens_per_s(row); }
static double error_ratio(const eab_bench_row *row) { return row->error_ratio; }

static const column point_columns[] = {
    {"implem.", "", -8, .axis = EAB_AXIS_IMPLEMENTATION},
    {"mechanism", "", -10, .axis = EAB_AXIS_MECHANISM},
    {"pass", "", -8, .axis = EAB_AXIS_PASS},
    {"dtype", "", -7, .axis = EAB_AXIS_DTYPE, .wide = true},
    {"BxHxTxD", "", -15, .axis = EAB_AXIS_CONTEXT, .text = heads_text},
    {"caus", "", -4, .axis = EAB_AXIS_CAUSAL},
    {"posit", "", -5, .axis = EAB_AXIS_POSITION},
    {"m x n x k", "", -15, .axis = EAB_AXIS_N, .text = matrix_text},
    {"transp.", "", -7, .axis = EAB_AXIS_TRANSPOSE},
    {"of", "", -20, .axis = EAB_AXIS_N, .text = label_text},
    {"model", "", -31, .training = true, .text = label_text},
};
static const column result_columns[] = {
    {"median", "us", 9, .figure = median_us, .digits = BY_SIZE},
    {"p05", "us", 10, .wide = true, .figure = p05_us, .digits = BY_SIZE},
    {"p95", "us", 10, .wide = true, .figure = p95_us, .digits = BY_SIZE},
    {"samples", "", 7, .wide = true, .figure = samples},
    {"+-", "%", 5, .figure = precision_percent, .digits = 2},
    {"speed", "Mtoken/s", 8, .training = true, .figure = mtokens_per_s, .digits = 3},
    {"speed", "GFLOP/s", 7, .figure = eab_bench_gflop_per_s, .digits = 1},
    {"traffic", "GB/s", 7, .other = true, .figure = eab_bench_gbyte_per_s, .digits = 1},
    {"roof", "share", 5, .figure = eab_bench_roof_fraction, .digits = 2},
    {"error", "ratio", 5, .figure = error_ratio, .digits = 2},
    {"throttled", "", -9, .wide = true, .text = throttled_text},
};

static bool is_shown(const column *c, const eab_bench_operation *operation, int columns) {
    return (!c->wide || columns >= WIDE) && eab_bench_has_axis(operation, c->axis) &&
           !(c->training && !operation->trains) && !(c->other && operation->trains);
}

static void print_value(const column *c, const eab_bench_row *row, char *text, size_t size) {
    if (c->text) c->text(row, text, size);
    else if (!c->figure) eab_bench_print(c->axis, &row->point, text, size);
    else {
        const double value = c->figure(row);
        const int digits = c->digits != BY_SIZE ? c->digits : value < 1e3 ? 3 : value < 1e6 ? 1 : 0;
        if (isfinite(value)) g_snprintf(text, (gulong)size, "%.*f", digits, value);
        else text[0] = '\0';
    }
}

/* Row NULL: the names of the columns (which 0) or their units. */
static void add_columns(GString *line, const column *all, size_t count, int op, int columns, const eab_bench_row *row,
                        int which) {
    for (size_t i = 0; i < count; i++) {
        char text[TEXT];
        if (!is_shown(&all[i], eab_bench_operation_at(op), columns)) continue;
        if (row) print_value(&all[i], row, text, sizeof text);
        else g_strlcpy(text, which ? all[i].unit : all[i].name, sizeof text);
        g_string_append_printf(line, "%*s ", all[i].width, text);
    }
}

static char *finish(GString *line) { return g_strchomp(g_string_free(line, FALSE)); }

char *eab_bench_heading(int op, int columns, int which) {
    GString *line = g_string_new(NULL);
    add_columns(line, point_columns, G_N_ELEMENTS(point_columns), op, columns, NULL, which);
    add_columns(line, result_columns, G_N_ELEMENTS(result_columns), op, columns, NULL, which);
    return finish(line);
}

char *eab_bench_line(const eab_bench_row *row, int columns) {
    GString *line = g_string_new(NULL);
    add_columns(line, point_columns, G_N_ELEMENTS(point_columns), row->point.op, columns, row, 0);
    if (row->status != EAB_BENCH_OK)
        g_string_append_printf(line, "%s: %s", eab_bench_status_name(row->status), row->reason);
    else {
        add_columns(line, result_columns, G_N_ELEMENTS(result_columns), row->point.op, columns, row, 0);
        if (row->throttled == 1 && columns < WIDE) g_string_append(line, "throttled");
    }
    return finish(line);
}

/* ---- the terminal ----------------------------------------------------------------------------------------------- */

static int terminal_columns(void) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return CLAMP(size.ws_col, LEAST_COLUMNS, MAX_COLUMNS);
    const char *columns = getenv("COLUMNS");
    const int wanted = columns ? (int)strtol(columns, NULL, 10) : 0;
    return wanted >= LEAST_COLUMNS && wanted <= MAX_COLUMNS ? wanted : DEFAULT_COLUMNS;
}

eab_bench_terminal eab_bench_terminal_open(void) {
    const char *term = getenv("TERM");
    return (eab_bench_terminal){.columns = terminal_columns(),
                                .live = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0,
                                .heading = -1};
}

void eab_bench_show_progress(const eab_bench_terminal *terminal, const char *prefix, const eab_bench_summary *summary) {
    char text[160] = "";
    if (!terminal->live) return;
    if (summary && summary->median > 0)
        g_snprintf(text, sizeof text, ": %zu samples, median to %.2g %%", summary->samples,
                   100 * summary->median_error / summary->median);
    char *line = g_strconcat(prefix, text, NULL);
    fprintf(stderr, "\r\033[K%.*s", terminal->columns - 1, line);
    fflush(stderr);
    g_free(line);
}

void eab_bench_clear_progress(const eab_bench_terminal *terminal) {
    if (terminal->live) fputs("\r\033[K", stderr);
}

void eab_bench_print_row(eab_bench_terminal *terminal, const eab_bench_row *row) {
    const int op = row->point.op;
    eab_bench_clear_progress(terminal);
    if (terminal->heading != op) {
        char *names = eab_bench_heading(op, terminal->columns, 0), *units = eab_bench_heading(op, terminal->columns, 1);
        printf("%s# %s: %s\n%s\n%s\n", terminal->heading < 0 ? "" : "\n", eab_bench_operation_at(op)->name,
               eab_bench_operation_at(op)->summary, names, units);
        g_free(names);
        g_free(units);
        terminal->heading = op;
    }
    char *line = eab_bench_line(row, terminal->columns);
    puts(line);
    g_free(line);
    fflush(stdout);
}
