/* The processor's attention against the float64 reference, at every SIMD level that this machine has. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "attention_case.h"
#include "kernels/mechanism.h"

/* MIXES: the first variant of mix, with several values of its parameter. */
enum { LEVELS = 3, MIXES = (EAB_MECHANISM_mix + 3) / 4 * 32, VARIANTS = MIXES + 8 };

static const char *const result_names[RESULT_COUNT] = {"out", "dq", "dk", "dv"};

static void check_against_reference(attention_case spec, uint32_t seed) {
    attention_problem problem = attention_problem_new(spec, seed, true);
    for (int level = 0; level < LEVELS; level++) {
        const eab_cpu_kernels *kernels = eab_cpu_kernels_at(level);
        if (!kernels) continue;
        attention_results results = attention_run(&problem, kernels);
        for (int which = 0; which < RESULT_COUNT; which++) {
            const double ratio = attention_error_ratio(&problem, &results, which);
            cr_expect(ratio <= (which == RESULT_OUT ? 2 : 3), "%s %s: %s: error ratio %g", kernels->isa,
                      attention_case_name(&spec), result_names[which], ratio);
        }
        for (int64_t row = 0; row < problem.rows; row++) {
            const double stat = (double)results.row_stat.data[row], exact = problem.row_stat[row];
            cr_expect(fabs(stat - exact) <= 3e-5 * (1 + fabs(exact)), "%s %s: row_stat %g, not %g", kernels->isa,
                      attention_case_name(&spec), stat, exact);
        }
        attention_results_free(&results);
    }
    attention_problem_free(&problem);
}

/* Variant 0..VARIANTS-1, below MIXES each 32 of four mechanisms: mechanism, causal, sloped, interleaved; every third
 * one is standalone. */
static attention_case variant(int number, int32_t batch, int32_t heads, int32_t context, int32_t head_dim) {
    static const float mixes[] = {0.25f, 0.5f, 0.75f, EAB_MIX_MOST};
    const int form = number < MIXES ? number / 4 % 8 : number - MIXES;
    return (attention_case){.batch = batch,
                            .heads = heads,
                            .context = context,
                            .head_dim = head_dim,
                            .mechanism =
                                number < MIXES ? (number % 4 + number / 32 * 4) % EAB_MECHANISM_mix : EAB_MECHANISM_mix,
                            .mix = number < MIXES ? 0 : mixes[form / 2],
                            .causal = form % 2 == 0,
                            .sloped = form / 2 % 2 == 0,
                            .interleaved = form / 4 == 0,
                            .standalone = number % 3 == 0,
                            .size = 1};
}

Test(attention, odd_sizes_small) {
    static const int32_t contexts[] = {1, 2, 3, 7, 16, 17, 24, 33, 63, 65}, head_dims[] = {1, 3, 8, 16, 17, 33};
    uint32_t shape = 0;
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++)
        for (size_t j = 0; j < sizeof head_dims / sizeof *head_dims; j++, shape++)
            for (int number = (int)(i + j) % 2; number < VARIANTS; number += 2) /* as on a chessboard: half of them */
                check_against_reference(variant(number, 2, 3, contexts[i], head_dims[j]),
                                        1 + 32 * shape + (uint32_t)number);
}

Test(attention, odd_sizes) {
    static const int32_t contexts[] = {1, 3, 17, 63, 64, 65, 127, 128, 129, 257};
    static const int32_t head_dims[] = {1, 3, 17, 63, 64, 65, 127, 128, 129, 256};
    int number = 0;
    for (int i = 0; i < 10; i++)
        for (int j = 0; j < 10; j++) {
            if ((i + j) % 3 == 0)
                check_against_reference(variant(MIXES + number % 8, 1, 2, contexts[i], head_dims[j]), (uint32_t)number);
            for (int repeat = 0; repeat < 3; repeat++, number += 5) /* 5 and 64 share no factor: all variants occur */
                check_against_reference(variant(number % MIXES, 1, 2, contexts[i], head_dims[j]), (uint32_t)number);
        }
}

Test(attention, small_and_large_scores) {
    static const double sizes[] = {1e-6, 1e-3, 0.03, 3};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int number = 0; number < VARIANTS; number++) {
            attention_case spec = variant(number, 1, 2, 70, 8);
            /* ea-softmax has squared scores as log-weights: with 3 one key would take all the weight. */
            const bool squared = spec.mechanism == eab_mechanism_from_name("ea-softmax");
            spec.size = squared && sizes[i] > 1 ? 1.5 : sizes[i];
            check_against_reference(spec, (uint32_t)number);
        }
}

