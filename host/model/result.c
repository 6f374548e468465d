#include "result.h"

#include <math.h>
#include <stdlib.h>

/* Field by field, not as a struct: the padding stays 0, and checkpoints hold it. */
static void clear_scores(eab_cell_scores *scores) {
    scores->loss_nats = scores->validation_accuracy = NAN;
    scores->token_accuracy = scores->sequence_accuracy = scores->rollout_accuracy = NAN;
    scores->seen_share = NAN;
    scores->solved = -1;
    scores->steps_to_solve = -1;
}

void eab_cell_result_clear(eab_cell_result *result) {
    clear_scores(&result->scores);
    for (int i = 0; i < EAB_MAX_PARTS; i++) clear_scores(&result->parts[i]);
}

void eab_cell_result_free(eab_cell_result *result) {
    free(result->curve);
    free(result->geometry);
    result->curve = NULL;
    result->curve_points = 0;
    result->geometry = NULL;
}
