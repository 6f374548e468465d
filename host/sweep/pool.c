#include "pool.h"

#include <glib.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "run/checkpoints.h"
#include "run/folder.h"
#include "run/tables.h"

typedef struct {
    eab_pool *pool;
    pthread_t thread;
    eab_device *device;
    bool faulted; /* in this fleet */
    bool ever_faulted;
    eab_suspects suspects;    /* at its last fault */
    _Atomic int64_t steps;    /* of the running fleet, all members */
    _Atomic int64_t restored; /* those restored from its checkpoint */
    _Atomic int64_t saves, saves_ns;
    const eab_fleet *fleet; /* in training, protected by the pool's mutex; NULL: none */
} pool_worker;

struct eab_pool {
    eab_pool_settings settings;
    const eab_cell *cells;
    pool_worker *workers;
    int32_t started;
    atomic_int alive; /* workers that have not ended */
    atomic_bool stop;

    pthread_mutex_t mutex;           /* protects everything below */
    double flop_done, flop_restored; /* of complete fleets */
    double tokens_done;              /* of fleets that ended */
    int status;                      /* the first error that is not only one cell's */
    bool lost;                       /* a device could not be opened again */
    eab_suspects suspects;
    char line[768];
};

/* ---- workers ------------------------------------------------------------------------------------------------- */

/* Records the calling thread's error as the pool's, unless it has one. */
static void fail_pool(eab_pool *pool, int status) {
    pthread_mutex_lock(&pool->mutex);
    if (!pool->status) {
        pool->status = status;
        g_strlcpy(pool->line, eab_last_error(), sizeof pool->line);
    }
    pthread_mutex_unlock(&pool->mutex);
}

static int deliver(eab_pool *pool, int64_t index, eab_cell_result *result) {
    const int status = pool->settings.sink(pool->settings.context, index, result);
    eab_cell_result_free(result);
    if (status) {
        fail_pool(pool, status);
        eab_pool_stop(pool);
    }
    return status;
}

static void report_lost(const pool_worker *worker) {
    eab_pool *pool = worker->pool;
    pthread_mutex_lock(&pool->mutex);
    pool->lost = true;
    if (worker->suspects.cells > pool->suspects.cells) pool->suspects = worker->suspects;
    pthread_mutex_unlock(&pool->mutex);
}

static int open_device(pool_worker *worker) {
    const eab_pool_settings *settings = &worker->pool->settings;
    if (worker->device) return EAB_OK;
    const int status = eab_device_open(settings->backend, settings->device, &worker->device);
    if (status && worker->ever_faulted) report_lost(worker);
    if (status) return status;
    if (worker->fleet->sync_every_kernel && worker->device->backend->sync_every_kernel)
        worker->device->backend->sync_every_kernel(worker->device);
    return settings->profile ? eab_profile_attach(worker->device) : EAB_OK;
}

static void close_device(pool_worker *worker) {
    eab_pool *pool = worker->pool;
    if (worker->device && pool->settings.profile) {
        pthread_mutex_lock(&pool->mutex);
        eab_profile_detach(worker->device, pool->settings.profile);
        pool->settings.profile->checkpoints.calls += atomic_exchange(&worker->saves, 0);
        pool->settings.profile->checkpoints.seconds += 1e-9 * (double)atomic_exchange(&worker->saves_ns, 0);
        pthread_mutex_unlock(&pool->mutex);
    }
    eab_device_close(worker->device);
    worker->device = NULL;
}

/* The files of these cells, for g_strfreev; NULL if none are saved. */
static char **list_files(const eab_pool *pool, bool saved, const char *kind, const int64_t *indices, int32_t members) {
    char **paths = saved ? g_new0(char *, (gsize)members + 1) : NULL;
    for (int32_t i = 0; saved && i < members; i++)
        paths[i] = eab_run_cell_file(pool->settings.run, kind, &pool->cells[indices[i]]);
    return paths;
}

/* path: of the fleet's checkpoint, or NULL. */
static int train_once(pool_worker *worker, const int64_t *indices, int32_t members, const char *path,
                      eab_cell_result *results) {
    eab_pool *pool = worker->pool;
    const eab_pool_settings *settings = &pool->settings;
    eab_config *configs = g_new(eab_config, (gsize)members);
    for (int32_t i = 0; i < members; i++) configs[i] = pool->cells[indices[i]].config;
    char **model_paths = list_files(pool, settings->save_models, "models", indices, members);
    char **geometry_paths = list_files(pool, settings->save_geometry, "geometry", indices, members);
    const eab_train_checkpoint checkpoint = {.path = path,
                                             .every_s = settings->checkpoint_every_s,
                                             .adaptive = settings->checkpoint_adaptive,
                                             .report = settings->note,
                                             .context = settings->context,
                                             .steps_restored = &worker->restored,
                                             .saves = &worker->saves,
                                             .saves_ns = &worker->saves_ns};
    const eab_train_options options = {.stop = &pool->stop,
                                       .steps_done = &worker->steps,
                                       .keep_curves = settings->keep_curves,
                                       .checkpoint = path ? &checkpoint : NULL,
                                       .abandon = settings->abandon,
                                       .model_paths = (const char *const *)model_paths,
                                       .geometry_paths = (const char *const *)geometry_paths};
    const eab_pool_trainer train = settings->train ? settings->train : eab_train_fleet;
    const int status = train(worker->device, members, configs, &options, results);
    g_strfreev(model_paths);
    g_strfreev(geometry_paths);
    g_free(configs);
    return status;
}

