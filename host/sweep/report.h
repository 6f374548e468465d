/* What a sweep reports: cells and messages on stderr, RUN/.state for `eabench status`, the results on stdout. */
#ifndef EAB_SWEEP_REPORT_H
#define EAB_SWEEP_REPORT_H

#include "run/folder.h"
#include "session.h"

/* The first and the last event of --progress json; nothing in the other forms. */
void eab_report_start(const eab_sweep_session *session, int64_t done, int64_t todo);
void eab_report_end(const eab_sweep_session *session, const eab_run_summary *summary, int status, int code,
                    const char *reason);

/* Takes the cells that ended since the last call, updates the sums of work and reports them. */
void eab_report_cells(eab_sweep_session *session);

/* Writes RUN/.state, at most every two seconds. */
void eab_report_state(eab_sweep_session *session, bool stopping);

/* Cells that failed. The cells that a search abandons do not count. */
int64_t eab_report_failures(const eab_sweep_session *session, const eab_run_summary *summary);

/* The end of a sweep, on stdout: accuracies, frontiers of a search, counts of cells, names of files. */
void eab_report_results(const eab_sweep_session *session, const eab_run_summary *summary);

/* The table of --profile: operations of the training steps, the longest first, then the rest of the workers' time. */
void eab_report_profile(const eab_profile *profile);

#endif
