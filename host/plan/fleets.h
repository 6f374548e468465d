/* The fleets of a sweep: cells of one shape, trained together by one worker. */
#ifndef EAB_PLAN_FLEETS_H
#define EAB_PLAN_FLEETS_H

#include <glib.h>

#include "cells.h"

typedef struct {
    int64_t *indices; /* into the plan, the longest cells first; g_free */
    int32_t members;
    double flop;            /* of all members */
    bool sync_every_kernel; /* a device failed with these cells: wait for each kernel */
} eab_fleet;

/* The cells that a device trained when it failed: `cells` cells of the shape of the plan's cell `first`, which is the
 * longest of them. Fleets of at most `fleet` of them train again, so that the faulty cell ends up alone. cells 0:
 * none. */
typedef struct {
    int64_t first;
    int32_t cells, fleet;
} eab_suspects;

/* Fleets (of eab_fleet; eab_fleets_free) of cells[indices[0..count)]: copies of those in `begun` (NULL: none), then
 * fleets of the other cells, the longest first. The last fleets are short, so that no worker waits long for another at
 * the end. A new fleet has at most `most` members, or by_cell[index of its first cell] if `by_cell` is given. */
GArray *eab_fleets_make(const GArray *begun, const eab_cell *cells, const int64_t *indices, int64_t count, int32_t most,
                        const int32_t *by_cell);

/* Adds fleets of the suspects among cells[indices[0..count)] that are not in `begun`, to sync every kernel. */
void eab_fleets_add_suspects(GArray *begun, const eab_cell *cells, const int64_t *indices, int64_t count,
                             const eab_suspects *suspects);
void eab_fleets_free(GArray *fleets);

/* An estimate of how many cells like this one a device should train together: as many as fit its memory and keep its
 * threads busy; 1 on a device that reports neither (the CPU). A fleet that does not fit is halved later. */
int32_t eab_preferred_fleet(eab_device *device, const eab_config *config);

/* Sorts indices[0..count) of cells, the longest first; equally long ones in the plan's order. */
void eab_cells_sort_by_length(const eab_cell *cells, int64_t *indices, int64_t count);

#endif
