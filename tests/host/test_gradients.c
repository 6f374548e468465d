/* The gradient of a whole model: float64 against finite differences of the loss, float32 against float64. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "fleet_fixture.h"
#include "host/spec/options.h"
#include "kernels/mechanism.h"

#define OK(call) cr_assert_eq(call, EAB_OK, "%s", eab_last_error())

typedef void (*change)(eab_config *config);

static void two_layers(eab_config *c) { c->layers = 2; }
static void gelu(eab_config *c) { c->activation = EAB_ACTIVATION_GELU; }
static void no_norm(eab_config *c) { c->norm = EAB_NORM_NONE; }
static void no_bias(eab_config *c) { c->bias = 0; }
static void no_mlp(eab_config *c) { c->mlp_ratio = 0; }
static void one_hot(eab_config *c) { c->embedding = EAB_EMBEDDING_ONEHOT; }
static void learned_position(eab_config *c) { c->position = EAB_POSITION_LEARNED; }
static void no_position(eab_config *c) { c->position = EAB_POSITION_NONE; }
static void rope(eab_config *c) {
    c->position = EAB_POSITION_ROPE;
    c->d_model = 8;
}
static void qk_norm(eab_config *c) { c->qk_norm = 1; }
static void qk_norm_and_rope(eab_config *c) {
    rope(c);
    qk_norm(c);
    c->layers = 2;
}
static void dropout(eab_config *c) {
    c->layers = 2;
    c->position = EAB_POSITION_LEARNED;
    c->dropout = 0.3;
}
static void dropout_without_mlp(eab_config *c) {
    c->d_model = 10;
    c->mlp_ratio = 0;
    c->dropout = 0.3;
}
static void odd_sizes(eab_config *c) {
    c->d_model = 21;
    c->heads = 3;
    c->context = 17;
    c->mlp_ratio = 1;
}

static const struct {
    const char *name;
    change change;
} variants[] = {{"two layers", two_layers},
                {"gelu", gelu},
                {"no norm", no_norm},
                {"no bias", no_bias},
                {"no mlp", no_mlp},
                {"one-hot", one_hot},
                {"learned position", learned_position},
                {"no position", no_position},
                {"rope", rope},
                {"qk_norm", qk_norm},
                {"qk_norm and rope", qk_norm_and_rope},
                {"dropout", dropout},
                {"dropout, no mlp", dropout_without_mlp},
                {"odd sizes", odd_sizes}};

enum { VARIANTS = sizeof variants / sizeof *variants };

static eab_config variant(size_t index, int32_t mechanism) {
    eab_config config = tiny_config();
    config.mechanism = mechanism;
    config.mix = 0.3;
    config.qk_init = 2; /* scores far from 0, where ea's gradient vanishes */
    variants[index].change(&config);
    return config;
}

/* A central difference of the loss. */
static double finite_difference(fleet_fixture *fleet, double *weights, int64_t i, double step) {
    const double before = weights[i];
    weights[i] = before + step;
    fleet_set_weights(fleet, 0, weights);
    const double above = fleet_loss(fleet, 0);
    weights[i] = before - step;
    fleet_set_weights(fleet, 0, weights);
    const double below = fleet_loss(fleet, 0);
    weights[i] = before;
    return (above - below) / (2 * step);
}

static void check_float64(const eab_config *config, const char *name) {
    fleet_fixture fleet;
    fleet_open(&fleet, "reference", 1, config);
    double *gradients = fleet_gradients(&fleet, 0), *weights = fleet_weights(&fleet, 0);
    double squares = 0;
    for (int64_t i = 0; i < fleet.model.parameters.count; i++) squares += gradients[i] * gradients[i];
    const double size = sqrt(squares / (double)fleet.model.parameters.count);
    cr_assert_gt(size, 1e-6, "%s, %s: the gradient vanishes", name, eab_mechanism_name(config->mechanism));
    for (int64_t i = 0; i < fleet.model.parameters.count; i += 1 + fleet.model.parameters.count / 160) {
        double difference = finite_difference(&fleet, weights, i, 1e-5);
        /* A relu may have its kink within the step: a smaller step avoids it. */
        if (fabs(difference - gradients[i]) > 1e-6 * (size + fabs(gradients[i])))
            difference = finite_difference(&fleet, weights, i, 1e-7);
        cr_expect(fabs(difference - gradients[i]) < 1e-5 * (size + fabs(gradients[i])),
                  "%s, %s: weight %lld: gradient %.10g, finite difference %.10g", name,
                  eab_mechanism_name(config->mechanism), (long long)i, gradients[i], difference);
    }
    free(gradients);
    free(weights);
    fleet_close(&fleet);
}

/* The relative error of a backend's gradient for the same weights, rounded to float32. */
static double float32_error(const char *backend, const eab_config *config, const double *weights,
                            const double *expected) {
    fleet_fixture fleet;
    double squares = 0, error = 0;
    fleet_open(&fleet, backend, 1, config);
    fleet_set_weights(&fleet, 0, weights);
    double *found = fleet_gradients(&fleet, 0);
    for (int64_t i = 0; i < fleet.model.parameters.count; i++) {
        squares += expected[i] * expected[i];
        error += (found[i] - expected[i]) * (found[i] - expected[i]);
    }
    free(found);
    fleet_close(&fleet);
    return sqrt(error / squares);
}

