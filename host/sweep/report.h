/* What a sweep says of itself to programs: events of --progress json, and RUN/.state for `eabench status`. */
#ifndef EAB_SWEEP_REPORT_H
#define EAB_SWEEP_REPORT_H

#include "run/state.h"
#include "session_state.h"

/* A line for people that is no progress: as it stands, or an event "note". */
void eab_sweep_tell(const eab_sweep *sweep, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The events of a sweep that is told in JSON; nothing otherwise. */
void eab_sweep_tell_start(const eab_sweep *sweep, int64_t cells, int64_t done, int64_t todo);
void eab_sweep_tell_cell(const eab_sweep_session *session, const eab_cell_end *end);
void eab_sweep_tell_end(const eab_sweep_session *session, const eab_run_summary *summary, int status, int code,
                        const char *reason);

/* Writes RUN/.state if it is due, or now. */
void eab_sweep_tell_state(eab_sweep_session *session, bool stopping, bool now);

#endif
