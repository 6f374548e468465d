#include "session.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/system.h"
#include "folder.h"
#include "kernels/clock.h"
#include "kernels/cpu/isa.h"
#include "library.h"
#include "peak.h"
#include "sampler.h"
#include "terminal.h"
#include "throttle.h"

typedef struct {
    const eab_bench *bench;
    const eab_bench_plan *plan;
    eab_bench_terminal terminal;
    eab_bench_folder *folder; /* or NULL */
    eab_bench_clocks clocks;
    char device[256];
    double peak_gflop_per_s[3]; /* by dtype; negative: not measured yet */
    double peak_gbyte_per_s;
    bool busy_roofs;           /* the machine was busy when they were measured */
    eab_bench_cost cost;       /* of the harness itself */
    double largest_cost_share; /* of it in a row; 0: no row has one */
    guint number;              /* of the current point, from 0 */
    int rows, skipped, failed; /* measured; left out, as the folder had them; measured without a result */
    int left_out;              /* of rows: oom or unsupported */
    char reason[256];          /* of the first of these */
} bench_run;

static void show_progress(void *context, const eab_bench_summary *summary) {
    bench_run *run = context;
    const GArray *points = run->plan->points;
    eab_bench_show_progress(&run->terminal, run->number + 1, points->len,
                            &g_array_index(points, eab_bench_point, run->number), summary);
}

/* ---- one row ---------------------------------------------------------------------------------------------------- */

static int32_t peak_index(const eab_bench_row *row) {
    return row->point.dtype == EAB_BENCH_NOT_AN_AXIS ? EAB_F32 : row->point.dtype;
}

/* Measures the bandwidth, and the peak of one dtype. */
static void measure_roofs(bench_run *run, eab_device *device, int32_t dtype) {
    const eab_load before = eab_system_load();
    run->peak_gflop_per_s[dtype] = eab_peak_gflop_per_s(device, dtype);
    run->peak_gbyte_per_s = eab_peak_gbyte_per_s(device);
    const eab_load load = eab_load_between(before, eab_system_load());
    run->busy_roofs = eab_load_is_busy(&load);
}

/* Measures the row's roofs when a row first needs them, and again if the machine was busy. Opens the device separately,
 * so that the row's memory_bytes does not include this. */
static void find_roofs(bench_run *run, const eab_bench_row *row, bool again) {
    const int32_t dtype = peak_index(row);
    eab_device *device = NULL;
    for (size_t i = 0; run->busy_roofs && i < G_N_ELEMENTS(run->peak_gflop_per_s); i++) run->peak_gflop_per_s[i] = -1;
    if (run->peak_gflop_per_s[dtype] >= 0 && !again) return;
    if (eab_device_open(run->bench->backend, run->bench->device, &device)) return; /* the row reports why */
    measure_roofs(run, device, dtype);
    eab_device_close(device);
}

/* No speed without its check: a row fails if its error is over its bound or not a number. */
static int check(eab_bench_task *task, eab_bench_row *row) {
    eab_check_result result;
    if (!task->operation->check) return EAB_OK;
    EAB_TRY(task->operation->check(task, &result));
    row->error_ratio = result.error_ratio;
    if (!(result.error_ratio <= result.bound))
        return eab_fail(EAB_DEVICE_FAULT, "error_ratio %.3g is over its bound %g", result.error_ratio, result.bound);
    return *result.reason ? eab_fail(EAB_DEVICE_FAULT, "%s", result.reason) : EAB_OK;
}

