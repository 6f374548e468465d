/* The float64 reference's attention against finite differences and against weights computed by hand. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/mechanism.h"
#include "kernels/reference/attention.h"
#include "tasks/philox.h"

enum { BATCH = 1, HEADS = 2, CONTEXT = 6, HEAD_DIM = 3, COUNT = BATCH * HEADS * CONTEXT * HEAD_DIM };

typedef struct {
    eab_attention_args args;
    int32_t mechanism;
    float scale, mix, slopes[HEADS];
    double inputs[3][COUNT], dout[COUNT]; /* q, k, v */
} problem;

static void problem_set(problem *p, int32_t mechanism, bool causal, bool sloped) {
    *p = (problem){.mechanism = mechanism, .scale = 0.7f, .mix = 0.4f, .slopes = {0.3f, 0.05f}};
    p->args = (eab_attention_args){.members = 1,
                                   .batch = BATCH,
                                   .heads = HEADS,
                                   .context = CONTEXT,
                                   .head_dim = HEAD_DIM,
                                   .causal = causal,
                                   .scores = {&p->mechanism, &p->scale, &p->mix},
                                   .slopes = sloped ? p->slopes : NULL,
                                   .in_batch = COUNT / BATCH,
                                   .in_head = (int64_t)CONTEXT * HEAD_DIM,
                                   .in_time = HEAD_DIM,
                                   .out_batch = COUNT / BATCH,
                                   .out_head = (int64_t)CONTEXT * HEAD_DIM,
                                   .out_time = HEAD_DIM};
    eab_random random = eab_random_at(5, (uint32_t)mechanism, 0, 0, 0);
    for (int part = 0; part < 3; part++)
        for (int i = 0; i < COUNT; i++) p->inputs[part][i] = (double)eab_random_word(&random) / 2147483648.0 - 1;
    for (int i = 0; i < COUNT; i++) p->dout[i] = (double)eab_random_word(&random) / 2147483648.0 - 1;
}

static double objective(const problem *p) {
    double out[COUNT], sum = 0;
    cr_assert(!eab_reference_attention_forward(&p->args, 0, p->inputs[0], p->inputs[1], p->inputs[2], out, NULL));
    for (int i = 0; i < COUNT; i++) sum += out[i] * p->dout[i];
    return sum;
}

static void check_gradients(problem *p, const char *name) {
    double out[COUNT], row_stat[HEADS * CONTEXT], gradients[3][COUNT], terms[3][COUNT];
    double *const *q = (double *const[]){p->inputs[0], p->inputs[1], p->inputs[2]};
    cr_assert(!eab_reference_attention_forward(&p->args, 0, q[0], q[1], q[2], out, row_stat));
    cr_assert(!eab_reference_attention_backward(&p->args, 0, q[0], q[1], q[2], p->dout, gradients[0], gradients[1],
                                                gradients[2]));
    cr_assert(
        !eab_reference_attention_terms(&p->args, 0, q[0], q[1], q[2], p->dout, terms[0], terms[1], terms[2], false));
    for (int part = 0; part < 3; part++)
        for (int i = 0; i < COUNT; i++) {
            /* Fourth-order difference: truncation and rounding both near 1e-11. */
            const double step = 1e-3, x = p->inputs[part][i];
            double values[4];
            const double offsets[4] = {-2, -1, 1, 2};
            for (int l = 0; l < 4; l++) {
                p->inputs[part][i] = x + offsets[l] * step;
                values[l] = objective(p);
            }
            p->inputs[part][i] = x;
            const double numeric = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step);
            cr_expect(fabs(numeric - gradients[part][i]) <= 1e-7 * fmax(terms[part][i], 1e-3),
                      "%s: gradient of input %d, element %d: %.12g, not %.12g", name, part, i, gradients[part][i],
                      numeric);
            cr_expect(fabs(gradients[part][i]) <= terms[part][i] * (1 + 1e-9), "terms bound the gradient");
        }
}

