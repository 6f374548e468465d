/* Training on the CUDA backend against the processor's: the same tokens and first weights bit for bit, the same losses
 * to a tolerance, recorded steps, members that leave, and a device that fails. */
#include <criterion/criterion.h>
#include <glib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/model/train.h"
#include "host/spec/cell_task.h"
#include "host/spec/mixture.h"
#include "host/sweep/pool.h"
#include "tasks/task.h"
#include "tests/host/fleet_fixture.h"

#define OK(call) cr_assert_eq(call, EAB_OK, "%s", eab_last_error())

enum { MEMBERS = 4, STEPS = 5 };

/* Four members that differ in all that a fleet's members may: mechanism, level (and so vocabulary), seed, rate. */
static void mixed_configs(eab_config *configs) {
    for (int32_t member = 0; member < MEMBERS; member++) {
        configs[member] = tiny_config();
        configs[member].d_model = 8;
        configs[member].mechanism = member;
        configs[member].level.option[0] += member;
        configs[member].seed = member + 1;
        configs[member].lr = 0.01 * (member + 1);
        configs[member].steps = STEPS;
        configs[member].eval_every = 1;
        configs[member].stop_when_solved = 0;
    }
}

static void train(const char *backend, const eab_config *configs, eab_cell_result *results) {
    eab_device *device;
    const eab_train_options options = {.keep_curves = true};
    OK(eab_device_open(backend, 0, &device));
    OK(eab_train_fleet(device, MEMBERS, configs, &options, results));
    size_t kept = 0; /* texts, each of one member only */
    for (int member = 0; member < MEMBERS && strcmp(backend, "cuda") == 0; member++)
        if (configs[member].level.text)
            kept += sizeof(eab_text) + sizeof(uint16_t) * (size_t)eab_text_of(&configs[member].level)->count;
    cr_expect_eq(device->bytes, kept, "%s: %zu bytes are left", backend, device->bytes);
    eab_device_close(device);
}

static void expect_same_curves(const eab_config *configs, double tolerance) {
    eab_cell_result cpu[MEMBERS], cuda[MEMBERS];
    train("cpu", configs, cpu);
    train("cuda", configs, cuda);
    for (int member = 0; member < MEMBERS; member++) {
        cr_expect_eq(cuda[member].status, cpu[member].status, "member %d", member);
        cr_expect_eq(cuda[member].steps_done, cpu[member].steps_done, "member %d", member);
        cr_assert_eq(cuda[member].curve_points, cpu[member].curve_points, "member %d", member);
        for (int part = 0; configs[member].mixture && part < eab_config_part_count(&configs[member]); part++) {
            const double expected = cpu[member].parts[part].loss_nats, found = cuda[member].parts[part].loss_nats;
            cr_expect((isnan(expected) && isnan(found)) || fabs(found - expected) <= tolerance * fabs(expected),
                      "member %d, part %d: %.9g, on the cpu %.9g", member, part, found, expected);
        }
        for (int point = 0; point < cpu[member].curve_points; point++) {
            const double expected = cpu[member].curve[point].loss_nats, found = cuda[member].curve[point].loss_nats;
            cr_expect(fabs(found - expected) <= tolerance * fabs(expected), "member %d, step %d: %.9g, on the cpu %.9g",
                      member, point + 1, found, expected);
        }
        free(cpu[member].curve);
        free(cuda[member].curve);
    }
}

/* The same of mixtures: with and without task tokens, of two and of three parts, and a plain task among them. */
static void mixture_configs(eab_config *configs) {
    static const char *const parts[MEMBERS] = {
        "recurrence(basis=3 delay=2) + recurrence(basis=5 delay=1)",
        "recurrence(basis=3 delay=1) + recurrence + recurrence(basis=11 delay=3)",
        "recurrence(basis=4 delay=3) + recurrence(basis=8 delay=2)", NULL};
    static GPtrArray *mixtures; /* as long as the test runs */
    if (!mixtures) mixtures = g_ptr_array_new_with_free_func(g_free);
    mixed_configs(configs);
    for (int32_t member = 0; member < MEMBERS; member++) {
        configs[member].context = 8;
        if (!parts[member]) continue;
        OK(eab_mixture_parse(parts[member], "here", mixtures));
        configs[member].mixture = g_ptr_array_index(mixtures, mixtures->len - 1);
        configs[member].cue = member == 2 ? EAB_CUE_NONE : EAB_CUE_TOKEN;
        configs[member].level = *eab_config_part(&configs[member], 0);
    }
}

