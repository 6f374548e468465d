/* The blocks are those of training, with batch 1 and the new tokens as context. Only two things differ: positions are
 * counted from the first token, and attention is to the kept keys as well.
 *
 * Limit: the weights, read once a token: 3.2 MB for 4 layers of 128, from the third-level cache. */
#include "decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/mechanism.h"

/* The weight of a bounded mechanism, the log-weight of an exponential one. */
static float weigh(int32_t mechanism, float z, float mix) {
    switch (mechanism) {
#define EXPONENTIAL(formula) eab_##formula##_log_weight(z, mix)
#define BOUNDED(formula) eab_##formula##_weight(z)
#define WEIGH_CASE(identifier, name, class_name, scale, formula) \
    case EAB_MECHANISM_##identifier: return class_name(formula);
        EAB_MECHANISM_LIST(WEIGH_CASE)
#undef WEIGH_CASE
#undef EXPONENTIAL
#undef BOUNDED
        default: return 0;
    }
}

/* In sums of eight, which a compiler puts into vectors. */
static float dot(const float *a, const float *b, int32_t count) {
    float part[8] = {0}, sum = 0;
    int32_t i = 0;
    for (; i + 8 <= count; i += 8)
        for (int lane = 0; lane < 8; lane++) part[lane] += a[i + lane] * b[i + lane];
    for (; i < count; i++) sum += a[i] * b[i];
    for (int lane = 0; lane < 8; lane++) sum += part[lane];
    return sum;
}

/* Weights of the first `count` keys for the last of them's query, not divided by their sum, which is returned. */
static float weigh_keys(const eab_attention_args *args, float slope, const float *query, const float *keys,
                        int32_t count, float *weights) {
    const int32_t mechanism = args->scores.mechanism[0];
    const bool exponential = eab_mechanism_class_of(mechanism) == EAB_CLASS_EXPONENTIAL;
    float most = -INFINITY, sum = 0;
    for (int32_t j = 0; j < count; j++) {
        const float distance = (float)(count - 1 - j);
        const float z = dot(query, keys + (int64_t)j * args->head_dim, args->head_dim);
        const float weight = weigh(mechanism, args->scores.scale[0] * z, args->scores.mix[0]);
        weights[j] = exponential ? weight - slope * distance : weight * expf(-slope * distance);
        most = fmaxf(most, weights[j]);
    }
    for (int32_t j = 0; j < count; j++) {
        if (exponential) weights[j] = expf(weights[j] - most);
        sum += weights[j];
    }
    return sum;
}

static void attend(eab_decoder *decoder, const eab_attention_args *args, float slope, const float *query,
                   const float *keys, const float *values, int32_t count, float *out) {
    const float sum = weigh_keys(args, slope, query, keys, count, decoder->scores);
    memset(out, 0, (size_t)args->head_dim * sizeof *out);
    for (int32_t j = 0; j < count; j++) {
        const float weight = decoder->scores[j] / sum;
        for (int32_t i = 0; i < args->head_dim; i++) out[i] += weight * values[(int64_t)j * args->head_dim + i];
    }
}

static eab_decoder *decoder_of(const eab_device *device) { return ((const eab_decoder *)device->backend)->self; }

/* The backend's attention_forward: appends the new keys and values of one layer. */
static int attention_forward(eab_device *device, const eab_attention_args *args, eab_const_tensor q, eab_const_tensor k,
                             eab_const_tensor v, eab_tensor out, eab_tensor row_stat) {
    eab_decoder *decoder = decoder_of(device);
    const int32_t context = decoder->model.config.context;
    const size_t row = (size_t)args->head_dim * sizeof(float);
    (void)row_stat;
    for (int32_t head = 0; head < args->heads; head++) {
        const int64_t begin = ((int64_t)decoder->layer * args->heads + head) * context * args->head_dim;
        float *keys = decoder->keys + begin, *values = decoder->values + begin;
        for (int32_t t = 0; t < args->context; t++) {
            const int64_t in = head * args->in_head + t * args->in_time;
            const int32_t place = decoder->length + t;
            memcpy(keys + (int64_t)place * args->head_dim, (const float *)k.data + in, row);
            memcpy(values + (int64_t)place * args->head_dim, (const float *)v.data + in, row);
            attend(decoder, args, args->slopes ? args->slopes[head] : 0, (const float *)q.data + in, keys, values,
                   place + 1, (float *)out.data + head * args->out_head + t * args->out_time);
        }
    }
    decoder->layer++;
    return EAB_OK;
}

int eab_decoder_open(eab_device *device, const eab_config *config, eab_decoder *decoder) {
    const size_t kept = (size_t)config->layers * (size_t)config->context * (size_t)config->d_model;
    *decoder = (eab_decoder){.backend = *device->backend, .self = decoder, .own = device->backend};
    EAB_TRY(eab_model_create(device, 1, config, &decoder->model));
    decoder->position = decoder->model.parameters.position;
    decoder->keys = malloc(kept * sizeof *decoder->keys);
    decoder->values = malloc(kept * sizeof *decoder->values);
    decoder->scores = malloc((size_t)config->context * sizeof *decoder->scores);
    if (!decoder->keys || !decoder->values || !decoder->scores) {
        eab_decoder_close(decoder);
        return eab_fail(EAB_NO_MEMORY, "no memory for the keys and values of %d tokens", config->context);
    }
    decoder->backend.attention_forward = attention_forward;
    device->backend = &decoder->backend;
    return EAB_OK;
}

void eab_decoder_close(eab_decoder *decoder) {
    eab_device *device = decoder->model.device;
    device->backend = decoder->own;
    eab_model_destroy(&decoder->model);
    free(decoder->keys);
    free(decoder->values);
    free(decoder->scores);
}

void eab_decoder_reset(eab_decoder *decoder) { decoder->length = 0; }

int eab_decoder_feed(eab_decoder *decoder, const int32_t *tokens, int32_t count, const float **logits) {
    eab_model *model = &decoder->model;
    const int32_t d_model = model->config.d_model, head_dim = d_model / model->config.heads;
    const int64_t skipped = decoder->length;
    decoder->layer = 0;
    model->shape.context = count;
    if (decoder->position >= 0) model->parameters.position = decoder->position + skipped * d_model;
    if (model->rope.data) model->shape.rope.data = (float *)model->rope.data + skipped * head_dim;
    EAB_TRY(eab_model_forward(model, tokens, 0, 1));
    decoder->length += count;
    *logits = (const float *)model->head_saved.logits.data + (int64_t)(count - 1) * model->shape.vocab;
    return EAB_OK;
}