/* Calls f at every level for all variants of one shape, with inputs of `size`. */
static void for_every_variant(int32_t context, int32_t head_dim, double size,
                              void (*f)(attention_problem *, const eab_cpu_kernels *)) {
    for (int level = 0; level < LEVELS; level++)
        for (int number = 0; number < VARIANTS && eab_cpu_kernels_at(level); number++) {
            attention_case spec = variant(number, 2, 3, context, head_dim);
            spec.size = size;
            attention_problem problem = attention_problem_new(spec, (uint32_t)number, false);
            f(&problem, eab_cpu_kernels_at(level));
            attention_problem_free(&problem);
        }
}

static void uniform(attention_problem *problem, const eab_cpu_kernels *kernels) {
    const attention_case *spec = &problem->spec;
    if (spec->sloped) return;
    for (int64_t i = 0; i < problem->out_count; i++) /* q and k zero, v kept */
        for (int part = 0; part < 2 && !spec->interleaved; part++) problem->qkv.data[problem->part[part] + i] = 0;
    const int64_t width = (int64_t)spec->heads * spec->head_dim;
    const bool sigmoid = spec->mechanism == eab_mechanism_from_name("sigmoid");
    const float weight_at_zero = (sigmoid ? 0.5f : 0) + EAB_WEIGHT_EPS;
    const double mix = (double)spec->mix, of_dpa = 1 - mix + mix * (double)EAB_WEIGHT_EPS; /* mix 0 without it */
    for (int64_t i = 0; spec->interleaved && i < problem->qkv_count; i++)
        if (i / width % 3 < 2) problem->qkv.data[i] = 0;
    attention_results results = attention_run(problem, kernels);
    const float *v = problem->qkv.data + problem->part[2];
    for (int32_t time = 0; time < spec->context; time++) {
        const int32_t keys = spec->causal ? time + 1 : spec->context;
        double mean = 0;
        for (int32_t j = 0; j < keys; j++) mean += (double)v[j * problem->args.in_time] / keys;
        const double out = (double)*attention_at(problem, &results, RESULT_OUT, 0, 0, time, 0);
        cr_expect(fabs(out - mean) < 1e-5, "%s %s: row %d: %g, not %g", kernels->isa, attention_case_name(spec), time,
                  out, mean);
        if (eab_mechanism_class_of(spec->mechanism) == EAB_CLASS_BOUNDED)
            cr_expect_float_eq(results.row_stat.data[time], (float)keys * weight_at_zero,
                               1e-6f * (float)keys * weight_at_zero);
        else cr_expect(fabs((double)results.row_stat.data[time] - log(of_dpa * keys)) < 1e-6);
    }
    attention_results_free(&results);
}

Test(attention, zero_scores_attend_uniformly) { for_every_variant(70, 5, 1, uniform); }

static void all_finite(attention_problem *problem, const eab_cpu_kernels *kernels) {
    attention_results results = attention_run(problem, kernels);
    for (int64_t i = 0; i < problem->qkv_count; i++)
        cr_assert(!isnan(results.dqkv.data[i]), "%s %s: gradient %d", kernels->isa, attention_case_name(&problem->spec),
                  (int)i);
    for (int64_t i = 0; i < problem->out_count; i++)
        cr_assert(isfinite(results.out.data[i]), "%s %s: out %d", kernels->isa, attention_case_name(&problem->spec),
                  (int)i);
    attention_results_free(&results);
}

static void finite_for_large_scores(attention_problem *problem, const eab_cpu_kernels *kernels) {
    /* Scores up to 1e38, and their squares beyond the largest float; values and dout stay of size 1. */
    const attention_case *spec = &problem->spec;
    const int64_t width = (int64_t)spec->heads * spec->head_dim;
    for (int64_t i = 0; i < problem->qkv_count; i++)
        if (spec->interleaved ? i / width % 3 < 2 : i < problem->part[2]) problem->qkv.data[i] *= 3e17f;
    all_finite(problem, kernels);
}

Test(attention, large_scores_give_no_nan) {
    for_every_variant(33, 8, 1, finite_for_large_scores);
    for_every_variant(33, 8, 1e9, all_finite);
    for_every_variant(33, 8, 1e-20, all_finite); /* scores that underflow */
}