static int measure_task(bench_run *run, eab_bench_task *task, eab_bench_row *row, eab_bench_samples *samples) {
    eab_device *device = task->device;
    row->flop = task->flop;
    row->bytes = task->bytes;
    row->tokens = task->tokens;
    const size_t opened_bytes = device->peak_bytes;
    EAB_TRY(check(task, row));
    device->peak_bytes = MAX(opened_bytes, device->bytes); /* without the check's own memory */
    row->peak_gflop_per_s = run->peak_gflop_per_s[peak_index(row)];
    if (row->point.config && row->point.config->precision != EAB_PRECISION_FLOAT32)
        row->peak_gflop_per_s = 0; /* its products have another roof, which is not measured */
    row->peak_gbyte_per_s = run->peak_gbyte_per_s;
    const eab_load load_before = eab_system_load();
    const int before = eab_bench_clocks_throttled(&run->clocks, device);
    EAB_TRY(eab_bench_sample(task, &run->bench->rule, show_progress, run, samples));
    const int after = eab_bench_clocks_throttled(&run->clocks, device);
    if (row->point.op != EAB_BENCH_NOTHING)
        run->largest_cost_share =
            fmax(run->largest_cost_share, eab_bench_cost_share(&run->cost, samples->summary.median, samples->calls));
    const eab_load load = eab_load_between(load_before, eab_system_load());
    row->busy = run->busy_roofs || eab_load_is_busy(&load);
    row->throttled = before == 1 || after == 1 ? 1 : before < 0 ? after : before;
    row->seconds = samples->summary;
    row->memory_bytes = (int64_t)(device->peak_bytes - (size_t)(task->operands.sets - 1) * task->operands.set_bytes);
    return EAB_OK;
}

static int measure_on(bench_run *run, eab_device *device, eab_bench_row *row, eab_bench_samples *samples) {
    eab_bench_task task;
    EAB_TRY(eab_bench_task_open(&task, device, &row->point, run->bench->cold ? 2 * eab_bench_cache_bytes(device) : 0));
    const int status = measure_task(run, &task, row, samples);
    eab_bench_task_close(&task);
    return status;
}

/* On a newly opened device, so that a row is not affected by the memory or a fault of the row before. */
static int measure(bench_run *run, eab_bench_row *row, eab_bench_samples *samples) {
    eab_device *device = NULL;
    int status = eab_device_open(run->bench->backend, run->bench->device, &device);
    if (!status) status = measure_on(run, device, row, samples);
    if (status != EAB_INTERRUPTED) row->status = status;
    if (row->status) g_strlcpy(row->reason, eab_last_error(), sizeof row->reason);
    eab_device_close(device);
    return status == EAB_INTERRUPTED ? status : EAB_OK;
}

/* If the share of the roof is above 1, measures the roofs and the row again. */
static int measure_twice(bench_run *run, eab_bench_row *row, eab_bench_samples *samples) {
    find_roofs(run, row, false);
    EAB_TRY(measure(run, row, samples));
    if (!(eab_bench_results_of(row).roof_fraction > 1)) return EAB_OK;
    eab_bench_samples_free(samples);
    find_roofs(run, row, true);
    return measure(run, row, samples);
}

static void count(bench_run *run, const eab_bench_row *row) {
    const bool left_out = row->status == EAB_NO_MEMORY || row->status == EAB_UNSUPPORTED;
    run->rows++;
    run->failed += row->status && !left_out;
    if (left_out && run->left_out++ == 0)
        g_snprintf(run->reason, sizeof run->reason, "%s: %s", eab_bench_status_name(row->status), row->reason);
}

static int measure_point(bench_run *run, const eab_bench_point *point) {
    const bool cold = run->bench->cold && !eab_bench_operation_at(point->op)->trains;
    eab_bench_samples samples = {.seconds = NULL};
    eab_bench_row row = {.point = *point,
                         .backend = run->bench->backend,
                         .device = run->device,
                         .cache = cold ? "cold" : "warm",
                         .error_ratio = NAN,
                         .memory_bytes = -1,
                         .throttled = -1};
    if (eab_interrupt_count()) return eab_fail(EAB_INTERRUPTED, "interrupted");
    if (run->folder && run->bench->resume && eab_bench_folder_has(run->folder, &row)) {
        run->skipped++;
        return EAB_OK;
    }
    show_progress(run, NULL);
    int status = measure_twice(run, &row, &samples);
    if (!status) {
        count(run, &row);
        eab_bench_print_row(&run->terminal, &row);
        if (run->folder) status = eab_bench_folder_append(run->folder, &row, samples.seconds);
    }
    eab_bench_samples_free(&samples);
    return status;
}

