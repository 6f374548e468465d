#include <glib.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pool.h"
#include "progress.h"
#include "run/summary.h"
#include "session.h"
#include "spec/cell_task.h"

enum { MAX_SAMPLES = 3 };
static const double SAMPLE_S = 0.3, SAMPLE_LIMIT_S = 10;

/* One shape that was trained for a moment. */
typedef struct {
    double flop_per_step;
    double flop_per_s; /* of one worker while all of them work; 0: it did not train */
} calibration;

static double flop_per_step(const eab_config *config) {
    return eab_config_flop_per_token(config) * config->batch * config->context;
}

static int compare_steps(const void *a, const void *b, void *plan) {
    const eab_cell *cells = ((const eab_plan *)plan)->cells;
    const double left = flop_per_step(&cells[*(const int64_t *)a].config);
    const double right = flop_per_step(&cells[*(const int64_t *)b].config);
    return left < right ? -1 : left > right;
}

static int drop_result(void *context, int64_t index, const eab_cell_result *result) {
    (void)context;
    (void)index;
    (void)result;
    return EAB_OK;
}

/* Lets all workers train this cell, without end and without evaluation, until there is something to measure. */
static calibration calibrate(const eab_sweep *sweep, const eab_config *config, double workers) {
    const int64_t copies = (int64_t)workers * sweep->fleet;
    calibration found = {.flop_per_step = flop_per_step(config)};
    eab_cell *cells = g_new0(eab_cell, (gsize)copies);
    int64_t *indices = g_new(int64_t, (gsize)copies);
    for (int64_t i = 0; i < copies; i++) {
        cells[i].config = *config;
        cells[i].config.steps = cells[i].config.eval_every = INT64_C(1) << 40;
        cells[i].config.warmup = 0;
        indices[i] = i;
    }
    const eab_pool_settings settings = {.backend = sweep->backend,
                                        .device = sweep->device,
                                        .workers = (int32_t)workers,
                                        .fleet = sweep->fleet,
                                        .sink = drop_result};
    eab_pool *pool;
    if (eab_pool_start(&settings, cells, indices, copies, &pool) == EAB_OK) {
        const double step_tokens = (double)config->batch * config->context * sweep->fleet * workers;
        const gint64 began = g_get_monotonic_time();
        double first_s = 0, first_tokens = 0, now_s = 0;
        bool ended = false;
        while (!ended && now_s < SAMPLE_LIMIT_S &&
               !(first_s > 0 && now_s > first_s + SAMPLE_S && found.flop_per_s > 0)) {
            eab_pool_progress progress;
            ended = eab_pool_wait(pool, 0.01);
            eab_pool_measure(pool, &progress);
            now_s = (double)(g_get_monotonic_time() - began) * 1e-6;
            if (first_s <= 0) { /* setting up, and the first steps, which find cold caches */
                if (progress.tokens >= 2 * step_tokens || (progress.tokens > 0 && now_s > 1)) {
                    first_s = now_s;
                    first_tokens = progress.tokens;
                }
            } else if (progress.tokens > first_tokens && !ended) {
                found.flop_per_s =
                    (progress.tokens - first_tokens) / (now_s - first_s) * eab_config_flop_per_token(config) / workers;
            }
        }
        eab_pool_stop(pool);
        eab_pool_finish(pool);
    }
    g_free(indices);
    g_free(cells);
    return found;
}

static double rate_for(const calibration *known, int count, double step) {
    double best = INFINITY, rate = 0;
    for (int i = 0; i < count; i++) {
        const double distance = fabs(log(known[i].flop_per_step / step));
        if (known[i].flop_per_s <= 0 || distance >= best) continue;
        best = distance;
        rate = known[i].flop_per_s;
    }
    return rate;
}

