/* What a sweep prints on stdout at its end. */
#ifndef EAB_SWEEP_RESULTS_H
#define EAB_SWEEP_RESULTS_H

#include "session.h"

/* Cells that failed. The cells that a search abandons do not count. */
int64_t eab_results_failures(const eab_sweep_session *session, const eab_run_summary *summary);

/* Accuracies, frontiers of a search, counts of cells, names of files. */
void eab_results_print(const eab_sweep_session *session, const eab_run_summary *summary);

/* The table of --profile: operations of the training steps, the longest first, then the rest of the workers' time. */
void eab_results_print_profile(const eab_profile *profile);

#endif