Test(reference_attention, gradients_are_finite_differences) {
    for (int32_t mechanism = 0; mechanism < EAB_MECHANISM_COUNT; mechanism++)
        for (int variant = 0; variant < 4; variant++) {
            problem p;
            problem_set(&p, mechanism, variant % 2, variant / 2);
            check_gradients(&p, eab_mechanism_name(mechanism));
        }
}

/* One head, two positions, one dimension: q = (., query), k = (1, 3), v = (5, 7), scale 0.5: with query = 2 z = 1 and 3
 * for the second query, with -2 z = -1 and -3. */
static double second_row(const char *name, float mix, double query, bool sloped, double *row_stat) {
    const int32_t mechanism = eab_mechanism_from_name(name);
    const float scale = 0.5f, slope = (float)log(2);
    const eab_attention_args args = {.members = 1,
                                     .batch = 1,
                                     .heads = 1,
                                     .context = 2,
                                     .head_dim = 1,
                                     .causal = true,
                                     .scores = {&mechanism, &scale, &mix},
                                     .slopes = sloped ? &slope : NULL,
                                     .in_batch = 2,
                                     .in_head = 2,
                                     .in_time = 1,
                                     .out_batch = 2,
                                     .out_head = 2,
                                     .out_time = 1};
    const double q[2] = {-1, query}, k[2] = {1, 3}, v[2] = {5, 7};
    double out[2], stats[2];
    cr_assert(!eab_reference_attention_forward(&args, 0, q, k, v, out, stats));
    cr_expect_float_eq(out[0], 5, 1e-15, "the first query sees the first key only");
    *row_stat = stats[1];
    return out[1];
}

static void expect_mix(const char *name, float mix, double query, double weight1, double weight3, bool logarithm) {
    for (int sloped = 0; sloped < 2; sloped++) {
        double row_stat;
        const double first = weight1 * (sloped ? 0.5 : 1), sum = first + weight3;
        cr_expect(fabs(second_row(name, mix, query, sloped, &row_stat) - (5 * first + 7 * weight3) / sum) < 1e-7, "%s",
                  name);
        cr_expect(fabs(row_stat - (logarithm ? log(sum) : sum)) < 1e-7, "%s", name);
    }
}

static void expect_weights(const char *name, double query, double weight1, double weight3, bool logarithm) {
    expect_mix(name, 0, query, weight1, weight3, logarithm);
}

Test(reference_attention, weights_by_hand) {
    const double eps = 0x1p-24;
    for (int sign = -1; sign <= 1; sign += 2) {
        const double query = 2 * sign;
        expect_weights("dpa", query, exp(sign), exp(3 * sign), true);
        expect_weights("ea", query, 0.5 + eps, 0.9 + eps, false);
        expect_weights("ea-scaled", query, 0.5 + eps, 0.9 + eps, false);
        expect_weights("ea-softmax", query, exp(1), exp(9), true);
        expect_weights("ea-parallel", query, sign > 0 ? 0.5 + eps : eps, sign > 0 ? 0.9 + eps : eps, false);
        expect_weights("square", query, 1 + eps, 9 + eps, false);
        expect_weights("ea-quartic", query, 0.5 + eps, 81.0 / 82 + eps, false);
        expect_weights("sigmoid", query, 1 / (1 + exp(-sign)) + eps, 1 / (1 + exp(-3 * sign)) + eps, false);
        for (int quarters = 0; quarters < 4; quarters++) {
            const double t = 0.25 * quarters;
            expect_mix("mix", (float)t, query, (1 - t) * exp(sign) + t * 0.5, (1 - t) * exp(3 * sign) + t * 0.9, true);
        }
    }
}

Test(reference_attention, unknown_mechanism) {
    problem p;
    double out[COUNT];
    problem_set(&p, 0, true, false);
    p.mechanism = 99;
    cr_expect_eq(eab_reference_attention_forward(&p.args, 0, p.inputs[0], p.inputs[1], p.inputs[2], out, NULL),
                 EAB_BAD_INPUT);
    cr_expect_not_null(strstr(eab_last_error(), "99"));
}
