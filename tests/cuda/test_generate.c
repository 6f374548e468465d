/* The device's generator (kernels/cuda/generate.cu) against the processor's, for every family: the same tokens, targets
 * and counts, bit for bit, on levels that a fleet may hold side by side. */
#include <criterion/criterion.h>
#include <string.h>

#include "kernels/backend.h"
#include "tests/tasks/family_fixture.h"

#define OK(call) cr_assert_eq(call, EAB_OK, "%s", eab_last_error())

enum { MEMBERS = 6, BATCH = 5, MAX_CONTEXT = 40, ROOM = MEMBERS * BATCH * MAX_CONTEXT };

typedef struct {
    int32_t inputs[ROOM], targets[ROOM];
    int64_t counts[MEMBERS];
} generated;

static void generate(const char *backend, const eab_generate_args *args, generated *result) {
    eab_device *device;
    void *inputs, *targets, *counts;
    OK(eab_device_open(backend, 0, &device));
    OK(device->backend->allocate(device, sizeof result->inputs, &inputs));
    OK(device->backend->allocate(device, sizeof result->targets, &targets));
    OK(device->backend->allocate(device, sizeof result->counts, &counts));
    const size_t bytes = (size_t)(MEMBERS * BATCH * args->context) * sizeof(int32_t);
    memset(result, 0, sizeof *result);
    OK(device->backend->generate(device, args, inputs, targets, counts));
    OK(device->backend->download(device, result->inputs, inputs, bytes));
    OK(device->backend->download(device, result->targets, targets, bytes));
    OK(device->backend->download(device, result->counts, counts, sizeof result->counts));
    device->backend->release(device, inputs);
    device->backend->release(device, targets);
    device->backend->release(device, counts);
    eab_device_close(device);
}

Test(generate, every_family_gives_the_same_bits, .timeout = 300) {
    static generated cpu, cuda;
    for (int family = 0; family < eab_task_count(); family++)
        for (uint32_t round = 0; round < 6; round++) {
            const int32_t context = round < 3 ? 24 : MAX_CONTEXT;
            eab_level levels[MEMBERS];
            uint32_t seeds[MEMBERS];
            uint8_t held_out[MEMBERS];
            for (uint32_t member = 0; member < MEMBERS; member++) {
                levels[member] = member ? family_sample(family, context, 10 * round + member, member % 2)
                                        : eab_level_default(family);
                seeds[member] = 7 * member;
                held_out[member] = member == 0;
            }
            const eab_generate_args args = {.members = MEMBERS,
                                            .batch = BATCH,
                                            .context = context,
                                            .levels = levels,
                                            .seeds = seeds,
                                            .held_out = held_out,
                                            .stream = round % 3,
                                            .first_index = (1ull << 33) * round + 11};
            generate("cpu", &args, &cpu);
            generate("cuda", &args, &cuda);
            const char *name = eab_task_at(family)->name;
            cr_expect_arr_eq(cuda.inputs, cpu.inputs, sizeof cpu.inputs, "%s: inputs", name);
            cr_expect_arr_eq(cuda.targets, cpu.targets, sizeof cpu.targets, "%s: targets", name);
            for (int member = 0; member < MEMBERS; member++) {
                cr_expect_eq(cuda.counts[member], cpu.counts[member], "%s: %lld determined", name,
                             (long long)cuda.counts[member]);
                cr_expect_geq(cpu.counts[member], BATCH, "%s: %lld determined in %d sequences", name,
                              (long long)cpu.counts[member], BATCH);
            }
        }
}
