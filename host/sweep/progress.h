/* Progress of a sweep on stderr: one live line on a terminal, plain lines elsewhere, or objects of JSON for tools. */
#ifndef EAB_SWEEP_PROGRESS_H
#define EAB_SWEEP_PROGRESS_H

#include <glib.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/mechanism.h"

typedef struct {
    int64_t cells_done, cells_total, failed;
    double flop_done, flop_total;             /* of this session */
    double tokens;                            /* trained in this session */
    double accuracy_sum[EAB_MECHANISM_COUNT]; /* by mechanism, over the cells that are done */
    int64_t accuracy_count[EAB_MECHANISM_COUNT];
} eab_progress_state;

typedef struct eab_progress eab_progress;

/* AUTO: live on a terminal that can move its cursor (TERM is not dumb), else LINES. JSON: docs/long-runs.md has the
 * objects. OFF: messages only. */
typedef enum { EAB_PROGRESS_AUTO, EAB_PROGRESS_LINES, EAB_PROGRESS_JSON, EAB_PROGRESS_OFF } eab_progress_kind;

eab_progress *eab_progress_new(eab_progress_kind kind);
void eab_progress_free(eab_progress *progress);

/* Remaining seconds, and tokens per second in the last seconds; NAN: not known. */
double eab_progress_eta_s(const eab_progress *progress, const eab_progress_state *state);
double eab_progress_tokens_per_s(const eab_progress *progress);

/* Redraws the live line, at most 10 times a second; the plain form writes a line after half a minute without one. The
 * first call starts the clock of the ETA. */
void eab_progress_update(eab_progress *progress, const eab_progress_state *state);

/* A cell ended: writes a plain line, if the form has plain lines. The first hundred cells have one each, later ones
 * one in 5 s. */
void eab_progress_cell(eab_progress *progress, const eab_progress_state *state, const char *text);

/* "42s", "1m23s", "2h05m", "3d04h". */
void eab_duration_print(double seconds, char *text, size_t size);

/* "1.43 MFLOP" and the like: three digits, a decimal prefix and the unit. */
void eab_quantity_print(double value, const char *unit, char *text, size_t size);

/* The live line in at most `columns` columns, without escapes; `rate` in tokens per second. g_free. */
char *eab_progress_line(const eab_progress_state *state, double eta_s, double rate, size_t columns);

#endif