/* The error may be at most 3 times that of a plain float32 program. ea's quotients amplify rounding errors of sums that
 * cancel (docs/design.md 1), and these depend on the order of summation: hence the floor. */
static void check_float32(const eab_config *config, const char *name) {
    const double floor = 4e-6;
    fleet_fixture exact;
    fleet_open(&exact, "reference", 1, config);
    double *weights = fleet_weights(&exact, 0);
    for (int64_t i = 0; i < exact.model.parameters.count; i++) weights[i] = (double)(float)weights[i];
    fleet_set_weights(&exact, 0, weights);
    double *expected = fleet_gradients(&exact, 0);
    const double plain = float32_error("plain", config, weights, expected);
    const double error = float32_error("cpu", config, weights, expected);
    cr_expect_leq(error, 3 * fmax(plain, floor), "%s, %s: relative error %.3g, plain %.3g", name,
                  eab_mechanism_name(config->mechanism), error, plain);
    free(weights);
    free(expected);
    fleet_close(&exact);
}

Test(gradients, float64_matches_finite_differences) {
    for (size_t i = 0; i < VARIANTS; i++)
        for (int32_t mechanism = 0; mechanism < EAB_MECHANISM_COUNT; mechanism++) {
            const eab_config config = variant(i, mechanism);
            check_float64(&config, variants[i].name);
        }
}

Test(gradients, float32_matches_float64) {
    for (size_t i = 0; i < VARIANTS; i++)
        for (int32_t mechanism = 0; mechanism < EAB_MECHANISM_COUNT; mechanism++) {
            const eab_config config = variant(i, mechanism);
            check_float32(&config, variants[i].name);
        }
}

/* A wider vocabulary of another member must not change a single bit of a member's gradient. */
static void expect_same_in_a_fleet(double share) {
    eab_config configs[3];
    for (int i = 0; i < 3; i++) {
        configs[i] = tiny_config();
        configs[i].mechanism = i;
        configs[i].seed = i + 1;
        configs[i].dropout = share;
        configs[i].level.option[EAB_RECURRENCE_BASIS] = 3 + 7 * i;
    }
    fleet_fixture fleet, alone;
    fleet_open(&fleet, "cpu", 3, configs);
    for (int32_t member = 0; member < 3; member++) {
        double *together = fleet_gradients(&fleet, member);
        fleet_open(&alone, "cpu", 1, &configs[member]);
        double *by_itself = fleet_gradients(&alone, 0);
        const int32_t vocab = alone.model.shape.vocab;
        for (int32_t p = 0; p < alone.model.parameters.length; p++) {
            const eab_parameter *a = &alone.model.parameters.list[p], *b = &fleet.model.parameters.list[p];
            for (int32_t row = 0; row < b->rows; row++)
                for (int32_t column = 0; column < b->columns; column++) {
                    const double value = together[b->offset + (int64_t)row * b->columns + column];
                    const bool padding = (b->vocab_rows && row >= vocab) || (b->vocab_columns && column >= vocab);
                    const double expected = padding ? 0 : by_itself[a->offset + (int64_t)row * a->columns + column];
                    cr_assert_eq(value, expected, "member %d, %s[%d][%d]: %.9g instead of %.9g", member, a->name, row,
                                 column, value, expected);
                }
        }
        free(together);
        free(by_itself);
        fleet_close(&alone);
    }
    fleet_close(&fleet);
}

Test(gradients, do_not_depend_on_the_fleet) {
    expect_same_in_a_fleet(0);
    expect_same_in_a_fleet(0.2);
}

/* Nor does the way in which a batch is cut, also with dropout. */
Test(gradients, do_not_depend_on_the_micro_batch) {
    eab_config config = tiny_config();
    config.dropout = 0.2;
    fleet_fixture fleet;
    fleet_open(&fleet, "cpu", 1, &config);
    double *whole = fleet_gradients(&fleet, 0);
    cr_assert_eq(fleet.model.micro_batch, 3);
    for (fleet.model.micro_batch = 1; fleet.model.micro_batch < 3; fleet.model.micro_batch++) {
        double *cut = fleet_gradients(&fleet, 0);
        cr_expect_arr_eq(cut, whole, (size_t)fleet.model.parameters.count * sizeof *cut);
        free(cut);
    }
    free(whole);
    fleet_close(&fleet);
}

/* Another step has other masks, and evaluation has none. */
Test(gradients, dropout_is_of_training_alone) {
    eab_config config = tiny_config();
    fleet_fixture with, without;
    fleet_open(&without, "cpu", 1, &config);
    config.dropout = 0.2;
    fleet_open(&with, "cpu", 1, &config);
    const double first = fleet_loss(&with, 0), plain = fleet_loss(&without, 0);
    with.model.first_index = 3;
    const double second = fleet_loss(&with, 0);
    cr_expect(first != second && first != plain && second != plain, "%g, %g, %g", first, second, plain);
    eab_tally tally;
    OK(with.device->backend->zero(with.device, with.tally, sizeof tally));
    OK(eab_model_pass(&with.model, with.inputs, with.targets, NULL, with.tally, NULL));
    OK(with.device->backend->download(with.device, &tally, with.tally, sizeof tally));
    cr_expect_eq(tally.loss_nats / (double)tally.tokens, plain);
    fleet_close(&with);
    fleet_close(&without);
}
