/* Training of whole fleets, on the CPU and with the reference backend. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "default_config.h"
#include "fleet_fixture.h"
#include "host/model/cost.h"
#include "host/model/evaluate.h"
#include "host/model/fleet.h"
#include "host/model/step.h"
#include "host/model/train.h"
#include "host/spec/options.h"
#include "kernels/mechanism.h"

static void train_on(const char *backend, int32_t members, const eab_config *configs, const eab_train_options *options,
                     eab_cell_result *results) {
    eab_device *device;
    cr_assert_eq(eab_device_open(backend, 0, &device), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(eab_train_fleet(device, members, configs, options, results), EAB_OK, "%s", eab_last_error());
    cr_expect_eq(device->bytes, 0, "%zu bytes were not released", device->bytes);
    eab_device_close(device);
}

static void expect_same_scores(const eab_cell_result *a, const eab_cell_result *b) {
    cr_expect_eq(a->status, b->status);
    cr_expect_eq(a->steps_done, b->steps_done);
    cr_expect_eq(a->scores.loss_nats, b->scores.loss_nats, "%.17g, %.17g", a->scores.loss_nats, b->scores.loss_nats);
    cr_expect_eq(a->scores.validation_accuracy, b->scores.validation_accuracy);
    cr_expect_eq(a->scores.token_accuracy, b->scores.token_accuracy);
    cr_expect_eq(a->scores.sequence_accuracy, b->scores.sequence_accuracy);
    cr_expect_eq(a->scores.rollout_accuracy, b->scores.rollout_accuracy);
    cr_expect_eq(a->scores.seen_share, b->scores.seen_share);
    cr_expect_eq(a->scores.solved, b->scores.solved);
    cr_expect_eq(a->scores.steps_to_solve, b->scores.steps_to_solve);
}

Test(train, is_repeatable) {
    eab_config config = tiny_config();
    config.mechanism = eab_mechanism_from_name("ea");
    eab_cell_result first, second;
    train_on("cpu", 1, &config, NULL, &first);
    train_on("cpu", 1, &config, NULL, &second);
    cr_expect_eq(first.status, EAB_CELL_OK);
    cr_expect_eq(first.steps_done, 20);
    cr_expect_eq(first.tokens, (int64_t)20 * 3 * 5);
    expect_same_scores(&first, &second);
}

/* Members differ in every option that may differ; one diverges, and one is solved early and leaves. */
Test(train, result_does_not_depend_on_the_fleet) {
    enum { MEMBERS = 4 };
    eab_config configs[MEMBERS];
    eab_cell_result together[MEMBERS], alone;
    for (int i = 0; i < MEMBERS; i++) {
        configs[i] = tiny_config();
        configs[i].steps = 120;
        configs[i].batch = 8;
        configs[i].mechanism = i;
        configs[i].seed = 5 + i;
        configs[i].lr = 1e-2 * (1 + i);
        configs[i].level.option[EAB_RECURRENCE_BASIS] = 2 + i;
    }
    configs[0].level.option[EAB_RECURRENCE_A] = 0; /* x_t = x_{t-2}: easy */
    configs[2].norm = configs[1].norm = configs[0].norm = configs[3].norm = EAB_NORM_NONE;
    configs[2].lr = 10;
    configs[2].clip = 0;
    configs[2].optimizer = configs[1].optimizer = configs[0].optimizer = configs[3].optimizer = EAB_OPTIMIZER_SGD;
    for (int i = 1; i < MEMBERS; i++) cr_assert(eab_train_same_fleet(&configs[0], &configs[i]));
    train_on("cpu", MEMBERS, configs, NULL, together);
    cr_expect_eq(together[2].status, EAB_CELL_DIVERGED);
    for (int i = 0; i < MEMBERS; i++) {
        train_on("cpu", 1, &configs[i], NULL, &alone);
        if (i == 2) {
            cr_expect_eq(alone.status, EAB_CELL_DIVERGED);
            cr_expect_eq(alone.steps_done, together[2].steps_done);
            cr_expect(isnan(together[2].scores.token_accuracy));
        } else {
            expect_same_scores(&together[i], &alone);
        }
    }
}

/* A backend that records the number of members in each held-out pass. */
static struct {
    eab_backend backend;
    uint32_t stream;
    int32_t members[64];
    int passes;
} counted;

