#include "follower.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/exit.h"
#include "base/interrupt.h"
#include "kernels/clock.h"
#include "kernels/status.h"
#include "run/tables.h"

static const double PROGRESS_EVERY_S = 1, END_PATIENCE_S = 5;
enum { ASSIGN_POLL_NS = 300000, IDLE_POLL_NS = 5000000 };

struct eab_follower {
    const eab_ranks *ranks;
    eab_queue *queue;
    bool stopped, ended, orderly; /* as the leader said */
    int code;
    int64_t answers; /* to requests */
    char device[256];
    double peak_gflop_per_s;
    bool begun;

    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t posted;
    GQueue outbox; /* GByteArray */
    int64_t requests;
};

/* ---- any thread ---------------------------------------------------------------------------------------------- */

static void post(eab_follower *follower, GByteArray *message, bool is_request) {
    pthread_mutex_lock(&follower->mutex);
    g_queue_push_tail(&follower->outbox, message);
    follower->requests += is_request;
    pthread_cond_signal(&follower->posted);
    pthread_mutex_unlock(&follower->mutex);
}

static void request(void *context) { post(context, eab_rank_write(EAB_RANK_REQUEST), true); }

void eab_follower_send(eab_follower *follower, const eab_cell_end *end, const char *const *rows) {
    GByteArray *message = eab_rank_write(EAB_RANK_RESULT);
    eab_rank_put(message, end, sizeof *end);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) eab_rank_put_text(message, rows[table]);
    post(follower, message, false);
}

void eab_follower_post(eab_follower *follower, eab_rank_message_kind kind, const char *text) {
    GByteArray *message = eab_rank_write(kind);
    eab_rank_put_text(message, text);
    post(follower, message, false);
}

void eab_follower_fleet_ended(eab_follower *follower, const eab_fleet *fleet, bool complete) {
    GByteArray *message = eab_rank_write(EAB_RANK_FLEET_ENDED);
    eab_rank_put_count(message, eab_queue_number(follower->queue, fleet));
    eab_rank_put_count(message, complete);
    post(follower, message, false);
}

/* ---- the main thread ----------------------------------------------------------------------------------------- */

static void take_fleet(eab_follower *follower, eab_rank_reader *message) {
    const int64_t number = eab_rank_get_count(message), members = eab_rank_get_count(message);
    if (message->bad || members < 1 || members > (message->end - message->at) / (int64_t)sizeof(int64_t)) return;
    eab_fleet fleet = {.indices = g_new(int64_t, (gsize)members), .members = (int32_t)members};
    eab_rank_get(message, fleet.indices, (size_t)members * sizeof *fleet.indices);
    follower->answers++;
    eab_queue_add(follower->queue, &fleet, number);
}

static void take_message(eab_follower *follower, const void *bytes, size_t size) {
    eab_rank_reader message;
    switch ((int)eab_rank_read(&message, bytes, size)) {
        case EAB_RANK_BEGIN:
            g_strlcpy(follower->device, eab_rank_get_text(&message), sizeof follower->device);
            follower->peak_gflop_per_s = eab_rank_get_real(&message);
            follower->begun = true;
            break;
        case EAB_RANK_ASSIGN:
            if (follower->queue) take_fleet(follower, &message);
            break;
        case EAB_RANK_STOP: follower->stopped = true; break;
        case EAB_RANK_END:
            follower->code = (int)eab_rank_get_count(&message);
            follower->orderly = eab_rank_get_count(&message) != 0;
            follower->ended = true;
            break;
        default: break;
    }
}

static void send_all(eab_follower *follower) {
    pthread_mutex_lock(&follower->mutex);
    GQueue outbox = follower->outbox;
    g_queue_init(&follower->outbox);
    pthread_mutex_unlock(&follower->mutex);
    GByteArray *message;
    while ((message = g_queue_pop_head(&outbox))) {
        follower->ranks->send(0, message->data, message->len);
        g_byte_array_free(message, TRUE);
    }
}

static void exchange(eab_follower *follower) {
    void *bytes;
    int from;
    size_t size;
    send_all(follower);
    while ((bytes = follower->ranks->receive(&from, &size))) {
        take_message(follower, bytes, size);
        free(bytes);
    }
}

/* Waits for a message to send, but not long: shorter while a worker waits for a fleet. */
static void wait_a_moment(eab_follower *follower) {
    struct timespec until;
    pthread_mutex_lock(&follower->mutex);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += follower->requests > follower->answers ? ASSIGN_POLL_NS : IDLE_POLL_NS;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    if (g_queue_is_empty(&follower->outbox)) pthread_cond_timedwait(&follower->posted, &follower->mutex, &until);
    pthread_mutex_unlock(&follower->mutex);
}

