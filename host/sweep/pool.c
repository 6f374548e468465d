#include "pool.h"

#include <errno.h>
#include <glib.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "run/tables.h"

typedef struct {
    eab_pool *pool;
    pthread_t thread;
    eab_device *device;
    bool faulted; /* in this job */
    bool ever_faulted;
    eab_suspects suspects;    /* at its last fault */
    _Atomic int64_t steps;    /* of the running fleet, all members */
    _Atomic int64_t restored; /* those restored from its checkpoint */
    _Atomic int64_t saves, saves_ns;
    const eab_fleet *job; /* protected by the pool's mutex; NULL: none */
} pool_worker;

struct eab_pool {
    eab_pool_settings settings;
    const eab_cell *cells;
    eab_queue *queue;
    bool owns_queue;
    atomic_bool stop;

    pthread_mutex_t mutex; /* protects everything below */
    pthread_cond_t ended;
    int32_t started, alive;
    double flop_restored, tokens_done; /* of complete fleets */
    int status;                        /* the first error that is not only a cell's */
    bool lost;                         /* a device could not be opened again */
    eab_suspects suspects;
    char line[768];
    pool_worker *workers;
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
    if (worker->job->sync_every_kernel && worker->device->backend->sync_every_kernel)
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

/* path: of the fleet's checkpoint, or NULL. */
static int train_once(pool_worker *worker, const int64_t *indices, int32_t members, const char *path,
                      eab_cell_result *results) {
    eab_pool *pool = worker->pool;
    const eab_pool_settings *settings = &pool->settings;
    eab_config *configs = g_new(eab_config, (gsize)members);
    char **paths = settings->model_path ? g_new0(char *, (gsize)members + 1) : NULL;
    char **geometry_paths = settings->geometry_path ? g_new0(char *, (gsize)members + 1) : NULL;
    for (int32_t i = 0; i < members; i++) {
        configs[i] = pool->cells[indices[i]].config;
        if (paths) paths[i] = settings->model_path(settings->context, indices[i]);
        if (geometry_paths) geometry_paths[i] = settings->geometry_path(settings->context, indices[i]);
    }
    const eab_train_checkpoint checkpoint = {.path = path,
                                             .every_s = settings->checkpoints.every_s,
                                             .sparing = settings->checkpoints.sparing,
                                             .note = settings->checkpoints.note,
                                             .context = settings->context,
                                             .steps_restored = &worker->restored,
                                             .saves = &worker->saves,
                                             .saves_ns = &worker->saves_ns};
    const eab_train_options options = {.stop = &pool->stop,
                                       .steps_done = &worker->steps,
                                       .keep_curves = settings->keep_curves,
                                       .checkpoint = path ? &checkpoint : NULL,
                                       .abandon = settings->abandon,
                                       .model_paths = (const char *const *)paths,
                                       .geometry_paths = (const char *const *)geometry_paths};
    const eab_pool_trainer train = settings->train ? settings->train : eab_train_fleet;
    const int status = train(worker->device, members, configs, &options, results);
    g_strfreev(paths);
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
    atomic_store_explicit(&worker->steps, 0, memory_order_relaxed);
    EAB_TRY(train_cells(worker, indices, half));
    return train_cells(worker, indices + half, members - half);
}

/* Trains these cells and delivers a result for each. EAB_OK even if cells failed; EAB_INTERRUPTED when stopped; else
 * the worker cannot continue. */
static int train_cells(pool_worker *worker, const int64_t *indices, int32_t members) {
    eab_pool *pool = worker->pool;
    const eab_pool_checkpoints *checkpoints = &pool->settings.checkpoints;
    if (atomic_load(&pool->stop)) return EAB_INTERRUPTED;
    EAB_TRY(open_device(worker));
    char *path = checkpoints->path ? checkpoints->path(pool->settings.context, indices[0]) : NULL;
    eab_cell_result *results = g_new0(eab_cell_result, (gsize)members);
    const int status = train_once(worker, indices, members, path, results);
    char reason[512];
    g_strlcpy(reason, eab_last_error(), sizeof reason);

    const bool stopped = status == EAB_INTERRUPTED && atomic_load(&pool->stop);
    const int delivered = status ? EAB_OK : deliver_all(pool, indices, members, results);
    /* The next start trains a failed cell again, from its checkpoint; parts of a failed fleet start at step 0. */
    if (path && !stopped && !delivered && (!status || members > 1)) checkpoints->remove(pool->settings.context, path);
    g_free(results);
    g_free(path);
    if (!status) return delivered;
    return stopped ? EAB_INTERRUPTED : divide(worker, indices, members, status, reason);
}

static double tokens_of_steps(const eab_pool *pool, const pool_worker *worker, int64_t steps) {
    const eab_config *config = &pool->cells[worker->job->indices[0]].config;
    return (double)steps * config->batch * config->context;
}

/* These steps as a share of the worker's job. */
static double share_of_steps(const eab_pool *pool, const pool_worker *worker, int64_t steps) {
    const double all = (double)pool->cells[worker->job->indices[0]].config.steps * worker->job->members;
    return MIN(1, (double)steps / all);
}

/* FLOP of the worker's job that a checkpoint restored. */
static double restored_flop(const eab_pool *pool, pool_worker *worker) {
    return share_of_steps(pool, worker, atomic_load(&worker->restored)) * worker->job->flop;
}

static void begin_job(pool_worker *worker, const eab_fleet *job) {
    pthread_mutex_lock(&worker->pool->mutex);
    atomic_store_explicit(&worker->steps, 0, memory_order_relaxed);
    atomic_store_explicit(&worker->restored, 0, memory_order_relaxed);
    worker->job = job;
    pthread_mutex_unlock(&worker->pool->mutex);
}

static void end_job(pool_worker *worker, bool complete) {
    eab_pool *pool = worker->pool;
    pthread_mutex_lock(&pool->mutex);
    pool->tokens_done += tokens_of_steps(pool, worker, atomic_load(&worker->steps));
    if (complete) pool->flop_restored += restored_flop(pool, worker);
    if (complete) eab_queue_complete(pool->queue, worker->job);
    worker->job = NULL;
    pthread_mutex_unlock(&pool->mutex);
}

static void *work(void *argument) {
    pool_worker *worker = argument;
    eab_pool *pool = worker->pool;
    const eab_fleet *job;
    int status = EAB_OK; /* after an error the job's cells stay undone, and other workers continue */
    while (!status && !atomic_load(&pool->stop) && (job = eab_queue_next(pool->queue))) {
        begin_job(worker, job);
        status = train_cells(worker, job->indices, job->members);
        if (worker->faulted || job->sync_every_kernel) close_device(worker); /* waiting for every kernel is slow */
        worker->faulted = false;
        if (status && status != EAB_INTERRUPTED) fail_pool(pool, status);
        if (pool->settings.fleet_sink) pool->settings.fleet_sink(pool->settings.context, job, !status);
        end_job(worker, !status);
    }
    close_device(worker);
    pthread_mutex_lock(&pool->mutex);
    pool->alive--;
    pthread_cond_broadcast(&pool->ended);
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* ---- the pool ------------------------------------------------------------------------------------------------ */

static void pool_free(eab_pool *pool) {
    if (pool->owns_queue) eab_queue_free(pool->queue);
    pthread_cond_destroy(&pool->ended);
    pthread_mutex_destroy(&pool->mutex);
    g_free(pool->workers);
    g_free(pool);
}

static eab_pool *pool_new(const eab_pool_settings *settings, const eab_cell *cells, const int64_t *indices,
                          int64_t count) {
    eab_pool *pool = g_new0(eab_pool, 1);
    pool->settings = *settings;
    pool->cells = cells;
    pool->owns_queue = !settings->queue;
    pool->queue =
        settings->queue
            ? settings->queue
            : eab_queue_new(eab_fleets_make(settings->begun, cells, indices, count, settings->fleet, settings->fleets));
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    return pool;
}

/* Starts up to `count` workers; returns the error of the one that did not start, or 0. */
static int start_workers(eab_pool *pool, int32_t count) {
    sigset_t all, before;
    int error = 0;
    pool->workers = g_new0(pool_worker, (gsize)MAX(1, count));
    sigfillset(&all); /* the starting thread handles signals: a worker may be in the middle of a write */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_mutex_lock(&pool->mutex);
    for (int32_t i = 0; i < count && !error; i++) {
        pool->workers[i].pool = pool;
        error = pthread_create(&pool->workers[i].thread, NULL, work, &pool->workers[i]);
        if (!error) pool->started++;
    }
    pool->alive = pool->started;
    pthread_mutex_unlock(&pool->mutex);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

int eab_pool_start(const eab_pool_settings *settings, const eab_cell *cells, const int64_t *indices, int64_t count,
                   eab_pool **pool) {
    eab_pool *self = pool_new(settings, cells, indices, count);
    const int64_t fleets = self->owns_queue ? eab_queue_count(self->queue) : INT32_MAX;
    const int error = start_workers(self, (int32_t)MIN(MAX(1, settings->workers), fleets));
    if (error && !self->started) {
        pool_free(self);
        return eab_fail(EAB_NO_MEMORY, "no worker thread can be started: %s", g_strerror(error));
    }
    *pool = self;
    return EAB_OK;
}

void eab_pool_stop(eab_pool *pool) {
    atomic_store(&pool->stop, true);
    eab_queue_stop(pool->queue);
}

bool eab_pool_wait(eab_pool *pool, double seconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    const double whole = floor(seconds);
    until.tv_sec += (time_t)whole;
    until.tv_nsec += (long)((seconds - whole) * 1e9);
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    pthread_mutex_lock(&pool->mutex);
    while (pool->alive > 0 && pthread_cond_timedwait(&pool->ended, &pool->mutex, &until) != ETIMEDOUT) {
    }
    const bool ended = pool->alive == 0;
    pthread_mutex_unlock(&pool->mutex);
    return ended;
}

void eab_pool_measure(eab_pool *pool, eab_pool_progress *progress) {
    pthread_mutex_lock(&pool->mutex);
    *progress = (eab_pool_progress){.tokens = pool->tokens_done};
    eab_queue_measure(pool->queue, &progress->flop_total, &progress->flop_done);
    progress->flop_total -= pool->flop_restored;
    progress->flop_done -= pool->flop_restored;
    for (int32_t i = 0; i < pool->started; i++) {
        pool_worker *worker = &pool->workers[i];
        if (!worker->job) continue;
        const int64_t steps = atomic_load_explicit(&worker->steps, memory_order_relaxed);
        progress->tokens += tokens_of_steps(pool, worker, steps);
        progress->flop_done += share_of_steps(pool, worker, steps) * worker->job->flop;
        progress->flop_total -= restored_flop(pool, worker);
    }
    pthread_mutex_unlock(&pool->mutex);
}

int32_t eab_pool_list(eab_pool *pool, eab_pool_fleet *fleets, int32_t room) {
    int32_t count = 0;
    pthread_mutex_lock(&pool->mutex);
    for (int32_t i = 0; i < pool->started; i++) {
        pool_worker *worker = &pool->workers[i];
        if (!worker->job) continue;
        const int64_t steps = atomic_load_explicit(&worker->steps, memory_order_relaxed) +
                              atomic_load_explicit(&worker->restored, memory_order_relaxed);
        if (count < room)
            fleets[count] =
                (eab_pool_fleet){worker->job->indices[0], worker->job->members, share_of_steps(pool, worker, steps)};
        count++;
    }
    pthread_mutex_unlock(&pool->mutex);
    return count;
}

bool eab_pool_lost_device(eab_pool *pool, eab_suspects *suspects) {
    pthread_mutex_lock(&pool->mutex);
    const bool lost = pool->lost;
    *suspects = pool->suspects;
    pthread_mutex_unlock(&pool->mutex);
    return lost;
}

int eab_pool_finish(eab_pool *pool) {
    if (!eab_pool_wait(pool, 0)) eab_pool_stop(pool);
    for (int32_t i = 0; i < pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
    int status = EAB_OK;
    if (pool->status) status = eab_fail((eab_status)pool->status, "%s", pool->line);
    else if (!eab_queue_is_complete(pool->queue)) status = eab_fail(EAB_INTERRUPTED, "interrupted");
    pool_free(pool);
    return status;
}
