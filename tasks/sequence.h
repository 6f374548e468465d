/* One sequence of a level: what every backend calls, on the host and on a device.
 *
 * A sequence is a pure function of (level, seed, stream, index). With a held-out set, the sequences whose free
 * (not determined) tokens hash into one sixteenth are never drawn by the training stream and are the only ones
 * drawn by the other two: a draw on the wrong side is repeated, with the attempt in the counter.
 */
#ifndef EAB_TASKS_SEQUENCE_H
#define EAB_TASKS_SEQUENCE_H

#include "families.h"

enum {
    EAB_HELD_OUT_DIVISOR = 16,
    /* A level that has any held-out sequence at all has a share of at least 1/4096 where it is enumerated (see
     * eab_level_has_held_out), and of about 1/16 otherwise: the attempts suffice. */
    EAB_SEQUENCE_MAX_ATTEMPTS = 1 << 17
};

/* A 64-bit identity of a sequence: a hash of its free tokens and their places (FNV-1a with a final mix). */
EAB_HOST_DEVICE static inline uint64_t eab_sequence_key(const int32_t *tokens, const uint8_t *determined,
                                                        int32_t length) {
    uint64_t hash = 0xCBF29CE484222325u;
    for (int32_t t = 0; t < length; t++)
        if (!determined[t]) hash = (hash ^ ((uint64_t)(uint32_t)t << 32 | (uint32_t)tokens[t])) * 0x100000001B3u;
    hash ^= hash >> 32;
    hash *= 0xD6E8FEB86659FD93u;
    return hash ^ hash >> 32;
}

EAB_HOST_DEVICE static inline int eab_sequence_is_held_out(uint64_t key) {
    return (key >> 17) % EAB_HELD_OUT_DIVISOR == 0;
}

/* Separates the draws of different levels with the same seed. */
EAB_HOST_DEVICE static inline uint32_t eab_level_salt(const eab_level *level) {
    /* A number of text's own: new families, which move EAB_TASK_TEXT, leave its draws as they are. Nor do new options
     * change draws: room for 8 counts, a further one only where it is not 0. */
    uint32_t salt = 0x811C9DC5u ^ (level->family == EAB_TASK_TEXT ? 0x74786574u : (uint32_t)level->family);
    for (int i = 0; i < EAB_TASK_MAX_OPTIONS; i++)
        if (i < 8 || level->option[i]) salt = (salt ^ (uint32_t)level->option[i]) * 0x01000193u;
    return salt ^ salt >> 15;
}

/* Writes one sequence: tokens[0..length), determined[0..length). `index` numbers the sequences of a stream: for
 * training, step * batch + place in the batch. Returns its key. Any length is safe, even one that the family's check
 * refuses. On the host it is compiled once, in sequence.c, since it contains all families; a device has its own. */
#ifdef __CUDACC__
#define EAB_SEQUENCE_CODE __host__ __device__ static inline
#endif
#ifndef EAB_SEQUENCE_CODE
uint64_t eab_sequence_generate(const eab_level *level, uint32_t seed, uint32_t stream, int held_out_set, uint64_t index,
                               int32_t length, int32_t *tokens, uint8_t *determined);
#else
EAB_HOST_DEVICE static inline void eab_level_generate(const eab_level *level, uint32_t stream, eab_random *random,
                                                      int32_t length, int32_t *tokens, uint8_t *determined) {
    switch (level->family) {
#define EAB_TASK_CASE(name)                                                       \
    case EAB_TASK_##name:                                                         \
        eab_##name##_generate(level, stream, random, length, tokens, determined); \
        break;
        EAB_TASK_LIST(EAB_TASK_CASE)
#undef EAB_TASK_CASE
        case EAB_TASK_TEXT: eab_text_generate(level, stream, random, length, tokens, determined); break;
        default: break;
    }
}

EAB_SEQUENCE_CODE uint64_t eab_sequence_generate(const eab_level *level, uint32_t seed, uint32_t stream,
                                                 int held_out_set, uint64_t index, int32_t length, int32_t *tokens,
                                                 uint8_t *determined) {
    const uint32_t salt = eab_level_salt(level);
    uint64_t key = 0;
    for (uint32_t attempt = 0; attempt < EAB_SEQUENCE_MAX_ATTEMPTS; attempt++) {
        eab_random random = eab_random_at(seed, salt, (uint32_t)index, (uint32_t)(index >> 32), stream | attempt << 2);
        eab_level_generate(level, stream, &random, length, tokens, determined);
        key = eab_sequence_key(tokens, determined, length);
        if (!held_out_set || eab_sequence_is_held_out(key) == (stream != EAB_STREAM_TRAINING)) break;
    }
    return key;
}
#endif

#endif
