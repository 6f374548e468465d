/* The search for frontiers: it asks only for the cells that show, for each model and mechanism, which is the hardest
 * level that at least half of the seeds solve.
 *
 * Cells that differ only in level, lr and seed form a *group*; a group's levels, by complexity_bits, are its ladder;
 * levels of equal bits are one rung. A seed solves a level if it does so at any rate of the plan. A rung is solved if
 * at least half of the seeds solve one of its levels. The ladder is bisected by rungs: this assumes that rungs below a
 * solved one are solved. On a rung each level is tried. At a level the rates are tried one after another, first the one
 * that solved most cells of the group so far. A level is left as soon as the missing cells cannot change its verdict.
 * The search depends only on the outcomes that it is given, so that it resumes where it was stopped.
 */
#ifndef EAB_SWEEP_SEARCH_H
#define EAB_SWEEP_SEARCH_H

#include <stdio.h>

#include "plan/cells.h"

typedef struct eab_search eab_search;

/* Of a cell, or of a level. */
typedef enum { EAB_SEARCH_UNKNOWN, EAB_SEARCH_UNSOLVED, EAB_SEARCH_SOLVED } eab_search_outcome;

/* A search in which every outcome is unknown. The plan must outlive it. */
eab_search *eab_search_new(const eab_plan *plan);
void eab_search_free(eab_search *search);

/* Sets the outcome of the plan's cell. */
void eab_search_set(eab_search *search, int64_t cell, eab_search_outcome outcome);

/* The cells to train next, of all groups: their indices go to wanted[plan->count]. Returns how many they are; 0: every
 * frontier is known. */
int64_t eab_search_next(const eab_search *search, int64_t *wanted);

/* A table: each group's model and mechanism, the solved levels of the hardest solved rung, the levels of the easiest
 * rung above it that is not solved, and how many of its cells are known. Then how many cells the search saved. */
void eab_search_print(FILE *file, const eab_search *search);

#endif
