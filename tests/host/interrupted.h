/* Training in parts: the device requests a stop after a number of operations; a checkpoint connects the parts. */
#ifndef EAB_TESTS_INTERRUPTED_H
#define EAB_TESTS_INTERRUPTED_H

#include "host/model/train.h"

typedef struct {
    int parts;      /* in which the fleet was trained */
    int notes;      /* reported lines */
    char note[512]; /* the last of them */
} interrupted_story;

/* Trains the fleet on `backend` ("plain" too) until a part ends without a stop. Each part opens a new device and is
 * stopped when `calls` batches and recorded steps have begun (0: never). every_s: seconds between checkpoints. */
interrupted_story train_in_parts(const char *backend, int calls, double every_s, const char *path, int32_t members,
                                 const eab_config *configs, eab_cell_result *results);

/* Trains one part. Returns an eab_status. */
int train_part(const char *backend, int calls, double every_s, const char *path, int32_t members,
               const eab_config *configs, eab_cell_result *results, interrupted_story *story);

/* Expects equal bits in everything but times, curves included. */
void expect_same_bits(const eab_cell_result *a, const eab_cell_result *b, const char *what);

/* The least time of each batch and recorded step, in milliseconds. */
extern int slow_ms;

void free_curves(eab_cell_result *results, int32_t members);

#endif
