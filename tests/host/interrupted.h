/* Training in parts: a device that asks for a stop after so many operations, and a checkpoint between the parts. */
#ifndef EAB_TESTS_INTERRUPTED_H
#define EAB_TESTS_INTERRUPTED_H

#include "host/model/train.h"

typedef struct {
    int parts;      /* that it took */
    int notes;      /* lines that it had to tell */
    char note[512]; /* the last of them */
} interrupted_story;

/* Trains the fleet on `backend` ("plain" too), each part on a device of its own that is stopped when it has begun
 * `calls` batches and recorded steps, until a part ends by itself. every_s: between checkpoints that nothing asks
 * for. */
interrupted_story train_in_parts(const char *backend, int calls, double every_s, const char *path, int32_t members,
                                 const eab_config *configs, eab_cell_result *results);

/* One part, of at most `calls` (0: any number); an eab_status. */
int train_part(const char *backend, int calls, double every_s, const char *path, int32_t members,
               const eab_config *configs, eab_cell_result *results, interrupted_story *story);

/* Whether all that is no time is the same, to the bit, curves included. */
void expect_same_bits(const eab_cell_result *a, const eab_cell_result *b, const char *what);

/* What each batch and recorded step takes at least, in milliseconds. */
extern int slow_ms;

void free_curves(eab_cell_result *results, int32_t members);

#endif
