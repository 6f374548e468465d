/* The result of training a cell. */
#ifndef EAB_MODEL_RESULT_H
#define EAB_MODEL_RESULT_H

#include <stdint.h>

#include "base/system.h"
#include "spec/config.h"

typedef enum {
    EAB_CELL_NONE = -1, /* no result yet */
    EAB_CELL_OK,
    EAB_CELL_DIVERGED,
    EAB_CELL_FAIL,
    EAB_CELL_OOM,
    EAB_CELL_TIMEOUT
} eab_cell_status;

/* One point of a learning curve, at an evaluation. */
typedef struct {
    int64_t step;     /* optimizer steps done */
    double loss_nats; /* mean training loss per determined token since the previous point */
    double validation_accuracy;
} eab_curve_point;

/* The scores of a cell, or of one part of a mixture. */
typedef struct {
    double loss_nats;                                           /* held-out, mean per determined token */
    double validation_accuracy;                                 /* of tokens, at the last evaluation */
    double token_accuracy, sequence_accuracy, rollout_accuracy; /* held-out */
    double seen_share;                                          /* share of the held-out sequences seen in training */
    int32_t solved;                                             /* 0 or 1; -1: not known */
    int64_t steps_to_solve; /* at the first evaluation with every validation token right; -1: none */
} eab_cell_scores;

/* A double that is NAN was not measured (an empty field in the tables). */
typedef struct {
    eab_cell_status status;
    char reason[256]; /* one line for every status but ok */
    int64_t parameters;
    int64_t tokens; /* trained input positions: steps_done * batch * context */
    int64_t steps_done;
    eab_cell_scores scores;
    eab_cell_scores parts[EAB_MAX_EVALUATED]; /* of a mixture's parts, or at the other levels evaluated */
    double train_s, wall_s;                   /* training alone; with evaluation and set-up */
    eab_load load;                            /* in wall_s */
    bool stopped;                             /* train_s includes a time in which the process was stopped */
    double flop_per_token;                    /* docs/design.md 5 */
    int32_t fleet;                            /* number of cells trained together, this one included */
    int64_t fleet_tokens;                     /* trained input positions of all of them in train_s */
    int64_t memory_bytes;                     /* the device's peak */
    eab_curve_point *curve;                   /* malloc'd, if it was requested; else NULL */
    int32_t curve_points;
    struct eab_geometry *geometry; /* malloc'd, if it was requested and the cell is ok; else NULL */
} eab_cell_result;

/* Sets every score to "not measured". */
void eab_cell_result_clear(eab_cell_result *result);

/* A result with nothing measured: status, and the reason as one line. */
void eab_cell_result_failed(eab_cell_result *result, const eab_config *config, eab_cell_status status,
                            const char *reason);

/* Frees the curve and the geometry. */
void eab_cell_result_free(eab_cell_result *result);

#endif
