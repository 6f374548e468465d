/* Rows above a roof. This file takes the place of host/bench/peak.c, so that the roofs are known. */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "host/bench/peak.h"
#include "host/bench/session.h"
#include "host/bench/table.h"
#include "sweep_fixture.h"

/* The roofs of the first measurement and of the later ones. */
static double first_gflop_per_s, later_gflop_per_s, gbyte_per_s;
static int measured;

double eab_peak_gflop_per_s(eab_device *device, int32_t dtype) {
    (void)device, (void)dtype;
    return measured++ ? later_gflop_per_s : first_gflop_per_s;
}
double eab_peak_burst_gflop_per_s(eab_device *device, int32_t dtype, double flop, int bursts, double longest_s) {
    (void)device, (void)dtype, (void)flop, (void)bursts, (void)longest_s;
    return 1;
}
double eab_peak_gbyte_per_s(eab_device *device) {
    (void)device;
    return gbyte_per_s;
}
size_t eab_bench_cache_bytes(const eab_device *device) {
    (void)device;
    return 1 << 20;
}

static char **measured_row;

static int take_row(void *context, const eab_csv_row *row) {
    (void)context;
    measured_row = g_new0(char *, row->fields + 1);
    for (int32_t i = 0; i < row->fields; i++) measured_row[i] = g_strdup(row->field[i]);
    return EAB_OK;
}

static const char *field(const char *name) { return measured_row[eab_table_column(&eab_kernels_table, name)]; }

/* Measures one small product into measured_row. */
static void measure(bool cold) {
    static const char *const axes[][2] = {{"op", "gemm"}, {"implementation", "eabench"}, {"m", "32"}, {"n", "32"},
                                          {"k", "32"},    {"transpose", "none"}};
    eab_bench_request request = {.backend = "cpu"};
    eab_bench_plan plan;
    int failed;
    char *folder = fixture_folder(), *out = g_build_filename(folder, "out", NULL);
    char *path = g_build_filename(out, "kernels.csv", NULL);
    for (size_t i = 0; i < G_N_ELEMENTS(axes); i++)
        cr_assert_eq(eab_bench_request_axis(&request, eab_bench_axis_from_name(axes[i][0]), axes[i][1]), EAB_OK, "%s",
                     eab_last_error());
    cr_assert_eq(eab_bench_plan_make(&request, &plan), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(plan.points->len, 1u);
    const eab_bench bench = {.backend = "cpu",
                             .out = out,
                             .cold = cold,
                             .rule = {.precision = 1, .min_samples = 3, .max_s = 0.05},
                             .resolved = "",
                             .command = ""};
    cr_assert_eq(eab_bench_run(&bench, &plan, &failed), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(failed, 0);
    eab_table_facts facts;
    cr_assert_eq(eab_table_scan(path, &eab_kernels_table, take_row, NULL, &facts, NULL), EAB_OK, "%s",
                 eab_last_error());
    eab_bench_plan_free(&plan);
    eab_bench_request_free(&request);
    fixture_remove(folder);
    g_free(path);
    g_free(out);
}

/* Without the load of the machine, which a test cannot choose. */
static const char *mark(void) {
    const char *marks = field("marks");
    return g_str_has_prefix(marks, "busy") ? marks + strlen("busy") + (marks[4] == ' ') : marks;
}

Test(bench_roofs, a_share_above_1_is_measured_again_with_its_roofs) {
    first_gflop_per_s = 1e-6;
    later_gflop_per_s = gbyte_per_s = 1e9;
    measure(true);
    const double tflop_per_s = g_ascii_strtod(field("tflop_per_s"), NULL);
    cr_expect_gt(tflop_per_s, 0);
    cr_expect_float_eq(g_ascii_strtod(field("roof_fraction"), NULL) / (1e-6 * tflop_per_s), 1, 1e-3, "%s of %s",
                       field("roof_fraction"), field("tflop_per_s"));
    cr_expect_str_eq(mark(), "");
    cr_expect_geq(measured, 2);
}

Test(bench_roofs, a_share_that_stays_above_1_is_marked) {
    first_gflop_per_s = later_gflop_per_s = 1e-6;
    gbyte_per_s = 1e9;
    measure(false); /* in a cache or not: a cache makes no arithmetic faster */
    cr_expect_gt(g_ascii_strtod(field("roof_fraction"), NULL), 1);
    cr_expect_str_eq(mark(), "above_roof");
}

Test(bench_roofs, operands_in_a_cache_are_named) {
    first_gflop_per_s = later_gflop_per_s = 1e9;
    gbyte_per_s = 1e-6;
    measure(false);
    cr_expect_str_eq(mark(), "cached");
}

Test(bench_roofs, a_cold_row_above_the_memorys_roof_is_not_cached) {
    first_gflop_per_s = later_gflop_per_s = 1e9;
    gbyte_per_s = 1e-6;
    measure(true);
    cr_expect_str_eq(mark(), "above_roof");
}
