/* Unfused attention between its products (kernels/cuda/scores_unfused.cu) against the same formulas in float64. The
 * processor's code, which is tested against the reference, shows the error of float32. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/backend.h"
#include "kernels/bench.h"
#include "kernels/mechanism.h"
#include "tasks/philox.h"

#define OK(call) cr_assert_eq(call, EAB_OK, "%s", eab_last_error())

typedef struct {
    int32_t batch, heads, context, mechanism;
    bool causal, sloped, in_place;
    float size; /* largest score before scaling */
} scores_case;

/* All matrices [batch][heads][context][context]. */
typedef struct {
    size_t count;
    float *scores, *dweights;    /* inputs */
    double *weights, *gradient;  /* in float64 */
    double *terms;               /* the gradient's size before its terms cancel: |.| (|dweight| + |mean|) */
    float *tested[2], *plain[2]; /* weights and gradient: cuda, cpu */
} solution;

static float *new_floats(size_t count) {
    float *values = malloc(count * sizeof *values);
    cr_assert(values);
    return values;
}

static const float mix = 0.3f;

/* Of the mechanism's weight, at least the floor: its logarithm, and the derivative of that. */
static double log_weight(int32_t mechanism, double z, double *slope) {
    double weight = z * z / (1 + z * z), derivative = 2 * z / ((1 + z * z) * (1 + z * z));
    double t = 0; /* of mix */
    switch (mechanism) {
        case EAB_MECHANISM_dpa: *slope = 1; return z;
        case EAB_MECHANISM_mix: t = (double)mix; break;
        case EAB_MECHANISM_ea_softmax: *slope = 2 * z; return z * z;
        case EAB_MECHANISM_ea_parallel:
            if (z <= 0) weight = derivative = 0;
            break;
        case EAB_MECHANISM_square: weight = z * z, derivative = 2 * z; break;
        case EAB_MECHANISM_ea_quartic:
            weight = pow(z, 4) / (1 + pow(z, 4)), derivative = 4 * pow(z, 3) / pow(1 + pow(z, 4), 2);
            break;
        case EAB_MECHANISM_sigmoid: weight = 1 / (1 + exp(-z)), derivative = weight / (1 + exp(z)); break;
    }
    if (t > 0) { /* scores are of size 1: exp(z) does not overflow */
        const double mixed = (1 - t) * exp(z) + t * (weight + (double)EAB_WEIGHT_EPS);
        *slope = ((1 - t) * exp(z) + t * derivative) / mixed;
        return log(mixed);
    }
    *slope = derivative / (weight + (double)EAB_WEIGHT_EPS);
    return log(weight + (double)EAB_WEIGHT_EPS);
}

static void solve(const scores_case *c, double scale, const float *slopes, const solution *s) {
    const int32_t n = c->context;
    for (int64_t row = 0; row < (int64_t)c->batch * c->heads * n; row++) {
        const int32_t time = (int32_t)(row % n), head = (int32_t)(row / n % c->heads), keys = c->causal ? time + 1 : n;
        const float *scores = s->scores + row * n, *dweights = s->dweights + row * n;
        double *weights = s->weights + row * n, *gradient = s->gradient + row * n, *terms = s->terms + row * n;
        double top = -INFINITY, sum = 0, mean = 0;
        for (int32_t key = 0; key < n; key++) weights[key] = gradient[key] = terms[key] = 0;
        for (int32_t key = 0; key < keys; key++) {
            const double bias = c->sloped ? -(double)slopes[head] * abs(time - key) : 0;
            weights[key] = log_weight(c->mechanism, scale * (double)scores[key], &gradient[key]) + bias;
            top = fmax(top, weights[key]);
        }
        for (int32_t key = 0; key < keys; key++) sum += weights[key] = exp(weights[key] - top);
        for (int32_t key = 0; key < keys; key++) mean += (weights[key] /= sum) * (double)dweights[key];
        for (int32_t key = 0; key < keys; key++) {
            gradient[key] *= scale * weights[key];
            terms[key] = fabs(gradient[key]) * (fabs((double)dweights[key]) + fabs(mean));
            gradient[key] *= (double)dweights[key] - mean;
        }
    }
}

static void run(const char *backend, const scores_case *c, const eab_attention_args *args, const solution *s,
                float *const results[2]) {
    const size_t bytes = s->count * sizeof(float);
    eab_device *device;
    void *memory[3]; /* scores, weights, dweights */
    OK(eab_device_open(backend, 0, &device));
    for (int i = 0; i < 3; i++) OK(device->backend->allocate(device, bytes, &memory[i]));
    const eab_tensor scores = {memory[0], 0}, weights = {memory[1], 0}, dweights = {memory[2], 0};
    OK(device->backend->upload(device, memory[2], s->dweights, bytes));
    if (c->in_place) {
        OK(device->backend->upload(device, memory[1], s->scores, bytes));
        OK(device->backend->bench->scores_forward(device, args, weights, weights));
    }
    OK(device->backend->upload(device, memory[0], s->scores, bytes));
    if (!c->in_place) OK(device->backend->bench->scores_forward(device, args, scores, weights));
    OK(device->backend->bench->scores_backward(device, args, scores, weights, dweights));
    OK(device->backend->download(device, results[0], memory[1], bytes));
    OK(device->backend->download(device, results[1], memory[2], bytes));
    for (int i = 0; i < 3; i++) device->backend->release(device, memory[i]);
    eab_device_close(device);
}

