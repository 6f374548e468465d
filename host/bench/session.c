#include "session.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "folder.h"
#include "kernels/clock.h"
#include "kernels/cpu/isa.h"
#include "peak.h"
#include "sampler.h"
#include "throttle.h"

enum { DEFAULT_COLUMNS = 100, LEAST_COLUMNS = 40, MAX_COLUMNS = 400 };

typedef struct {
    const eab_bench *bench;
    const eab_bench_plan *plan;
    eab_bench_folder *folder; /* or NULL */
    eab_bench_clocks clocks;
    char device[256];
    double peak_gflop_per_s[3]; /* by dtype; negative: not asked for yet */
    double peak_gbyte_per_s;
    int columns;  /* of standard output */
    bool live;    /* stderr is a terminal: one line on it tells what is going on */
    int heading;  /* the operation whose names are above the last row; -1: none */
    guint number; /* of the point at hand, from 0 */
    eab_bench_outcome *outcome;
} bench_run;

/* ---- progress ------------------------------------------------------------------------------------------------ */

static int terminal_columns(void) {
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col < LEAST_COLUMNS ? LEAST_COLUMNS : size.ws_col > MAX_COLUMNS ? MAX_COLUMNS : size.ws_col;
    const char *columns = getenv("COLUMNS");
    const int wanted = columns ? (int)strtol(columns, NULL, 10) : 0;
    return wanted >= LEAST_COLUMNS && wanted <= MAX_COLUMNS ? wanted : DEFAULT_COLUMNS;
}

static void clear_live(const bench_run *run) {
    if (run->live) fputs("\r\033[K", stderr);
}

static void show_live(void *context, const eab_bench_summary *summary) {
    const bench_run *run = context;
    const eab_bench_point *point = &g_array_index(run->plan->points, eab_bench_point, run->number);
    char name[32], text[160];
    if (!run->live) return;
    eab_bench_print(EAB_AXIS_IMPLEMENTATION, point, name, sizeof name);
    const int length = snprintf(text, sizeof text, "%u/%u %s %s", run->number + 1, run->plan->points->len,
                                eab_bench_operation_at(point->op)->name, name);
    if (summary && summary->median > 0)
        snprintf(text + length, sizeof text - (size_t)length, ": %zu samples, median to %.2g %%", summary->samples,
                 100 * summary->median_error / summary->median);
    fprintf(stderr, "\r\033[K%.*s", run->columns - 1, text);
    fflush(stderr);
}

static void print_row(bench_run *run, const eab_bench_row *row) {
    clear_live(run);
    if (run->heading != row->point.op) {
        printf("%s# %s: %s\n", run->heading < 0 ? "" : "\n", eab_bench_operation_at(row->point.op)->name,
               eab_bench_operation_at(row->point.op)->summary);
        for (int which = 0; which < 2; which++) {
            char *heading = eab_bench_heading(row->point.op, run->columns, which);
            puts(heading);
            g_free(heading);
        }
        run->heading = row->point.op;
    }
    char *line = eab_bench_line(row, run->columns);
    puts(line);
    g_free(line);
    fflush(stdout);
}

/* ---- one row ------------------------------------------------------------------------------------------------- */

static void set_status(eab_bench_row *row, int status) {
    row->status = status == EAB_NO_MEMORY     ? EAB_BENCH_OOM
                  : status == EAB_UNSUPPORTED ? EAB_BENCH_UNSUPPORTED
                                              : EAB_BENCH_FAIL;
    g_strlcpy(row->reason, eab_last_error(), sizeof row->reason);
}

static double peak_of(bench_run *run, eab_device *device, int32_t dtype) {
    const int32_t index = dtype == EAB_BENCH_NOT_AN_AXIS ? EAB_F32 : dtype;
    if (run->peak_gflop_per_s[index] < 0) run->peak_gflop_per_s[index] = eab_peak_gflop_per_s(device, index);
    return run->peak_gflop_per_s[index];
}

/* No speed without its check: a row whose error is over its bound, or not a number, has none. */
static int check(eab_bench_task *task, const eab_bench_operation *operation, eab_bench_row *row) {
    double bound = INFINITY;
    if (!operation->check) return EAB_OK;
    EAB_TRY(operation->check(task, &row->error_ratio, &bound));
    if (row->error_ratio <= bound) return EAB_OK;
    return eab_fail(EAB_DEVICE_FAULT, "error_ratio %.3g is over its bound %g", row->error_ratio, bound);
}

static int measure_task(bench_run *run, eab_bench_task *task, const eab_bench_operation *operation, eab_bench_row *row,
                        eab_bench_samples *samples) {
    eab_device *device = task->device;
    row->flop = task->flop;
    row->bytes = task->bytes;
    row->tokens = task->tokens;
    EAB_TRY(check(task, operation, row));
    row->peak_gflop_per_s = peak_of(run, device, row->point.dtype);
    row->peak_gbyte_per_s = run->peak_gbyte_per_s;
    const int before = eab_bench_clocks_throttled(&run->clocks, device);
    EAB_TRY(eab_bench_sample(task, &run->bench->rule, show_live, run, samples));
    const int after = eab_bench_clocks_throttled(&run->clocks, device);
    if (row->point.op != EAB_BENCH_NOTHING)
        run->outcome->largest_cost_share =
            fmax(run->outcome->largest_cost_share,
                 eab_bench_cost_share(&run->outcome->cost, samples->summary.median, samples->calls));
    row->throttled = before == 1 || after == 1 ? 1 : before < 0 ? after : before;
    row->seconds = samples->summary;
    row->memory_bytes = (int64_t)(device->peak_bytes - (size_t)(task->sets - 1) * task->set_bytes);
    return EAB_OK;
}

