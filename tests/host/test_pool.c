/* The pool: every cell has one result, whatever the trainer does. The trainer here is a stand-in that only sleeps. */
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "host/run/tables.h"
#include "host/sweep/pool.h"
#include "host/sweep/progress.h"
#include "sweep_fixture.h"

typedef struct {
    const eab_plan *plan;
    pthread_mutex_t mutex;
    int32_t results[4096], status[4096], order[4096];
    int64_t count, refuse_after;
    eab_queue *queue;
    char reason[256];
} collector;

/* The stand-in fails with fault_status at cells whose seed is a multiple of fault_every; 0: never. Set before the pool
 * starts. */
static int64_t fault_every;
static int fault_status;
static int32_t room = 1 << 30; /* members that fit */
static atomic_int calls, largest_fleet;

static int stand_in(eab_device *device, int32_t members, const eab_config *configs, const eab_train_options *options,
                    eab_cell_result *results) {
    cr_assert_not_null(device);
    atomic_fetch_add(&calls, 1);
    if (members > atomic_load(&largest_fleet)) atomic_store(&largest_fleet, members);
    if (members > room) return eab_fail(EAB_NO_MEMORY, "no memory for %d", members);
    for (int32_t i = 0; i < members; i++)
        if (fault_every && configs[i].seed % fault_every == 0)
            return eab_fail((eab_status)fault_status, "made to fail");
    for (int64_t step = 0; step < configs[0].steps; step++) {
        if (atomic_load(options->stop)) return eab_fail(EAB_INTERRUPTED, "interrupted");
        if (configs[0].steps > 1000) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        atomic_fetch_add(options->steps_done, members);
    }
    for (int32_t i = 0; i < members; i++) {
        results[i] = (eab_cell_result){
            .status = EAB_CELL_OK, .scores.token_accuracy = (double)configs[i].seed, .fleet = members};
        if (options->keep_curves) results[i].curve = malloc(sizeof(eab_curve_point));
    }
    return EAB_OK;
}

static int collect(void *context, int64_t index, const eab_cell_result *result) {
    collector *all = context;
    pthread_mutex_lock(&all->mutex);
    const bool refuse = all->refuse_after && all->count >= all->refuse_after;
    if (!refuse) {
        all->results[index]++;
        all->status[index] = (int32_t)result->status;
        all->order[all->count++] = (int32_t)index;
        if (*result->reason) g_strlcpy(all->reason, result->reason, sizeof all->reason);
    }
    pthread_mutex_unlock(&all->mutex);
    return refuse ? eab_fail(EAB_IO, "the disk is full") : EAB_OK;
}

static eab_suspects suspects;

static collector collector_of(const eab_plan *plan) {
    collector all = {.plan = plan};
    pthread_mutex_init(&all.mutex, NULL);
    return all;
}

/* A pool that trains all cells of the collector's plan. */
static eab_pool *start(collector *all, eab_pool_settings settings, int32_t fleet) {
    GArray *begun = g_array_new(FALSE, FALSE, sizeof(eab_fleet));
    const eab_cell *cells = all->plan->cells;
    const int64_t count = all->plan->count;
    int64_t *indices = g_new(int64_t, (gsize)count);
    for (int64_t i = 0; i < count; i++) indices[i] = i;
    eab_fleets_add_suspects(begun, cells, indices, count, &suspects);
    all->queue = eab_queue_new(eab_fleets_make(begun, cells, indices, count, fleet, NULL));
    settings.queue = all->queue;
    settings.context = all;
    settings.sink = collect;
    settings.train = stand_in;
    eab_pool *pool;
    cr_assert_eq(eab_pool_start(&settings, cells, &pool), EAB_OK);
    eab_fleets_free(begun);
    g_free(indices);
    return pool;
}

static eab_pool *start_plain(collector *all, int32_t workers, int32_t fleet) {
    return start(all, (eab_pool_settings){.backend = "cpu", .workers = workers, .keep_curves = true}, fleet);
}

