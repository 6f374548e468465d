#define _GNU_SOURCE /* sched_setaffinity */
#include "sampler.h"

#include <glib.h>
#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "kernels/bench.h"
#include "kernels/clock.h"

/* The clock takes some 25 ns to read; a device's events are 0.5 us apart. */
static const double LEAST_SAMPLE_S = 50e-6, LEAST_DEVICE_SAMPLE_S = 100e-6, WARM_UP_S = 20e-3;
static const double LOOK_EVERY =
    1.25; /* the rule is looked at when there are so many times more samples: sorting costs */
enum { LEAST_WARM_UPS = 2, MAX_CALLS = 1 << 20, MAX_SAMPLES = 1 << 22, MAX_CPUS = 1 << 14 };

/* ---- the core ------------------------------------------------------------------------------------------------ */

void eab_bench_pin_take(eab_bench_pin *pin) {
    *pin = (eab_bench_pin){NULL, CPU_ALLOC_SIZE(MAX_CPUS)};
    cpu_set_t *before = CPU_ALLOC(MAX_CPUS), *one = CPU_ALLOC(MAX_CPUS);
    const int core = sched_getcpu();
    if (before && one && core >= 0 && sched_getaffinity(0, pin->size, before) == 0) {
        CPU_ZERO_S(pin->size, one);
        CPU_SET_S((size_t)core, pin->size, one);
        if (sched_setaffinity(0, pin->size, one) == 0) pin->before = before;
    }
    if (one) CPU_FREE(one);
    if (before && !pin->before) CPU_FREE(before);
}

void eab_bench_pin_release(eab_bench_pin *pin) {
    if (!pin->before) return;
    sched_setaffinity(0, pin->size, pin->before);
    CPU_FREE(pin->before);
    pin->before = NULL;
}

/* ---- caches -------------------------------------------------------------------------------------------------- */

/* "32768K", as Linux tells it: what the machine is, where cpuid in a virtual machine tells of the whole host. */
static size_t host_cache_bytes(void) {
    size_t largest = 0;
    for (int index = 0; index < 8; index++) {
        char path[80], *text = NULL;
        g_snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", index);
        if (!g_file_get_contents(path, &text, NULL, NULL)) break;
        char *end;
        size_t bytes = (size_t)g_ascii_strtoull(text, &end, 10);
        if (*end == 'K') bytes <<= 10;
        if (*end == 'M') bytes <<= 20;
        g_free(text);
        if (bytes > largest) largest = bytes;
    }
    return largest;
}

size_t eab_bench_cache_bytes(const eab_device *device) {
    static const size_t UNKNOWN = (size_t)32 << 20, LARGEST = (size_t)512 << 20, GPU = (size_t)128 << 20;
    if (device->backend->capacity) return GPU; /* past the second-level cache of any to date (B200: 126 MB) */
    const size_t bytes = host_cache_bytes();
    return bytes == 0 ? UNKNOWN : bytes < LARGEST ? bytes : LARGEST;
}

/* ---- samples ------------------------------------------------------------------------------------------------- */

typedef struct {
    eab_bench_task *task;
    const eab_bench_operation *operation;
    int32_t set;
    bool by_events;
    void *from, *to; /* events */
} sampler;

