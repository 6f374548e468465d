/* Models and attention maps as safetensors files: an 8-byte little-endian length, a JSON header, the tensors' bytes.
 * The header's metadata are the cell's options. */
#ifndef EAB_MODEL_SAFETENSORS_H
#define EAB_MODEL_SAFETENSORS_H

#include "parameters.h"

/* A tensor of 4-byte or, for F64, 8-byte elements. */
typedef struct {
    const char *name, *dtype; /* "F32", "I32" or "F64" */
    int32_t rank;
    int64_t shape[5];
    const void *words;
} eab_safetensor;

/* Writes these tensors atomically. EAB_IO if it cannot. */
int eab_safetensors_write(const char *path, const eab_config *config, const eab_safetensor *tensors, int32_t count);

/* Writes the model with values[parameters->count], stored as dtype "F32" or "F64". Tensors are [in][out] (y = x W) and
 * have the member's own vocabulary, without a fleet's padding. EAB_IO or EAB_NO_MEMORY. */
int eab_safetensors_write_model(const char *path, const eab_config *config, const eab_parameters *parameters,
                                const char *dtype, const double *values);

#endif
