/* Training on the CUDA backend's own kernels, run by simt, against the processor's: the same tokens and first weights bit
 * for bit, the same losses to a tolerance, recorded steps, members that leave, and a device that fails. */
#include <criterion/criterion.h>
#include <glib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "host/cell_task.h"
#include "host/pool.h"
#include "host/train.h"
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
    cr_expect_eq(device->bytes, 0, "%s: %zu bytes were not given back", backend, device->bytes);
    eab_device_close(device);
}

static void expect_same_curves(const eab_config *configs, double tolerance) {
    eab_cell_result cpu[MEMBERS], simt[MEMBERS];
    train("cpu", configs, cpu);
    train("simt", configs, simt);
    for (int member = 0; member < MEMBERS; member++) {
        cr_expect_eq(simt[member].status, cpu[member].status, "member %d", member);
        cr_expect_eq(simt[member].steps_done, cpu[member].steps_done, "member %d", member);
        cr_assert_eq(simt[member].curve_points, cpu[member].curve_points, "member %d", member);
        for (int part = 0; configs[member].mixture && part < eab_config_part_count(&configs[member]); part++) {
            const double expected = cpu[member].parts[part].loss_nats, found = simt[member].parts[part].loss_nats;
            cr_expect((isnan(expected) && isnan(found)) || fabs(found - expected) <= tolerance * fabs(expected),
                      "member %d, part %d: %.9g, on the cpu %.9g", member, part, found, expected);
        }
        for (int point = 0; point < cpu[member].curve_points; point++) {
            const double expected = cpu[member].curve[point].loss_nats, found = simt[member].curve[point].loss_nats;
            cr_expect(fabs(found - expected) <= tolerance * fabs(expected), "member %d, step %d: %.9g, on the cpu %.9g",
                      member, point + 1, found, expected);
        }
        free(cpu[member].curve);
        free(simt[member].curve);
    }
}

/* The same of mixtures: with and without task tokens, of two and of three parts, and a plain task among them. */
static void mixture_configs(eab_config *configs) {
    static const char *const parts[MEMBERS] = {
        "recurrence(basis=3 delay=2) + recurrence(basis=5 delay=1)",
        "recurrence(basis=3 delay=1) + recurrence + recurrence(basis=11 delay=3)",
        "recurrence(basis=4 delay=3) + recurrence(basis=8 delay=2)", NULL};
    mixed_configs(configs);
    for (int32_t member = 0; member < MEMBERS; member++) {
        configs[member].context = 8;
        if (!parts[member]) continue;
        GArray *values = g_array_new(FALSE, FALSE, sizeof(double));
        OK(eab_mixture_parse(parts[member], "here", values));
        configs[member].mixture = (int32_t)g_array_index(values, double, 0);
        configs[member].cue = member == 2 ? EAB_CUE_NONE : EAB_CUE_TOKEN;
        configs[member].level = *eab_config_part(&configs[member], 0);
        g_array_unref(values);
    }
}

static void expect_same_tokens_and_weights(const eab_config *configs) {
    fleet_fixture cpu, simt;
    fleet_open(&cpu, "cpu", MEMBERS, configs);
    fleet_open(&simt, "simt", MEMBERS, configs);
    enum { ROOM = 4096 };
    static int32_t expected[ROOM], found[ROOM];
    const size_t count = (size_t)MEMBERS * (size_t)configs->batch * (size_t)configs->context;
    cr_assert_leq(count, ROOM);
    const int32_t *const on_cpu[] = {cpu.inputs, cpu.targets}, *const on_simt[] = {simt.inputs, simt.targets};
    for (int i = 0; i < 2; i++) {
        OK(cpu.device->backend->download(cpu.device, expected, on_cpu[i], count * sizeof *expected));
        OK(simt.device->backend->download(simt.device, found, on_simt[i], count * sizeof *found));
        cr_expect_arr_eq(found, expected, count * sizeof *found, "%s", i ? "targets" : "inputs");
    }
    for (int32_t member = 0; member < MEMBERS; member++) {
        double *weights = fleet_weights(&cpu, member), *own = fleet_weights(&simt, member);
        cr_expect_arr_eq(own, weights, (size_t)cpu.model.parameters.count * sizeof *own, "weights of member %d",
                         member);
        free(weights);
        free(own);
    }
    fleet_close(&cpu);
    fleet_close(&simt);
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

/* Member 1's loss is not finite after some steps: it leaves, the last one takes its place, and the step is recorded anew. */
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

Test(training, recorded_steps_are_the_steps, .timeout = 200) {
    eab_config configs[MEMBERS];
    eab_cell_result recorded[MEMBERS], plain[MEMBERS];
    mixed_configs(configs);
    train("simt", configs, recorded);
    setenv("EAB_CUDA_GRAPH", "0", 1);
    train("simt", configs, plain);
    for (int member = 0; member < MEMBERS; member++) {
        cr_expect_eq(recorded[member].loss_nats, plain[member].loss_nats, "member %d", member);
        free(recorded[member].curve);
        free(plain[member].curve);
    }
}

/* ---- faults ---------------------------------------------------------------------------------------------------- */

typedef struct {
    eab_cell_status status[8];
    char reason[256];
} found_results;

static int take_result(void *context, int64_t index, const eab_cell_result *result) {
    found_results *found = context;
    found->status[index] = result->status;
    if (result->status != EAB_CELL_OK) memcpy(found->reason, result->reason, sizeof found->reason);
    return EAB_OK;
}

/* The device fails once while cells are trained one after another: one of them is lost, and the others are not. */
Test(training, a_fault_costs_one_fleet, .timeout = 200) {
    enum { CELLS = 4 };
    eab_cell cells[CELLS] = {0};
    int64_t indices[CELLS];
    found_results found = {{0}, ""};
    for (int i = 0; i < CELLS; i++) {
        cells[i].config = tiny_config();
        cells[i].config.steps = STEPS;
        cells[i].config.seed = i;
        indices[i] = i;
    }
    setenv("EAB_CUDA_FAULT_AFTER", "40", 1);
    eab_pool *pool;
    const eab_pool_settings settings = {
        .backend = "simt", .workers = 1, .fleet = 1, .sink = take_result, .context = &found};
    OK(eab_pool_start(&settings, cells, indices, CELLS, &pool));
    while (!eab_pool_wait(pool, 1)) {
    }
    OK(eab_pool_finish(pool));
    int failed = 0;
    for (int i = 0; i < CELLS; i++) failed += found.status[i] != EAB_CELL_OK;
    cr_expect_eq(failed, 1, "%d of %d cells failed: %s", failed, CELLS, found.reason);
    cr_expect(strstr(found.reason, "EAB_CUDA_FAULT_AFTER") && strstr(found.reason, "context.cu:"), "%s", found.reason);
}
