/* Reports of a sweep for other programs: events of --progress json, and RUN/.state for `eabench status`. */
#ifndef EAB_SWEEP_REPORT_H
#define EAB_SWEEP_REPORT_H

#include "run/state.h"
#include "session.h"

/* A message: printed as it is, or as a JSON event "note". */
void eab_report_note(const eab_sweep *sweep, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Events of --progress json; nothing in the other forms. */
void eab_report_start(const eab_sweep *sweep, int64_t cells, int64_t done, int64_t todo);
void eab_report_cell(const eab_sweep_session *session, const eab_cell_end *end);
void eab_report_end(const eab_sweep_session *session, const eab_run_summary *summary, int status, int code,
                    const char *reason);

/* Writes RUN/.state, at most every two seconds unless `now`. */
void eab_report_state(eab_sweep_session *session, bool stopping, bool now);

#endif