/* Scores of dpa beyond its clamp: all positive ones weigh the same; if a query has only negative ones, so do they. */
static void clamped(attention_problem *problem, const eab_cpu_kernels *kernels) {
    const attention_case *spec = &problem->spec;
    const eab_attention_args *args = &problem->args;
    if (spec->mechanism != eab_mechanism_from_name("dpa")) return;
    const float size = sqrtf(2e38f) / sqrtf(problem->scale); /* scores are +-2e38 or +-1.2e38 */
    for (int64_t batch = 0; batch < spec->batch; batch++)
        for (int64_t head = 0; head < spec->heads; head++)
            for (int64_t time = 0; time < spec->context; time++)
                for (int part = 0; part < 2; part++) {
                    float *x = problem->qkv.data + problem->part[part] + batch * args->in_batch + head * args->in_head +
                               time * args->in_time;
                    memset(x, 0, (size_t)spec->head_dim * sizeof *x);
                    *x = (part == 0 ? time % 2 == 0 : time % 4 < 2) ? size : -size;
                    if (part == 1 && time % 3 == 0) *x *= 0.6f;
                }
    attention_results results = attention_run(problem, kernels);
    const float *v = problem->qkv.data + problem->part[2];
    for (int32_t time = 0; time < spec->context; time++) {
        const int32_t keys = spec->causal ? time + 1 : spec->context;
        double sums[2] = {0};
        int counts[2] = {0}; /* of keys with negative and with positive scores */
        for (int32_t j = 0; j < keys; j++) {
            const bool positive = (time % 2 == 0) == (j % 4 < 2);
            sums[positive] += (double)v[j * args->in_time];
            counts[positive]++;
        }
        const bool any = counts[1] > 0;
        const double mean = sums[any] / counts[any],
                     out = (double)*attention_at(problem, &results, RESULT_OUT, 0, 0, time, 0);
        cr_expect(fabs(out - mean) < 1e-5, "%s %s: row %d: %g, not %g", kernels->isa, attention_case_name(spec), time,
                  out, mean);
    }
    attention_results_free(&results);
    all_finite(problem, kernels);
}

Test(attention, scores_beyond_the_clamp_are_equal) { for_every_variant(70, 8, 1, clamped); }

static void steep(attention_problem *problem, const eab_cpu_kernels *kernels) {
    for (int i = 0; i < 16; i++) problem->slopes[i] = i % 2 ? 3e38f : 50;
    all_finite(problem, kernels);
}

Test(attention, steep_slopes_give_no_nan) { for_every_variant(70, 8, 1, steep); }

/* Infinite scores: of the first query and the keys 1 and 2, which causal masking or a steep slope excludes. */
static void infinite_scores(attention_problem *problem, const eab_cpu_kernels *kernels) {
    const attention_case *spec = &problem->spec;
    const eab_attention_args *args = &problem->args;
    for (int64_t batch = 0; batch < spec->batch; batch++)
        for (int64_t head = 0; head < spec->heads; head++) {
            float *first = problem->qkv.data + batch * args->in_batch + head * args->in_head;
            first[problem->part[0]] = 1e20f;
            for (int time = 1; time <= 2; time++) first[problem->part[1] + time * args->in_time] = 1e20f;
        }
    all_finite(problem, kernels);
    steep(problem, kernels);
}

Test(attention, infinite_scores_give_no_nan) { for_every_variant(70, 8, 1, infinite_scores); }

static void nan_spreads(attention_problem *problem, const eab_cpu_kernels *kernels) {
    const attention_case *spec = &problem->spec;
    problem->qkv.data[problem->part[1] + 5 * problem->args.in_time] = NAN; /* key 5 of the first head */
    attention_results results = attention_run(problem, kernels);
    for (int32_t time = spec->causal ? 5 : 0; time < spec->context; time++)
        cr_expect(isnan(*attention_at(problem, &results, RESULT_OUT, 0, 0, time, 0)), "%s %s: row %d", kernels->isa,
                  attention_case_name(spec), time);
    cr_expect(!isnan(*attention_at(problem, &results, RESULT_OUT, 0, 1, 6, 0)), "another head has NaN");
    attention_results_free(&results);
}

Test(attention, nan_is_kept) { for_every_variant(40, 8, 1, nan_spreads); }

static void one_key_has_no_gradient(attention_problem *problem, const eab_cpu_kernels *kernels) {
    attention_results results = attention_run(problem, kernels);
    for (int32_t i = 0; i < problem->spec.head_dim; i++)
        for (int which = RESULT_DQ; which <= RESULT_DK; which++) {
            const float gradient = *attention_at(problem, &results, which, 0, 0, 0, i);
            cr_expect(fabsf(gradient) <= 2e-5f, "%s %s: %s[%d] = %g", kernels->isa, attention_case_name(&problem->spec),
                      result_names[which], i, (double)gradient);
        }
    attention_results_free(&results);
}

