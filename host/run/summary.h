/* Aligned tables of levels and mechanisms, which a sweep prints on stdout. */
#ifndef EAB_RUN_SUMMARY_H
#define EAB_RUN_SUMMARY_H

#include <stdio.h>

#include "folder.h"

/* Prints the mean token accuracy, share solved and number of results for each level and mechanism. */
void eab_summary_print(FILE *file, const eab_plan *plan, eab_run_folder *folder);

/* Prints the number of the plan's cells for each level and mechanism. */
void eab_plan_print(FILE *file, const eab_plan *plan);

/* A cell on one line: "ea  recurrence basis=8 delay=4  lr=0.01 seed=1". */
void eab_cell_label(const eab_config *config, char *text, size_t size);

#endif
