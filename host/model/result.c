#include "result.h"

#include <math.h>
#include <stdlib.h>

#include "base/csv.h"
#include "cost.h"

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
    for (int i = 0; i < EAB_MAX_EVALUATED; i++) clear_scores(&result->parts[i]);
}

void eab_cell_result_free(eab_cell_result *result) {
    free(result->curve);
    free(result->geometry);
    result->curve = NULL;
    result->curve_points = 0;
    result->geometry = NULL;
}

void eab_cell_result_failed(eab_cell_result *result, const eab_config *config, eab_cell_status status,
                            const char *reason) {
    char *clean = eab_line_clean(reason);
    *result = (eab_cell_result){
        .status = status,
        .parameters = eab_config_parameters(config),
        .tokens = -1,
        .steps_done = -1,
        .train_s = NAN,
        .wall_s = NAN,
        .flop_per_token = NAN,
        .memory_bytes = -1,
    };
    eab_cell_result_clear(result);
    g_strlcpy(result->reason, clean, sizeof result->reason);
    g_free(clean);
}
