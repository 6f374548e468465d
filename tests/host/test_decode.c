/* Decoding token by token gives the logits of a pass over the whole sequence. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "default_config.h"
#include "host/model/decode.h"
#include "host/spec/cell_task.h"
#include "kernels/mechanism.h"

#define OK(call) cr_assert_eq(call, EAB_OK, "%s", eab_last_error())

enum { CONTEXT = 11, MAX_VOCAB = 8 };
static const int32_t tokens[CONTEXT] = {3, 1, 4, 1, 5, 2, 6, 5, 3, 5, 0};

static eab_config make_config(int32_t mechanism, int32_t position) {
    eab_config config = default_config(0);
    config.layers = 2;
    config.d_model = 24;
    config.heads = 2;
    config.context = CONTEXT;
    config.batch = 1;
    config.mechanism = mechanism;
    config.mix = 0.3;
    config.position = position;
    config.activation = position % 2 ? EAB_ACTIVATION_GELU : EAB_ACTIVATION_RELU;
    config.qk_norm = mechanism % 2;
    config.norm = position == EAB_POSITION_NONE ? EAB_NORM_NONE : EAB_NORM_LAYER;
    return config;
}

static void expect_equal_logits(eab_decoder *decoder, const float whole[CONTEXT][MAX_VOCAB]) {
    static const int32_t pieces[][5] = {{11}, {1, 1, 1, 1, 7}, {4, 1, 2, 3, 1}};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        int32_t place = 0;
        eab_decoder_reset(decoder);
        for (int piece = 0; piece < 5 && pieces[i][piece]; piece++) {
            const float *logits;
            OK(eab_decoder_feed(decoder, tokens + place, pieces[i][piece], &logits));
            place += pieces[i][piece];
            /* Sums in another order; where a score nearly vanishes they move a logit by 2e-5 (ea-parallel). */
            for (int32_t token = 0; token < MAX_VOCAB; token++)
                cr_assert_lt(fabsf(logits[token] - whole[place - 1][token]), 1e-4f,
                             "%s, pieces %zu, token %d: %g not %g", eab_mechanism_name(decoder->model.config.mechanism),
                             i, place, (double)logits[token], (double)whole[place - 1][token]);
        }
        cr_expect_eq(place, CONTEXT);
    }
}

Test(decode, logits_are_those_of_a_whole_pass) {
    eab_device *device;
    OK(eab_device_open("cpu", 0, &device));
    for (int32_t mechanism = 0; mechanism < EAB_MECHANISM_COUNT; mechanism++)
        for (int32_t position = 0; position <= EAB_POSITION_NONE; position++) {
            const eab_config config = make_config(mechanism, position);
            float whole[CONTEXT][MAX_VOCAB];
            eab_model model;
            eab_decoder decoder;
            OK(eab_model_create(device, 1, &config, &model));
            cr_assert_eq(model.shape.vocab, MAX_VOCAB);
            OK(eab_model_forward(&model, tokens, 0, 1));
            memcpy(whole, model.head_saved.logits.data, sizeof whole);
            eab_model_destroy(&model);
            cr_assert(fabsf(whole[0][0] - whole[1][0]) > 1e-3f);
            OK(eab_decoder_open(device, &config, &decoder)); /* the same initial weights */
            expect_equal_logits(&decoder, (const float(*)[MAX_VOCAB])whole);
            eab_decoder_close(&decoder);
        }
    eab_device_close(device);
}
