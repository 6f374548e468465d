/* Models and attention maps as safetensors files: an 8-byte little-endian length, a JSON header, the tensors' bytes. */
#ifndef EAB_MODEL_SAFETENSORS_H
#define EAB_MODEL_SAFETENSORS_H

#include "parameters.h"

typedef enum { EAB_STORED_FLOAT32, EAB_STORED_FLOAT64 } eab_stored;

/* Writes values[parameters->count] (rounded to what is stored) and the cell's options as metadata, atomically. Tensors
 * are [in][out] (y = x W) and have the member's own vocabulary, without a fleet's padding. EAB_IO if it cannot. */
int eab_safetensors_write(const char *path, const eab_parameters *parameters, const eab_config *config,
                          eab_stored stored, const double *values);

/* A tensor of 4-byte or, for F64, 8-byte elements. */
typedef struct {
    const char *name, *dtype; /* "F32", "I32" or "F64" */
    int32_t rank;
    int64_t shape[5];
    const void *words;
} eab_safetensor;

/* Writes these tensors, less than 4 GiB in all, and the cell's options as metadata, atomically. EAB_IO if it cannot. */
int eab_safetensors_write_tensors(const char *path, const eab_config *config, const eab_safetensor *tensors,
                                  int32_t count);

#endif