Test(attention, one_allowed_key_has_no_gradient) { for_every_variant(1, 8, 1, one_key_has_no_gradient); }

/* ---- bits -------------------------------------------------------------------------------------------------------- */

static bool same_bits(const guarded *a, const guarded *b) { return same_floats(a->data, b->data, a->count); }

static void same_twice(attention_problem *problem, const eab_cpu_kernels *kernels) {
    attention_results first = attention_run(problem, kernels), second = attention_run(problem, kernels);
    cr_expect(same_bits(&first.out, &second.out) && same_bits(&first.dqkv, &second.dqkv) &&
                  same_bits(&first.row_stat, &second.row_stat),
              "%s %s", kernels->isa, attention_case_name(&problem->spec));
    attention_results_free(&first);
    attention_results_free(&second);
}

static void same_standalone(attention_problem *problem, const eab_cpu_kernels *kernels) {
    attention_results first = attention_run(problem, kernels);
    problem->args.standalone = !problem->args.standalone;
    attention_results second = attention_run(problem, kernels);
    cr_expect(same_bits(&first.out, &second.out) && same_bits(&first.dqkv, &second.dqkv), "%s %s", kernels->isa,
              attention_case_name(&problem->spec));
    attention_results_free(&first);
    attention_results_free(&second);
}

/* Prefetching changes no result. With six heads their number does not select the kernel. */
Test(attention, same_bits_standalone) {
    for_every_variant(1, 3, 1, same_standalone);
    for_every_variant(24, 17, 1, same_standalone);
    for_every_variant(130, 33, 1, same_standalone);
}

Test(attention, same_bits_twice) { for_every_variant(70, 17, 1, same_twice); }

static void same_alone(attention_problem *problem, const eab_cpu_kernels *kernels) {
    /* Compares the last batch element and head, computed alone and contiguous, with its results in the batch. */
    const attention_case *spec = &problem->spec;
    const int32_t batch = spec->batch - 1, head = spec->heads - 1;
    attention_case alone_spec = *spec;
    alone_spec.batch = alone_spec.heads = 1;
    alone_spec.interleaved = alone_spec.standalone = false;
    attention_problem alone = attention_problem_new(alone_spec, 0, false);
    alone.slopes[0] = problem->slopes[head];
    const size_t row_bytes = (size_t)spec->head_dim * sizeof(float);
    for (int32_t time = 0; time < spec->context; time++) {
        const eab_attention_args *args = &problem->args;
        const int64_t row = (int64_t)time * spec->head_dim;
        const int64_t in = batch * args->in_batch + head * args->in_head + time * args->in_time;
        for (int part = 0; part < 3; part++)
            memcpy(alone.qkv.data + alone.part[part] + row, problem->qkv.data + problem->part[part] + in, row_bytes);
        memcpy(alone.dout.data + row,
               problem->dout.data + batch * args->out_batch + head * args->out_head + time * args->out_time, row_bytes);
    }
    attention_results results = attention_run(problem, kernels), single = attention_run(&alone, kernels);
    for (int32_t time = 0; time < spec->context; time++)
        for (int which = 0; which < RESULT_COUNT; which++)
            cr_expect(!memcmp(attention_at(problem, &results, which, batch, head, time, 0),
                              attention_at(&alone, &single, which, 0, 0, time, 0), row_bytes),
                      "%s %s: %s row %d", kernels->isa, attention_case_name(spec), result_names[which], time);
    attention_results_free(&results);
    attention_results_free(&single);
    attention_problem_free(&alone);
}