/* ---- all rows --------------------------------------------------------------------------------------------------- */

static int open_folder(bench_run *run) {
    const eab_bench *bench = run->bench;
    eab_isa isa;
    const bool processor = strcmp(bench->backend, "cpu") == 0 && eab_isa_choose(getenv("EAB_ISA"), &isa) == EAB_OK;
    const eab_run_settings settings = {.backend = bench->backend,
                                       .device = run->device,
                                       .isa = processor ? eab_isa_name(isa) : "",
                                       .workers = 1,
                                       .fleet = 1,
                                       .peak_gflop_per_s = run->peak_gflop_per_s[EAB_F32],
                                       .command = bench->command};
    return eab_bench_folder_open(bench->out, bench->resolved, &settings, bench->samples, &run->folder);
}

/* Measures the peaks and the harness, and opens the folder. */
static int prepare(bench_run *run) {
    eab_device *device;
    EAB_TRY(eab_device_open(run->bench->backend, run->bench->device, &device));
    device->backend->describe(device, run->device, sizeof run->device);
    measure_roofs(run, device, EAB_F32);
    int status = run->bench->out ? open_folder(run) : EAB_OK;
    if (!status) {
        eab_bench_clocks_open(&run->clocks, device);
        status = eab_bench_cost_measure(device, &run->cost);
    }
    eab_device_close(device);
    EAB_TRY(status);
    eab_log_note(NULL, "%s: %s; peak %.1f GFLOP/s, copy %.1f GB/s; %s caches; %u rows", run->bench->backend,
                 run->device, run->peak_gflop_per_s[EAB_F32], run->peak_gbyte_per_s, run->bench->cold ? "cold" : "warm",
                 run->plan->points->len);
    return EAB_OK;
}

static void print_end(const bench_run *run, double elapsed_s, bool interrupted) {
    GString *line = g_string_new(NULL);
    if (eab_openblas_core()) eab_log_note(NULL, "openblas: its kernels for %s, one thread", eab_openblas_core());
    if (run->largest_cost_share > 0)
        eab_log_note(NULL, "the harness: %.2g ns a call and %.2g ns a sample, at most %.2g %% of a row",
                     1e9 * run->cost.call_s, 1e9 * run->cost.sample_s, 100 * run->largest_cost_share);
    g_string_printf(line, "%d of %u rows in %.1f s", run->rows, run->plan->points->len, elapsed_s);
    if (run->skipped) g_string_append_printf(line, ", %d already measured", run->skipped);
    if (run->failed) g_string_append_printf(line, ", %d failed", run->failed);
    if (run->bench->out) g_string_append_printf(line, "; %s/kernels.csv", run->bench->out);
    if (interrupted && run->bench->out)
        g_string_append(line, "; interrupted, finished rows are kept: --resume goes on");
    else if (interrupted) g_string_append(line, "; interrupted, and nothing is kept without --out");
    eab_log_note(NULL, "%s", line->str);
    g_string_free(line, TRUE);
}

int eab_bench_run(const eab_bench *bench, const eab_bench_plan *plan, int *failed) {
    const double begin_s = eab_now_s();
    bench_run run = {
        .bench = bench, .plan = plan, .terminal = eab_bench_terminal_open(), .peak_gflop_per_s = {-1, -1, -1}};
    eab_interrupt_watch();
    eab_interrupt_handle_second(true);
    eab_system_pin_thread();
    int status = prepare(&run);
    for (; !status && run.number < plan->points->len; run.number++)
        status = measure_point(&run, &g_array_index(plan->points, eab_bench_point, run.number));
    eab_log_live(NULL);
    eab_bench_folder_close(run.folder);
    if (!status || status == EAB_INTERRUPTED) print_end(&run, eab_now_s() - begin_s, status != EAB_OK);
    *failed = run.failed;
    if (!status && run.rows && run.left_out == run.rows && !run.skipped)
        return eab_fail(EAB_UNSUPPORTED, "no row was measured: all %d are oom or unsupported, the first %s", run.rows,
                        run.reason);
    return status;
}