/* Members with texts of their own, in either unit. */
static void text_configs(eab_config *configs) {
    enum { TEXTS = 2, TOKENS = 1000 };
    static const uint32_t symbols[MEMBERS + 5];
    static uint16_t tokens[MEMBERS][TOKENS];
    static eab_text texts[TEXTS];
    mixed_configs(configs);
    for (int member = 0; member < MEMBERS; member++) {
        eab_text *text = &texts[member % TEXTS];
        const int unit = member / TEXTS, vocab = member + 5;
        for (int i = 0; i < TOKENS; i++) tokens[member][i] = (uint16_t)(i * i % 89 % vocab);
        snprintf(text->sha256, sizeof text->sha256, "%064d", member % TEXTS);
        text->unit[unit] = (eab_text_tokens){tokens[member], TOKENS - member, symbols, vocab, TOKENS / 2, -1};
        configs[member].level = eab_level_default(EAB_TASK_TEXT);
        configs[member].level.text = text;
        configs[member].level.option[EAB_TEXT_UNIT] = unit;
    }
}

static void expect_same_tokens_and_weights(const eab_config *configs) {
    fleet_fixture cpu, cuda;
    fleet_open(&cpu, "cpu", MEMBERS, configs);
    fleet_open(&cuda, "cuda", MEMBERS, configs);
    enum { ROOM = 4096 };
    static int32_t expected[ROOM], found[ROOM];
    const size_t count = (size_t)MEMBERS * (size_t)configs->batch * (size_t)configs->context;
    cr_assert_leq(count, ROOM);
    const int32_t *const on_cpu[] = {cpu.inputs, cpu.targets}, *const on_cuda[] = {cuda.inputs, cuda.targets};
    for (int i = 0; i < 2; i++) {
        OK(cpu.device->backend->download(cpu.device, expected, on_cpu[i], count * sizeof *expected));
        OK(cuda.device->backend->download(cuda.device, found, on_cuda[i], count * sizeof *found));
        cr_expect_arr_eq(found, expected, count * sizeof *found, "%s", i ? "targets" : "inputs");
    }
    for (int32_t member = 0; member < MEMBERS; member++) {
        double *weights = fleet_weights(&cpu, member), *own = fleet_weights(&cuda, member);
        cr_expect_arr_eq(own, weights, (size_t)cpu.model.parameters.count * sizeof *own, "weights of member %d",
                         member);
        free(weights);
        free(own);
    }
    fleet_close(&cpu);
    fleet_close(&cuda);
}

Test(training, tokens_and_initial_weights_are_the_same_bits, .timeout = 200) {
    eab_config configs[MEMBERS];
    mixed_configs(configs);
    expect_same_tokens_and_weights(configs);
}

Test(training, tokens_of_mixtures_are_the_same_bits, .timeout = 200) {
    eab_config configs[MEMBERS];
    mixture_configs(configs);
    expect_same_tokens_and_weights(configs);
}

Test(training, losses_agree_for_five_steps, .timeout = 200) {
    eab_config configs[MEMBERS];
    mixed_configs(configs);
    expect_same_curves(configs, 1e-5);
}

Test(training, losses_of_mixtures_agree_for_five_steps, .timeout = 200) {
    eab_config configs[MEMBERS];
    mixture_configs(configs);
    expect_same_curves(configs, 1e-5);
}

/* Norm of the difference of a member's weights over the norm of the weights. */
static double weights_differ(const fleet_fixture *a, const fleet_fixture *b, int32_t member) {
    double *x = fleet_weights((fleet_fixture *)a, member), *y = fleet_weights((fleet_fixture *)b, member);
    double difference = 0, size = 0;
    for (int64_t i = 0; i < a->model.parameters.count; i++) {
        difference += (x[i] - y[i]) * (x[i] - y[i]);
        size += y[i] * y[i];
    }
    free(x);
    free(y);
    return sqrt(difference / size);
}

static void step(fleet_fixture *fleet, int64_t number) {
    OK(fleet->device->backend->zero(fleet->device, fleet->tally, MEMBERS * sizeof(eab_tally)));
    OK(eab_model_pass(&fleet->model, fleet->inputs, fleet->targets, fleet->counts, fleet->tally, NULL));
    OK(eab_model_step(&fleet->model, number));
}

