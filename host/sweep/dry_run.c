/* `eabench sweep --dry-run`: what a sweep would do, without doing it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/csv.h"
#include "base/system.h"
#include "bench/peak.h"
#include "kernels/clock.h"
#include "model/cost.h"
#include "plan/fleets.h"
#include "run.h"
#include "run/folder.h"
#include "run/summary.h"
#include "spec/cell_task.h"

enum { MAX_SAMPLES = 3 };
static const double SAMPLE_S = 0.3, SAMPLE_LIMIT_S = 2.5;
/* A step is run only if it takes at most STEP_S at SLOW_SHARE of the peak; otherwise ASSUMED_SHARE of the peak is the
 * rate. Drawing, zeroing and updating a weight take about as long as WEIGHT_FLOP. */
static const double STEP_S = 0.6, SLOW_SHARE = 0.05, ASSUMED_SHARE = 0.1, WEIGHT_FLOP = 200;
static const double UNKNOWN_PEAK_GFLOP_PER_S = 2; /* of backends for tests */
static const double MAX_STEP_TOKENS = 1 << 18;

/* The measured rate of one shape. */
typedef struct {
    double flop_per_step;
    double flop_per_s; /* of one worker while all of them run; 0: it did not train */
    bool by_flop;      /* not trained, since that would take too long */
    bool reduced;      /* trained with fewer sequences a step */
} calibration;

static double flop_per_step(const eab_config *config) {
    return eab_config_flop_per_token(config) * config->batch * config->context;
}

/* A cell's work with its evaluations: one every eval_every steps, one on held-out sequences, and the rollout, which
 * counts as a few. Each is a forward pass for each part of a mixture: a third of a step's work for each token. One more
 * for each other level at which the model is evaluated. */
static double flop_with_evaluation(const eab_config *config) {
    const double evaluations =
        (ceil((double)config->steps / (double)config->eval_every) + 8) * eab_config_part_count(config) +
        eab_config_evaluated_count(config);
    return eab_cell_flop(config) + evaluations * (double)config->eval_tokens * eab_config_flop_per_token(config) / 3;
}

/* The chosen cells that are not done in the run's folder: todo[0..count), for g_free. */
static int find_todo(const eab_sweep *sweep, const eab_plan *plan, int64_t **todo, int64_t *count) {
    eab_run_folder *folder;
    EAB_TRY(eab_run_folder_peek(sweep->out, plan, &folder));
    *todo = g_new(int64_t, (gsize)plan->count);
    *count = eab_run_folder_list_open(folder, sweep->chosen, *todo);
    return eab_run_folder_close(folder);
}