static int finish(collector *all, eab_pool *pool) {
    while (!eab_pool_has_ended(pool)) {
        eab_pool_progress progress;
        eab_pool_measure(pool, &progress);
        cr_expect(progress.flop_done >= 0 && progress.flop_done <= progress.flop_total * (1 + 1e-9));
        g_usleep(1000);
    }
    const int status = eab_pool_finish(pool);
    eab_queue_free(all->queue);
    return status;
}

static int run(collector *all, int32_t workers, int32_t fleet) { return finish(all, start_plain(all, workers, fleet)); }

static void expect_each_once(const collector *all) {
    cr_expect_eq(all->count, all->plan->count);
    for (int64_t i = 0; i < all->plan->count; i++) cr_expect_eq(all->results[i], 1, "cell %d", (int)i);
}

Test(pool, stress, .timeout = 120) {
    eab_plan plan =
        fixture_plan("[task recurrence]\nbasis = 2:5\n[train]\nmechanism = dpa, ea\nsteps = 1:4\nseed = 1:20\n");
    for (int32_t workers = 1; workers <= 16; workers *= 4)
        for (int32_t fleet = 1; fleet <= 7; fleet += 3) {
            collector all = collector_of(&plan);
            cr_expect_eq(run(&all, workers, fleet), EAB_OK, "%s", eab_last_error());
            expect_each_once(&all);
        }
    cr_expect_eq(atomic_load(&largest_fleet), 7);
    eab_plan_free(&plan);
}

/* 20 cells of one shape in fleets of at most 8: 7, 7 and 6, not 8, 8 and 4. */
Test(pool, cells_of_a_shape_are_divided_evenly) {
    eab_plan plan = fixture_plan("[task recurrence]\n[train]\nsteps = 2\nseed = 1:20\n");
    collector all = collector_of(&plan);
    cr_expect_eq(run(&all, 1, 8), EAB_OK);
    expect_each_once(&all);
    cr_expect_eq(atomic_load(&calls), 3);
    cr_expect_eq(atomic_load(&largest_fleet), 7);
    eab_plan_free(&plan);

    plan = fixture_plan("[task recurrence]\n[train]\nsteps = 2\nseed = 1:1280\n");
    atomic_store(&calls, 0);
    atomic_store(&largest_fleet, 0);
    collector many = collector_of(&plan);
    cr_expect_eq(run(&many, 1, 704), EAB_OK);
    expect_each_once(&many);
    cr_expect_eq(atomic_load(&calls), 2);
    cr_expect_eq(atomic_load(&largest_fleet), 640);
    eab_plan_free(&plan);
}

Test(pool, longest_first) {
    eab_plan plan = fixture_plan("[task recurrence]\n[train]\nsteps = 3, 9, 1, 9\nseed = 1, 2\n");
    collector all = collector_of(&plan);
    cr_expect_eq(run(&all, 1, 1), EAB_OK);
    for (int64_t i = 1; i < plan.count; i++) {
        const int32_t before = all.order[i - 1], after = all.order[i];
        const int64_t steps = plan.cells[before].config.steps, next = plan.cells[after].config.steps;
        cr_expect(steps > next || (steps == next && before < after));
    }
    eab_plan_free(&plan);
}

/* A device failed at 10 of 20 cells, from the fifth on: they are trained in fleets of at most 4, which are 4, 3 and 3.
 * The others form one fleet, as always. */
Test(pool, suspects_are_trained_separately) {
    eab_plan plan = fixture_plan("[task recurrence]\n[train]\nsteps = 2\nseed = 1:20\n");
    suspects = (eab_suspects){4, 10, 4};
    collector all = collector_of(&plan);
    cr_expect_eq(run(&all, 1, 16), EAB_OK);
    expect_each_once(&all);
    cr_expect_eq(atomic_load(&calls), 4);
    cr_expect_eq(atomic_load(&largest_fleet), 10);
    for (int i = 0; i < 10; i++) cr_expect_eq(all.order[i], 4 + i);

    suspects = (eab_suspects){0, 1000, 0}; /* out of range, as the environment variable may say */
    collector more = collector_of(&plan);
    cr_expect_eq(run(&more, 3, 16), EAB_OK);
    expect_each_once(&more);
    cr_expect_eq(atomic_load(&calls), 4 + 20);
    eab_plan_free(&plan);
}

