/* The parameters of a model: the name of each tensor, its offset in a member's contiguous block, its initial values. */
#ifndef EAB_MODEL_PARAMETERS_H
#define EAB_MODEL_PARAMETERS_H

#include "spec/config.h"

typedef enum {
    EAB_PARAMETER_EMBEDDING,
    EAB_PARAMETER_MATRIX,
    EAB_PARAMETER_GAIN,
    EAB_PARAMETER_BIAS
} eab_parameter_kind;

/* One tensor, row-major [rows][columns]; a matrix maps `rows` inputs to `columns` outputs (y = x W). */
typedef struct {
    char name[48]; /* such as "blocks.0.attention.qkv.weight" */
    eab_parameter_kind kind;
    int64_t offset;                    /* of its first element in the block */
    int32_t rows, columns;             /* rows is 1 for gains and biases */
    int32_t vocab_rows, vocab_columns; /* 1 if that dimension is the vocabulary (padded in a fleet) */
    uint32_t draw;                     /* selects its random numbers; does not depend on options */
} eab_parameter;

/* The offsets of a layer's tensors in the block; -1: the model does not have the tensor. */
typedef struct {
    int64_t norm_gain, norm_bias, qkv, qkv_bias, q_gain, k_gain, out, out_bias;
    int64_t mlp_norm_gain, mlp_norm_bias, up, up_bias, down, down_bias;
} eab_layer_offsets;

/* A model's tensors; gains and biases last, so that [0, decayed) are those with weight decay. */
typedef struct {
    eab_parameter *list;
    int32_t length;
    int64_t count; /* elements of a member's block */
    int64_t decayed;
    int64_t token, position;   /* offsets, as for layers */
    eab_layer_offsets *layers; /* [layers] */
    struct {
        int64_t norm_gain, norm_bias, out, out_bias;
    } head;
} eab_parameters;

/* Lays out the parameters of `config` for a vocabulary of `vocab`. Fails only with EAB_NO_MEMORY. */
int eab_parameters_layout(const eab_config *config, int32_t vocab, eab_parameters *parameters);
void eab_parameters_free(eab_parameters *parameters);

/* Writes the initial values, [count], of a member with options `config`: matrices uniform with standard deviation
 * init_scale / sqrt(rows) (times qk_init for the query and key columns), embeddings uniform with embedding_scale,
 * gains 1, biases 0, the vocabulary's padding 0. Random numbers are a function of (seed, tensor, row, column) and use
 * exact arithmetic only, so they are the same on every machine and in every fleet. */
void eab_parameters_initialize(const eab_parameters *parameters, const eab_config *config, double *values);

#endif
