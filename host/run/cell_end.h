/* How a cell ended: sent from a worker to the tables and the progress line. */
#ifndef EAB_RUN_CELL_END_H
#define EAB_RUN_CELL_END_H

#include "model/train.h"

typedef struct {
    int64_t index; /* into the plan */
    eab_cell_status status;
    int32_t solved; /* -1: not known */
    double token_accuracy, wall_s;
    int64_t steps_to_solve;
    char reason[256];
} eab_cell_end;

#endif