Test(pool, a_fleet_without_room_is_halved) {
    eab_plan plan = fixture_plan("[task recurrence]\n[train]\nsteps = 2\nseed = 1:20\n");
    room = 3;
    collector all = collector_of(&plan);
    cr_expect_eq(run(&all, 2, 8), EAB_OK);
    expect_each_once(&all);
    for (int64_t i = 0; i < plan.count; i++) cr_expect_eq(all.status[i], EAB_CELL_OK);

    room = 0;
    collector none = collector_of(&plan);
    cr_expect_eq(run(&none, 2, 8), EAB_OK);
    expect_each_once(&none);
    for (int64_t i = 0; i < plan.count; i++) cr_expect_eq(none.status[i], EAB_CELL_OOM);
    cr_expect_str_eq(none.reason, "no memory for 1");
    eab_plan_free(&plan);
}

/* A fault fails one cell only, alone or in a fleet; the device is opened again. */
Test(pool, faults_cost_one_cell) {
    eab_plan plan = fixture_plan("[task recurrence]\n[train]\nsteps = 2\nseed = 1:21\n");
    const int statuses[] = {EAB_DEVICE_FAULT, EAB_UNSUPPORTED, EAB_BAD_INPUT, EAB_INTERRUPTED};
    fault_every = 7;
    for (size_t i = 0; i < G_N_ELEMENTS(statuses); i++)
        for (int32_t fleet = 1; fleet <= 8; fleet += 7) {
            fault_status = statuses[i];
            collector all = collector_of(&plan);
            cr_expect_eq(run(&all, 3, fleet), EAB_OK);
            expect_each_once(&all);
            for (int64_t k = 0; k < plan.count; k++)
                cr_expect_eq(all.status[k], plan.cells[k].config.seed % 7 ? EAB_CELL_OK : EAB_CELL_FAIL);
            cr_expect_str_eq(all.reason, "made to fail");
        }
    eab_plan_free(&plan);
}

Test(pool, stops_within_a_step) {
    eab_plan plan = fixture_plan("[task recurrence]\n[train]\nsteps = 1000000\nseed = 1:9\n");
    collector all = collector_of(&plan);
    eab_pool *pool = start_plain(&all, 4, 1);
    eab_pool_progress progress = {0};
    while (progress.tokens <= 0) {
        cr_expect_not(eab_pool_has_ended(pool));
        eab_pool_measure(pool, &progress);
    }
    eab_pool_stop(pool);
    for (int i = 0; i < 5000 && !eab_pool_has_ended(pool); i++) g_usleep(1000);
    cr_expect(eab_pool_has_ended(pool));
    cr_expect_eq(finish(&all, pool), EAB_INTERRUPTED);
    cr_expect_eq(all.count, 0);
    eab_plan_free(&plan);
}

Test(pool, the_sinks_error_ends_it) {
    eab_plan plan = fixture_plan("[task recurrence]\n[train]\nsteps = 2\nseed = 1:99\n");
    for (int32_t fleet = 1; fleet <= 8; fleet += 7) {
        collector all = collector_of(&plan);
        all.refuse_after = 5;
        cr_expect_eq(run(&all, 4, fleet), EAB_IO);
        cr_expect_str_eq(eab_last_error(), "the disk is full");
        cr_expect_eq(all.count, 5);
    }
    eab_plan_free(&plan);
}

Test(pool, no_device_for_any_worker) {
    eab_plan plan = fixture_plan("[task recurrence]\n[train]\nseed = 1:3\n");
    collector all = collector_of(&plan);
    eab_pool *pool = start(&all, (eab_pool_settings){.backend = "no such", .workers = 2}, 1);
    cr_expect_eq(finish(&all, pool), EAB_NO_DEVICE, "%s", eab_last_error());
    cr_expect_eq(all.count, 0);
    eab_plan_free(&plan);
}

