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
enum { GRANT_POLL_NS = 300000, IDLE_POLL_NS = 5000000 };

struct eab_follower {
    const eab_ranks *ranks;
    eab_deal *deal;
    bool stopped, ended, orderly; /* by the leader */
    int code;
    int64_t grants;
    char device[256];
    double peak_gflop_per_s;
    bool begun;

    pthread_mutex_t mutex; /* of all below */
    pthread_cond_t posted;
    GQueue outbox; /* GByteArray */
    int64_t wishes;
};

/* ---- any thread ---------------------------------------------------------------------------------------------- */

static void post(eab_follower *follower, eab_rank_writer *message, bool wish) {
    pthread_mutex_lock(&follower->mutex);
    g_queue_push_tail(&follower->outbox, message->bytes);
    follower->wishes += wish;
    pthread_cond_signal(&follower->posted);
    pthread_mutex_unlock(&follower->mutex);
}

static void wish(void *context) {
    eab_rank_writer message = eab_rank_write(EAB_RANK_WISH);
    post(context, &message, true);
}

void eab_follower_send(eab_follower *follower, const eab_cell_end *end, const char *const *rows) {
    eab_rank_writer message = eab_rank_write(EAB_RANK_RESULT);
    eab_rank_put(&message, end, sizeof *end);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) eab_rank_put_text(&message, rows[table]);
    post(follower, &message, false);
}

void eab_follower_post(eab_follower *follower, eab_rank_message_kind kind, const char *text) {
    eab_rank_writer message = eab_rank_write(kind);
    eab_rank_put_text(&message, text);
    post(follower, &message, false);
}

void eab_follower_fleet_ended(eab_follower *follower, const eab_fleet *fleet, bool complete) {
    eab_rank_writer message = eab_rank_write(EAB_RANK_FLEET_ENDED);
    eab_rank_put_count(&message, eab_deal_number(follower->deal, fleet));
    eab_rank_put_count(&message, complete);
    post(follower, &message, false);
}

/* ---- the main thread ----------------------------------------------------------------------------------------- */

static void take_grant(eab_follower *follower, eab_rank_reader *message) {
    const int64_t number = eab_rank_get_count(message), members = eab_rank_get_count(message);
    if (message->bad || members < 1 || members > (message->end - message->at) / (int64_t)sizeof(int64_t)) return;
    eab_fleet fleet = {
        .indices = g_new(int64_t, (gsize)members), .members = (int32_t)members, .room = (int32_t)members};
    eab_rank_get(message, fleet.indices, (size_t)members * sizeof *fleet.indices);
    follower->grants++;
    eab_deal_grant(follower->deal, &fleet, number);
}

static void take_message(eab_follower *follower, const void *bytes, size_t size) {
    eab_rank_reader message;
    switch ((int)eab_rank_read(&message, bytes, size)) {
        case EAB_RANK_BEGIN:
            g_strlcpy(follower->device, eab_rank_get_text(&message), sizeof follower->device);
            follower->peak_gflop_per_s = eab_rank_get_real(&message);
            follower->begun = true;
            break;
        case EAB_RANK_GRANT:
            if (follower->deal) take_grant(follower, &message);
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

/* Until somebody posts something, or for a moment: a short one while a worker waits for a fleet. */
static void wait_a_moment(eab_follower *follower) {
    struct timespec until;
    pthread_mutex_lock(&follower->mutex);
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += follower->wishes > follower->grants ? GRANT_POLL_NS : IDLE_POLL_NS;
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
    eab_rank_writer message = eab_rank_write(EAB_RANK_PROGRESS);
    eab_rank_put_real(&message, progress.flop_done);
    eab_rank_put_real(&message, progress.tokens);
    eab_pool_fleet fleets[EAB_RANK_MAX_LISTED] = {{0}};
    const int32_t count = eab_pool_list(pool, fleets, EAB_RANK_MAX_LISTED);
    eab_rank_put_count(&message, count);
    eab_rank_put(&message, fleets, (size_t)MIN(count, EAB_RANK_MAX_LISTED) * sizeof *fleets);
    post(follower, &message, false);
}

static void train_until_stopped(eab_follower *follower, eab_pool *pool) {
    bool stopping = false;
    double told_s = eab_now_s();
    eab_interrupt_looking(true);
    while (!eab_pool_wait(pool, 0)) {
        exchange(follower);
        const bool interrupted = eab_interrupt_count() > 0;
        if (!stopping && (follower->stopped || follower->ended || interrupted)) {
            stopping = true;
            eab_rank_writer message = eab_rank_write(EAB_RANK_INTERRUPTED);
            if (interrupted) post(follower, &message, false);
            else g_byte_array_free(message.bytes, TRUE);
            eab_pool_stop(pool);
        }
        if (eab_now_s() - told_s >= PROGRESS_EVERY_S) {
            told_s = eab_now_s();
            post_progress(follower, pool);
        }
        wait_a_moment(follower);
    }
    eab_interrupt_looking(false);
}

void eab_follower_train(eab_follower *follower, const eab_pool_settings *settings, const eab_cell *cells) {
    eab_pool_settings own = *settings;
    eab_pool *pool;
    eab_pool_progress progress = {0};
    static const eab_profile none;
    own.deal = follower->deal = eab_deal_new_granted(wish, follower);
    int status = eab_pool_start(&own, cells, NULL, 0, &pool);
    if (!status) {
        train_until_stopped(follower, pool);
        eab_pool_measure(pool, &progress);
        status = eab_pool_finish(pool);
    }
    eab_rank_writer message = eab_rank_write(EAB_RANK_GOODBYE);
    eab_rank_put_count(&message, status);
    eab_rank_put_text(&message, status ? eab_last_error() : "");
    eab_rank_put_real(&message, progress.flop_done);
    eab_rank_put_real(&message, progress.tokens);
    eab_rank_put(&message, settings->profile ? settings->profile : &none, sizeof none);
    post(follower, &message, false);
}

eab_follower *eab_follower_new(const eab_ranks *ranks, int status, const char *mark) {
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
    eab_rank_writer message = eab_rank_write(EAB_RANK_HELLO);
    eab_rank_put_count(&message, status);
    eab_rank_put_text(&message, status ? eab_last_error() : "");
    eab_rank_put_text(&message, mark);
    eab_rank_put_text(&message, host);
    post(follower, &message, false);
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
    /* After a signal the leader may be gone already. */
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
    if (follower->deal) eab_deal_free(follower->deal);
    pthread_cond_destroy(&follower->posted);
    pthread_mutex_destroy(&follower->mutex);
    g_free(follower);
    return code;
}
