/* Buffers of floats between guard zones, for kernels that must write all of a result and nothing beside it. */
#ifndef EAB_TESTS_KERNELS_GUARDED_H
#define EAB_TESTS_KERNELS_GUARDED_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    float *data; /* [count], 64-byte aligned, after GUARD_FLOATS of guard */
    int64_t count;
    void *memory;
} guarded;

/* All of it, guards included, is a NaN of a pattern that no arithmetic produces. */
guarded guarded_new(int64_t count);
void guarded_free(guarded *buffer);

/* Fills the data with normal numbers times `size`; the same for the same seed. */
void guarded_normal(guarded *buffer, uint32_t seed, double size);

/* Whether both guards are as they were. */
bool guarded_intact(const guarded *buffer);

/* Whether a value still is the pattern that guarded_new left. */
bool guarded_untouched(float value);

/* Whether two results are the same to the last bit: NaN equals itself, 0 and -0 differ. */
bool same_floats(const float *x, const float *y, int64_t count);

#endif
