/* What a bench prints: rows to stdout, and to stderr one line that is renewed while a row is measured, or, where that
 * is no terminal, a line after ten seconds without one. */
#ifndef EAB_BENCH_TERMINAL_H
#define EAB_BENCH_TERMINAL_H

#include "table.h"

typedef struct {
    int columns;      /* of stdout */
    bool live;        /* stderr is a terminal */
    int heading;      /* the operation whose heading was printed last; -1: none */
    double printed_s; /* when the last line was printed */
} eab_bench_terminal;

eab_bench_terminal eab_bench_terminal_open(void);

/* The line of progress: the number (from 1) of the point among `points`, its operation, and the summary or NULL. */
void eab_bench_show_progress(eab_bench_terminal *terminal, guint number, guint points, const eab_bench_point *point,
                             const eab_bench_summary *summary);

/* Prints the row, below a heading if the operation changes. */
void eab_bench_print_row(eab_bench_terminal *terminal, const eab_bench_row *row);

/* One line without a newline in at most `columns` columns: the heading of an operation (which: 0 names, 1 units),
 * and a row. Terminals below 132 columns lack some. g_free */
char *eab_bench_heading(int op, int columns, int which);
char *eab_bench_line(const eab_bench_row *row, int columns);

#endif