Test(attention, same_bits_alone_and_in_a_batch) {
    for_every_variant(70, 8, 1, same_alone);
    for_every_variant(24, 17, 1, same_alone);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static size_t workspace_of(const eab_cpu_kernels *kernels, int32_t context, bool backward, bool sloped, bool causal) {
    /* One head of one dimension, so that context * context pairs stay cheap to compute. */
    const int32_t mechanism = eab_mechanism_from_name("ea");
    const float scale = 1, mix = 0, slope = 0.25f;
    const eab_attention_args args = {.members = 1,
                                     .batch = 1,
                                     .heads = 1,
                                     .context = context,
                                     .head_dim = 1,
                                     .causal = causal,
                                     .scores = {&mechanism, &scale, &mix},
                                     .slopes = sloped ? &slope : NULL,
                                     .in_batch = context,
                                     .in_head = context,
                                     .in_time = 1,
                                     .out_batch = context,
                                     .out_head = context,
                                     .out_time = 1};
    guarded buffers[9];
    for (int i = 0; i < 9; i++) {
        buffers[i] = guarded_new(context);
        guarded_normal(&buffers[i], (uint32_t)i, 1);
    }
    eab_cpu_workspace workspace = {0};
    cr_assert(!kernels->attention_forward(&workspace, &args, 0, buffers[0].data, buffers[1].data, buffers[2].data,
                                          buffers[3].data, buffers[4].data));
    if (backward)
        cr_assert(!kernels->attention_backward(&workspace, &args, 0, buffers[0].data, buffers[1].data, buffers[2].data,
                                               buffers[3].data, buffers[4].data, buffers[5].data, buffers[6].data,
                                               buffers[7].data, buffers[8].data));
    const size_t bytes = workspace.bytes;
    eab_cpu_workspace_free(&workspace);
    for (int i = 0; i < 9; i++) guarded_free(&buffers[i]);
    return bytes;
}

Test(attention, memory_grows_linearly_with_context) {
    for (int level = 0; level < LEVELS; level++) {
        const eab_cpu_kernels *kernels = eab_cpu_kernels_at(level);
        for (int32_t context = 1024; kernels && context <= 16384; context *= 4) {
            const size_t bytes = workspace_of(kernels, context, true, true, false);
            /* Two floats a position for the bias table, 2 * 16 for gradients of narrow heads, and constant tiles. */
            cr_expect(bytes <= (size_t)context * 40 * sizeof(float) + 300000, "%s: context %d: %zu bytes", kernels->isa,
                      context, bytes);
        }
        if (kernels)
            cr_expect_leq(workspace_of(kernels, 16384, false, false, true), 300000,
                          "%s: without slopes the forward pass needs tiles only", kernels->isa);
    }
}

/* ---- NaN and infinity in masked pairs ---------------------------------------------------------------------------- */

/* Writes `bad` to operand `part` (q, k, v: 0 to 2; dout: 3) at (batch 0, head 1, time), and expects the results that do
 * not depend on it to be finite: rows before it for a key or value, keys after it for a query or dout. */
static void masked_pairs_stay_out(attention_problem *problem, const eab_cpu_kernels *kernels, int part, int32_t time,
                                  float bad) {
    const attention_case *spec = &problem->spec;
    const eab_attention_args *args = &problem->args;
    float *x = part == 3 ? problem->dout.data + args->out_head + time * args->out_time
                         : problem->qkv.data + problem->part[part] + args->in_head + time * args->in_time;
    const float before = x[spec->head_dim - 1];
    x[spec->head_dim - 1] = bad;
    attention_results results = attention_run(problem, kernels);
    const bool is_key = part == 1 || part == 2;
    for (int which = 0; which < RESULT_COUNT; which++)
        for (int32_t at = 0; at < spec->context; at++) {
            const bool is_row = which == RESULT_OUT || which == RESULT_DQ;
            /* A key's gradient also sums over queries at or after the bad key: these are not finite. */
            const bool independent = is_key ? is_row && at < time : is_row ? at != time : at > time;
            if (independent)
                for (int32_t i = 0; i < spec->head_dim; i++)
                    cr_expect(isfinite(*attention_at(problem, &results, which, 0, 1, at, i)),
                              "%s %s: %s[%d] with %g in operand %d at %d", kernels->isa, attention_case_name(spec),
                              result_names[which], at, (double)bad, part, time);
        }
    attention_results_free(&results);
    x[spec->head_dim - 1] = before;
}

static void later_operands_stay_out(attention_problem *problem, const eab_cpu_kernels *kernels) {
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    static unsigned problems; /* each value comes to each operand and place in one problem of three */
    if (!problem->spec.causal) return;
    problem->args.standalone = true;
    const unsigned turn = problems++ + (unsigned)problem->spec.context; /* the same variant has another in each shape */
    for (unsigned part = 0; part < 4; part++) {
        masked_pairs_stay_out(problem, kernels, (int)part, problem->spec.context - 1, bad[(turn + part) % 3]);
        masked_pairs_stay_out(problem, kernels, (int)part, problem->spec.context / 2, bad[(turn + part + 1) % 3]);
    }
}

Test(attention, masked_nan_and_infinity_stay_out) {
    static const int32_t shapes[][2] = {{1, 3}, {3, 8}, {17, 5}, {24, 16}, {63, 17}, {64, 8}, {65, 33}, {130, 64}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for_every_variant(shapes[i][0], shapes[i][1], 1, later_operands_stay_out);
}