static int count_generate(eab_device *device, const eab_generate_args *args, int32_t *inputs, int32_t *targets,
                          int64_t *counts) {
    counted.stream = args->stream;
    return eab_backend_from_name("cpu")->generate(device, args, inputs, targets, counts);
}

static int count_embed(eab_device *device, const eab_shape *shape, const eab_embedding *weights, const int32_t *tokens,
                       int64_t tokens_stride, eab_tensor x) {
    if (counted.stream == EAB_STREAM_HELD_OUT && counted.passes < 64)
        counted.members[counted.passes++] = shape->members;
    return eab_backend_from_name("cpu")->embed_forward(device, shape, weights, tokens, tokens_stride, x);
}

/* Member 1 solves its level long before the others end: it alone is evaluated when it leaves. */
Test(train, only_leaving_members_are_evaluated) {
    enum { MEMBERS = 3 };
    eab_config configs[MEMBERS];
    eab_cell_result results[MEMBERS];
    eab_device *device;
    for (int i = 0; i < MEMBERS; i++) {
        configs[i] = tiny_config();
        configs[i].steps = 1000;
        configs[i].batch = 32;
        configs[i].eval_every = 100;
        configs[i].d_model = 16;
        configs[i].lr = i == 1 ? 1e-2 : 1e-6;
        configs[i].level.option[EAB_RECURRENCE_BASIS] = 2;
    }
    counted.backend = *eab_backend_from_name("cpu");
    counted.backend.generate = count_generate;
    counted.backend.embed_forward = count_embed;
    cr_assert_eq(eab_device_open_backend(&counted.backend, 0, &device), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(eab_train_fleet(device, MEMBERS, configs, NULL, results), EAB_OK, "%s", eab_last_error());
    eab_device_close(device);
    cr_assert_lt(results[1].steps_done, 1000, "member 1 was not solved");
    cr_assert_eq(results[0].steps_done, 1000);
    cr_assert_gt(counted.passes, 0);
    int alone = 0;
    for (int i = 0; i < counted.passes; i++) {
        cr_expect(counted.members[i] == 1 || (counted.members[i] == 2 && i >= alone), "pass %d: %d members", i,
                  counted.members[i]);
        if (counted.members[i] == 1) alone = i + 1;
    }
    cr_expect_gt(alone, 0);
    cr_expect_lt(alone, counted.passes);
}

Test(train, solves_an_easy_level_and_stops) {
    eab_config config = default_config(0);
    config.level.option[EAB_RECURRENCE_BASIS] = 2;
    config.level.option[EAB_RECURRENCE_DELAY] = 2;
    config.d_model = 16;
    config.steps = 2000;
    config.eval_every = 100;
    config.eval_tokens = 2000;
    eab_cell_result result;
    eab_train_options options = {.keep_curves = true};
    train_on("cpu", 1, &config, &options, &result);
    cr_expect_eq(result.status, EAB_CELL_OK);
    cr_expect_eq(result.scores.solved, 1);
    cr_expect_eq(result.scores.token_accuracy, 1.0);
    cr_expect_eq(result.scores.rollout_accuracy, 1.0);
    cr_expect_eq(result.scores.sequence_accuracy, 1.0);
    cr_expect_lt(result.steps_done, 2000);
    cr_expect_eq(result.scores.steps_to_solve, result.steps_done);
    cr_expect_eq(result.scores.seen_share, 1.0); /* there are four sequences */
    cr_assert_eq(result.curve_points, result.steps_done / 100);
    cr_expect_lt(result.curve[result.curve_points - 1].loss_nats, result.curve[0].loss_nats);
    cr_expect_eq(result.curve[result.curve_points - 1].validation_accuracy, 1.0);
    free(result.curve);
}

Test(train, continues_when_solved_if_stop_when_solved_is_off) {
    eab_config config = tiny_config();
    config.level.option[EAB_RECURRENCE_BASIS] = 2;
    config.level.option[EAB_RECURRENCE_A] = 0;
    config.stop_when_solved = 0;
    config.steps = 300;
    config.lr = 3e-2;
    eab_cell_result result;
    train_on("cpu", 1, &config, NULL, &result);
    cr_expect_eq(result.steps_done, 300);
    cr_expect_eq(result.scores.solved, 1);
    cr_expect(result.scores.steps_to_solve > 0 && result.scores.steps_to_solve <= 300);
}

/* Same data, same initial weights, float32 against float64: a few steps agree to rounding, for every mechanism. */
Test(train, agrees_with_float64) {
    for (int32_t mechanism = 0; mechanism < EAB_MECHANISM_COUNT; mechanism++) {
        eab_config config = tiny_config();
        config.mechanism = mechanism;
        config.mix = 0.3;
        config.seed = 2; /* with seed 1 a score of ea-parallel nearly vanishes, and magnifies its rounding */
        config.eval_every = 5;
        config.steps = 10;
        eab_cell_result cpu, reference;
        const eab_train_options options = {.keep_curves = true};
        train_on("cpu", 1, &config, &options, &cpu);
        train_on("reference", 1, &config, &options, &reference);
        cr_assert_eq(cpu.curve_points, 2);
        for (int i = 0; i < 2; i++)
            cr_expect_float_eq(cpu.curve[i].loss_nats, reference.curve[i].loss_nats, 2e-4, "%s: %.9g, %.9g",
                               eab_mechanism_name(mechanism), cpu.curve[i].loss_nats, reference.curve[i].loss_nats);
        free(cpu.curve);
        free(reference.curve);
    }
}

Test(train, stops_on_request) {
    eab_config config = tiny_config();
    eab_cell_result result;
    atomic_bool stop = true;
    const eab_train_options options = {.stop = &stop};
    eab_device *device;
    cr_assert_eq(eab_device_open("cpu", 0, &device), EAB_OK);
    cr_expect_eq(eab_train_fleet(device, 1, &config, &options, &result), EAB_INTERRUPTED);
    cr_expect_eq(device->bytes, 0);
    eab_device_close(device);
}

Test(train, counts_its_steps) {
    eab_config config = tiny_config();
    eab_cell_result result;
    _Atomic int64_t steps_done = 0;
    const eab_train_options options = {.steps_done = &steps_done};
    train_on("cpu", 1, &config, &options, &result);
    cr_expect_eq(steps_done, result.steps_done);
}

/* The parallel rollout against generation token by token. */
Test(evaluate, rollout_is_greedy_continuation) {
    eab_config config = tiny_config();
    fleet_fixture fleet;
    fleet_open(&fleet, "cpu", 1, &config);
    const int32_t count = config.batch * config.context, context = config.context;
    int32_t inputs[64], predictions[64];
    eab_tally training[1], tally[1], rollout[1];
    int64_t changed;
    cr_assert_leq(count, 64);

    /* token by token */
    memcpy(inputs, fleet.inputs, (size_t)count * sizeof *inputs);
    int64_t right = 0;
    for (int32_t t = 0; t < context; t++) {
        cr_assert_eq(eab_model_pass(&fleet.model, inputs, fleet.targets, NULL, tally, predictions), EAB_OK);
        for (int32_t sequence = 0; sequence < config.batch; sequence++) {
            const int32_t row = sequence * context + t;
            if (fleet.targets[row] < 0) continue;
            right += predictions[row] == fleet.targets[row];
            if (t + 1 < context) inputs[row + 1] = predictions[row];
        }
    }

    eab_fleet_tokens tokens = {.generate = {.members = 1,
                                            .batch = config.batch,
                                            .context = context,
                                            .levels = fleet.levels,
                                            .seeds = fleet.seeds,
                                            .held_out = fleet.held_out},
                               .inputs = fleet.inputs,
                               .targets = fleet.targets,
                               .predictions = predictions,
                               .counts = fleet.counts,
                               .changed = &changed,
                               .training = training,
                               .tally = tally,
                               .rollout = rollout};
    eab_evaluation evaluation;
    fleet.model.config.eval_tokens = 1; /* one batch: the training stream's first, as above */
    cr_assert_eq(eab_evaluate(&fleet.model, &tokens, EAB_STREAM_TRAINING, true, NULL, &evaluation), EAB_OK);
    cr_expect_eq(evaluation.rollout_right, right);
    cr_expect_eq(evaluation.rollout_tokens, evaluation.tally.tokens);
    cr_expect_eq(evaluation.sequences, config.batch);
    cr_expect_lt(right, evaluation.tally.tokens); /* the test needs wrong predictions; the model is untrained */
    fleet_close(&fleet);
}

/* Step by step, the batches are those of the same indices modulo `sequences`; the evaluation is that of other cells. */
Test(train, sequences_are_repeated) {
    enum { STEPS = 9, MOST = 64 };
    eab_config config = tiny_config(), fresh_config = tiny_config();
    config.sequences = 2 * config.batch + 1;
    fresh_config.level = config.level;
    const int32_t context = config.context, batch = config.batch;
    eab_device *device;
    eab_fleet_state repeated, fresh;
    int32_t tokens[MOST];
    uint8_t determined[MOST];
    cr_assert_eq(eab_device_open("cpu", 0, &device), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(eab_fleet_open(device, 1, &config, &repeated), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(eab_fleet_open(device, 1, &fresh_config, &fresh), EAB_OK, "%s", eab_last_error());
    for (int64_t step = 0; step < STEPS; step++) {
        cr_assert_eq(eab_fleet_gradients(&repeated, step), EAB_OK, "%s", eab_last_error());
        cr_expect_eq(repeated.model.first_index, (uint64_t)(step * batch), "dropout must not repeat its masks");
        for (int32_t i = 0; i < batch; i++) {
            eab_sequence_generate(&config.level, (uint32_t)config.seed, EAB_STREAM_TRAINING, repeated.held_out[0],
                                  (uint64_t)((step * batch + i) % config.sequences), context + 1, tokens, determined);
            cr_expect_arr_eq(repeated.tokens.inputs + i * context, tokens, (size_t)context * sizeof *tokens,
                             "step %lld, sequence %d", (long long)step, i);
        }
    }
    for (uint32_t stream = EAB_STREAM_VALIDATION; stream <= EAB_STREAM_HELD_OUT; stream++) {
        eab_evaluation a, b;
        cr_assert_eq(eab_evaluate(&repeated.model, &repeated.tokens, stream, true, NULL, &a), EAB_OK);
        cr_assert_eq(eab_evaluate(&fresh.model, &fresh.tokens, stream, true, NULL, &b), EAB_OK);
        cr_expect_gt(a.sequences, config.sequences);
        cr_expect_arr_eq(&a, &b, sizeof a, "%.17g and %.17g nats", a.tally.loss_nats, b.tally.loss_nats);
    }
    eab_fleet_close(&repeated);
    eab_fleet_close(&fresh);
    eab_device_close(device);
}

/* Nine sequences, of which a cell that repeats one has seen one. */
Test(train, seen_share_is_that_of_the_repeated_sequences) {
    eab_config config = tiny_config();
    eab_cell_result result;
    config.heldout = EAB_HELD_OUT_NONE;
    train_on("cpu", 1, &config, NULL, &result);
    cr_expect_eq(result.scores.seen_share, 1.0);
    config.sequences = 1;
    train_on("cpu", 1, &config, NULL, &result);
    cr_expect(result.scores.seen_share > 0 && result.scores.seen_share < 0.4, "%g", result.scores.seen_share);
}

Test(evaluate, seen_share_counts) {
    eab_config config = tiny_config();
    config.heldout = EAB_HELD_OUT_NONE; /* nine sequences */
    cr_expect_eq(eab_seen_share(&config, 0, 100, 0), 0.0);
    cr_expect_eq(eab_seen_share(&config, 0, 100, 1000), 1.0);
    const double share = eab_seen_share(&config, 0, 900, 1);
    cr_expect(share > 0.05 && share < 0.18, "%g; expected about one ninth", share);
}

Test(cost, figures_of_the_default_model) {
    const eab_config config = default_config(0);
    /* By hand: products 32 x 96 + 32 x 32 + 2 x 32 x 128 + 32 x 8 = 12,544; attention 12 x 32 x 12.5 */
    cr_expect_float_eq(eab_config_flop_per_token(&config), 6 * 12544 + 12 * 32 * 12.5, 1e-9);
    /* In addition: 8 x 32 embedding, biases 96 + 32 + 128 + 32 + 8, norms 3 x 2 x 32 */
    cr_expect_eq(eab_config_parameters(&config), 12544 + 256 + 296 + 192);
    fleet_fixture fleet;
    fleet_open(&fleet, "cpu", 1, &config);
    cr_expect_eq(eab_config_parameters(&config), fleet.model.parameters.count);
    fleet_close(&fleet);
}

/* The device's peak over the estimate without the weights as they are drawn, which are not on the device. */
static double memory_ratio(const char *backend, const eab_config *config) {
    eab_cell_result result;
    train_on(backend, 1, config, NULL, &result);
    const double drawn = sizeof(double) * (double)eab_config_parameters(config);
    return (double)result.memory_bytes / (eab_config_memory_bytes(eab_backend_from_name(backend), config) - drawn);
}

static const struct memory_case {
    const char *what, *backend;
    int32_t batch, context, layers, d_model, optimizer, position, activation, embedding;
} memory_cases[] = {
    {"default", "cpu", 32, 24, 1, 32, EAB_OPTIMIZER_ADAMW, EAB_POSITION_ALIBI, 0, 0},
    {"many micro-batches", "cpu", 2000, 24, 1, 32, EAB_OPTIMIZER_ADAMW, EAB_POSITION_ALIBI, 0, 0},
    {"long", "cpu", 3, 200, 2, 32, EAB_OPTIMIZER_SGD, EAB_POSITION_ROPE, EAB_ACTIVATION_GELU, 0},
    {"wide", "cpu", 1, 4, 3, 256, EAB_OPTIMIZER_ADAMW, EAB_POSITION_LEARNED, 0, EAB_EMBEDDING_ONEHOT},
    {"deep", "cpu", 7, 30, 20, 16, EAB_OPTIMIZER_SGD, EAB_POSITION_NONE, 0, EAB_EMBEDDING_ONEHOT},
    {"float64, whole batch", "reference", 20, 24, 2, 16, EAB_OPTIMIZER_ADAMW, EAB_POSITION_ROPE, 0, 0},
};

/* What a worker allocates is what eab_config_memory_bytes counts, but for the kernels' workspace. */
Test(cost, memory_matches_its_estimate) {
    for (size_t i = 0; i < sizeof memory_cases / sizeof *memory_cases; i++) {
        const struct memory_case *own = &memory_cases[i];
        eab_config config = default_config(0);
        config.batch = own->batch;
        config.context = own->context;
        config.layers = own->layers;
        config.d_model = own->d_model;
        config.optimizer = own->optimizer;
        config.position = own->position;
        config.activation = own->activation;
        config.embedding = own->embedding;
        config.qk_norm = own->layers > 1;
        config.steps = 1;
        config.eval_tokens = 1;
        const double ratio = memory_ratio(own->backend, &config);
        cr_expect_geq(ratio, 0.999, "%s: %g", own->what, ratio);
        cr_expect_leq(ratio, 1.15, "%s: %g", own->what, ratio);
    }
}

Test(schedule, begins_and_ends_at_the_right_rates) {
    eab_optimizer optimizer = {.schedule = EAB_SCHEDULE_COSINE, .lr = 2, .lr_final = 0.1, .warmup = 10, .steps = 110};
    cr_expect_float_eq(eab_learning_rate(&optimizer, 0), 0.2, 1e-12);
    cr_expect_float_eq(eab_learning_rate(&optimizer, 9), 2, 1e-12);
    cr_expect_float_eq(eab_learning_rate(&optimizer, 10), 2, 1e-12);
    cr_expect_float_eq(eab_learning_rate(&optimizer, 109), 0.2, 1e-12);
    optimizer.schedule = EAB_SCHEDULE_LINEAR;
    optimizer.warmup = 0;
    optimizer.steps = 101;
    cr_expect_float_eq(eab_learning_rate(&optimizer, 50), 1.1, 1e-12);
    cr_expect_float_eq(eab_learning_rate(&optimizer, 100), 0.2, 1e-12);
    optimizer.schedule = EAB_SCHEDULE_CONSTANT;
    cr_expect_float_eq(eab_learning_rate(&optimizer, 100), 2, 1e-12);
    optimizer.warmup = 1000; /* longer than the run: the warm-up never ends */
    cr_expect_float_eq(eab_learning_rate(&optimizer, 100), 0.202, 1e-12);
}
