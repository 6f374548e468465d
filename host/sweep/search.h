/* The search for frontiers: instead of every cell of a plan, only those that tell, for each model and mechanism, which
 * is the hardest level that at least half of the seeds solve.
 *
 * Cells that differ in nothing but level, lr and seed form a *group*; a group's levels, by complexity_bits, are its
 * ladder. A seed solves a level if it does so at any rate of the plan. The ladder is bisected, which supposes that who
 * solves a level solves the easier ones. At a level the rates are tried one after another, first the one that solved
 * most levels of the group so far, and a level is left as soon as the cells that are missing cannot change its verdict.
 * Of outcomes it knows nothing but what it is told, so that a search goes on where it was stopped.
 */
#ifndef EAB_SWEEP_SEARCH_H
#define EAB_SWEEP_SEARCH_H

#include <stdio.h>

#include "plan/cells.h"

typedef struct eab_search eab_search;

typedef enum { EAB_SEARCH_UNKNOWN, EAB_SEARCH_UNSOLVED, EAB_SEARCH_SOLVED } eab_search_outcome;

/* The plan must outlive the search. */
eab_search *eab_search_new(const eab_plan *plan);
void eab_search_free(eab_search *search);

/* The cells to train next, of all groups, given what is known: known[plan->count], of eab_search_outcome. Their indices
 * go to wanted[plan->count]; returns how many they are, 0 when every frontier is known. */
int64_t eab_search_next(const eab_search *search, const uint8_t *known, int64_t *wanted);

/* A table: each group's model and mechanism, the hardest level that half of its seeds solve, the easiest that they do
 * not, and how many of its cells were known. Then how many cells the search saved. */
void eab_search_print(FILE *file, const eab_search *search, const uint8_t *known);

#endif
