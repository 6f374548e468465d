/* Models and attention maps as safetensors files: an 8-byte little-endian length, a JSON header, the tensors' bytes.
 * The header's metadata are the cell's options. */
#ifndef EAB_MODEL_SAFETENSORS_H
#define EAB_MODEL_SAFETENSORS_H

#include <glib.h>
#include <stdio.h>

#include "parameters.h"

/* A tensor of 4-byte or, for F64, 8-byte elements. */
typedef struct {
    const char *name, *dtype; /* "F32", "I32" or "F64" */
    int32_t rank;
    int64_t shape[5];
    const void *words;
} eab_safetensor;

/* Writes these tensors atomically, of any size. EAB_IO if it cannot. */
int eab_safetensors_write(const char *path, const eab_config *config, const eab_safetensor *tensors, int32_t count);

/* Writes the model whose block of reals, as of eab_parameters, begins at `from` on the device, stored as dtype "F32" or
 * "F64". Tensors are [in][out] (y = x W) and have the member's own vocabulary, without a fleet's padding. Takes memory
 * for one tensor at a time. EAB_IO, EAB_NO_MEMORY or the device's error. */
int eab_safetensors_write_model(const char *path, const eab_config *config, const eab_parameters *parameters,
                                const char *dtype, eab_device *device, const void *from);

/* The header's entries of a model's tensors, up to the closing bracket: `,"name":{...},...}`; *bytes: the tensors'. */
GString *eab_safetensors_list(const eab_config *config, const eab_parameters *parameters, const char *dtype,
                              int64_t *bytes);

/* A saved model that is being read. */
typedef struct {
    FILE *file;
    eab_config config; /* its options, with batch 1; the task is a text of its vocabulary: `text` */
    eab_text text;     /* alphabet, or numbers as symbols where the model has no alphabet */
    bool has_alphabet;
} eab_saved_model;

/* Opens a file that --save-models wrote and reads its options. EAB_BAD_INPUT with one line for any other file;
 * EAB_NO_MEMORY. */
int eab_saved_model_open(const char *path, eab_saved_model *saved);

/* Writes its weights to `to` on the device, laid out as `parameters` of its config. */
int eab_saved_model_read(eab_saved_model *saved, const eab_parameters *parameters, eab_device *device, void *to);
void eab_saved_model_close(eab_saved_model *saved);

#endif
