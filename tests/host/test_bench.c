/* eabench bench without the command line: statistics, the stopping rule, cases and axes, rows, and sampling. */
#include <criterion/criterion.h>
#include <glib.h>
#include <math.h>
#include <string.h>

#include "host/base/csv.h"
#include "host/bench/cases.h"
#include "host/bench/operation.h"
#include "host/bench/sampler.h"
#include "host/bench/statistics.h"
#include "host/bench/table.h"
#include "host/bench/terminal.h"
#include "kernels/clock.h"

/* ---- statistics ------------------------------------------------------------------------------------------------- */

Test(bench, median_and_quantiles_of_known_samples) {
    double values[] = {9, 1, 8, 2, 7, 3, 6, 4, 5, 10, 11};
    eab_bench_summary summary;
    eab_bench_summarize(values, 11, &summary);
    cr_assert_eq(summary.samples, 11u);
    cr_assert_float_eq(summary.median, 6, 1e-12);
    cr_assert_float_eq(summary.p05, 1.5, 1e-12, "type 7: 1 + 0.05 * 10 places");
    cr_assert_float_eq(summary.p95, 10.5, 1e-12);

    double even[] = {4, 1, 3, 2};
    eab_bench_summarize(even, 4, &summary);
    cr_assert_float_eq(summary.median, 2.5, 1e-12);
}

/* McKean & Schrader by hand: n = 101 has c = 51 - 2.5758 * 5.0249 = 38.06, so 38, and values 1..101 give
 * (x_64 - x_38) / (2 * 2.5758) = 26 / 5.1517. */
Test(bench, standard_error_of_the_median_by_hand) {
    double values[101];
    eab_bench_summary summary;
    for (int i = 0; i < 101; i++) values[i] = 101 - i;
    eab_bench_summarize(values, 101, &summary);
    cr_assert_float_eq(summary.median_error, 26 / (2 * 2.5758293035489004), 1e-9);
}

Test(bench, few_samples_have_no_error) {
    double values[] = {1, 2};
    eab_bench_summary summary;
    eab_bench_summarize(values, 0, &summary);
    cr_assert(isnan(summary.median) && isnan(summary.median_error));
    eab_bench_summarize(values, 1, &summary);
    cr_assert(summary.median == 1 && isnan(summary.median_error));
    eab_bench_summarize(values, 2, &summary);
    cr_assert(isnan(summary.median_error));
}

/* Calls of 1 us, a hundred in a sample. The harness takes 2 ns of each call and a hundredth of 50 ns. */
Test(bench, share_of_the_harness_in_a_row) {
    const eab_bench_cost cost = {.call_s = 2e-9, .sample_s = 50e-9};
    cr_assert_float_eq(eab_bench_cost_share(&cost, 1e-6, 100), 2.5e-3, 1e-12);
    cr_assert_float_eq(eab_bench_cost_share(&cost, 1e-3, 1), 52e-6, 1e-12);
}

/* Medians of normal samples scatter by about the standard error computed for each of them. */
Test(bench, standard_error_is_that_of_repetitions) {
    enum { REPETITIONS = 400, COUNT = 60 };
    eab_random random = eab_random_at(5, 5, 0, 0, 0);
    double squares = 0, claimed = 0;
    for (int i = 0; i < REPETITIONS; i++) {
        double values[COUNT];
        eab_bench_summary summary;
        for (int j = 0; j < COUNT; j++) {
            values[j] = 0;
            for (int k = 0; k < 12; k++) values[j] += eab_random_word(&random) / 4294967296.0 - 0.5; /* variance 1 */
        }
        eab_bench_summarize(values, COUNT, &summary);
        squares += summary.median * summary.median;
        claimed += summary.median_error;
    }
    const double measured = sqrt(squares / REPETITIONS);
    claimed /= REPETITIONS;
    cr_assert(claimed > 0.8 * measured && claimed < 1.3 * measured, "claimed %g, measured %g", claimed, measured);
}

Test(bench, stopping_rule) {
    const eab_bench_rule rule = {.precision = 0.005, .min_samples = 10, .max_s = 2};
    eab_bench_summary summary = {.samples = 10, .median = 100, .median_error = 0.4};
    cr_assert(eab_bench_enough(&rule, &summary, 0.1));
    summary.samples = 9;
    cr_assert_not(eab_bench_enough(&rule, &summary, 0.1), "fewer than the least");
    cr_assert(eab_bench_enough(&rule, &summary, 2), "the time is over");
    summary.samples = 1000;
    summary.median_error = 0.6;
    cr_assert_not(eab_bench_enough(&rule, &summary, 1.9), "0.6 %% is not known well enough");
    summary.median_error = NAN;
    cr_assert_not(eab_bench_enough(&rule, &summary, 1.9));
    summary.samples = 0;
    cr_assert_not(eab_bench_enough(&rule, &summary, 100), "one sample at least");
}