static void post_progress(eab_follower *follower, eab_pool *pool) {
    eab_pool_progress progress;
    eab_pool_measure(pool, &progress);
    GByteArray *message = eab_rank_write(EAB_RANK_PROGRESS);
    eab_rank_put_real(message, progress.flop_done);
    eab_rank_put_real(message, progress.tokens);
    eab_pool_fleet fleets[EAB_RANK_MAX_LISTED] = {{0}};
    const int32_t count = eab_pool_list(pool, fleets, EAB_RANK_MAX_LISTED);
    eab_rank_put_count(message, count);
    eab_rank_put(message, fleets, (size_t)MIN(count, EAB_RANK_MAX_LISTED) * sizeof *fleets);
    post(follower, message, false);
}

static void train_until_stopped(eab_follower *follower, eab_pool *pool) {
    bool stopping = false;
    double reported_s = eab_now_s();
    eab_interrupt_handle_second(true);
    while (!eab_pool_wait(pool, 0)) {
        exchange(follower);
        const bool interrupted = eab_interrupt_count() > 0;
        if (!stopping && (follower->stopped || follower->ended || interrupted)) {
            stopping = true;
            if (interrupted) post(follower, eab_rank_write(EAB_RANK_INTERRUPTED), false);
            eab_pool_stop(pool);
        }
        if (eab_now_s() - reported_s >= PROGRESS_EVERY_S) {
            reported_s = eab_now_s();
            post_progress(follower, pool);
        }
        wait_a_moment(follower);
    }
    eab_interrupt_handle_second(false);
}

void eab_follower_train(eab_follower *follower, const eab_pool_settings *settings, const eab_cell *cells) {
    eab_pool_settings own = *settings;
    eab_pool *pool;
    eab_pool_progress progress = {0};
    static const eab_profile none;
    own.queue = follower->queue = eab_queue_new_remote(request, follower);
    int status = eab_pool_start(&own, cells, NULL, 0, &pool);
    if (!status) {
        train_until_stopped(follower, pool);
        eab_pool_measure(pool, &progress);
        status = eab_pool_finish(pool);
    }
    GByteArray *message = eab_rank_write(EAB_RANK_GOODBYE);
    eab_rank_put_count(message, status);
    eab_rank_put_text(message, status ? eab_last_error() : "");
    eab_rank_put_real(message, progress.flop_done);
    eab_rank_put_real(message, progress.tokens);
    eab_rank_put(message, settings->profile ? settings->profile : &none, sizeof none);
    post(follower, message, false);
}

eab_follower *eab_follower_new(const eab_ranks *ranks, int status, const char *fingerprint) {
    eab_follower *follower = g_new0(eab_follower, 1);
    char host[256] = "?";
    follower->ranks = ranks;
    follower->code = EAB_EXIT_INTERRUPTED;
    pthread_mutex_init(&follower->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&follower->posted, &attributes);
    pthread_condattr_destroy(&attributes);
    g_queue_init(&follower->outbox);
    gethostname(host, sizeof host - 1);
    GByteArray *message = eab_rank_write(EAB_RANK_HELLO);
    eab_rank_put_count(message, status);
    eab_rank_put_text(message, status ? eab_last_error() : "");
    eab_rank_put_text(message, fingerprint);
    eab_rank_put_text(message, host);
    post(follower, message, false);
    return follower;
}

bool eab_follower_begins(eab_follower *follower, const char *device, double *peak_gflop_per_s) {
    while (!follower->begun && !follower->ended && eab_interrupt_count() == 0) {
        exchange(follower);
        wait_a_moment(follower);
    }
    *peak_gflop_per_s = strcmp(device, follower->device) == 0 ? follower->peak_gflop_per_s : -1;
    return follower->begun && !follower->ended;
}

int eab_follower_end(eab_follower *follower) {
    const double began_s = eab_now_s();
    /* After a signal the leader may be gone. */
    while (!follower->ended && !(eab_interrupt_count() > 0 && eab_now_s() - began_s > END_PATIENCE_S)) {
        exchange(follower);
        wait_a_moment(follower);
    }
    const int code = follower->code;
    if (!follower->ended || !follower->orderly) {
        fflush(NULL);
        _exit(code);
    }
    follower->ranks->close();
    if (follower->queue) eab_queue_free(follower->queue);
    pthread_cond_destroy(&follower->posted);
    pthread_mutex_destroy(&follower->mutex);
    g_free(follower);
    return code;
}