static void print_time(const eab_sweep *sweep, const eab_plan *plan, int64_t *todo, int64_t count) {
    const double workers = (double)MIN((int64_t)sweep->workers, (count + sweep->fleet - 1) / sweep->fleet);
    calibration known[MAX_SAMPLES];
    int samples = 0;
    g_qsort_with_data(todo, (gint)count, sizeof *todo, compare_steps, (gpointer)(uintptr_t)plan);
    for (int i = 0; i < MAX_SAMPLES; i++) { /* the smallest, the middle one, the largest */
        const eab_config *config = &plan->cells[todo[(count - 1) * i / (MAX_SAMPLES - 1)]].config;
        if (samples && flop_per_step(config) <= known[samples - 1].flop_per_step * 1.02) continue;
        known[samples++] = calibrate(sweep, config, workers);
    }
    double all_s = 0, longest_s = 0, slowest = INFINITY, fastest = 0;
    for (int64_t i = 0; i < count; i++) {
        const eab_config *config = &plan->cells[todo[i]].config;
        const double rate = rate_for(known, samples, flop_per_step(config));
        if (rate <= 0) {
            printf("time         not known: no cell could be trained for a moment (%s)\n", eab_last_error());
            return;
        }
        const double cell_s = eab_cell_flop_with_evaluation(config) / rate;
        all_s += cell_s;
        longest_s = fmax(longest_s, cell_s * sweep->fleet);
        slowest = fmin(slowest, rate);
        fastest = fmax(fastest, rate);
    }
    char text[32];
    const double time_s = fmax(all_s / workers, longest_s);
    eab_duration_print(fmax(1, time_s), text, sizeof text);
    printf("time         %s %s at most, on %.0f worker%s at %.3g", time_s < 1 ? "under" : "about", text, workers,
           workers > 1 ? "s" : "", slowest * 1e-9);
    if (fastest > slowest * 1.05) printf(" to %.3g", fastest * 1e-9);
    printf(" GFLOP/s each; cells that are solved stop earlier\n");
}

static void print_costs(const eab_sweep *sweep, const eab_plan *plan) {
    double parameters[2] = {INFINITY, 0}, per_token[2] = {INFINITY, 0}, memory = 0, all = 0;
    for (int64_t i = 0; i < plan->count; i++) {
        const eab_config *config = &plan->cells[i].config;
        const double own[2] = {(double)eab_config_parameters(config), eab_config_flop_per_token(config)};
        parameters[0] = fmin(parameters[0], own[0]);
        parameters[1] = fmax(parameters[1], own[0]);
        per_token[0] = fmin(per_token[0], own[1]);
        per_token[1] = fmax(per_token[1], own[1]);
        memory = fmax(memory, eab_config_memory_bytes(config));
        all += eab_cell_flop(config);
    }
    char low[32], high[32], total[32], bytes[32];
    printf("parameters   %.0f", parameters[0]);
    if (parameters[1] > parameters[0]) printf(" to %.0f", parameters[1]);
    eab_quantity_print(per_token[0], "FLOP", low, sizeof low);
    eab_quantity_print(per_token[1], "FLOP", high, sizeof high);
    eab_quantity_print(all, "FLOP", total, sizeof total);
    eab_quantity_print(memory * sweep->fleet, "B", bytes, sizeof bytes);
    printf("\nwork         %s", low);
    if (strcmp(low, high) != 0) printf(" to %s", high);
    printf(" a token, %s in all\nmemory       %s per worker at most\n", total, bytes);
}

int eab_dry_run(const eab_sweep *sweep, const eab_plan *plan) {
    eab_run_folder *folder;
    EAB_TRY(eab_run_folder_peek(sweep->out, plan, &folder));
    int64_t *todo = g_new(int64_t, (gsize)plan->count), count = 0;
    for (int64_t i = 0; i < plan->count; i++)
        if (!eab_run_folder_has(folder, i)) todo[count++] = i;
    eab_run_folder_close(folder);

    eab_plan_print(stdout, plan);
    printf("\ncells        %lld", (long long)plan->count);
    if (plan->duplicates) printf(", %lld duplicates left out", (long long)plan->duplicates);
    printf("\ndone         %lld, in %s\n", (long long)(plan->count - count), sweep->out);
    print_costs(sweep, plan);
    printf("device       %s, %s\n", sweep->backend, sweep->description);
    fflush(stdout);
    if (count) print_time(sweep, plan, todo, count);
    else printf("time         none: every cell is done\n");
    g_free(todo);
    return EAB_OK;
}