static int deliver_all(eab_pool *pool, const int64_t *indices, int32_t members, eab_cell_result *results) {
    int status = EAB_OK;
    for (int32_t i = 0; i < members; i++)
        if (!status) status = deliver(pool, indices[i], &results[i]);
        else eab_cell_result_free(&results[i]);
    return status;
}

static int train_cells(pool_worker *worker, const int64_t *indices, int32_t members);

/* After an error: trains a fleet's halves, or delivers a single cell as failed. */
static int divide(pool_worker *worker, const int64_t *indices, int32_t members, int status, const char *reason) {
    const eab_pool *pool = worker->pool;
    const int32_t half = members / 2;
    if (status == EAB_DEVICE_FAULT) { /* opening the device again clears its state */
        close_device(worker);
        worker->faulted = worker->ever_faulted = true;
        worker->suspects = members > 1 ? (eab_suspects){indices[0], members, members - half} : (eab_suspects){0, 0, 0};
    }
    if (members == 1) {
        eab_cell_result failed;
        eab_cell_result_failed(&failed, &pool->cells[indices[0]].config,
                               status == EAB_NO_MEMORY ? EAB_CELL_OOM : EAB_CELL_FAIL, reason);
        return deliver(worker->pool, indices[0], &failed);
    }
    atomic_store(&worker->steps, 0);
    EAB_TRY(train_cells(worker, indices, half));
    return train_cells(worker, indices + half, members - half);
}

/* Trains these cells and delivers a result for each. EAB_OK even if cells failed; EAB_INTERRUPTED when stopped; else
 * the worker cannot continue. */
static int train_cells(pool_worker *worker, const int64_t *indices, int32_t members) {
    eab_pool *pool = worker->pool;
    const eab_pool_settings *settings = &pool->settings;
    if (atomic_load(&pool->stop)) return EAB_INTERRUPTED;
    EAB_TRY(open_device(worker));
    char *path =
        settings->checkpoint_every_s > 0 ? eab_run_checkpoint_path(settings->run, &pool->cells[indices[0]]) : NULL;
    eab_cell_result *results = g_new0(eab_cell_result, (gsize)members);
    const int status = train_once(worker, indices, members, path, results);
    char reason[512];
    g_strlcpy(reason, eab_last_error(), sizeof reason);

    const bool stopped = status == EAB_INTERRUPTED && atomic_load(&pool->stop);
    const int delivered = status ? EAB_OK : deliver_all(pool, indices, members, results);
    /* The next start trains a failed cell again, from its checkpoint; parts of a failed fleet start at step 0. */
    if (path && !stopped && !delivered && (!status || members > 1))
        settings->remove_checkpoint(settings->context, path);
    g_free(results);
    g_free(path);
    if (!status) return delivered;
    return stopped ? EAB_INTERRUPTED : divide(worker, indices, members, status, reason);
}

/* ---- progress, with the mutex held ------------------------------------------------------------------------------ */

static double tokens_of_steps(const pool_worker *worker, int64_t steps) {
    const eab_config *config = &worker->pool->cells[worker->fleet->indices[0]].config;
    return (double)steps * config->batch * config->context;
}

/* These steps as a share of the worker's fleet. */
static double share_of_steps(const pool_worker *worker, int64_t steps) {
    const eab_config *config = &worker->pool->cells[worker->fleet->indices[0]].config;
    return MIN(1, (double)steps / ((double)config->steps * worker->fleet->members));
}

/* FLOP of the worker's fleet that a checkpoint restored. */
static double restored_flop(pool_worker *worker) {
    return share_of_steps(worker, atomic_load(&worker->restored)) * worker->fleet->flop;
}

/* ---- a worker's thread ------------------------------------------------------------------------------------------- */

static void begin_fleet(pool_worker *worker, const eab_fleet *fleet) {
    pthread_mutex_lock(&worker->pool->mutex);
    atomic_store(&worker->steps, 0);
    atomic_store(&worker->restored, 0);
    worker->fleet = fleet;
    pthread_mutex_unlock(&worker->pool->mutex);
}

static void end_fleet(pool_worker *worker, bool complete) {
    eab_pool *pool = worker->pool;
    pthread_mutex_lock(&pool->mutex);
    pool->tokens_done += tokens_of_steps(worker, atomic_load(&worker->steps));
    if (complete) pool->flop_restored += restored_flop(worker);
    if (complete) pool->flop_done += worker->fleet->flop;
    worker->fleet = NULL;
    pthread_mutex_unlock(&pool->mutex);
    eab_queue_end(pool->settings.queue, complete);
}

