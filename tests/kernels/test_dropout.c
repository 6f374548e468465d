/* Dropout's masks: the same bits on every SIMD level and in the reference, and draws that are what they should be. The
 * values are checked by `eabench check`, the whole model's gradient in tests/host/test_gradients.c. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cpu/kernels.h"
#include "kernels/reference/primitives.h"

enum { MAX_WIDTH = 1024 };

static const uint32_t seeds[] = {1, 0xFFFFFFFFu};

/* A fleet of two: batch 3, context 5. */
static eab_shape shape_of(int32_t width, const eab_dropout *dropout) {
    return (eab_shape){.members = 2, .batch = 3, .context = 5, .d_model = width, .dropout = dropout};
}

/* What is kept of ones; the reference's results are 0 or 1 / (1 - probability). */
static double *reference_mask(const eab_shape *shape) {
    const int64_t count = (int64_t)shape->batch * shape->context * shape->d_model;
    double *ones = malloc(2 * (size_t)count * sizeof *ones);
    cr_assert_not_null(ones);
    for (int64_t i = 0; i < 2 * count; i++) ones[i] = 1;
    const eab_tensor x = {ones, count};
    eab_reference_dropout(NULL, shape, x, x, false);
    return ones;
}

Test(dropout, every_level_keeps_the_same) {
    const int32_t widths[] = {1, 3, 4, 17, 32, 64, 130, 260, 1021, MAX_WIDTH};
    const eab_cpu_kernels *kernels;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        eab_dropout dropout = {.probability = 0.25, .seeds = seeds, .first_index = 7, .place = 2};
        const eab_shape shape = shape_of(widths[i], &dropout);
        const int64_t count = (int64_t)shape.batch * shape.context * shape.d_model;
        double *expected = reference_mask(&shape);
        float *x = malloc((size_t)count * sizeof *x), *y = malloc((size_t)count * sizeof *y);
        cr_assert(x && y);
        for (int level = 0; (kernels = eab_cpu_kernels_at(level)); level++)
            for (int32_t member = 0; member < shape.members; member++) {
                for (int64_t j = 0; j < count; j++) x[j] = 3, y[j] = (float)j;
                kernels->elementwise->dropout(&shape, member, x, y, true);
                kernels->elementwise->dropout(&shape, member, x, x, false);
                for (int64_t j = 0; j < count; j++) {
                    const bool keeps = expected[member * count + j] > 0;
                    cr_assert_eq(x[j], keeps ? 4 : 0, "%s, width %d, %lld", kernels->isa, widths[i], (long long)j);
                    cr_assert_eq(y[j], (float)j + x[j], "%s, width %d, %lld", kernels->isa, widths[i], (long long)j);
                }
            }
        free(expected);
        free(x);
        free(y);
    }
}

/* The share that is kept, and the share of elements that are kept in one of the two masks only. */
static double kept(const double *mask, int64_t count) {
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) sum += mask[i] > 0;
    return (double)sum / (double)count;
}

static double differing(const double *a, const double *b, int64_t count) {
    int64_t sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (a[i] > 0) != (b[i] > 0);
    return (double)sum / (double)count;
}

/* 61,440 draws: six standard deviations of a share of 1/2 are 0.012. */
Test(dropout, masks_are_independent) {
    const double p = 0.25, expected = 2 * p * (1 - p);
    const int32_t width = 1024;
    eab_dropout dropout = {.probability = p, .seeds = seeds, .first_index = 7, .place = 2};
    const eab_shape shape = shape_of(width, &dropout);
    const int64_t row = width, sequence = shape.context * row, count = shape.batch * sequence;
    double *mask = reference_mask(&shape);
    cr_expect_float_eq(kept(mask, 2 * count), 1 - p, 0.012);
    cr_expect_float_eq(differing(mask, mask + count, count), expected, 0.02, "seeds");
    cr_expect_float_eq(differing(mask, mask + sequence, count - sequence), expected, 0.02, "sequences");
    cr_expect_float_eq(differing(mask, mask + row, count - row), expected, 0.02, "positions");
    cr_expect_float_eq(differing(mask, mask + 1, count - 1), expected, 0.02, "channels");
    cr_expect_float_eq(differing(mask, mask + width / 4, count - width / 4), expected, 0.02, "words of a block");
    const eab_dropout others[] = {{.first_index = 7, .place = 3}, {.first_index = 7 + ((uint64_t)1 << 32), .place = 2}};
    for (int i = 0; i < 2; i++) {
        dropout.first_index = others[i].first_index;
        dropout.place = others[i].place;
        double *other = reference_mask(&shape);
        cr_expect_float_eq(differing(mask, other, 2 * count), expected, 0.02, "variant %d", i);
        free(other);
    }
    /* The next batch begins where this one's second sequence does. */
    dropout.first_index = 8;
    dropout.place = 2;
    double *next = reference_mask(&shape);
    cr_expect_arr_eq(next, mask + sequence, (size_t)(count - sequence) * sizeof *next);
    free(next);
    free(mask);
}

/* A run that an earlier version began goes on with the same masks. Computed by another program, from the comment in
 * kernels/dropout.h. */
Test(dropout, masks_stay_as_they_are) {
    const eab_dropout dropout = {.probability = 0.5, .seeds = seeds, .first_index = 7, .place = 2};
    const eab_shape shape = shape_of(6, &dropout);
    static const char *const rows[] = {"000010", "011001"};
    double *mask = reference_mask(&shape);
    for (int row = 0; row < 2; row++) {
        char found[7] = {0};
        for (int i = 0; i < 6; i++) found[i] = mask[row * 6 + i] > 0 ? '1' : '0';
        cr_expect_str_eq(found, rows[row]);
    }
    free(mask);
}

Test(dropout, extreme_shares) {
    const double shares[] = {0x1p-40, 1 - 0x1p-40, 1 - 0x1p-53};
    for (int i = 0; i < 3; i++) {
        const eab_dropout dropout = {.probability = shares[i], .seeds = seeds, .first_index = 7, .place = 2};
        const eab_shape shape = shape_of(1024, &dropout);
        double *mask = reference_mask(&shape);
        cr_expect_eq(kept(mask, 2 * 15 * 1024), i == 0);
        free(mask);
    }
}
