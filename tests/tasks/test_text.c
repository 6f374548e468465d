/* Windows of a text: where they lie, how they are drawn, what the level's figures are. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "family_fixture.h"

enum { COUNT = 400, CONTEXT = 15, LENGTH = CONTEXT + 1, DRAWS = 20000 };

static uint16_t numbers[COUNT];
static uint32_t symbols[COUNT];
static eab_text text;

/* A text whose token at place i is i; 60 % training, 10 % validation, 30 % held out. */
static eab_level numbered_level(void) {
    for (int i = 0; i < COUNT; i++) {
        numbers[i] = (uint16_t)i;
        symbols[i] = (uint32_t)i;
    }
    const eab_text_tokens tokens = {numbers, COUNT, symbols, COUNT, 1, -1};
    text = (eab_text){.unit = {tokens, tokens}, .shown = "FILE", .sha256 = "0123456789abcdef"};
    eab_level level = eab_level_default(EAB_TASK_TEXT);
    level.text = &text;
    level.option[EAB_TEXT_VALID_PERCENT] = 10;
    level.option[EAB_TEXT_TEST_PERCENT] = 30;
    return level;
}

Test(text, a_window_lies_in_its_part_and_begins_anywhere_in_it) {
    static const int32_t first[] = {0, 240, 280}, end[] = {240, 280, 400};
    const eab_level level = numbered_level();
    for (uint32_t stream = EAB_STREAM_TRAINING; stream <= EAB_STREAM_HELD_OUT; stream++) {
        int drawn[COUNT] = {0};
        for (uint64_t index = 0; index < DRAWS; index++) {
            family_sequence sequence;
            family_draw(&level, stream, index, LENGTH, &sequence);
            for (int32_t t = 0; t < LENGTH; t++) {
                cr_assert_eq(sequence.tokens[t], sequence.tokens[0] + t);
                cr_assert_eq(sequence.determined[t], t > 0);
            }
            cr_assert(sequence.tokens[0] >= first[stream] && sequence.tokens[LENGTH - 1] < end[stream]);
            drawn[sequence.tokens[0]]++;
        }
        const int places = end[stream] - first[stream] - CONTEXT;
        const double mean = (double)DRAWS / places;
        for (int place = 0; place < places; place++) /* six standard deviations of a Poisson count */
            cr_expect_lt(fabs(drawn[first[stream] + place] - mean), 6 * sqrt(mean), "stream %u, place %d", stream,
                         place);
    }
}

/* Another version of the program, or one with more families, must draw the same windows. */
Test(text, draws_do_not_change) {
    static const int32_t expected[] = {222, 211, 193, 203, 1};
    const eab_level level = numbered_level();
    for (uint64_t index = 0; index < 5; index++) {
        family_sequence sequence;
        family_draw(&level, EAB_STREAM_TRAINING, index, LENGTH, &sequence);
        cr_expect_eq(sequence.tokens[0], expected[index], "window %d begins at %d", (int)index, sequence.tokens[0]);
    }
}

Test(text, figures) {
    eab_level level = numbered_level();
    const eab_task *task = eab_task_at(EAB_TASK_TEXT);
    char name[128];
    text.unit[EAB_TEXT_BYTES].most_frequent = 100;
    cr_expect_eq(task->vocab(&level), COUNT);
    cr_expect_eq(task->complexity_bits(&level, CONTEXT), log2(225)); /* 240 - 16 + 1 places */
    cr_expect_eq(task->chance_accuracy(&level), 1.0 / COUNT);
    level.option[EAB_TEXT_UNIT] = EAB_TEXT_BYTES;
    cr_expect_eq(task->chance_accuracy(&level), 0.25);
    eab_level_name(&level, name, sizeof name);
    cr_expect_str_eq(name, "sha256=0123456789ab unit=byte valid_percent=10 test_percent=30");
    cr_expect_not(eab_level_auto_held_out(&level, CONTEXT));
}

Test(text, names_of_tokens) {
    static const uint32_t some[] = {'\t', '\n', ' ', '\\', 'n', 127, 0xE9, 0x1F600};
    static const char *const names[] = {"\\t", "\\n", "\\s", "\\", "n", "U+007F", "U+00E9", "U+1F600"};
    const eab_level level = numbered_level();
    memcpy(symbols, some, sizeof some);
    for (int32_t token = 0; token < 8; token++) {
        char name[32];
        eab_token_name(&level, token, name, sizeof name);
        cr_expect_str_eq(name, names[token]);
    }
}

static void expect_refused(const eab_level *level, int32_t context, const char *message) {
    char text_of_check[256] = "";
    cr_expect_not(eab_task_at(EAB_TASK_TEXT)->check(level, context, text_of_check, sizeof text_of_check));
    cr_expect_str_eq(text_of_check, message);
}

Test(text, what_is_refused) {
    eab_level level = numbered_level();
    char message[256];
    cr_expect(eab_task_at(EAB_TASK_TEXT)->check(&level, 39, message, sizeof message));
    expect_refused(&level, 40,
                   "FILE: the validation part has 40 of 400 tokens, context = 40 takes 41; allowed: a longer file, a "
                   "larger share, a smaller context");
    text.unit[0].vocab = 1;
    expect_refused(&level, 4, "FILE: a vocabulary of 1; allowed: 2..4096");
    text.unit[0].vocab = 4097;
    expect_refused(&level, 4, "FILE: a vocabulary of 4097; allowed: 2..4096, or unit = byte");
    text.unit[0].invalid_at = 6;
    expect_refused(&level, 4, "FILE: byte 7 is not UTF-8 text; allowed: unit = byte, or a file in UTF-8");
    level.text = NULL;
    expect_refused(&level, 4, "no file; allowed: file = PATH");
}

/* A level without a file and a window longer than its part: zeros, nothing outside is read or written. */
Test(text, any_length_is_safe) {
    eab_level level = numbered_level();
    family_sequence sequence;
    family_draw(&level, EAB_STREAM_VALIDATION, 0, 100, &sequence);
    for (int32_t t = 0; t < 100; t++) cr_expect_eq(sequence.tokens[t], t < 40 ? 240 + t : 0);
    level.text = NULL;
    family_draw(&level, EAB_STREAM_TRAINING, 0, 100, &sequence);
    for (int32_t t = 0; t < 100; t++) cr_expect_eq(sequence.tokens[t], 0);
}