/* docs/cuda.md states the tolerance. */
static void expect_same_weights(eab_optimizer_kind optimizer, int32_t bias) {
    eab_config configs[MEMBERS];
    fleet_fixture cpu, cuda;
    mixed_configs(configs);
    for (int32_t member = 0; member < MEMBERS; member++) {
        configs[member].optimizer = (int32_t)optimizer;
        configs[member].bias = bias;
    }
    fleet_open(&cpu, "cpu", MEMBERS, configs);
    fleet_open(&cuda, "cuda", MEMBERS, configs);
    for (int64_t number = 0; number < STEPS; number++) {
        step(&cpu, number);
        step(&cuda, number);
    }
    for (int32_t member = 0; member < MEMBERS; member++) {
        const double differ = weights_differ(&cuda, &cpu, member);
        cr_expect_leq(differ, 1e-5, "weights of member %d differ by %g", member, differ);
    }
    fleet_close(&cpu);
    fleet_close(&cuda);
}

Test(training, weights_agree_after_five_steps_of_sgd, .timeout = 200) { expect_same_weights(EAB_OPTIMIZER_SGD, 1); }

/* Without biases: the gradient of the keys' bias is 0 in dpa, and AdamW makes whole steps of its rounding errors. */
Test(training, weights_agree_after_five_steps_of_adamw, .timeout = 200) { expect_same_weights(EAB_OPTIMIZER_ADAMW, 0); }

/* Products with inputs in bf16, by our own kernel and by the way through cuBLAS (a stand-in of it), against the
 * reference's, which rounds the same inputs: losses agree far closer than they do with float32's. */
static void expect_bf16(const char *product) {
    eab_config configs[MEMBERS];
    eab_cell_result cuda[MEMBERS], reference[MEMBERS], exact[MEMBERS];
    double rounding = 0, difference = 0;
    mixed_configs(configs);
    for (int member = 0; member < MEMBERS; member++) configs[member].activation = EAB_ACTIVATION_GELU;
    train("reference", configs, exact);
    for (int member = 0; member < MEMBERS; member++) configs[member].precision = EAB_PRECISION_BF16;
    train("reference", configs, reference);
    setenv("EAB_CUDA_PRODUCT", product, 1);
    train("cuda", configs, cuda);
    for (int member = 0; member < MEMBERS; member++)
        for (int point = 0; point < reference[member].curve_points; point++) {
            const double expected = reference[member].curve[point].loss_nats;
            rounding += fabs(exact[member].curve[point].loss_nats - expected);
            difference += fabs(cuda[member].curve[point].loss_nats - expected);
        }
    cr_expect_gt(rounding, 1e-4, "bf16 is float32: %g", rounding);
    cr_expect_lt(difference, 0.2 * rounding, "%g from the reference in bf16, which is %g from float64", difference,
                 rounding);
    for (int member = 0; member < MEMBERS; member++) {
        free(cuda[member].curve);
        free(reference[member].curve);
        free(exact[member].curve);
    }
}

Test(training, bf16_by_own_products, .timeout = 200) { expect_bf16("own"); }
Test(training, bf16_by_cublas, .timeout = 200) { expect_bf16("cublas"); }

Test(training, losses_agree_through_cublas, .timeout = 200) {
    eab_config configs[MEMBERS];
    mixed_configs(configs);
    setenv("EAB_CUDA_PRODUCT", "cublas", 1);
    expect_same_curves(configs, 1e-5);
}

Test(training, losses_agree_with_other_parts, .timeout = 200) {
    eab_config configs[MEMBERS];
    mixed_configs(configs);
    for (int member = 0; member < MEMBERS; member++) {
        configs[member].layers = 2;
        configs[member].position = EAB_POSITION_ROPE;
        configs[member].norm = EAB_NORM_NONE;
        configs[member].activation = EAB_ACTIVATION_GELU;
        configs[member].bias = 0;
        configs[member].embedding = EAB_EMBEDDING_ONEHOT;
        configs[member].optimizer = EAB_OPTIMIZER_SGD;
    }
    expect_same_curves(configs, 1e-5);
}

Test(training, losses_agree_with_qk_norm, .timeout = 200) {
    eab_config configs[MEMBERS];
    mixed_configs(configs);
    for (int member = 0; member < MEMBERS; member++) {
        configs[member].qk_norm = 1;
        configs[member].position = EAB_POSITION_ROPE;
    }
    expect_same_curves(configs, 1e-5);
}

/* The masks are the same, also in a recorded step. */
Test(training, losses_agree_with_dropout, .timeout = 200) {
    eab_config configs[MEMBERS];
    mixed_configs(configs);
    for (int member = 0; member < MEMBERS; member++) configs[member].dropout = 0.2;
    expect_same_curves(configs, 1e-5);
}

