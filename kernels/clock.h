/* Seconds on the monotonic clock, for durations. */
#ifndef EAB_KERNELS_CLOCK_H
#define EAB_KERNELS_CLOCK_H

#include <time.h>

static inline double eab_now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

#endif