static int compare_steps(const void *a, const void *b, void *context) {
    const eab_cell *cells = context;
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

/* Measures the rate of training while a pool runs: FLOP per second of all workers, 0 if nothing was trained. The first
 * steps do not count: their caches are cold. */
static double measure_rate(eab_pool *pool, const eab_config *config, double step_tokens) {
    const double begin_s = eab_now_s();
    double first_s = 0, first_tokens = 0, now_s = 0, tokens_per_s = 0;
    bool ended = false;
    while (!ended && now_s < SAMPLE_LIMIT_S && !(tokens_per_s > 0 && now_s > first_s + SAMPLE_S)) {
        eab_pool_progress progress;
        g_usleep(10000);
        ended = eab_pool_has_ended(pool);
        eab_pool_measure(pool, &progress);
        now_s = eab_now_s() - begin_s;
        if (first_s > 0) {
            if (progress.tokens > first_tokens && !ended)
                tokens_per_s = (progress.tokens - first_tokens) / (now_s - first_s);
        } else if (progress.tokens >= 2 * step_tokens || (progress.tokens > 0 && now_s > 1)) {
            first_s = now_s;
            first_tokens = progress.tokens;
        }
    }
    return tokens_per_s * eab_config_flop_per_token(config);
}

/* The peak of one of the workers, in FLOP/s. */
static double measure_peak(const eab_sweep *sweep, double workers) {
    eab_device *device;
    if (eab_device_open(sweep->backend, sweep->device, &device)) return 1e9 * UNKNOWN_PEAK_GFLOP_PER_S;
    const double peak = eab_peak_gflop_per_s(device, EAB_F32);
    const double cores = device->backend->capacity ? workers : fmin(workers, eab_system_cores());
    eab_device_close(device);
    return 1e9 * (peak > 0 ? peak : UNKNOWN_PEAK_GFLOP_PER_S) * cores / workers;
}

/* Sequences of a step that `members` cells can train in time; below 1: not one. */
static double affordable_sequences(const eab_config *config, double members, double peak) {
    const double weights = WEIGHT_FLOP * (double)eab_config_parameters(config);
    const double flop = STEP_S * SLOW_SHARE * peak / members - weights;
    return fmin(flop / eab_config_flop_per_token(config), MAX_STEP_TOKENS / members) / config->context;
}

/* Trains this cell with all workers, without evaluations, until the rate is measured. If a step takes too long: with
 * fewer sequences, or alone instead of in a fleet. If a single sequence takes too long: not at all. */
static calibration calibrate(const eab_sweep *sweep, const eab_config *config, double workers, double peak) {
    calibration found = {.flop_per_step = flop_per_step(config)};
    const bool alone = affordable_sequences(config, sweep->fleet, peak) < 1;
    const int32_t members = alone ? 1 : sweep->fleet;
    const double sequences = affordable_sequences(config, members, peak);
    found.by_flop = sequences < 1;
    found.reduced = sequences < config->batch;
    if (found.by_flop) return found;
    const int32_t batch = found.reduced ? (int32_t)sequences : config->batch;
    const int64_t copies = (int64_t)workers * members;
    eab_cell *cells = g_new0(eab_cell, (gsize)copies);
    int64_t *indices = g_new(int64_t, (gsize)copies);
    for (int64_t i = 0; i < copies; i++) {
        cells[i].config = *config;
        cells[i].config.batch = batch;
        cells[i].config.steps = cells[i].config.eval_every = INT64_C(1) << 40;
        cells[i].config.warmup = 0;
        indices[i] = i;
    }
    eab_queue *queue = eab_queue_new(eab_fleets_make(NULL, cells, indices, copies, members, NULL));
    const eab_pool_settings settings = {.backend = sweep->backend,
                                        .device = sweep->device,
                                        .workers = (int32_t)workers,
                                        .queue = queue,
                                        .sink = drop_result};
    eab_pool *pool;
    if (eab_pool_start(&settings, cells, &pool) == EAB_OK) {
        const double step_tokens = (double)batch * config->context * (double)copies;
        found.flop_per_s = measure_rate(pool, config, step_tokens) / workers;
        found.by_flop = found.flop_per_s <= 0 && !eab_pool_has_ended(pool);
        eab_pool_stop(pool);
        eab_pool_finish(pool);
    }
    eab_queue_free(queue);
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

static void print_time(const eab_sweep *sweep, const eab_plan *plan, int64_t *todo, int64_t count, double workers) {
    calibration known[MAX_SAMPLES];
    int samples = 0, by_flop = 0, reduced = 0;
    const double peak = measure_peak(sweep, workers);
    g_qsort_with_data(todo, (gint)count, sizeof *todo, compare_steps, plan->cells);
    for (int i = 0; i < MAX_SAMPLES; i++) { /* the smallest, the middle one, the largest */
        const eab_config *config = &plan->cells[todo[(count - 1) * i / (MAX_SAMPLES - 1)]].config;
        if (samples && flop_per_step(config) <= known[samples - 1].flop_per_step * 1.02) continue;
        known[samples] = calibrate(sweep, config, workers, peak);
        by_flop += known[samples].by_flop;
        reduced += known[samples].reduced;
        samples++;
    }
    double all_s = 0, longest_s = 0, slowest = INFINITY, fastest = 0;
    for (int64_t i = 0; i < count; i++) {
        const eab_config *config = &plan->cells[todo[i]].config;
        const double measured = rate_for(known, samples, flop_per_step(config));
        const double rate = by_flop == samples ? ASSUMED_SHARE * peak : measured;
        if (rate <= 0) {
            printf("time         not known: no cell could be trained (%s)\n", eab_last_error());
            return;
        }
        const double cell_s = flop_with_evaluation(config) / rate;
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
    if (by_flop == samples)
        printf("             by FLOP, at %.0f %% of the peak of %.3g GFLOP/s: a step takes too long to measure\n",
               100 * ASSUMED_SHARE, 1e-9 * peak);
    else if (by_flop) printf("             larger cells by FLOP, at a rate measured with smaller ones\n");
    else if (reduced) printf("             measured with fewer sequences a step\n");
}

/* largest: bytes of the largest cell. */
static void print_memory(const eab_sweep *sweep, const eab_backend *backend, double largest, double workers) {
    char all[32], program[32], worker[32];
    const double program_bytes = eab_system_resident_bytes(), worker_bytes = largest * MAX(1, sweep->fleet);
    eab_quantity_print(worker_bytes, "B", worker, sizeof worker);
    if (backend->capacity) {
        printf("memory       %s of the device for each worker at most\n", worker);
        return;
    }
    eab_quantity_print(program_bytes, "B", program, sizeof program);
    eab_quantity_print(program_bytes + workers * worker_bytes, "B", all, sizeof all);
    printf("memory       %s at most: %s of the program with this plan, %s for %s%.0f worker%s\n", all, program, worker,
           workers > 1 ? "each of " : "", workers, workers > 1 ? "s" : "");
}

static void print_costs(const eab_sweep *sweep, const eab_plan *plan, double workers) {
    const eab_backend *backend = eab_backend_from_name(sweep->backend);
    double parameters[2] = {INFINITY, 0}, per_token[2] = {INFINITY, 0}, memory = 0, all = 0;
    for (int64_t i = 0; i < plan->count; i++) {
        const eab_config *config = &plan->cells[i].config;
        const double own[2] = {(double)eab_config_parameters(config), eab_config_flop_per_token(config)};
        parameters[0] = fmin(parameters[0], own[0]);
        parameters[1] = fmax(parameters[1], own[0]);
        per_token[0] = fmin(per_token[0], own[1]);
        per_token[1] = fmax(per_token[1], own[1]);
        memory = fmax(memory, eab_config_memory_bytes(backend, config));
        all += eab_cell_flop(config);
    }
    char low[32], high[32], total[32];
    printf("parameters   %.0f", parameters[0]);
    if (parameters[1] > parameters[0]) printf(" to %.0f", parameters[1]);
    eab_quantity_print(per_token[0], "FLOP", low, sizeof low);
    eab_quantity_print(per_token[1], "FLOP", high, sizeof high);
    eab_quantity_print(all, "FLOP", total, sizeof total);
    printf("\nwork         %s", low);
    if (strcmp(low, high) != 0) printf(" to %s", high);
    printf(" a token, %s in all\n", total);
    print_memory(sweep, backend, memory, workers);
}

int eab_dry_run(const eab_sweep *sweep, const eab_plan *plan) {
    int64_t *todo, count;
    if (!plan->count) {
        printf("cells        0: the sweep has fewer cells than parts\n");
        return EAB_OK;
    }
    EAB_TRY(find_todo(sweep, plan, &todo, &count));
    const double workers = (double)CLAMP((count + sweep->fleet - 1) / sweep->fleet, 1, sweep->workers);

    eab_plan_print(stdout, plan);
    printf("\ncells        %lld", (long long)plan->count);
    if (plan->duplicates) printf(", %lld duplicates left out", (long long)plan->duplicates);
    if (sweep->chosen) printf("\nto train     %lld of those in --cells, in %s\n", (long long)count, sweep->out);
    else printf("\ndone         %lld, in %s\n", (long long)(plan->count - count), sweep->out);
    print_costs(sweep, plan, workers);
    printf("device       %s, %s\n", sweep->backend, sweep->description);
    fflush(stdout);
    if (count) print_time(sweep, plan, todo, count, workers);
    else printf("time         none: every cell is done\n");
    g_free(todo);
    return EAB_OK;
}

/* ---- the list of cells ------------------------------------------------------------------------------------------- */

static void add_header(GString *text, const GPtrArray *varying) {
    g_string_append(text, "order,fleet,cell,mechanism,task,level,layers,d_model,heads,context,batch,steps,lr,seed,"
                          "flop,flop_with_evaluation");
    for (guint i = 0; i < varying->len; i++) {
        const eab_option *option = varying->pdata[i];
        g_string_append_printf(text, ",%s.%s", option->section, option->key);
    }
    g_string_append_c(text, '\n');
}

static void add_cell(GString *text, const eab_cell *cell, int64_t order, int64_t fleet, const GPtrArray *varying) {
    const eab_config *config = &cell->config;
    char level[EAB_LEVEL_NAME_SIZE], lr[64];
    eab_csv_line line = {.text = text};
    eab_config_level_name(config, level, sizeof level);
    eab_real_print(config->lr, lr, sizeof lr);
    eab_csv_add_count(&line, order);
    eab_csv_add_count(&line, fleet);
    eab_csv_add_text(&line, cell->id);
    eab_csv_add_text(&line, eab_mechanism_name(config->mechanism));
    eab_csv_add_text(&line, eab_config_task_name(config));
    eab_csv_add_text(&line, level);
    eab_csv_add_count(&line, config->layers);
    eab_csv_add_count(&line, config->d_model);
    eab_csv_add_count(&line, config->heads);
    eab_csv_add_count(&line, config->context);
    eab_csv_add_count(&line, config->batch);
    eab_csv_add_count(&line, config->steps);
    eab_csv_add_text(&line, lr);
    eab_csv_add_count(&line, config->seed);
    eab_csv_add_real(&line, eab_cell_flop(config));
    eab_csv_add_real(&line, flop_with_evaluation(config));
    for (guint i = 0; i < varying->len; i++) {
        char value[EAB_OPTION_TEXT_SIZE];
        eab_option_print(varying->pdata[i], config, value, sizeof value);
        eab_csv_add_text(&line, value);
    }
    eab_csv_end(&line);
}

int eab_list_cells(const eab_sweep *sweep, const eab_plan *plan) {
    int64_t *todo, count, order = 0;
    EAB_TRY(find_todo(sweep, plan, &todo, &count));
    GArray *fleets = eab_fleets_make(NULL, plan->cells, todo, count, sweep->fleet, NULL);
    g_free(todo);
    GPtrArray *varying = eab_plan_varying(plan);
    GString *text = g_string_new(NULL);
    add_header(text, varying);
    for (guint i = 0; i < fleets->len; i++) {
        const eab_fleet *fleet = &g_array_index(fleets, eab_fleet, i);
        for (int32_t k = 0; k < fleet->members; k++)
            add_cell(text, &plan->cells[fleet->indices[k]], ++order, i + 1, varying);
        fputs(text->str, stdout);
        g_string_truncate(text, 0);
    }
    fputs(text->str, stdout); /* the header, if no cell is left */
    g_string_free(text, TRUE);
    g_ptr_array_unref(varying);
    eab_fleets_free(fleets);
    return EAB_OK;
}
