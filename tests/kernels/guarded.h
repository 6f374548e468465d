/* Buffers of floats between guard zones. Tests check that a kernel writes all of its result and nothing else. */
#ifndef EAB_TESTS_KERNELS_GUARDED_H
#define EAB_TESTS_KERNELS_GUARDED_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    float *data; /* [count], 64-byte aligned, after GUARD_FLOATS of guard */
    int64_t count;
    void *memory;
} guarded;

/* Data and guards are filled with a NaN pattern that no arithmetic produces. */
guarded guarded_new(int64_t count);
void guarded_free(guarded *buffer);

/* Fills the data with normal random numbers times `size`; the same for the same seed. */
void guarded_normal(guarded *buffer, uint32_t seed, double size);

/* Whether both guards are unchanged. */
bool guarded_intact(const guarded *buffer);

/* Whether a value still has guarded_new's pattern. */
bool guarded_untouched(float value);

/* Whether two results have the same bits: equal NaN are the same, 0 and -0 are not. */
bool same_floats(const float *x, const float *y, int64_t count);

#endif
