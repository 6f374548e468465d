/* The sequences of the tasks. Tokens are integers: any difference is an error of 1 or more, far past every bound. */
#include "tasks/task.h"

#include "buffers.h"

static void check_generated(eab_check_run *run, const eab_generate_args *args) {
    const int64_t count = (int64_t)args->members * args->batch * args->context;
    int32_t host[EAB_CHECK_MAX_TOKENS];
    int64_t counts[EAB_CHECK_MAX_MEMBERS];
    const size_t bytes = (size_t)count * sizeof *host;
    int32_t *inputs = eab_check_upload(run, NULL, bytes), *targets = eab_check_upload(run, NULL, bytes);
    int64_t *device_counts = eab_check_upload(run, NULL, (size_t)args->members * sizeof *counts);
    EAB_CHECK_CALL(generate, args, inputs, targets, device_counts);
    for (int part = 0; part < 2; part++) {
        EAB_CHECK_CALL(download, host, part ? targets : inputs, bytes);
        for (int64_t i = 0; i < count && !run->status; i++) eab_check_output_number(run, host[i]);
    }
    EAB_CHECK_CALL(download, counts, device_counts, (size_t)args->members * sizeof *counts);
    for (int32_t member = 0; member < args->members && !run->status; member++)
        eab_check_output_number(run, (double)counts[member]);
}

/* All families one after another. Every other member is held out. */
static void check_families(eab_check_run *run, eab_generate_args args) {
    eab_level levels[EAB_CHECK_MAX_MEMBERS];
    uint8_t held_out[EAB_CHECK_MAX_MEMBERS];
    args.levels = levels;
    args.held_out = held_out;
    for (int family = 0; family < EAB_TASK_COUNT; family++) {
        for (int32_t member = 0; member < args.members; member++) {
            levels[member] = eab_level_default(family);
            held_out[member] = (uint8_t)(member & 1);
        }
        check_generated(run, &args);
    }
}

/* Members in turn have one of two texts in one of two units. */
static void check_texts(eab_check_run *run, eab_generate_args args) {
    enum { TEXTS = 2, COUNT = 8192 };
    eab_text texts[TEXTS] = {{.sha256 = "first"}, {.sha256 = "second"}};
    eab_level levels[EAB_CHECK_MAX_MEMBERS];
    const uint8_t held_out[EAB_CHECK_MAX_MEMBERS] = {0};
    uint16_t tokens[COUNT + TEXTS * EAB_TEXT_UNITS];
    for (int i = 0; i < COUNT + TEXTS * EAB_TEXT_UNITS; i++) tokens[i] = (uint16_t)i;
    for (int i = 0; i < TEXTS * EAB_TEXT_UNITS; i++)
        texts[i % TEXTS].unit[i / TEXTS] = (eab_text_tokens){.tokens = tokens + i, .count = COUNT};
    for (int32_t member = 0; member < args.members; member++) {
        levels[member] = eab_level_default(EAB_TASK_TEXT);
        levels[member].text = &texts[member % TEXTS];
        levels[member].option[EAB_TEXT_UNIT] = member / TEXTS % EAB_TEXT_UNITS;
    }
    args.levels = levels;
    args.held_out = held_out;
    check_generated(run, &args);
}

/* Mixtures of all families and one more level, with another first part for each member. Every other member has task
 * tokens. */
static void check_mixtures(eab_check_run *run, eab_generate_args args) {
    eab_level levels[EAB_CHECK_MAX_MEMBERS + EAB_TASK_COUNT];
    uint8_t held_out[EAB_CHECK_MAX_MEMBERS + EAB_TASK_COUNT];
    eab_parts parts[EAB_CHECK_MAX_MEMBERS];
    args.levels = levels;
    args.held_out = held_out;
    args.parts = parts;
    for (int32_t i = 0; i < args.members + EAB_TASK_COUNT; i++) {
        levels[i] = eab_level_default(i % EAB_TASK_COUNT);
        held_out[i] = (uint8_t)(i & 1);
    }
    for (int32_t member = 0; member < args.members; member++)
        parts[member] = (eab_parts){member, EAB_TASK_COUNT + 1, args.context > 1 && member & 1 ? 2000 : -1};
    for (args.only = 0; args.only < 3; args.only++) check_generated(run, &args);
    args.only = 0;
    args.repeat_after = 3;
    check_generated(run, &args);
}

static void check_generate(eab_check_run *run, const eab_check_shape *shape) {
    uint32_t seeds[EAB_CHECK_MAX_MEMBERS];
    const eab_generate_args args = {.members = shape->members,
                                    .batch = shape->batch,
                                    .context = shape->context,
                                    .seeds = seeds,
                                    .stream = EAB_STREAM_VALIDATION,
                                    .first_index = 5};
    if (shape->members * eab_check_rows(shape) > EAB_CHECK_MAX_TOKENS) return;
    for (int32_t member = 0; member < shape->members; member++) seeds[member] = (uint32_t)member;
    check_families(run, args);
    check_texts(run, args);
    check_mixtures(run, args);
}

const eab_check_operation eab_check_tasks[] = {{.name = "generate", .run = check_generate}, {.name = NULL}};
