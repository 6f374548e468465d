#include "result.h"

#include <math.h>
#include <stdlib.h>

void eab_cell_result_clear(eab_cell_result *result) {
    result->loss_nats = result->validation_accuracy = NAN;
    result->token_accuracy = result->sequence_accuracy = result->rollout_accuracy = NAN;
    result->seen_share = NAN;
    result->solved = -1;
    result->steps_to_solve = -1;
    for (int i = 0; i < EAB_MAX_PARTS; i++) result->parts[i] = (eab_part_result){NAN, NAN, NAN, NAN, NAN, NAN, -1, -1};
}

void eab_cell_result_free(eab_cell_result *result) {
    free(result->curve);
    free(result->geometry);
    result->curve = NULL;
    result->curve_points = 0;
    result->geometry = NULL;
}