/* ---- the progress line --------------------------------------------------------------------------------------- */

Test(progress, fits_every_width) {
    eab_progress_state state = {
        .cells_done = 37, .cells_total = 72, .failed = 1, .accuracy_sum = {8, 9, 3}, .accuracy_count = {10, 10, 10}};
    char *text = NULL;
    for (size_t columns = 0; columns < 200; columns++) {
        g_free(text);
        text = eab_progress_line(&state, 83, 1.434e6, columns);
        cr_expect_leq(strlen(text), columns);
    }
    cr_expect_str_eq(text, "37/72 cells  51%  1 failed  ETA 1m23s  1.43 Mtok/s  dpa 0.800  ea 0.900  ea-scaled 0.300");
    g_free(text);
    text = eab_progress_line(&state, NAN, NAN, 40);
    cr_expect_str_eq(text, "37/72 cells  51%  1 failed  ETA --");
    g_free(text);
}

Test(progress, durations_and_quantities) {
    static const struct {
        double value;
        const char *duration, *quantity;
    } cases[] = {{0, "0s", "0 B"},
                 {59.4, "59s", "59.4 B"},
                 {59.6, "1m00s", "59.6 B"},
                 {3600, "1h00m", "3.60 kB"},
                 {90061, "1d01h", "90.1 kB"},
                 {999.4, "16m39s", "999 B"},
                 {999.6, "16m40s", "1.00 kB"}};
    char text[32];
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        eab_duration_print(cases[i].value, text, sizeof text);
        cr_expect_str_eq(text, cases[i].duration);
        eab_quantity_print(cases[i].value, "B", text, sizeof text);
        cr_expect_str_eq(text, cases[i].quantity);
    }
    eab_duration_print(NAN, text, sizeof text);
    cr_expect_str_eq(text, "--");
    eab_duration_print(-1, text, sizeof text);
    cr_expect_str_eq(text, "--");
}

/* ---- checkpoints ----------------------------------------------------------------------------------------------- */

static atomic_int removed[4096];

/* path: RUN/checkpoints/ID.ckpt. */
static void count_removed(void *context, const char *path) {
    const collector *all = context;
    char *id = g_path_get_basename(path);
    *strchr(id, '.') = '\0';
    const int64_t index = eab_plan_find(all->plan, id);
    cr_assert_geq(index, 0, "%s", path);
    atomic_fetch_add(&removed[index], 1);
    g_free(id);
}

static void run_with_checkpoints(collector *all, int32_t fleet) {
    const eab_pool_settings settings = {
        .backend = "cpu", .workers = 2, .run = "run", .checkpoint_every_s = 1, .remove_checkpoint = count_removed};
    cr_expect_eq(finish(all, start(all, settings, fleet)), EAB_OK, "%s", eab_last_error());
    expect_each_once(all);
}

/* A failed cell keeps its checkpoint: the next start resumes from it. */
Test(pool, checkpoints_are_removed_after_their_results) {
    eab_plan plan = fixture_plan("[task recurrence]\n[train]\nsteps = 2\nseed = 1:12\n");
    collector all = collector_of(&plan);
    fault_every = 3;
    fault_status = EAB_UNSUPPORTED;
    run_with_checkpoints(&all, 1);
    for (int i = 0; i < 12; i++)
        cr_expect_eq(atomic_load(&removed[i]), plan.cells[i].config.seed % 3 != 0, "cell %d", i);
    eab_plan_free(&plan);
}

/* The checkpoint of a fleet that is trained again in halves is removed: it may have caused the failure. */
Test(pool, the_checkpoint_of_a_halved_fleet_is_removed) {
    eab_plan plan = fixture_plan("[task recurrence]\n[train]\nsteps = 2\nseed = 1:4\n");
    collector all = collector_of(&plan);
    room = 2;
    run_with_checkpoints(&all, 4);
    cr_expect_eq(atomic_load(&removed[0]), 2, "of the whole and of the first half");
    cr_expect_eq(atomic_load(&removed[2]), 1, "of the second half");
    eab_plan_free(&plan);
}
