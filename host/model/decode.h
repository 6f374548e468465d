/* Token by token through a trained model: keys and values of earlier tokens are kept, so a token costs one row. */
#ifndef EAB_MODEL_DECODE_H
#define EAB_MODEL_DECODE_H

#include "network.h"

typedef struct eab_decoder {
    eab_backend backend;      /* first: the device's backend during decoding, with an attention over the kept keys */
    struct eab_decoder *self; /* the device has its backend as const */
    const eab_backend *own;
    eab_model model;      /* of one member, batch 1 */
    int32_t length;       /* tokens so far, at most config.context */
    int32_t layer;        /* of the next call of attention */
    float *keys, *values; /* [layers][heads][context][head_dim] */
    float *scores;        /* [context], scratch */
    int64_t position;     /* of model.parameters, as it was */
} eab_decoder;

/* A decoder with initial weights, on a device of the backend "cpu", which it uses until it is closed. `config` has
 * batch 1. EAB_NO_MEMORY. */
int eab_decoder_open(eab_device *device, const eab_config *config, eab_decoder *decoder);
void eab_decoder_close(eab_decoder *decoder);

/* Forgets all tokens. */
void eab_decoder_reset(eab_decoder *decoder);

/* Appends `count` tokens; length + count is at most the context. *logits: [vocab] after the last of them, until the
 * next call. */
int eab_decoder_feed(eab_decoder *decoder, const int32_t *tokens, int32_t count, const float **logits);

#endif