/* A recorded step begins again after the last sequence, within a batch. */
Test(training, losses_agree_with_repeated_sequences, .timeout = 200) {
    eab_config configs[MEMBERS];
    mixed_configs(configs);
    for (int member = 0; member < MEMBERS; member++) configs[member].sequences = 2 * configs[member].batch + 1;
    expect_same_curves(configs, 1e-5);
}

/* Member 1's loss is not finite after some steps: it leaves, the last one takes its place, and the step is recorded
 * anew. */
Test(training, losses_agree_after_a_member_has_left, .timeout = 200) {
    eab_config configs[MEMBERS];
    mixed_configs(configs);
    for (int member = 0; member < MEMBERS; member++) configs[member].steps = 8, configs[member].eval_every = 4;
    configs[1].lr = 1e30;
    expect_same_curves(configs, 1e-5);
}

Test(training, losses_of_mixtures_agree_after_a_member_has_left, .timeout = 200) {
    eab_config configs[MEMBERS];
    mixture_configs(configs);
    for (int member = 0; member < MEMBERS; member++) configs[member].steps = 8, configs[member].eval_every = 4;
    configs[1].lr = 1e30;
    expect_same_curves(configs, 1e-5);
}

Test(training, losses_of_texts_agree_after_a_member_has_left, .timeout = 200) {
    eab_config configs[MEMBERS];
    text_configs(configs);
    for (int member = 0; member < MEMBERS; member++) configs[member].steps = 8, configs[member].eval_every = 4;
    configs[1].lr = 1e30;
    expect_same_curves(configs, 1e-5);
}

Test(training, recorded_steps_are_the_steps, .timeout = 200) {
    eab_config configs[MEMBERS];
    eab_cell_result recorded[MEMBERS], plain[MEMBERS];
    mixed_configs(configs);
    train("cuda", configs, recorded);
    setenv("EAB_CUDA_GRAPH", "0", 1);
    train("cuda", configs, plain);
    for (int member = 0; member < MEMBERS; member++) {
        cr_expect_eq(recorded[member].scores.loss_nats, plain[member].scores.loss_nats, "member %d", member);
        free(recorded[member].curve);
        free(plain[member].curve);
    }
}

/* ---- faults ---------------------------------------------------------------------------------------------------- */

typedef struct {
    eab_cell_status status[8];
    char reason[256];
    int failed;
} found_results;

static int take_result(void *context, int64_t index, const eab_cell_result *result) {
    found_results *found = context;
    found->status[index] = result->status;
    if (result->status != EAB_CELL_OK) memcpy(found->reason, result->reason, sizeof found->reason);
    return EAB_OK;
}

static void train_cells(int32_t count, int32_t fleet, found_results *found) {
    eab_cell cells[8] = {0};
    int64_t indices[8];
    for (int i = 0; i < count; i++) {
        cells[i].config = tiny_config();
        cells[i].config.steps = STEPS;
        cells[i].config.seed = i;
        indices[i] = i;
    }
    eab_pool *pool;
    eab_queue *queue = eab_queue_new(eab_fleets_make(NULL, cells, indices, count, fleet, NULL));
    const eab_pool_settings settings = {
        .backend = "cuda", .workers = 1, .queue = queue, .sink = take_result, .context = found};
    OK(eab_pool_start(&settings, cells, &pool));
    while (!eab_pool_has_ended(pool)) g_usleep(1000);
    OK(eab_pool_finish(pool));
    eab_queue_free(queue);
    found->failed = 0;
    for (int i = 0; i < count; i++) found->failed += found->status[i] != EAB_CELL_OK;
}

/* The device fails once while cells are trained one after another: one of them is lost, and the others are not. */
Test(training, a_fault_costs_one_fleet, .timeout = 200) {
    found_results found = {{0}, "", 0};
    setenv("EAB_CUDA_FAULT_AFTER", "40", 1);
    train_cells(4, 1, &found);
    cr_expect_eq(found.failed, 1, "%d cells failed: %s", found.failed, found.reason);
    cr_expect(strstr(found.reason, "EAB_CUDA_FAULT_AFTER") && strstr(found.reason, "context.cu:"), "%s", found.reason);
    cr_expect(strstr(found.reason, "; the last kernel queued was ") && strstr(found.reason, ".cu:"), "%s",
              found.reason);
}

/* A device that was opened again after a fault waits for each kernel, so that the next one that fails is named. */
Test(training, a_kernel_that_fails_is_named, .timeout = 200) {
    found_results found = {{0}, "", 0};
    setenv("EAB_CUDA_FAULT_AFTER", "10", 1);
    setenv("EAB_PTX_FAULT", "150", 1);
    train_cells(4, 1, &found);
    cr_expect_eq(found.failed, 2, "%d cells failed: %s", found.failed, found.reason);
    cr_expect(strncmp(found.reason, "kernel ", 7) == 0 && strstr(found.reason, "kernels/cuda/") &&
                  strstr(found.reason, ".cu:"),
              "%s", found.reason);
}