static void *work(void *argument) {
    pool_worker *worker = argument;
    eab_pool *pool = worker->pool;
    eab_fleet fleet;
    int status = EAB_OK; /* after an error the fleet's cells stay undone, and other workers continue */
    while (!status && !atomic_load(&pool->stop) && eab_queue_next(pool->settings.queue, &fleet)) {
        begin_fleet(worker, &fleet);
        status = train_cells(worker, fleet.indices, fleet.members);
        if (worker->faulted || fleet.sync_every_kernel) close_device(worker); /* waiting for every kernel is slow */
        worker->faulted = false;
        if (status && status != EAB_INTERRUPTED) fail_pool(pool, status);
        if (pool->settings.fleet_ended) pool->settings.fleet_ended(pool->settings.context, !status);
        end_fleet(worker, !status);
    }
    close_device(worker);
    atomic_fetch_sub(&pool->alive, 1);
    return NULL;
}

/* ---- the pool ------------------------------------------------------------------------------------------------ */

/* Starts the workers; returns the error of the one that did not start, or 0. */
static int start_workers(eab_pool *pool) {
    const int32_t count = MAX(1, pool->settings.workers);
    sigset_t all, before;
    int error = 0;
    pool->workers = g_new0(pool_worker, (gsize)count);
    atomic_store(&pool->alive, count);
    sigfillset(&all); /* workers block signals, which could interrupt their writes; the starting thread handles them */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->started < count && !error) {
        pool_worker *worker = &pool->workers[pool->started];
        worker->pool = pool;
        error = pthread_create(&worker->thread, NULL, work, worker);
        if (!error) pool->started++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    atomic_fetch_sub(&pool->alive, count - pool->started);
    return error;
}

static void pool_free(eab_pool *pool) {
    pthread_mutex_destroy(&pool->mutex);
    g_free(pool->workers);
    g_free(pool);
}

int eab_pool_start(const eab_pool_settings *settings, const eab_cell *cells, eab_pool **pool) {
    eab_pool *self = g_new0(eab_pool, 1);
    self->settings = *settings;
    self->cells = cells;
    pthread_mutex_init(&self->mutex, NULL);
    const int error = start_workers(self);
    if (!self->started) {
        pool_free(self);
        return eab_fail(EAB_NO_MEMORY, "no worker thread can be started: %s", g_strerror(error));
    }
    *pool = self;
    return EAB_OK;
}

void eab_pool_stop(eab_pool *pool) {
    atomic_store(&pool->stop, true);
    eab_queue_stop(pool->settings.queue);
}

bool eab_pool_has_ended(eab_pool *pool) { return atomic_load(&pool->alive) == 0; }

/* Adds a running fleet. */
static void measure_worker(pool_worker *worker, eab_pool_progress *progress) {
    const eab_fleet *fleet = worker->fleet;
    const int64_t steps = atomic_load(&worker->steps), restored = atomic_load(&worker->restored);
    progress->tokens += tokens_of_steps(worker, steps);
    progress->flop_done += share_of_steps(worker, steps) * fleet->flop;
    progress->flop_total -= restored_flop(worker);
    if (progress->running_count < EAB_STATE_MAX_RUNNING) {
        eab_running *running = &progress->running[progress->running_count];
        *running = (eab_running){.members = fleet->members, .share = share_of_steps(worker, steps + restored)};
        g_strlcpy(running->cell, worker->pool->cells[fleet->indices[0]].id, sizeof running->cell);
    }
    progress->running_count++;
}

void eab_pool_measure(eab_pool *pool, eab_pool_progress *progress) {
    const double flop = eab_queue_measure(pool->settings.queue).flop;
    pthread_mutex_lock(&pool->mutex);
    *progress = (eab_pool_progress){.tokens = pool->tokens_done,
                                    .flop_done = pool->flop_done - pool->flop_restored,
                                    .flop_total = flop - pool->flop_restored};
    for (int32_t i = 0; i < pool->started; i++)
        if (pool->workers[i].fleet) measure_worker(&pool->workers[i], progress);
    pthread_mutex_unlock(&pool->mutex);
}

bool eab_pool_lost_device(eab_pool *pool, eab_suspects *suspects) {
    pthread_mutex_lock(&pool->mutex);
    const bool lost = pool->lost;
    *suspects = pool->suspects;
    pthread_mutex_unlock(&pool->mutex);
    return lost;
}

int eab_pool_finish(eab_pool *pool) {
    if (!eab_pool_has_ended(pool)) eab_pool_stop(pool);
    for (int32_t i = 0; i < pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
    int status = EAB_OK;
    if (pool->status) status = eab_fail((eab_status)pool->status, "%s", pool->line);
    else if (!eab_queue_measure(pool->settings.queue).complete) status = eab_fail(EAB_INTERRUPTED, "interrupted");
    pool_free(pool);
    return status;
}