/* ---- cases and axes --------------------------------------------------------------------------------------------- */

static int ask(const char *axis, const char *text) {
    eab_bench_request request = {.backend = "cpu"};
    eab_bench_plan plan;
    int status = eab_bench_request_axis(&request, eab_bench_axis_from_name(axis), text);
    if (!status) status = eab_bench_plan_make(&request, &plan);
    if (!status) eab_bench_plan_free(&plan);
    eab_bench_request_free(&request);
    return status;
}

static void refuses(const char *axis, const char *text, const char *expected) {
    cr_assert_eq(ask(axis, text), EAB_BAD_INPUT, "--%s %s was taken", axis, text);
    cr_assert(strstr(eab_last_error(), expected), "'%s' lacks '%s'", eab_last_error(), expected);
    cr_assert_null(strchr(eab_last_error(), '\n'));
}

Test(bench, axes_errors_are_one_line_with_what_is_allowed) {
    refuses("mechanism", "eaa", "--mechanism eaa: no such choice; nearest: ea; allowed: dpa, ea, ea-scaled");
    refuses("context", "64:16", "--context 64:16: the range runs the wrong way; allowed: an integer 1..");
    refuses("context", "0", "out of bounds");
    refuses("head-dim", "257", "allowed: an integer 1..256");
    refuses("head-dim", "8:64:*1", "factor");
    refuses("batch", "1,,2", "empty item");
    refuses("dtype", "float16", "nearest: float32; allowed: float32, bf16, fp16");
    refuses("op", "attentoin", "nearest: attention");
    refuses("pass", "", "allowed: forward, backward");
}

Test(bench, an_implementation_of_another_operation_leaves_nothing) {
    eab_bench_request request = {.backend = "cpu"};
    eab_bench_plan plan;
    cr_assert_eq(eab_bench_request_axis(&request, EAB_AXIS_OP, "gemm"), EAB_OK);
    cr_assert_eq(eab_bench_request_axis(&request, EAB_AXIS_IMPLEMENTATION, "fused"), EAB_OK);
    cr_assert_eq(eab_bench_plan_make(&request, &plan), EAB_BAD_INPUT);
    cr_assert_not_null(strstr(eab_last_error(),
                              "nothing is left to measure by --op --implementation; allowed: --op gemm "
                              "with implementation eabench, openblas, libxsmm"),
                       "%s", eab_last_error());
    eab_bench_request_free(&request);
}

