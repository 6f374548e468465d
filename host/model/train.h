/* Training of a fleet: the heart of the program. Knows cells' options and a device; nothing of files or tables. */
#ifndef EAB_MODEL_TRAIN_H
#define EAB_MODEL_TRAIN_H

#include <stdatomic.h>

#include "spec/config.h"
#include "tasks/parts.h"

typedef enum { EAB_CELL_OK, EAB_CELL_DIVERGED, EAB_CELL_FAIL, EAB_CELL_OOM, EAB_CELL_TIMEOUT } eab_cell_status;

/* One point of a learning curve, at an evaluation. */
typedef struct {
    int64_t step;     /* optimizer steps done */
    double loss_nats; /* mean training loss per determined token since the point before */
    double validation_accuracy;
} eab_curve_point;

/* What was measured of one part of a mixture. */
typedef struct {
    double loss_nats, validation_accuracy, token_accuracy, sequence_accuracy, rollout_accuracy, seen_share;
    int32_t solved;
    int64_t steps_to_solve;
} eab_part_result;

/* What came out of a cell. A double that is NAN was not measured (an empty field in the tables). */
typedef struct {
    eab_cell_status status;
    char reason[256]; /* one line for every status but ok */
    int64_t parameters;
    int64_t tokens; /* trained input positions: steps_done * batch * context */
    int64_t steps_done;
    double loss_nats;                                           /* held-out, mean per determined token */
    double validation_accuracy;                                 /* of tokens, at the last evaluation */
    double token_accuracy, sequence_accuracy, rollout_accuracy; /* held-out */
    double seen_share;                    /* of the held-out sequences, those that were trained on */
    int32_t solved;                       /* 0 or 1; -1 not known */
    int64_t steps_to_solve;               /* the first evaluation with every validation token right; -1: none */
    eab_part_result parts[EAB_MAX_PARTS]; /* of a mixture: the same, part by part; for a plain task not filled in */
    double train_s, wall_s;               /* training alone; with evaluation and set-up */
    double flop_per_token;                /* docs/design.md 5 */
    int32_t fleet;                        /* members that it was trained with, itself included */
    int64_t fleet_tokens;                 /* trained input positions of all of them in train_s */
    int64_t memory_bytes;                 /* the device's peak */
    eab_curve_point *curve;               /* if asked for: malloc'd, the caller frees; else NULL */
    int32_t curve_points;
    struct eab_geometry *geometry; /* if asked for, of a cell that is ok: malloc'd, the caller frees; else NULL */
} eab_cell_result;

/* Keeping the state of a fleet at work, so that it goes on where it was stopped or killed, to the same bits. */
typedef struct {
    const char *path; /* the checkpoint's file; whoever has the results removes it */
    bool going_on;    /* from that file, if it is there; one that is of no use is told and left */
    double every_s;   /* how often it is written while training; it also is when `stop` is set */
    bool sparing;     /* more seldom where saving would take more than a thousandth of the time */
    void (*note)(void *context, const char *line); /* a file that could not be written or is not used; may be NULL */
    void *context;
    _Atomic int64_t *steps_restored;   /* counts the steps that were done before, summed over members; or NULL */
    _Atomic int64_t *saves, *saves_ns; /* count the checkpoints and the time that they took; or NULL */
} eab_train_checkpoint;

typedef struct {
    const atomic_bool *stop;     /* set from outside: end soon with EAB_INTERRUPTED; NULL: never */
    _Atomic int64_t *steps_done; /* counts steps as they are done, summed over members; NULL: not wanted */
    bool keep_curves;
    const char *const *model_paths;         /* [members]: where to save each trained model (safetensors), or NULL */
    const char *const *geometry_paths;      /* [members]: where to save attention maps; NULL: no geometry is measured */
    const eab_train_checkpoint *checkpoint; /* NULL: none is written or read */
    bool abandon; /* let go, with status timeout, members that are hopeless: half of their steps are done and their
                     validation accuracy has not come a tenth of the way from chance to 1 */
} eab_train_options;

/* Trains `members` cells of one shape in lockstep (they may differ in level, mechanism, scale, seed and every option
 * of the optimizer but its kind; eab_train_same_fleet tells) and fills in results[members]. A cell that diverges is a
 * result. Returns EAB_OK, EAB_INTERRUPTED (results are void, a checkpoint is written if one is wanted), or an error of
 * the whole fleet: EAB_NO_MEMORY, EAB_DEVICE_FAULT, ... with a line in eab_last_error(). On the CPU a member's result
 * does not depend on its fleet. */
int eab_train_fleet(eab_device *device, int32_t members, const eab_config *configs, const eab_train_options *options,
                    eab_cell_result *results);

/* Sets what is measured on held-out and validation sequences to "not measured". */
void eab_cell_result_clear(eab_cell_result *result);

/* The training of one cell step by step, without evaluations, for measuring: the very steps of eab_train_fleet. */
typedef struct eab_train_stepper eab_train_stepper;
int eab_train_stepper_open(eab_device *device, const eab_config *config, eab_train_stepper **opened);
int eab_train_stepper_step(eab_train_stepper *stepper); /* asynchronous where the device is */
void eab_train_stepper_close(eab_train_stepper *stepper);

/* Whether two cells can be trained in one fleet. */
bool eab_train_same_fleet(const eab_config *a, const eab_config *b);

#endif
