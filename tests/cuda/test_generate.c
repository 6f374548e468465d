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

static void generate_on(eab_device *device, const eab_generate_args *args, generated *result) {
    void *inputs, *targets, *counts;
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
}

static void generate(const char *backend, const eab_generate_args *args, generated *result) {
    eab_device *device;
    OK(eab_device_open(backend, 0, &device));
    generate_on(device, args, result);
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
                                            .first_index = (1ull << 33) * round + 11,
                                            .repeat_after = round == 5 ? (1ull << 32) + 3 : 0};
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

/* One device draws from other texts each time: the same, some of them, others, and the first ones again. It keeps those
 * of the last call that needed a new one, each once, and tells files of the same name apart. */
Test(generate, texts_give_the_same_bits, .timeout = 300) {
    enum { TEXTS = 3, TOKENS = 5000, KEPT = sizeof(eab_text) };
    static const struct {
        int text[MEMBERS], unit[MEMBERS];
        int kept, kept_tokens;
    } fleets[] = {{{0, 1, 0, 1, 0, 0}, {0, 0, 1, 0, 1, 0}, 3, TOKENS + TOKENS - 1 + TOKENS - 3},
                  {{1, 1, 1, 1, 1, 1}, {0}, 3, TOKENS + TOKENS - 1 + TOKENS - 3},
                  {{2, 2, 1, 2, 2, 1}, {1, 1, 0, 1, 1, 0}, 2, TOKENS - 1 + TOKENS - 5},
                  {{0, 1, 0, 1, 0, 0}, {0, 0, 1, 0, 1, 0}, 3, TOKENS + TOKENS - 1 + TOKENS - 3}};
    static generated cpu, cuda;
    static uint16_t tokens[TOKENS + 2 * TEXTS];
    eab_text texts[TEXTS];
    eab_device *device;
    for (int i = 0; i < TOKENS + 2 * TEXTS; i++) tokens[i] = (uint16_t)(i * 7919 % 4096);
    for (int i = 0; i < TEXTS; i++) {
        texts[i] = (eab_text){.shown = "FILE"};
        snprintf(texts[i].sha256, sizeof texts[i].sha256, "%064d", i);
        for (int unit = 0; unit < EAB_TEXT_UNITS; unit++)
            texts[i].unit[unit] = (eab_text_tokens){.tokens = tokens + 2 * i + unit, .count = TOKENS - i - 3 * unit};
    }
    OK(eab_device_open("cuda", 0, &device));
    for (uint32_t round = 0; round < sizeof fleets / sizeof *fleets; round++) {
        eab_level levels[MEMBERS];
        uint32_t seeds[MEMBERS];
        const uint8_t held_out[MEMBERS] = {0};
        for (uint32_t member = 0; member < MEMBERS; member++) {
            levels[member] = eab_level_default(EAB_TASK_TEXT);
            levels[member].text = &texts[fleets[round].text[member]];
            levels[member].option[EAB_TEXT_UNIT] = fleets[round].unit[member];
            seeds[member] = 7 * member;
        }
        eab_generate_args args = {.members = MEMBERS,
                                  .batch = BATCH,
                                  .context = MAX_CONTEXT,
                                  .levels = levels,
                                  .seeds = seeds,
                                  .held_out = held_out,
                                  .first_index = (1ull << 33) * round + 11};
        for (args.stream = EAB_STREAM_TRAINING; args.stream <= EAB_STREAM_HELD_OUT; args.stream++) {
            generate("cpu", &args, &cpu);
            generate_on(device, &args, &cuda);
            cr_expect_arr_eq(&cuda, &cpu, sizeof cpu, "fleet %u, stream %u", round, args.stream);
        }
        cr_expect_eq(device->bytes, fleets[round].kept * KEPT + 2 * fleets[round].kept_tokens, "fleet %u: %zu bytes",
                     round, device->bytes);
    }
    eab_device_close(device);
}
