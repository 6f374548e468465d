/* The geometry of attention: against values computed by hand, and of trained fleets. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "fleet_fixture.h"
#include "host/model/geometry.h"
#include "host/model/train.h"
#include "kernels/mechanism.h"

#define OK(call) cr_assert_eq(call, EAB_OK, "%s", eab_last_error())

enum { CONTEXT = 3, HEAD_DIM = 2 };

/* All queries point along the first axis; the keys are parallel, orthogonal and antiparallel to it. */
static const double queries[CONTEXT * HEAD_DIM] = {1, 0, 5, 0, 2, 0};
static const double keys[CONTEXT * HEAD_DIM] = {1, 0, 0, 2, -3, 0};

static eab_geometry_head measure(const char *mechanism_name, const float *slope, const double *q, const double *k,
                                 const eab_level *level, const uint8_t *determined, float *map) {
    const int32_t mechanism = eab_mechanism_from_name(mechanism_name);
    const float scale = 1, mix = 0.3f;
    const int32_t tokens[CONTEXT + 1] = {0, 1, 1, 2};
    const eab_attention_args args = {.members = 1,
                                     .batch = 1,
                                     .heads = 1,
                                     .context = CONTEXT,
                                     .head_dim = HEAD_DIM,
                                     .causal = true,
                                     .scores = {&mechanism, &scale, &mix},
                                     .slopes = slope,
                                     .in_time = HEAD_DIM};
    const eab_geometry_sequence sequence = {level, tokens, determined, 0};
    eab_geometry_sums sums = {0};
    eab_geometry_head head;
    OK(eab_geometry_add(&sums, &args, 0, q, k, &sequence, map));
    eab_geometry_finish(&sums, &head);
    return head;
}

static eab_level recurrence(int32_t a) {
    eab_level level = eab_level_default(0);
    level.option[EAB_RECURRENCE_BASIS] = 8;
    level.option[EAB_RECURRENCE_DELAY] = 2;
    level.option[EAB_RECURRENCE_A] = a;
    return level;
}

/* The attention rows of ea: w = z^2 / (1 + z^2) + 2^-24, with z = 5, 0 and 2, 0, -6. */
static void rows_by_hand(double middle[2], double last[3]) {
    const double eps = ldexp(1, -24), w1[] = {25.0 / 26 + eps, eps}, w2[] = {0.8 + eps, eps, 36.0 / 37 + eps};
    for (int i = 0; i < 2; i++) middle[i] = w1[i] / (w1[0] + w1[1]);
    for (int i = 0; i < 3; i++) last[i] = w2[i] / (w2[0] + w2[1] + w2[2]);
}

static void expect_near(double found, double expected, const char *what) {
    cr_expect(fabs(found - expected) < 1e-12, "%s: %.17g instead of %.17g", what, found, expected);
}

Test(geometry, angles_and_mass_by_hand) {
    const eab_level level = recurrence(1);
    const uint8_t determined[CONTEXT] = {0, 1, 1};
    float map[CONTEXT * CONTEXT];
    double middle[2], last[3];
    rows_by_hand(middle, last);
    const eab_geometry_head head = measure("ea", NULL, queries, keys, &level, determined, map);
    for (int bin = 0; bin < EAB_GEOMETRY_BINS; bin++) {
        const double density = bin == 0 ? 3 : bin == 9 ? 2 : bin == 17 ? 1 : 0;
        const double mass = bin == 0    ? 1 + middle[0] + last[0]
                            : bin == 9  ? middle[1] + last[1]
                            : bin == 17 ? last[2]
                                        : 0;
        expect_near(head.angle_density[bin], density / 6, "angle_density");
        expect_near(head.angle_mass[bin], mass / 3, "angle_mass");
    }
    for (int row = 0; row < CONTEXT; row++)
        for (int key = 0; key < CONTEXT; key++) {
            const double expected = key > row ? 0 : row == 0 ? 1 : row == 1 ? middle[key] : last[key];
            cr_expect_float_eq(map[row * CONTEXT + key], expected, 1e-7, "row %d, key %d", row, key);
        }
}

Test(geometry, spread_and_lengths_by_hand) {
    const eab_level level = recurrence(1);
    const uint8_t determined[CONTEXT] = {0, 1, 1};
    double middle[2], last[3], one = 0, two = 0;
    rows_by_hand(middle, last);
    for (int i = 0; i < 2; i++) one -= middle[i] * log(middle[i]);
    for (int i = 0; i < 3; i++) two -= last[i] * log(last[i]);
    const eab_geometry_head head = measure("ea", NULL, queries, keys, &level, determined, NULL);
    expect_near(head.row_entropy_nats, (one + two) / 2, "row_entropy_nats");
    expect_near(head.row_entropy_share, (one / log(2) + two / log(3)) / 2, "row_entropy_share");
    expect_near(head.query_norm, 8.0 / 3, "query_norm");
    expect_near(head.query_norm_sd, sqrt(10 - 64.0 / 9), "query_norm_sd");
    expect_near(head.key_norm, 2, "key_norm");
    expect_near(head.key_norm_sd, sqrt(14.0 / 3 - 4), "key_norm_sd");
}

/* Position 1 predicts x_2 = x_1 + x_0, position 2 predicts x_3 = x_2 + x_1. */
Test(geometry, determining_mass_by_hand) {
    const uint8_t both[CONTEXT] = {0, 1, 1}, none[CONTEXT] = {0, 0, 0};
    double middle[2], last[3];
    rows_by_hand(middle, last);
    eab_level level = recurrence(1);
    expect_near(measure("ea", NULL, queries, keys, &level, both, NULL).determining_mass, (1 + last[1] + last[2]) / 2,
                "two tokens");
    cr_expect(isnan(measure("ea", NULL, queries, keys, &level, none, NULL).determining_mass));
    level = recurrence(0); /* only the delayed token determines the next one */
    expect_near(measure("ea", NULL, queries, keys, &level, both, NULL).determining_mass, (middle[0] + last[1]) / 2,
                "the delayed token");
}

