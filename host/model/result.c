#include "result.h"

#include <math.h>
#include <stdlib.h>

void eab_cell_result_clear(eab_cell_result *result) {
    result->loss_nats = result->validation_accuracy = NAN;
    result->token_accuracy = result->sequence_accuracy = result->rollout_accuracy = NAN;
    result->seen_share = NAN;
    result->solved = -1;
    result->steps_to_solve = -1;
    for (int i = 0; i < EAB_MAX_PARTS; i++) {
        /* Field by field, not as a struct: the padding stays 0, and checkpoints hold it. */
        eab_part_result *part = &result->parts[i];
        part->loss_nats = part->validation_accuracy = NAN;
        part->token_accuracy = part->sequence_accuracy = part->rollout_accuracy = NAN;
        part->seen_share = NAN;
        part->solved = -1;
        part->steps_to_solve = -1;
    }
}

void eab_cell_result_free(eab_cell_result *result) {
    free(result->curve);
    free(result->geometry);
    result->curve = NULL;
    result->curve_points = 0;
    result->geometry = NULL;
}
