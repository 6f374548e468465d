#include "terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "kernels/clock.h"

static const double SILENT_S = 10; /* at most, unless a single call takes longer */

enum { DEFAULT_COLUMNS = 100, LEAST_COLUMNS = 40, MAX_COLUMNS = 400, WIDE = 132, TEXT = 64 };

/* ---- columns ---------------------------------------------------------------------------------------------------- */

enum { BY_SIZE = -1 }; /* digits of a time in us: fewer for longer times */

typedef struct {
    const char *name, *unit;
    int width; /* negative: left-aligned */
    enum { AXES, LABEL, THROTTLED, RESULT } kind;
    eab_bench_axis axes[4]; /* shown for operations with one of them; without axes: for all. AXES: the values */
    bool wide;              /* only on wide terminals */
    bool training, other;   /* only for operations that train; only for others */
    size_t result;          /* RESULT: offset in eab_bench_results */
    double factor;          /* of the result, into the unit */
    int digits;
} column;
#define FIGURE(field, factor_) .kind = RESULT, .result = offsetof(eab_bench_results, field), .factor = factor_

static const column point_columns[] = {
    {"implem.", "", -8, .axes = {EAB_AXIS_IMPLEMENTATION}},
    {"mechanism", "", -10, .axes = {EAB_AXIS_MECHANISM}},
    {"pass", "", -8, .axes = {EAB_AXIS_PASS}},
    {"dtype", "", -7, .axes = {EAB_AXIS_DTYPE}, .wide = true},
    {"BxHxTxD", "", -15, .axes = {EAB_AXIS_BATCH, EAB_AXIS_HEADS, EAB_AXIS_CONTEXT, EAB_AXIS_HEAD_DIM}},
    {"caus", "", -4, .axes = {EAB_AXIS_CAUSAL}},
    {"posit", "", -5, .axes = {EAB_AXIS_POSITION}},
    {"m x n x k", "", -15, .axes = {EAB_AXIS_M, EAB_AXIS_N, EAB_AXIS_K}},
    {"transp.", "", -7, .axes = {EAB_AXIS_TRANSPOSE}},
    {"of", "", -20, LABEL, .axes = {EAB_AXIS_N}},
    {"model", "", -31, LABEL, .training = true},
};
static const column result_columns[] = {
    {"median", "us", 9, FIGURE(median_us, 1), .digits = BY_SIZE},
    {"p05", "us", 10, FIGURE(p05_us, 1), .digits = BY_SIZE, .wide = true},
    {"p95", "us", 10, FIGURE(p95_us, 1), .digits = BY_SIZE, .wide = true},
    {"samples", "", 7, FIGURE(samples, 1), .wide = true},
    {"+-", "%", 5, FIGURE(relative_error, 100), .digits = 2},
    {"speed", "Mtoken/s", 8, FIGURE(tokens_per_s, 1e-6), .digits = 3, .training = true},
    {"speed", "GFLOP/s", 7, FIGURE(gflop_per_s, 1), .digits = 1},
    {"traffic", "GB/s", 7, FIGURE(gbyte_per_s, 1), .digits = 1, .other = true},
    {"roof", "share", 5, FIGURE(roof_fraction, 1), .digits = 2},
    {"error", "ratio", 5, FIGURE(error_ratio, 1), .digits = 2},
    {"throttled", "", -9, THROTTLED, .wide = true},
};

static bool is_shown(const column *c, const eab_bench_operation *operation, int columns) {
    bool has_axis = !c->axes[0];
    for (int i = 0; i < 4 && c->axes[i]; i++) has_axis = has_axis || eab_bench_has_axis(operation, c->axes[i]);
    return has_axis && (!c->wide || columns >= WIDE) && !(c->training && !operation->trains) &&
           !(c->other && operation->trains);
}

static void print_axes(const column *c, const eab_bench_point *point, char *text, size_t size) {
    for (int i = 0; i < 4 && c->axes[i]; i++) {
        char value[32];
        eab_bench_print(c->axes[i], point, value, sizeof value);
        if (*value && *text) g_strlcat(text, "x", size);
        g_strlcat(text, value, size);
    }
}

static void print_value(const column *c, const eab_bench_row *row, char *text, size_t size) {
    const eab_bench_results results = eab_bench_results_of(row);
    text[0] = '\0';
    if (c->kind == AXES) print_axes(c, &row->point, text, size);
    else if (c->kind == LABEL) g_strlcpy(text, row->point.label, size);
    else if (c->kind == THROTTLED)
        g_strlcpy(text, row->throttled == 1 ? "yes" : row->throttled == 0 ? "no" : "?", size);
    else {
        const double value = c->factor * *(const double *)(const void *)((const char *)&results + c->result);
        const int digits = c->digits != BY_SIZE ? c->digits : value < 1e3 ? 3 : value < 1e6 ? 1 : 0;
        if (isfinite(value)) g_snprintf(text, (gulong)size, "%.*f", digits, value);
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
    if (row->status) g_string_append_printf(line, "%s: %s", eab_bench_status_name(row->status), row->reason);
    else {
        add_columns(line, result_columns, G_N_ELEMENTS(result_columns), row->point.op, columns, row, 0);
        char marks[32];
        eab_bench_marks(row, marks, sizeof marks);
        if (row->throttled == 1 && columns < WIDE) g_string_append(line, "throttled ");
        g_string_append(line, marks);
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
                                .heading = -1,
                                .printed_s = eab_now_s()};
}

void eab_bench_show_progress(eab_bench_terminal *terminal, guint number, guint points, const eab_bench_point *point,
                             const eab_bench_summary *summary) {
    if (!terminal->live && eab_now_s() - terminal->printed_s < SILENT_S) return;
    char name[32];
    GString *line = g_string_new(NULL);
    eab_bench_print(EAB_AXIS_IMPLEMENTATION, point, name, sizeof name);
    g_string_printf(line, "%u/%u %s %s", number, points, eab_bench_operation_at(point->op)->name, name);
    if (summary && summary->median > 0 && isfinite(summary->median_error))
        g_string_append_printf(line, ": %zu samples, median to %.2g %%", summary->samples,
                               100 * summary->median_error / summary->median);
    g_string_truncate(line, MIN(line->len, (gsize)terminal->columns - 1));
    if (terminal->live) eab_log_live(line->str);
    else eab_log_note("bench", "%s", line->str);
    terminal->printed_s = eab_now_s();
    g_string_free(line, TRUE);
}

void eab_bench_print_row(eab_bench_terminal *terminal, const eab_bench_row *row) {
    const int op = row->point.op;
    eab_log_live(NULL);
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
    terminal->printed_s = eab_now_s();
}