/* |tested - exact| against the processor's error, or float32's rounding of all terms where that is larger
 * (docs/design.md 1, conditioning): the processor is exact by chance where a matrix has two gradients. */
static double error_ratio(const solution *s, const double *exact, const double *terms, const float *tested,
                          const float *plain) {
    double error = 0, plain_error = 0, norm = 0;
    for (size_t i = 0; i < s->count; i++) {
        error += pow((double)tested[i] - exact[i], 2);
        plain_error += pow((double)plain[i] - exact[i], 2);
        norm += terms[i] * terms[i];
    }
    return sqrt(error) / fmax(fmax(sqrt(plain_error), 0x1p-24 * sqrt(norm)), 1e-300);
}

static void check(const scores_case *c) {
    solution s = {.count = (size_t)c->batch * (size_t)c->heads * (size_t)c->context * (size_t)c->context};
    const float scale = eab_mechanism_default_scale(c->mechanism, 16);
    float slopes[] = {0.5f, 0.03f, 0};
    const eab_attention_args args = {.members = 1,
                                     .batch = c->batch,
                                     .heads = c->heads,
                                     .context = c->context,
                                     .head_dim = 16,
                                     .causal = c->causal,
                                     .scores = {&c->mechanism, &scale, &mix},
                                     .slopes = c->sloped ? slopes : NULL};
    cr_assert_leq((size_t)c->heads, sizeof slopes / sizeof *slopes);
    s.scores = new_floats(s.count);
    s.dweights = new_floats(s.count);
    s.weights = malloc(3 * s.count * sizeof *s.weights);
    cr_assert(s.weights);
    s.gradient = s.weights + s.count;
    s.terms = s.gradient + s.count;
    for (int i = 0; i < 2; i++) {
        s.tested[i] = new_floats(s.count);
        s.plain[i] = new_floats(s.count);
    }
    eab_random random = eab_random_at(1, 2, (uint32_t)c->context, (uint32_t)c->mechanism, c->causal);
    for (size_t i = 0; i < s.count; i++) {
        s.scores[i] = c->size * ((float)(eab_random_word(&random) >> 8) * 0x1p-23f - 1);
        s.dweights[i] = (float)(eab_random_word(&random) >> 8) * 0x1p-23f - 1;
    }
    solve(c, (double)scale, slopes, &s);
    run("cuda", c, &args, &s, s.tested);
    run("cpu", c, &args, &s, s.plain);
    const double weights = error_ratio(&s, s.weights, s.weights, s.tested[0], s.plain[0]);
    const double gradient = error_ratio(&s, s.gradient, s.terms, s.tested[1], s.plain[1]);
    const char *name = eab_mechanism_name(c->mechanism);
    cr_expect(weights <= 2 && gradient <= 3,
              "%s, %d x %d x %d, causal %d, slopes %d, size %g: error ratios %.2f and %.2f", name, c->batch, c->heads,
              c->context, c->causal, c->sloped, (double)c->size, weights, gradient);
    for (size_t i = 0; i < s.count && c->causal; i++) {
        const size_t n = (size_t)c->context, key = i % n, time = i / n % n;
        if (key > time) cr_assert(s.tested[0][i] == 0 && s.tested[1][i] == 0, "%s: a masked place is not 0", name);
    }
    for (int i = 0; i < 2; i++) {
        free(s.tested[i]);
        free(s.plain[i]);
    }
    free(s.weights);
    free(s.scores);
    free(s.dweights);
}

static void check_all(scores_case c) {
    for (c.mechanism = 0; c.mechanism < EAB_MECHANISM_COUNT; c.mechanism++)
        for (int variant = 0; variant < 4; variant++) {
            c.causal = variant & 1;
            c.sloped = variant & 2;
            c.in_place = c.mechanism == EAB_MECHANISM_dpa; /* as the benchmark has it */
            check(&c);
        }
}

/* A block has 256 threads: rows shorter than it, as long, and several times as long. */
Test(scores_unfused, contexts, .timeout = 300) {
    static const int32_t contexts[] = {1, 2, 31, 32, 33, 100, 256, 257};
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++)
        check_all((scores_case){.batch = 1, .heads = 1, .context = contexts[i], .size = 3});
}

Test(scores_unfused, heads_and_batches, .timeout = 300) {
    check_all((scores_case){.batch = 2, .heads = 3, .context = 19, .size = 3});
}

Test(scores_unfused, small_and_large_scores, .timeout = 300) {
    check_all((scores_case){.batch = 1, .heads = 2, .context = 21, .size = 1e-3f});
    check_all((scores_case){.batch = 1, .heads = 2, .context = 21, .size = 20});
}
