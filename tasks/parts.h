/* The parts of a mixture: the levels that one model trains on together. A plain task is a mixture of one part.
 *
 * Sequence i of the training stream is sequence i / count of part i % count. The parts take turns and are not drawn:
 * every batch holds equally many sequences of each part (to within one), so the draw of the parts adds no noise to the
 * gradient, and the number of training sequences of each part is known exactly. With a training set of N sequences
 * (eab_generate_args.repeat_after) i is first reduced modulo N; then the parts have equal shares only if count divides
 * N. A part's sequences are those of its level trained alone with the same seed; after a task token they are one token
 * shorter.
 */
#ifndef EAB_TASKS_PARTS_H
#define EAB_TASKS_PARTS_H

#include "sequence.h"

enum { EAB_MAX_PARTS = 16 };

/* The parts of one member of a fleet: levels[first .. first + count) of the fleet's list. */
typedef struct {
    int32_t first, count;
    int32_t cue; /* the first part's task token, the others' follow; negative: no task tokens */
} eab_parts;

/* Writes one sequence of `length` tokens. `only` 0: sequence `index` of all parts in turn, else of part `only` (from
 * 1). held_out: for each level, whether it sets sequences apart. A task token is free (not determined). */
EAB_HOST_DEVICE static inline void eab_parts_generate(const eab_level *levels, const uint8_t *held_out, eab_parts parts,
                                                      int32_t only, uint32_t seed, uint32_t stream, uint64_t index,
                                                      int32_t length, int32_t *tokens, uint8_t *determined) {
    const uint64_t count = (uint64_t)(uint32_t)parts.count;
    const int32_t part = only ? only - 1 : (int32_t)(index % count);
    const uint64_t own_index = only ? index : index / count;
    const int32_t cued = parts.cue >= 0;
    if (cued) {
        tokens[0] = parts.cue + part;
        determined[0] = 0;
    }
    eab_sequence_generate(&levels[parts.first + part], seed, stream, held_out[parts.first + part], own_index,
                          length - cued, tokens + cued, determined + cued);
}

#endif
