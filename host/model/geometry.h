/* The geometry of attention in a trained model: angles between queries and keys, the attention mass at each angle, the
 * entropy of rows, the lengths of queries and keys. Computed in float64 from the q and k that the kernels scored:
 * after qk_norm and rope; the mass includes the position bias. Definitions: docs/reading-results.md. */
#ifndef EAB_MODEL_GEOMETRY_H
#define EAB_MODEL_GEOMETRY_H

#include "fleet.h"
#include "tasks/task.h"

enum {
    EAB_GEOMETRY_BINS = 18,      /* of 10 degrees; the last one holds 180 */
    EAB_GEOMETRY_SEQUENCES = 64, /* measured, the first of the held-out stream; a mixture's parts alternate */
    EAB_GEOMETRY_MAPS = 2        /* of these the first, whose attention matrices are saved */
};

/* The geometry of one head; NAN: not measured. */
typedef struct {
    double angle_density[EAB_GEOMETRY_BINS]; /* share of allowed query-key pairs by their angle */
    double angle_mass[EAB_GEOMETRY_BINS];    /* share of the attention mass by this angle */
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
    double pairs, rows, entropy, entropy_share, open_rows; /* open rows have more than one allowed key */
    double determining, determined_rows;
    double query, query_square, key, key_square, vectors;
} eab_geometry_sums;

/* A sequence as the model saw it. */
typedef struct {
    const eab_level *level;
    const int32_t *tokens;     /* [context + 1] */
    const uint8_t *determined; /* [context]: whether the next token is determined */
    int32_t cued;              /* 1: the level's own sequence begins after a task token */
} eab_geometry_sequence;

/* Adds head `head` of one sequence. q and k have the strides of `args` (batch entry 0); args->scores.mechanism[0] and
 * .scale[0] score them. map: [context][context] or NULL; gets the attention, 0 where a key is not allowed. Fails only
 * with EAB_NO_MEMORY. */
int eab_geometry_add(eab_geometry_sums *sums, const eab_attention_args *args, int32_t head, const double *q,
                     const double *k, const eab_geometry_sequence *sequence, float *map);
void eab_geometry_finish(const eab_geometry_sums *sums, eab_geometry_head *head);

/* Measures all members of the fleet, stores the geometry in their results and saves their maps to
 * options->geometry_paths, except maps of more than 64 MiB. */
int eab_fleet_measure_geometry(eab_fleet_state *fleet);

#endif
