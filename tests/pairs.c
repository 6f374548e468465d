/* Times attention in two builds of the library, called in turn: ratios of a few per cent show on a machine whose speed
 * changes by more than that. Not part of any program; to build and to run it:
 *
 *   cc -O2 -I. tests/pairs.c -o build/pairs -ldl
 *   EAB_ISA=avx2 build/pairs OLD/libeabench.so NEW/libeabench.so
 *
 * A line has the median of new over old and its quartiles, for 8 heads, causal, and how many pairs of calls there were.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/attention.h"

enum { HEADS = 8, PAIRS = 4000, LEAST_PAIRS = 7, TENSORS = 8 };
static const double SECONDS = 1.5; /* for a line */

typedef struct {
    int32_t (*mechanism)(const char *);
    int (*open)(const char *, int, eab_device **);
    int (*forward)(eab_device *, const eab_attention *, const void *, const void *, const void *, void *, float *);
    int (*backward)(eab_device *, const eab_attention *, const void *, const void *, const void *, const void *,
                    const float *, const void *, void *, void *, void *);
    eab_device *device;
} build;

static void load(const char *path, build *to) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "pairs: %s\n", dlerror());
        exit(2);
    }
    *(void **)&to->mechanism = dlsym(library, "eab_mechanism_from_name");
    *(void **)&to->open = dlsym(library, "eab_device_open");
    *(void **)&to->forward = dlsym(library, "eab_attention_forward");
    *(void **)&to->backward = dlsym(library, "eab_attention_backward");
    if (!to->mechanism || !to->open || !to->forward || !to->backward || to->open("cpu", 0, &to->device)) {
        fprintf(stderr, "pairs: %s: no libeabench.so, or it cannot open the cpu\n", path);
        exit(2);
    }
}

static double now_s(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static double call_s(const build *with, const eab_attention *shape, float *x[TENSORS], float *row_stat,
                     bool is_backward) {
    const double begin_s = now_s();
    const int status =
        is_backward ? with->backward(with->device, shape, x[0], x[1], x[2], x[3], row_stat, x[4], x[5], x[6], x[7])
                    : with->forward(with->device, shape, x[0], x[1], x[2], x[3], row_stat);
    if (status) exit(1);
    return now_s() - begin_s;
}

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void compare(const build builds[2], const char *mechanism, int32_t context, int32_t head_dim) {
    const eab_attention shape = {.batch = 1,
                                 .heads = HEADS,
                                 .context = context,
                                 .head_dim = head_dim,
                                 .mechanism = builds[0].mechanism(mechanism),
                                 .dtype = EAB_F32,
                                 .causal = 1};
    const size_t rows = (size_t)HEADS * (size_t)context, count = rows * (size_t)head_dim;
    float *x[TENSORS], *row_stat = malloc(rows * sizeof *row_stat);
    for (int i = 0; i < TENSORS; i++) {
        x[i] = malloc(count * sizeof **x);
        if (!x[i] || !row_stat) exit(1);
        for (size_t j = 0; j < count; j++) x[i][j] = (float)rand() / (float)RAND_MAX * 2 - 1;
    }
    static double ratios[PAIRS];
    for (int is_backward = 0; is_backward < 2; is_backward++) {
        int pairs = 0;
        call_s(&builds[0], &shape, x, row_stat, false); /* backward needs out and row_stat */
        for (const double begin_s = now_s(); pairs < PAIRS && (pairs < LEAST_PAIRS || now_s() - begin_s < SECONDS);
             pairs++) {
            double times_s[2];
            for (int i = 0; i < 2; i++) {
                const int which = (i + pairs) % 2;
                times_s[which] = call_s(&builds[which], &shape, x, row_stat, is_backward);
            }
            ratios[pairs] = times_s[1] / times_s[0];
        }
        qsort(ratios, (size_t)pairs, sizeof *ratios, by_size);
        printf("%-4s %-8s %4d x %3d  %.3f  [%.3f, %.3f]  %d pairs\n", mechanism, is_backward ? "backward" : "forward",
               context, head_dim, ratios[pairs / 2], ratios[pairs / 4], ratios[3 * pairs / 4], pairs);
        fflush(stdout);
    }
    for (int i = 0; i < TENSORS; i++) free(x[i]);
    free(row_stat);
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: pairs OLD/libeabench.so NEW/libeabench.so\n");
        return 2;
    }
    static const int32_t contexts[] = {64, 512, 2048}, head_dims[] = {16, 32, 64, 128};
    build builds[2] = {0};
    for (int i = 0; i < 2; i++) load(arguments[i + 1], &builds[i]);
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 4; k++) compare(builds, i ? "ea" : "dpa", contexts[j], head_dims[k]);
    return 0;
}
