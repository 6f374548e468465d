/* What a sweep says on stdout: the aligned tables of levels and mechanisms. */
#ifndef EAB_RUN_SUMMARY_H
#define EAB_RUN_SUMMARY_H

#include <stdio.h>

#include "folder.h"

/* The distinct levels of a plan, in its order. */
typedef struct {
    char **names; /* "basis=8 delay=4", with the task's name before it if the plan has several tasks */
    int32_t count;
    int32_t *of_cell; /* [plan->count] */
    int32_t width;    /* the longest name's */
} eab_level_index;

void eab_level_index_make(const eab_plan *plan, eab_level_index *index);
void eab_level_index_free(eab_level_index *index);

/* Mean token accuracy, share solved and number of results for each level and mechanism. */
void eab_summary_print(FILE *file, const eab_plan *plan, eab_run_folder *folder);

/* Cells of the plan for each level and mechanism. */
void eab_plan_print(FILE *file, const eab_plan *plan);

/* A cell in a line: "ea  recurrence basis=8 delay=4  lr=0.01 seed=1". */
void eab_cell_label(const eab_config *config, char *text, size_t size);

#endif