/* All scores are 0: only the position bias shapes a row. A vector of length 0 counts as orthogonal. */
Test(geometry, position_bias_is_in_the_mass) {
    const eab_level level = recurrence(1);
    const uint8_t determined[CONTEXT] = {0, 1, 1};
    const double zero[CONTEXT * HEAD_DIM] = {0};
    const float slope = 0.5f;
    for (int32_t mechanism = 0; mechanism < EAB_MECHANISM_COUNT; mechanism++) {
        const char *name = eab_mechanism_name(mechanism);
        float map[CONTEXT * CONTEXT];
        const eab_geometry_head head = measure(name, &slope, zero, keys, &level, determined, map);
        const double sum = 1 + exp(-0.5) + exp(-1);
        cr_expect_float_eq(map[2 * CONTEXT], exp(-1) / sum, 1e-6, "%s", name);
        cr_expect_float_eq(map[2 * CONTEXT + 2], 1 / sum, 1e-6, "%s", name);
        expect_near(head.angle_density[9], 1, name);
        expect_near(head.angle_mass[9], 1, name);
        const eab_geometry_head flat = measure(name, NULL, zero, keys, &level, determined, NULL);
        cr_expect_float_eq(flat.row_entropy_share, 1, 1e-12, "%s: uniform rows", name);
        expect_near(flat.query_norm, 0, name);
        expect_near(flat.query_norm_sd, 0, name);
    }
}

/* ---- trained models ------------------------------------------------------------------------------------------ */

static void train(const char *backend, int32_t members, const eab_config *configs, eab_cell_result *results) {
    static const char *const no_maps[4];
    const eab_train_options options = {.geometry_paths = no_maps};
    eab_device *device;
    OK(eab_device_open(backend, 0, &device));
    OK(eab_train_fleet(device, members, configs, &options, results));
    cr_expect_eq(device->bytes, 0);
    eab_device_close(device);
}

static void expect_sums_to_one(const double *shares, const char *what) {
    double sum = 0;
    for (int bin = 0; bin < EAB_GEOMETRY_BINS; bin++) {
        cr_expect_geq(shares[bin], 0, "%s", what);
        sum += shares[bin];
    }
    cr_expect_float_eq(sum, 1, 1e-9, "%s sums to %.17g", what, sum);
}

static void vary(eab_config *config, int which) {
    config->mechanism = which;
    config->mix = 0.3;
    config->optimizer = EAB_OPTIMIZER_SGD; /* AdamW magnifies the rounding of a gradient that nearly vanishes */
    config->lr = 0.1;
    config->steps = 5;
    config->layers = 2;
    config->batch = which < 2 ? 3 : 80; /* 64 sequences are many batches, or a part of one */
    config->qk_norm = which % 2;
    config->position = which == 3 ? EAB_POSITION_ROPE : EAB_POSITION_ALIBI;
    config->d_model = 8;
}

Test(geometry, shares_of_a_trained_model) {
    for (int which = 0; which < EAB_MECHANISM_COUNT; which++) {
        eab_config config = tiny_config();
        eab_cell_result result, exact;
        vary(&config, which);
        train("cpu", 1, &config, &result);
        train("reference", 1, &config, &exact);
        cr_assert_not_null(result.geometry);
        cr_assert_eq(result.geometry->layers, 2);
        cr_assert_eq(result.geometry->heads, config.heads);
        for (int i = 0; i < 2 * config.heads; i++) {
            const eab_geometry_head *head = &result.geometry->head[i], *other = &exact.geometry->head[i];
            expect_sums_to_one(head->angle_density, "angle_density");
            expect_sums_to_one(head->angle_mass, "angle_mass");
            cr_expect(head->row_entropy_share > 0 && head->row_entropy_share <= 1 + 1e-12);
            cr_expect(head->determining_mass > 0 && head->determining_mass <= 1 + 1e-12);
            cr_expect_float_eq(head->query_norm, other->query_norm, 1e-3 * other->query_norm);
            cr_expect_float_eq(head->row_entropy_nats, other->row_entropy_nats, 1e-3);
            cr_expect_float_eq(head->determining_mass, other->determining_mass, 1e-3);
        }
        free(result.geometry);
        free(exact.geometry);
    }
}

Test(geometry, does_not_depend_on_the_fleet_and_changes_no_result) {
    eab_config configs[3];
    eab_cell_result together[3], alone, without;
    for (int i = 0; i < 3; i++) {
        configs[i] = tiny_config();
        configs[i].mechanism = i;
        configs[i].level.option[EAB_RECURRENCE_BASIS] = 3 + i;
    }
    train("cpu", 3, configs, together);
    for (int i = 0; i < 3; i++) {
        train("cpu", 1, &configs[i], &alone);
        cr_assert_eq(memcmp(together[i].geometry->head, alone.geometry->head, 2 * sizeof alone.geometry->head[0]), 0,
                     "member %d", i);
        eab_device *device;
        OK(eab_device_open("cpu", 0, &device));
        OK(eab_train_fleet(device, 1, &configs[i], NULL, &without));
        eab_device_close(device);
        cr_expect_null(without.geometry);
        cr_expect_eq(without.scores.loss_nats, alone.scores.loss_nats);
        cr_expect_eq(without.scores.token_accuracy, alone.scores.token_accuracy);
        cr_expect_eq(without.scores.loss_nats, together[i].scores.loss_nats);
        free(alone.geometry);
        free(together[i].geometry);
    }
}
