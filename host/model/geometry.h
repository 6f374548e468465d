/* What attention looks like inside a trained model: angles between queries and keys, where the attention mass lies, how
 * spread rows are, how long queries and keys are. In float64, from the q and k that the kernels scored: after qk_norm
 * and rope, with the position bias in the mass. docs/reading-results.md has the definitions. */
#ifndef EAB_MODEL_GEOMETRY_H
#define EAB_MODEL_GEOMETRY_H

#include "evaluate.h"
#include "tasks/task.h"

enum {
    EAB_GEOMETRY_BINS = 18,      /* of 10 degrees; the last one holds 180 */
    EAB_GEOMETRY_SEQUENCES = 64, /* the held-out stream's first ones are measured, of a mixture its parts' in turn */
    EAB_GEOMETRY_MAPS = 2        /* and of the first of these the whole attention is saved */
};

/* Of one head; NAN: not measured. */
typedef struct {
    double angle_density[EAB_GEOMETRY_BINS]; /* share of allowed query-key pairs by their angle */
    double angle_mass[EAB_GEOMETRY_BINS];    /* share of the attention mass there */
    double row_entropy_nats, row_entropy_share;
    double determining_mass;
    double query_norm, query_norm_sd, key_norm, key_norm_sd;
} eab_geometry_head;

typedef struct eab_geometry {
    int32_t layers, heads;
    eab_geometry_head head[]; /* [layers][heads] */
} eab_geometry;

/* Sums of one head over sequences; zero-initialise. */
typedef struct {
    double density[EAB_GEOMETRY_BINS], mass[EAB_GEOMETRY_BINS];
    double pairs, rows, entropy, entropy_share, open_rows; /* open: with more than one allowed key */
    double determining, determined_rows;
    double query, query_square, key, key_square, vectors;
} eab_geometry_sums;

/* A sequence as the model saw it. */
typedef struct {
    const eab_level *level;
    const int32_t *tokens;     /* [context + 1] */
    const uint8_t *determined; /* [context]: whether the token after this position is */
    int32_t cued;              /* 1: the level's own sequence begins behind a task token */
} eab_geometry_sequence;

/* Adds head `head` of one sequence: q and k begin its rows as `args` says (batch entry 0), and
 * args->scores.mechanism[0] and .scale[0] score them. map: [context][context] where not NULL, becomes the attention, 0
 * where a key is not allowed. EAB_NO_MEMORY at worst. */
int eab_geometry_add(eab_geometry_sums *sums, const eab_attention_args *args, int32_t head, const double *q,
                     const double *k, const eab_geometry_sequence *sequence, float *map);
void eab_geometry_finish(const eab_geometry_sums *sums, eab_geometry_head *head);

/* Measures the members marked in wanted[] (others get NULL) and saves their maps to paths[member], unless that is NULL
 * or they would take more than 64 MiB. found[member]: malloc'd, the caller frees. */
int eab_geometry_measure(eab_model *model, eab_fleet_tokens *tokens, const uint8_t *wanted,
                         const eab_config *const *configs, const char *const *paths, eab_geometry **found);

#endif
