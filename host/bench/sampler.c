#include "sampler.h"

#include <math.h>

#include "base/interrupt.h"
#include "kernels/bench.h"
#include "kernels/clock.h"

/* The clock takes about 25 ns to read; a device's events are 0.5 us apart. */
static const double LEAST_SAMPLE_S = 50e-6, LEAST_DEVICE_SAMPLE_S = 100e-6, WARM_UP_S = 20e-3;
/* From one evaluation of the rule to the next the samples grow by this factor, because sorting costs time. */
static const double EVALUATE_EVERY = 1.25;
enum { LEAST_WARM_UPS = 2, MAX_CALLS = 1 << 20, MAX_SAMPLES = 1 << 22 };

/* ---- samples ---------------------------------------------------------------------------------------------------- */

typedef struct {
    eab_bench_task *task;
    int32_t set;
    bool by_events;
    void *from, *to; /* events */
} sampler;

/* Restores the inputs that calls have overwritten. */
static int refill_all(sampler *s) {
    for (int32_t set = 0; set < s->task->operands.sets; set++) EAB_TRY(eab_bench_refill(&s->task->operands, set, 0));
    return s->task->device->backend->synchronize(s->task->device);
}

/* The time of `calls` calls, one after another. */
static int take(sampler *s, int64_t calls, double *seconds) {
    eab_device *device = s->task->device;
    const eab_backend *backend = device->backend;
    int (*const run)(eab_bench_task *, int32_t) = s->task->operation->run;
    const int32_t sets = s->task->operands.sets;
    int32_t set = s->set;
    if (s->task->operation->overwrites && set + calls > sets) {
        EAB_TRY(refill_all(s));
        set = 0;
    }
    if (s->by_events) EAB_TRY(backend->bench->event_record(device, s->from));
    const double before_s = eab_now_s();
    for (int64_t i = 0; i < calls; i++) {
        EAB_TRY(run(s->task, set));
        if (++set == sets) set = 0;
    }
    if (s->by_events) EAB_TRY(backend->bench->event_record(device, s->to));
    else EAB_TRY(backend->synchronize(device));
    *seconds = eab_now_s() - before_s;
    s->set = set;
    return s->by_events ? backend->bench->event_elapsed_s(device, s->from, s->to, seconds) : EAB_OK;
}

/* Runs until page faults, branch predictors and clocks have settled, and chooses the number of calls in a sample.
 * *last_s: the time of the last one. */
static int warm_up(sampler *s, const eab_bench_rule *rule, int64_t *calls, double *last_s) {
    const double least_s = s->by_events ? LEAST_DEVICE_SAMPLE_S : LEAST_SAMPLE_S;
    const double begin_s = eab_now_s(), end_s = begin_s + fmin(WARM_UP_S, rule->max_s);
    const int64_t most = s->task->operation->overwrites ? s->task->operands.sets : MAX_CALLS;
    *calls = 1;
    for (int done = 0;; done++) {
        EAB_TRY(take(s, *calls, last_s));
        if (*last_s < least_s && *calls < most) {
            const double wanted = *last_s > 0 ? (double)*calls * least_s / *last_s * 1.2 : 2.0 * (double)*calls;
            *calls = (int64_t)fmin((double)most, fmax(2 * (double)*calls, ceil(wanted)));
            continue;
        }
        if (done + 1 >= LEAST_WARM_UPS && eab_now_s() >= end_s) return EAB_OK;
        if (eab_now_s() - begin_s >= rule->max_s || eab_interrupt_count()) return EAB_OK;
    }
}

static void summarize(eab_bench_samples *samples) {
    const size_t count = samples->seconds->len;
    double *sorted = g_memdup2(samples->seconds->data, count * sizeof *sorted);
    eab_bench_summarize(sorted, count, &samples->summary);
    g_free(sorted);
}

static int collect(sampler *s, const eab_bench_rule *rule, eab_bench_watcher watcher, void *context,
                   eab_bench_samples *samples) {
    double seconds;
    EAB_TRY(warm_up(s, rule, &samples->calls, &seconds));
    const bool time_is_over = seconds >= rule->max_s; /* then the last one counts, and is the only one */
    const double begin_s = eab_now_s();
    double next_evaluation = rule->min_samples;
    for (;;) {
        if (eab_interrupt_count()) return eab_fail(EAB_INTERRUPTED, "interrupted");
        if (!time_is_over) EAB_TRY(take(s, samples->calls, &seconds));
        seconds /= (double)samples->calls;
        g_array_append_val(samples->seconds, seconds);
        const double elapsed_s = time_is_over ? rule->max_s : eab_now_s() - begin_s, count = samples->seconds->len;
        if (count < next_evaluation && elapsed_s < rule->max_s) continue;
        summarize(samples);
        if (watcher) watcher(context, &samples->summary);
        if (count >= MAX_SAMPLES || eab_bench_enough(rule, &samples->summary, elapsed_s)) return EAB_OK;
        next_evaluation = fmax(count + 1, floor(EVALUATE_EVERY * count));
    }
}

static int open_events(sampler *s) {
    const eab_backend *backend = s->task->device->backend;
    s->by_events = backend->bench && backend->bench->event_create;
    if (!s->by_events) return EAB_OK;
    EAB_TRY(backend->bench->event_create(s->task->device, &s->from));
    return backend->bench->event_create(s->task->device, &s->to);
}

static void close_events(sampler *s) {
    const eab_backend *backend = s->task->device->backend;
    if (s->from) backend->bench->event_free(s->task->device, s->from);
    if (s->to) backend->bench->event_free(s->task->device, s->to);
}

int eab_bench_sample(eab_bench_task *task, const eab_bench_rule *rule, eab_bench_watcher watcher, void *context,
                     eab_bench_samples *samples) {
    sampler s = {.task = task};
    *samples = (eab_bench_samples){.seconds = g_array_new(FALSE, FALSE, sizeof(double)), .calls = 1};
    int status = open_events(&s);
    if (!status) status = collect(&s, rule, watcher, context, samples);
    close_events(&s);
    return status;
}

void eab_bench_samples_free(eab_bench_samples *samples) { g_clear_pointer(&samples->seconds, g_array_unref); }

/* ---- the cost of the harness ------------------------------------------------------------------------------------ */

/* Minimum of several runs; noise only adds time. */
static int least_take(sampler *s, int64_t calls, double *least_s) {
    enum { TAKES = 50 };
    *least_s = INFINITY;
    for (int i = 0; i < TAKES; i++) {
        double seconds;
        EAB_TRY(take(s, calls, &seconds));
        *least_s = fmin(*least_s, seconds);
    }
    return EAB_OK;
}

int eab_bench_cost_measure(eab_device *device, eab_bench_cost *cost) {
    enum { MANY = 10000 };
    const eab_bench_point point = {.op = EAB_BENCH_NOTHING, .label = ""};
    eab_bench_task task;
    sampler s = {.task = &task};
    double one_s = 0, many_s = 0;
    EAB_TRY(eab_bench_task_open(&task, device, &point, 0));
    int status = open_events(&s);
    if (!status) status = least_take(&s, 1, &one_s);
    if (!status) status = least_take(&s, MANY, &many_s);
    close_events(&s);
    eab_bench_task_close(&task);
    cost->call_s = fmax(0, many_s - one_s) / (MANY - 1);
    cost->sample_s = fmax(0, one_s - cost->call_s);
    return status;
}
