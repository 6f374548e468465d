/* Divides a workspace into 64-byte aligned pieces. With memory NULL it only adds up their size. */
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