Test(bench, axes_multiply_out_without_duplicates) {
    eab_bench_request request = {.backend = "cpu"};
    eab_bench_plan plan;
    cr_assert_eq(eab_bench_request_axis(&request, EAB_AXIS_CONTEXT, "16,32,16"), EAB_OK);
    cr_assert_eq(eab_bench_request_axis(&request, EAB_AXIS_MECHANISM, "dpa,ea"), EAB_OK);
    cr_assert_eq(eab_bench_request_axis(&request, EAB_AXIS_PASS, "forward"), EAB_OK);
    cr_assert_eq(eab_bench_request_axis(&request, EAB_AXIS_IMPLEMENTATION, "fused"), EAB_OK);
    cr_assert_eq(eab_bench_plan_make(&request, &plan), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(plan.points->len, 4u);
    for (guint i = 0; i < plan.points->len; i++) {
        const eab_bench_point *point = &g_array_index(plan.points, eab_bench_point, i);
        cr_assert_eq(point->op, EAB_BENCH_ATTENTION, "only attention has a context");
        cr_assert_eq(point->m, EAB_BENCH_NOT_AN_AXIS);
    }
    eab_bench_plan_free(&plan);
    eab_bench_request_free(&request);
}

Test(bench, models_give_the_three_products_of_each_map) {
    const char *const sets[] = {"model.d_model=16", "model.context=32", "train.batch=2", NULL};
    eab_bench_request request = {.backend = "cpu", .sets = sets};
    eab_bench_plan plan;
    cr_assert_eq(eab_bench_request_axis(&request, EAB_AXIS_OP, "gemm"), EAB_OK);
    cr_assert_eq(eab_bench_request_axis(&request, EAB_AXIS_IMPLEMENTATION, "eabench"), EAB_OK);
    cr_assert_eq(eab_bench_plan_make(&request, &plan), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(plan.points->len, 15u, "qkv, out, up, down, head; y, dx, dW");
    const eab_bench_point *y = &g_array_index(plan.points, eab_bench_point, 0);
    const eab_bench_point *dx = y + 1, *dw = y + 2;
    cr_assert(y->m == 64 && y->n == 48 && y->k == 16 && y->transpose == EAB_BENCH_TRANSPOSE_NONE);
    cr_assert(dx->m == 64 && dx->n == 16 && dx->k == 48 && dx->transpose == EAB_BENCH_TRANSPOSE_B);
    cr_assert(dw->m == 16 && dw->n == 48 && dw->k == 64 && dw->transpose == EAB_BENCH_TRANSPOSE_A);
    cr_assert_str_eq(dw->label, "d_model 16 qkv dW");
    eab_bench_plan_free(&plan);
    eab_bench_request_free(&request);
}

Test(bench, every_tag_has_cases) {
    for (const char *const *tag = eab_bench_tags(); *tag; tag++) {
        eab_bench_request request = {.backend = "cpu", .tag = *tag};
        eab_bench_plan plan;
        cr_assert_eq(eab_bench_plan_make(&request, &plan), EAB_OK, "%s: %s", *tag, eab_last_error());
        cr_assert_gt(plan.points->len, 0u);
        eab_bench_plan_free(&plan);
    }
}

/* ---- rows ------------------------------------------------------------------------------------------------------- */

static eab_bench_row example_row(void) {
    eab_bench_row row = {.point.label = "",
                         .backend = "cpu",
                         .device = "a, b",
                         .cache = "cold",
                         .seconds = {100, 2e-3, 1.9e-3, 2.2e-3, 2e-6},
                         .flop = 4e8,
                         .bytes = 2e6,
                         .peak_gflop_per_s = 400,
                         .peak_gbyte_per_s = 10,
                         .error_ratio = 0.5,
                         .memory_bytes = 1000,
                         .throttled = 0};
    for (int axis = 0; axis < EAB_AXIS_COUNT; axis++)
        eab_bench_set((eab_bench_axis)axis, &row.point, EAB_BENCH_NOT_AN_AXIS);
    row.point.op = EAB_BENCH_ATTENTION;
    row.point.implementation = 0;
    row.point.context = 64;
    return row;
}

static int32_t column(const char *name) { return eab_table_column(&eab_kernels_table, name); }

Test(bench, a_row_has_a_field_for_every_column) {
    const eab_bench_row row = example_row();
    GString *text = g_string_new(NULL);
    eab_bench_row_csv(text, &row);
    char *rest = strstr(text->str, "\"a, b\",");
    cr_assert_not_null(rest, "the device is quoted: %s", text->str);
    char **fields = g_strsplit(g_strchomp(rest + strlen("\"a, b\",")), ",", -1);
    guint columns = 0;
    while (eab_kernels_table.columns[columns]) columns++;
    cr_assert_eq(g_strv_length(fields) + 2, columns);
    cr_assert_str_eq(fields[column("status") - 2], "ok");
    cr_assert_str_eq(fields[column("samples") - 2], "100");
    cr_assert_str_eq(fields[column("time_median_us") - 2], "2000");
    cr_assert_str_eq(fields[column("tflop_per_s") - 2], "0.2");
    cr_assert_str_eq(fields[column("gbyte_per_s") - 2], "1");
    cr_assert_str_eq(fields[column("roof_fraction") - 2], "0.5", "200 of 400 GFLOP/s, 1 of 10 GB/s");
    cr_assert_str_eq(fields[column("median_error") - 2], "0.001");
    g_strfreev(fields);
    g_string_free(text, TRUE);
}

Test(bench, a_row_without_ok_reports_no_speed) {
    eab_bench_row row = example_row();
    row.status = EAB_DEVICE_FAULT;
    row.error_ratio = 50;
    g_strlcpy(row.reason, "error_ratio 50 is over its bound 2", sizeof row.reason);
    GString *text = g_string_new(NULL);
    eab_bench_row_csv(text, &row);
    cr_assert_not_null(strstr(text->str, ",fail,error_ratio 50 is over its bound 2,,,,,0.4,0.002,,,,,50,,"), "%s",
                       text->str);
    g_string_free(text, TRUE);
    char *line = eab_bench_line(&row, 100);
    cr_assert_not_null(strstr(line, "fail: error_ratio 50"));
    cr_assert_null(strstr(line, "2000"));
    g_free(line);
}

Test(bench, lines_fit_a_terminal_of_100_columns) {
    const eab_bench_row row = example_row();
    for (int op = 0; op < EAB_BENCH_OP_COUNT; op++) {
        char *names = eab_bench_heading(op, 100, 0), *units = eab_bench_heading(op, 100, 1);
        cr_assert_leq(strlen(names), 100u, "%s", names);
        cr_assert_leq(strlen(units), 100u, "%s", units);
        g_free(names);
        g_free(units);
    }
    char *line = eab_bench_line(&row, 100);
    cr_assert_leq(strlen(line), 100u, "%s", line);
    g_free(line);
}

Test(bench, roof_is_the_lower_of_two) {
    eab_bench_row row = example_row();
    row.flop = 4e6; /* 1 FLOP a byte: 10 GFLOP/s are the roof, and 2 GFLOP/s and 1 GB/s were reached */
    row.bytes = 4e6;
    cr_assert_float_eq(eab_bench_results_of(&row).roof_fraction, 0.2, 1e-12);
    row.peak_gbyte_per_s = 0;
    cr_assert(isnan(eab_bench_results_of(&row).roof_fraction));
}

/* ---- sampling --------------------------------------------------------------------------------------------------- */

/* An empty call is measured as almost no time: the harness adds little. */
Test(bench, sampling_measures_and_costs_little) {
    eab_device *device;
    cr_assert_eq(eab_device_open("cpu", 0, &device), EAB_OK);
    eab_bench_point point = example_row().point;
    point.op = EAB_BENCH_NOTHING;
    eab_bench_task task;
    cr_assert_eq(eab_bench_task_open(&task, device, &point, 0), EAB_OK);
    const eab_bench_rule rule = {.precision = 0.01, .min_samples = 10, .max_s = 0.3};
    eab_bench_samples samples;
    const double before_s = eab_now_s();
    cr_assert_eq(eab_bench_sample(&task, &rule, NULL, NULL, &samples), EAB_OK);
    cr_assert_lt(eab_now_s() - before_s, 60.0);
    cr_assert_geq(samples.seconds->len, 1u);
    cr_assert_gt(samples.calls, 10, "an empty call needs many for a sample");
    cr_assert_lt(samples.summary.median, 1e-6, "an empty call of %g s", samples.summary.median);
    eab_bench_samples_free(&samples);
    eab_bench_task_close(&task);
    eab_device_close(device);
}

static int slow_calls;

static int slow_call(eab_bench_task *task, int32_t set) {
    (void)task;
    (void)set;
    slow_calls++;
    g_usleep(20000);
    return EAB_OK;
}

/* A call that takes longer than the row may is the row's only one, and its sample. */
Test(bench, a_long_call_is_made_once) {
    eab_device *device;
    cr_assert_eq(eab_device_open("cpu", 0, &device), EAB_OK);
    eab_bench_point point = example_row().point;
    point.op = EAB_BENCH_NOTHING;
    eab_bench_task task;
    cr_assert_eq(eab_bench_task_open(&task, device, &point, 0), EAB_OK);
    const eab_bench_operation *operation = task.operation;
    eab_bench_operation slow = *operation;
    slow.run = slow_call;
    task.operation = &slow;
    const eab_bench_rule rule = {.precision = 0.01, .min_samples = 10, .max_s = 0.01};
    eab_bench_samples samples;
    cr_assert_eq(eab_bench_sample(&task, &rule, NULL, NULL, &samples), EAB_OK);
    cr_assert_eq(slow_calls, 1);
    cr_assert_eq(samples.seconds->len, 1u);
    cr_assert_geq(samples.summary.median, 0.02);
    eab_bench_samples_free(&samples);
    task.operation = operation;
    eab_bench_task_close(&task);
    eab_device_close(device);
}

/* The cost of the harness is that of an empty call, so all of an empty call's time is the harness. */
Test(bench, an_empty_call_is_all_harness) {
    eab_device *device;
    eab_bench_cost cost;
    cr_assert_eq(eab_device_open("cpu", 0, &device), EAB_OK);
    cr_assert_eq(eab_bench_cost_measure(device, &cost), EAB_OK);
    cr_assert(cost.call_s > 0 && cost.sample_s >= 0 && isfinite(cost.call_s) && isfinite(cost.sample_s));
    const double many = 1e4;
    cr_assert_float_eq(eab_bench_cost_share(&cost, cost.call_s + cost.sample_s / many, (int64_t)many), 1, 1e-9);
    eab_device_close(device);
}

Test(bench, a_buffer_rotates_and_holds_no_zeros) {
    eab_device *device;
    cr_assert_eq(eab_device_open("cpu", 0, &device), EAB_OK);
    eab_bench_point point = example_row().point;
    point.mechanism = 0;
    point.batch = point.heads = 1;
    point.context = 8;
    point.head_dim = 4;
    point.causal = point.position = point.pass = point.dtype = 0;
    eab_bench_task task;
    cr_assert_eq(eab_bench_task_open(&task, device, &point, 100000), EAB_OK, "%s", eab_last_error());
    cr_assert_geq((size_t)task.operands.sets * task.operands.set_bytes, 100000u);
    eab_check_result result;
    cr_assert_eq(task.operation->check(&task, &result), EAB_OK);
    cr_assert_leq(result.error_ratio, result.bound);
    eab_bench_task_close(&task);
    eab_device_close(device);
}

/* ---- the checks find wrong results ------------------------------------------------------------------------------ */

static eab_backend broken;
static const eab_backend *sound;

static int broken_forward(eab_device *device, const eab_attention_args *args, eab_const_tensor q, eab_const_tensor k,
                          eab_const_tensor v, eab_tensor out, eab_tensor row_stat) {
    const int status = sound->attention_forward(device, args, q, k, v, out, row_stat);
    ((float *)out.data)[(int64_t)(args->context - 1) * args->head_dim] *= 1.001f; /* one element of one row */
    return status;
}

static int broken_backward(eab_device *device, const eab_attention_args *args, eab_const_tensor q, eab_const_tensor k,
                           eab_const_tensor v, eab_const_tensor out, eab_const_tensor row_stat, eab_const_tensor dout,
                           eab_tensor dq, eab_tensor dk, eab_tensor dv) {
    const int status = sound->attention_backward(device, args, q, k, v, out, row_stat, dout, dq, dk, dv);
    for (int64_t i = 0; i < args->head_dim; i++) ((float *)dk.data)[i] = 0; /* the gradient of the first key */
    return status;
}

static int broken_gemm(eab_device *device, const eab_gemm *gemm) {
    const int status = sound->gemm(device, gemm);
    ((float *)gemm->c.data)[(int64_t)gemm->m * gemm->n - 1] += 0.01f;
    return status;
}

static double checked_ratio(eab_bench_point point, bool with_broken, double *bound) {
    eab_device *device;
    cr_assert_eq(eab_device_open("cpu", 0, &device), EAB_OK);
    sound = device->backend;
    broken = *sound;
    broken.attention_forward = broken_forward;
    broken.attention_backward = broken_backward;
    broken.gemm = broken_gemm;
    if (with_broken) device->backend = &broken;
    eab_bench_task task;
    eab_check_result result;
    cr_assert_eq(eab_bench_task_open(&task, device, &point, 0), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(task.operation->check(&task, &result), EAB_OK, "%s", eab_last_error());
    eab_bench_task_close(&task);
    device->backend = sound;
    eab_device_close(device);
    *bound = result.bound;
    return result.error_ratio;
}

Test(bench, a_wrong_element_is_found_in_a_large_problem) {
    eab_bench_point point = example_row().point;
    point.batch = point.heads = 1;
    point.context = 1500; /* not all rows are checked */
    point.head_dim = 64;
    point.causal = 1;
    point.position = point.dtype = 0;
    for (point.mechanism = 0; point.mechanism < 4; point.mechanism++)
        for (point.pass = 0; point.pass < 2; point.pass++) {
            double bound = 0;
            const double good = checked_ratio(point, false, &bound), bad = checked_ratio(point, true, &bound);
            cr_assert_leq(good, bound, "mechanism %d pass %d: %g", point.mechanism, point.pass, good);
            cr_assert_gt(bad, bound, "mechanism %d pass %d: %g", point.mechanism, point.pass, bad);
        }
}

Test(bench, a_wrong_element_is_found_in_a_large_product) {
    eab_bench_point point = example_row().point;
    point.op = EAB_BENCH_GEMM;
    point.implementation = EAB_BENCH_EABENCH;
    point.m = point.n = point.k = 400;
    for (point.transpose = 0; point.transpose < 3; point.transpose++) {
        double bound = 0;
        cr_assert_leq(checked_ratio(point, false, &bound), bound);
        cr_assert_gt(checked_ratio(point, true, &bound), bound);
    }
}