static int measure_on(bench_run *run, eab_device *device, eab_bench_row *row, eab_bench_samples *samples) {
    const eab_bench_operation *operation = eab_bench_operation_at(row->point.op);
    eab_bench_task task = {.device = device,
                           .point = &row->point,
                           .rotate_bytes = run->bench->cold ? 2 * eab_bench_cache_bytes(device) : 0};
    const char *unsupported = operation->unsupported ? operation->unsupported(device, &row->point) : NULL;
    if (unsupported) return eab_fail(EAB_UNSUPPORTED, "%s", unsupported);
    EAB_TRY(operation->open(&task));
    const int status = measure_task(run, &task, operation, row, samples);
    operation->close(&task);
    return status;
}

/* On a device of its own, so that neither memory nor a fault of one row reaches the next. */
static void measure(bench_run *run, eab_bench_row *row, eab_bench_samples *samples) {
    eab_device *device;
    int status = eab_device_open(run->bench->backend, run->bench->device, &device);
    if (!status) {
        status = measure_on(run, device, row, samples);
        if (status) set_status(row, status);
        eab_device_close(device);
    } else set_status(row, status);
}

static int do_point(bench_run *run, const eab_bench_point *point) {
    const bool cold = run->bench->cold && !eab_bench_operation_at(point->op)->keeps_state;
    eab_bench_samples samples = {.seconds = NULL};
    eab_bench_row row = {.point = *point,
                         .backend = run->bench->backend,
                         .device = run->device,
                         .cache = cold ? "cold" : "warm",
                         .error_ratio = NAN,
                         .memory_bytes = -1,
                         .throttled = -1};
    if (run->folder && run->bench->resume && eab_bench_folder_has(run->folder, &row)) {
        run->outcome->skipped++;
        return EAB_OK;
    }
    show_live(run, NULL);
    measure(run, &row, &samples);
    int status = EAB_OK;
    if (!samples.interrupted) {
        run->outcome->failed += row.status == EAB_BENCH_FAIL;
        print_row(run, &row);
        if (run->folder) status = eab_bench_folder_append(run->folder, &row, samples.seconds, samples.count);
    }
    eab_bench_samples_free(&samples);
    return status;
}

/* ---- all ----------------------------------------------------------------------------------------------------- */

static int prepare(bench_run *run) {
    eab_device *device;
    EAB_TRY(eab_device_open(run->bench->backend, run->bench->device, &device));
    device->backend->describe(device, run->device, sizeof run->device);
    eab_isa isa;
    const bool processor = strcmp(run->bench->backend, "cpu") == 0 && eab_isa_choose(getenv("EAB_ISA"), &isa) == EAB_OK;
    const eab_run_settings settings = {.backend = run->bench->backend,
                                       .device = run->device,
                                       .isa = processor ? eab_isa_name(isa) : "",
                                       .workers = 1,
                                       .fleet = 1,
                                       .command = run->bench->command};
    int status = EAB_OK;
    if (run->bench->out)
        status =
            eab_bench_folder_open(run->bench->out, run->bench->resolved, &settings, run->bench->samples, &run->folder);
    if (!status) {
        run->peak_gflop_per_s[EAB_F32] = eab_peak_gflop_per_s(device, EAB_F32);
        run->peak_gbyte_per_s = eab_peak_gbyte_per_s(device);
        eab_bench_clocks_open(&run->clocks, device);
        status = eab_bench_cost_measure(device, &run->outcome->cost);
    }
    if (!status) {
        if (run->folder) status = eab_bench_folder_set_peak(run->folder, run->peak_gflop_per_s[EAB_F32]);
    }
    eab_device_close(device);
    if (status) return status;
    if (run->folder && *eab_bench_folder_warning(run->folder))
        fprintf(stderr, "eabench bench: %s\n", eab_bench_folder_warning(run->folder));
    fprintf(stderr, "%s: %s; peak %.1f GFLOP/s, copy %.1f GB/s; %s caches; %u rows\n", run->bench->backend, run->device,
            run->peak_gflop_per_s[EAB_F32], run->peak_gbyte_per_s, run->bench->cold ? "cold" : "warm",
            run->plan->points->len);
    return EAB_OK;
}

int eab_bench_run(const eab_bench *bench, const eab_bench_plan *plan, eab_bench_outcome *outcome) {
    const double begin_s = eab_now_s();
    const char *term = getenv("TERM");
    bench_run run = {.bench = bench,
                     .plan = plan,
                     .peak_gflop_per_s = {-1, -1, -1},
                     .columns = terminal_columns(),
                     .live = isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0,
                     .heading = -1,
                     .outcome = outcome};
    eab_bench_pin pin;
    *outcome = (eab_bench_outcome){.rows = 0};
    eab_interrupt_watch();
    eab_interrupt_looking(true);
    eab_bench_pin_take(&pin);
    int status = prepare(&run);
    while (!status && run.number < plan->points->len && !eab_interrupt_count()) {
        status = do_point(&run, &g_array_index(plan->points, eab_bench_point, run.number));
        if (!status && !eab_interrupt_count()) run.number++;
    }
    eab_bench_pin_release(&pin);
    clear_live(&run);
    outcome->rows = (int)run.number - outcome->skipped;
    outcome->interrupted = eab_interrupt_count();
    outcome->elapsed_s = eab_now_s() - begin_s;
    eab_bench_folder_close(run.folder);
    return status;
}