/* `calls` calls one after another, in seconds altogether. */
static int take(sampler *s, int64_t calls, double *seconds) {
    eab_device *device = s->task->device;
    const eab_backend *backend = device->backend;
    int (*const run)(eab_bench_task *, int32_t) = s->operation->run;
    const int32_t sets = s->task->sets;
    int32_t set = s->set;
    if (s->operation->refresh && set + calls > sets) {
        for (set = 0; set < sets; set++) EAB_TRY(s->operation->refresh(s->task, set));
        EAB_TRY(backend->synchronize(device));
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

/* Runs until what comes first is over (page faults, branch predictors, clocks), and finds the calls of a sample. */
static int warm_up(sampler *s, const eab_bench_rule *rule, int64_t *calls) {
    const double least_s = s->by_events ? LEAST_DEVICE_SAMPLE_S : LEAST_SAMPLE_S;
    const double begin_s = eab_now_s(), end_s = begin_s + fmin(WARM_UP_S, rule->max_s);
    const int64_t most = s->operation->refresh ? s->task->sets : MAX_CALLS;
    double seconds;
    *calls = 1;
    for (int done = 0;; done++) {
        EAB_TRY(take(s, *calls, &seconds));
        if (seconds < least_s && *calls < most) {
            const double wanted = seconds > 0 ? (double)*calls * least_s / seconds * 1.2 : 2.0 * (double)*calls;
            *calls = (int64_t)fmin((double)most, fmax(2 * (double)*calls, ceil(wanted)));
            continue;
        }
        if (done + 1 >= LEAST_WARM_UPS && eab_now_s() >= end_s) return EAB_OK;
        if (eab_now_s() - begin_s >= rule->max_s || eab_interrupt_count()) return EAB_OK;
    }
}

static int add_sample(eab_bench_samples *samples, double seconds) {
    if (samples->count == samples->room) {
        const size_t room = samples->room ? 2 * samples->room : 256;
        double *more = realloc(samples->seconds, room * sizeof *more);
        if (!more) return eab_fail(EAB_NO_MEMORY, "no memory for %zu samples", room);
        samples->seconds = more;
        samples->room = room;
    }
    samples->seconds[samples->count++] = seconds;
    return EAB_OK;
}

static int summarize(eab_bench_samples *samples) {
    double *sorted = malloc(samples->count * sizeof *sorted + 1);
    if (!sorted) return eab_fail(EAB_NO_MEMORY, "no memory for %zu samples", samples->count);
    if (samples->count) memcpy(sorted, samples->seconds, samples->count * sizeof *sorted);
    eab_bench_summarize(sorted, samples->count, &samples->summary);
    free(sorted);
    return EAB_OK;
}

static int collect(sampler *s, const eab_bench_rule *rule, eab_bench_watcher watcher, void *context,
                   eab_bench_samples *samples) {
    EAB_TRY(warm_up(s, rule, &samples->calls));
    const double begin_s = eab_now_s();
    size_t look = (size_t)rule->min_samples;
    for (;;) {
        double seconds;
        if (eab_interrupt_count()) {
            samples->interrupted = true;
            return EAB_OK;
        }
        EAB_TRY(take(s, samples->calls, &seconds));
        EAB_TRY(add_sample(samples, seconds / (double)samples->calls));
        const double elapsed_s = eab_now_s() - begin_s;
        if (samples->count < look && elapsed_s < rule->max_s) continue;
        EAB_TRY(summarize(samples));
        if (watcher) watcher(context, &samples->summary);
        if (samples->count >= MAX_SAMPLES || eab_bench_enough(rule, &samples->summary, elapsed_s)) return EAB_OK;
        look = (size_t)fmax((double)samples->count + 1, LOOK_EVERY * (double)samples->count);
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
    sampler s = {.task = task, .operation = eab_bench_operation_at(task->point->op)};
    *samples = (eab_bench_samples){.calls = 1};
    int status = open_events(&s);
    if (!status) status = collect(&s, rule, watcher, context, samples);
    close_events(&s);
    return status;
}

/* ---- what the harness takes ---------------------------------------------------------------------------------- */

/* The least of some takes: whatever interferes only adds. */
static int least_take(sampler *s, int64_t calls, double *least_s) {
    enum { TAKES = 50 };
    *least_s = INFINITY;
    for (int i = 0; i < TAKES; i++) {
        double seconds;
        EAB_TRY(take(s, calls, &seconds));
        if (seconds < *least_s) *least_s = seconds;
    }
    return EAB_OK;
}

int eab_bench_cost_measure(eab_device *device, eab_bench_cost *cost) {
    enum { MANY = 10000 };
    const eab_bench_point point = {.op = EAB_BENCH_NOTHING};
    eab_bench_task task = {.device = device, .point = &point, .sets = 2};
    sampler s = {.task = &task, .operation = eab_bench_operation_at(EAB_BENCH_NOTHING)};
    double one_s = 0, many_s = 0;
    int status = open_events(&s);
    if (!status) status = least_take(&s, 1, &one_s);
    if (!status) status = least_take(&s, MANY, &many_s);
    close_events(&s);
    cost->call_s = fmax(0, many_s - one_s) / (MANY - 1);
    cost->sample_s = fmax(0, one_s - cost->call_s);
    return status;
}

void eab_bench_samples_free(eab_bench_samples *samples) {
    free(samples->seconds);
    *samples = (eab_bench_samples){.seconds = NULL};
}
