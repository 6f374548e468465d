/* Levels for tests of the task families, by name or sampled from what their descriptors allow. */
#ifndef EAB_TESTS_FAMILY_FIXTURE_H
#define EAB_TESTS_FAMILY_FIXTURE_H

#include "tasks/task.h"

enum { FAMILY_MAX_LENGTH = 256 };

typedef struct {
    int32_t tokens[FAMILY_MAX_LENGTH];
    uint8_t determined[FAMILY_MAX_LENGTH];
    uint64_t key;
} family_sequence;

/* The family's default level with "key=value key=value ..." set; a choice is given as its number. */
eab_level family_level(const char *family, const char *settings);

/* Sequence `index` of a stream under seed 1, without a held-out set. */
void family_draw(const eab_level *level, uint32_t stream, uint64_t index, int32_t length, family_sequence *sequence);

/* Level number 0, 1, ... of a fixed, varied list of those that the family accepts at `context`; `small`: options near
 * their least, so that sequences repeat. */
eab_level family_sample(int family, int32_t context, uint32_t number, bool small);

/* Fails the test where the sequence of (stream, index) is not `expected`, such as "[1] [2] 3": the tokens by their
 * names, those that are not determined in brackets. */
void family_expect_sequence(const eab_level *level, uint32_t stream, uint64_t index, const char *expected);

/* Fails the test where check() accepts the level, or leaves one of the two words out of its message. */
void family_expect_refused(const char *family, const char *settings, int32_t context, const char *word,
                           const char *other_word);

void family_expect_accepted(const char *family, const char *settings, int32_t context);

/* Fails the test where option `key` of the family is not bounded by `minimum` and `maximum`. */
void family_expect_bounds(const char *family, const char *key, int32_t minimum, int32_t maximum);

/* The distinct sequences among `draws` of a stream. */
int64_t family_count_distinct(const eab_level *level, uint32_t stream, int32_t length, int64_t draws);

#endif
