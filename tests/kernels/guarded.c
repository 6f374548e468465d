#include "guarded.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tasks/philox.h"

enum { GUARD_FLOATS = 64 };

static const uint32_t pattern = 0x7FC5A5A5u; /* a quiet NaN with a payload */

bool guarded_untouched(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits == pattern;
}

bool same_floats(const float *x, const float *y, int64_t count) {
    return !memcmp((const void *)x, (const void *)y, (size_t)count * sizeof *x);
}

guarded guarded_new(int64_t count) {
    const size_t all = ((size_t)count + 2 * (size_t)GUARD_FLOATS + 15) / 16 * 16;
    guarded buffer = {.count = count, .memory = aligned_alloc(64, all * sizeof(float))};
    for (size_t i = 0; i < all; i++) memcpy((float *)buffer.memory + i, &pattern, sizeof pattern);
    buffer.data = (float *)buffer.memory + GUARD_FLOATS;
    return buffer;
}

void guarded_free(guarded *buffer) {
    free(buffer->memory);
    *buffer = (guarded){0};
}

void guarded_normal(guarded *buffer, uint32_t seed, double size) {
    eab_random random = eab_random_at(seed, 0, 0, 0, 0);
    for (int64_t i = 0; i < buffer->count; i++) {
        const double u = ((double)eab_random_word(&random) + 0.5) / 4294967296.0;
        const double angle = 6.283185307179586 * ((double)eab_random_word(&random) / 4294967296.0);
        buffer->data[i] = (float)(size * sqrt(-2 * log(u)) * cos(angle));
    }
}

bool guarded_intact(const guarded *buffer) {
    for (int64_t i = 1; i <= GUARD_FLOATS; i++)
        if (!guarded_untouched(buffer->data[-i]) || !guarded_untouched(buffer->data[buffer->count + i - 1]))
            return false;
    return true;
}
