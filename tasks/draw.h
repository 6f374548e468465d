/* Random draws and checks that several families share. */
#ifndef EAB_TASKS_DRAW_H
#define EAB_TASKS_DRAW_H

#include "level.h"

/* Algorithm S (Knuth, The Art of Computer Programming, volume 2, 3.4.2): called once for each of a row of places from
 * left to right, with how many of them and how many marks are left, it marks every subset of that size with the same
 * probability. True: mark this place. */
EAB_HOST_DEVICE static inline int eab_random_mark(eab_random *random, int32_t places_left, int32_t marks_left) {
    return eab_random_below(random, places_left) < marks_left;
}

/* Uniform among the numbers of 0..bound-1 that are not among used[0], used[stride], ... (`count` < bound distinct ones
 * of them). The answer is the r-th unused number, found without a list of them: r plus the used ones up to it. */
EAB_HOST_DEVICE static inline int32_t eab_random_unused(eab_random *random, const int32_t *used, int32_t stride,
                                                        int32_t count, int32_t bound) {
    const int32_t r = eab_random_below(random, bound - count);
    int32_t value = r, before = -1;
    while (value != before) {
        before = value;
        value = r;
        for (int32_t i = 0; i < count; i++) value += used[(int64_t)i * stride] <= before;
    }
    return value;
}

#ifdef EAB_TASK_DESCRIPTORS /* registry.c only */
#include "descriptor.h"

/* log2 of the number of ways to choose k of n. */
static inline double eab_log2_choose(int32_t n, int32_t k) {
    double bits = 0;
    for (int32_t i = 1; i <= k; i++) bits += log2((double)(n - k + i) / i);
    return bits;
}

/* False, with a message, where a sequence of `needed` tokens is longer than the context + 1 there are. */
static inline bool eab_check_length(int64_t needed, int32_t context, const char *what, char *message, size_t size) {
    if (needed <= (int64_t)context + 1) return true;
    snprintf(message, size, "%s takes %lld tokens, context = %d holds %d; allowed: context at least %lld", what,
             (long long)needed, context, context + 1, (long long)needed - 1);
    return false;
}
#endif

#endif
