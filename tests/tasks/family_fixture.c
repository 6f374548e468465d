#include "family_fixture.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

eab_level family_level(const char *family, const char *settings) {
    const int index = eab_task_from_name(family);
    cr_assert_geq(index, 0, "no family %s", family);
    eab_level level = eab_level_default(index);
    const eab_task *task = eab_task_at(index);
    char text[256];
    snprintf(text, sizeof text, "%s", settings);
    for (char *rest = NULL, *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        char *equals = strchr(word, '=');
        cr_assert(equals != NULL, "%s", word);
        *equals = '\0';
        int i = 0;
        while (i < task->option_count && strcmp(task->options[i].key, word) != 0) i++;
        cr_assert_lt(i, task->option_count, "%s has no option %s", family, word);
        level.option[i] = atoi(equals + 1);
    }
    return level;
}

void family_draw(const eab_level *level, uint32_t stream, uint64_t index, int32_t length, family_sequence *sequence) {
    cr_assert_leq(length, FAMILY_MAX_LENGTH);
    sequence->key = eab_sequence_generate(level, 1, stream, 0, index, length, sequence->tokens, sequence->determined);
}

eab_level family_sample(int family, int32_t context, uint32_t number, bool small) {
    const eab_task *task = eab_task_at(family);
    eab_random random = eab_random_at(number, (uint32_t)family, small, (uint32_t)context, 77);
    char message[256];
    for (int attempt = 0; attempt < 100000; attempt++) {
        eab_level level = eab_level_default(family);
        for (int i = 0; i < task->option_count; i++) {
            const eab_task_option *option = &task->options[i];
            const int32_t range = option->maximum - option->minimum, wanted = small ? 3 : 24;
            const int32_t near = option->minimum + eab_random_below(&random, (range < wanted ? range : wanted) + 1);
            switch (eab_random_below(&random, 4)) {
                case 0: level.option[i] = small ? option->minimum : option->default_value; break;
                case 1: level.option[i] = small ? near : option->maximum; break;
                default: level.option[i] = near; break;
            }
        }
        if (task->check(&level, context, message, sizeof message)) return level;
    }
    cr_assert(false, "no level of %s at context %d", task->name, context);
    return eab_level_default(family);
}

void family_expect_sequence(const eab_level *level, uint32_t stream, uint64_t index, const char *expected) {
    family_sequence sequence;
    char found[2048] = "", name[32];
    int32_t length = 1;
    for (const char *c = expected; *c; c++) length += *c == ' ';
    family_draw(level, stream, index, length, &sequence);
    for (int32_t t = 0; t < length; t++) {
        const size_t used = strlen(found);
        eab_token_name(level, sequence.tokens[t], name, sizeof name);
        snprintf(found + used, sizeof found - used, sequence.determined[t] ? "%s%s" : "%s[%s]", t ? " " : "", name);
    }
    cr_expect_str_eq(found, expected, "got %s", found);
}

void family_expect_refused(const char *family, const char *settings, int32_t context, const char *word,
                           const char *other_word) {
    const eab_level level = family_level(family, settings);
    char message[256] = "";
    cr_expect_not(eab_task_at(level.family)->check(&level, context, message, sizeof message), "%s %s", family,
                  settings);
    cr_expect(strstr(message, word) && strstr(message, other_word) && strstr(message, "allowed: "), "%s %s: %s", family,
              settings, message);
}

void family_expect_accepted(const char *family, const char *settings, int32_t context) {
    const eab_level level = family_level(family, settings);
    char message[256] = "";
    cr_expect(eab_task_at(level.family)->check(&level, context, message, sizeof message), "%s %s: %s", family, settings,
              message);
}

void family_expect_bounds(const char *family, const char *key, int32_t minimum, int32_t maximum) {
    const eab_task *task = eab_task_at(eab_task_from_name(family));
    int i = 0;
    while (i < task->option_count && strcmp(task->options[i].key, key) != 0) i++;
    cr_assert_lt(i, task->option_count, "%s has no option %s", family, key);
    cr_expect_eq(task->options[i].minimum, minimum, "%s: %d", key, task->options[i].minimum);
    cr_expect_eq(task->options[i].maximum, maximum, "%s: %d", key, task->options[i].maximum);
}

/* Counts distinct 64-bit hashes of the sequences' tokens in an open hash set. */
int64_t family_count_distinct(const eab_level *level, uint32_t stream, int32_t length, int64_t draws) {
    enum { ROOM = 1 << 18 };
    uint64_t *seen = calloc(ROOM, sizeof *seen);
    int64_t count = 0;
    family_sequence sequence;
    cr_assert_not_null(seen);
    for (int64_t i = 0; i < draws && count < ROOM / 2; i++) {
        family_draw(level, stream, (uint64_t)i, length, &sequence);
        uint64_t hash = 0x9E3779B97F4A7C15u;
        for (int32_t t = 0; t < length; t++)
            hash = (hash ^ (uint64_t)sequence.tokens[t]) * 0xD6E8FEB86659FD93u ^ hash >> 29;
        if (hash == 0) hash = 1;
        uint64_t place = hash % ROOM;
        while (seen[place] && seen[place] != hash) place = (place + 1) % ROOM;
        count += seen[place] == 0;
        seen[place] = hash;
    }
    free(seen);
    return count;
}
