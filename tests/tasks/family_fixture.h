/* Levels for tests of the task families, by name or sampled from what their descriptors allow. */
#ifndef EAB_TESTS_FAMILY_FIXTURE_H
#define EAB_TESTS_FAMILY_FIXTURE_H

#include "tasks/task.h"

enum { FAMILY_MAX_LENGTH = 257 };

typedef struct {
    int32_t tokens[FAMILY_MAX_LENGTH];
    uint8_t determined[FAMILY_MAX_LENGTH];
    uint64_t key;
} family_sequence;

/* The family's default level with the options "key=value key=value ..."; a choice is given by its number. */
eab_level family_level(const char *family, const char *settings);

/* Sequence `index` of a stream under seed 1, without a held-out set. */
void family_draw(const eab_level *level, uint32_t stream, uint64_t index, int32_t length, family_sequence *sequence);

/* Level 0, 1, ... of a fixed, varied list of levels that are valid at `context`; `small`: options near their minimum,
 * so that sequences repeat. */
eab_level family_sample(int family, int32_t context, uint32_t number, bool small);

/* Fails the test if the sequence of (stream, index) is not `expected`, such as "[1] [2] 3": the names of the tokens,
 * with those that are not determined in brackets. */
void family_expect_sequence(const eab_level *level, uint32_t stream, uint64_t index, const char *expected);

/* Fails the test if check() accepts the level, or its message lacks one of the two words. */
void family_expect_refused(const char *family, const char *settings, int32_t context, const char *word,
                           const char *other_word);

void family_expect_accepted(const char *family, const char *settings, int32_t context);

/* Fails the test if the bounds of option `key` are not `minimum` and `maximum`. */
void family_expect_bounds(const char *family, const char *key, int32_t minimum, int32_t maximum);

/* The number of distinct sequences among `draws` of a stream. */
int64_t family_count_distinct(const eab_level *level, uint32_t stream, int32_t length, int64_t draws);

#endif
