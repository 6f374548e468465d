/* Cuts 64-byte aligned pieces off a workspace; with memory NULL it only adds up what is needed. */
#ifndef EAB_KERNELS_CPU_CARVER_H
#define EAB_KERNELS_CPU_CARVER_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    float *memory;
    size_t floats;
} eab_carver;

static inline float *eab_carve(eab_carver *from, int64_t floats) {
    float *piece = from->memory ? from->memory + from->floats : NULL;
    from->floats += ((size_t)floats + 15) / 16 * 16;
    return piece;
}

#endif
