/* The fleets of a sweep: cells of one shape, trained together by one worker. */
#ifndef EAB_PLAN_FLEETS_H
#define EAB_PLAN_FLEETS_H

#include <glib.h>

#include "cells.h"

typedef struct {
    int64_t *indices; /* into the plan, the longest cells first; g_free */
    int32_t members;
    double flop;            /* of all members */
    bool sync_every_kernel; /* a device failed with these: wait for each kernel */
} eab_fleet;

/* The cells in training when a device failed for good: `cells` of the shape of the plan's cell `first`, from that one
 * on in the order of their lengths. They are to be trained at most `fleet` together, so that the faulty one ends up
 * alone. cells 0: none. */
typedef struct {
    int64_t first;
    int32_t cells, fleet;
} eab_suspects;

/* Fleets (eab_fleet, for eab_fleets_free) of cells[indices[0..count)]: copies of those in `begun` (NULL: none), then
 * fleets of the other cells, the longest first: the last ones to start are short, so that no worker waits long for
 * another at the end. A fleet that is not a copy has at most `most` members, or by_cell[a cell's index] where that is
 * given. */
GArray *eab_fleets_make(const GArray *begun, const eab_cell *cells, const int64_t *indices, int64_t count, int32_t most,
                        const int32_t *by_cell);

/* Adds fleets that sync every kernel to `begun`, of the suspects among cells[indices[0..count)] that it lacks. */
void eab_fleets_add_suspects(GArray *begun, const eab_cell *cells, const int64_t *indices, int64_t count,
                             const eab_suspects *suspects);
void eab_fleets_free(GArray *fleets);

/* How many cells like this one a device should train together: as many as fit its memory and keep its threads busy;
 * 1 on a device that reports neither (the CPU). An estimate: a fleet that does not fit is halved. */
int32_t eab_preferred_fleet(eab_device *device, const eab_config *config);

/* Sorts indices[0..count) of cells, the longest first; equally long ones in the plan's order. */
void eab_cells_sort_by_length(const eab_cell *cells, int64_t *indices, int64_t count);

#endif