Test(training, a_recorded_step_that_fails_says_so, .timeout = 200) {
    found_results found = {{0}, "", 0};
    setenv("EAB_PTX_FAULT", "120", 1);
    train_cells(4, 1, &found);
    cr_expect_eq(found.failed, 1, "%d cells failed: %s", found.failed, found.reason);
    cr_expect(strstr(found.reason, "the last kernel queued was advance at recording.cu:"), "%s", found.reason);
}

static void expect_same_bits(const eab_cell_result *found, const eab_cell_result *expected) {
    for (int member = 0; member < MEMBERS; member++) {
        cr_expect_eq(found[member].status, expected[member].status);
        cr_expect_eq(found[member].steps_done, expected[member].steps_done);
        cr_expect_eq(memcmp(&found[member].scores.loss_nats, &expected[member].scores.loss_nats, sizeof(double)), 0);
        cr_assert_eq(found[member].curve_points, expected[member].curve_points);
        for (int point = 0; point < found[member].curve_points; point++)
            cr_expect_eq(
                memcmp(&found[member].curve[point].loss_nats, &expected[member].curve[point].loss_nats, sizeof(double)),
                0, "member %d, step %d", member, point + 1);
    }
}

/* ---- recordings that fail ---------------------------------------------------------------------------------------- */

static struct {
    eab_backend table;
    int failures;
} broken;

static int no_record_begin(eab_device *device) {
    (void)device;
    broken.failures++;
    return eab_fail(EAB_DEVICE_FAULT, "planted: no recording begins");
}

static int no_record_end(eab_device *device, void **recording) {
    OK(eab_backend_from_name("cuda")->record_end(device, recording));
    broken.failures++;
    return eab_fail(EAB_DEVICE_FAULT,
                    "planted: a recording is lost"); /* though it made one, which is to be forgotten */
}

/* Where a device cannot record, the fleet is trained all the same, to the same bits. */
Test(training, goes_on_where_recording_fails, .timeout = 400) {
    eab_config configs[MEMBERS];
    eab_cell_result recorded[MEMBERS], found[MEMBERS];
    mixed_configs(configs);
    train("cuda", configs, recorded);
    for (int at_begin = 0; at_begin < 2; at_begin++) {
        const eab_train_options options = {.keep_curves = true};
        eab_device *device;
        broken.table = *eab_backend_from_name("cuda");
        if (at_begin) broken.table.record_begin = no_record_begin;
        else broken.table.record_end = no_record_end;
        broken.failures = 0;
        OK(eab_device_open_backend(&broken.table, 0, &device));
        OK(eab_train_fleet(device, MEMBERS, configs, &options, found));
        cr_expect_eq(broken.failures, 1, "tried %d times", broken.failures);
        cr_expect_eq(device->bytes, 0);
        eab_device_close(device);
        expect_same_bits(found, recorded);
        for (int member = 0; member < MEMBERS; member++) free(found[member].curve);
    }
    for (int member = 0; member < MEMBERS; member++) free(recorded[member].curve);
}

/* A fleet of several is tried again in halves, on a reopened device. */
Test(training, a_fleet_outlives_a_fault, .timeout = 200) {
    found_results found = {{0}, "", 0};
    setenv("EAB_PTX_FAULT", "120", 1);
    train_cells(4, 4, &found);
    cr_expect_eq(found.failed, 0, "%d cells failed: %s", found.failed, found.reason);
}

/* EAB_CUDA_FAULT_AFTER counts waits; the device opened next records nothing, so that a second fault is named, the one
 * after it does. */
Test(training, the_nth_wait_fails) {
    eab_device *device;
    setenv("EAB_CUDA_FAULT_AFTER", "3", 1);
    OK(eab_device_open("cuda", 0, &device));
    cr_expect(device->backend->records(device));
    for (int wait = 1; wait <= 3; wait++)
        cr_expect_eq(device->backend->synchronize(device), wait == 3 ? EAB_DEVICE_FAULT : EAB_OK, "wait %d", wait);
    for (int opened = 0; opened < 2; opened++) {
        eab_device_close(device);
        OK(eab_device_open("cuda", 0, &device));
        cr_expect_eq(device->backend->records(device), opened > 0, "opened again %d", opened);
        OK(device->backend->synchronize(device));
    }
    eab_device_close(device);
}
