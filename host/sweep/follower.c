/* A rank of a sweep other than the first: it trains the fleets that the leader assigns and sends their rows. It neither
 * writes files nor prints. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/exit.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "bench/peak.h"
#include "kernels/clock.h"
#include "kernels/status.h"
#include "message.h"
#include "session.h"

static const double PROGRESS_EVERY_S = 1, END_PATIENCE_S = 5;

typedef struct {
    const eab_ranks *ranks;
    eab_outbox outbox; /* messages to the leader, from all threads */
    eab_queue *queue;
    bool begun, stopped, ended; /* messages that the leader sent */
    eab_rank_begin begin;
    eab_rank_end end;
    eab_rank_clock clock;
    double heard_s, timeout_s; /* when the leader's last message came; its longest silence */
    bool unsent;               /* a message to the leader is lost */
} follower;

/* The leader writes all lines. */
static void send_note(void *context, const char *text) {
    eab_outbox_post(context, eab_rank_message_new(EAB_RANK_NOTE, text, strlen(text) + 1));
}

static void request(void *context) { eab_outbox_post(context, eab_rank_message_new(EAB_RANK_REQUEST, NULL, 0)); }

static void take_fleet(follower *self, const eab_rank_message *message) {
    eab_fleet fleet = message->fleet;
    fleet.indices = g_memdup2(message->tail, message->size);
    eab_queue_add(self->queue, &fleet);
}

static void take_message(follower *self, const eab_rank_message *message) {
    switch (message->kind) {
        case EAB_RANK_BEGIN:
            self->begin = message->begin;
            self->begun = true;
            break;
        case EAB_RANK_ASSIGN: take_fleet(self, message); break;
        case EAB_RANK_STOP: self->stopped = true; break;
        case EAB_RANK_END:
            self->end = message->end;
            self->ended = true;
            break;
        case EAB_RANK_DAMAGED: /* the leader refuses this build, or its message is lost */
            self->end = (eab_rank_end){self->begun ? EAB_EXIT_ENVIRONMENT : EAB_EXIT_BAD_INPUT, !self->begun};
            self->ended = true;
            break;
        default: break;
    }
}

/* Sends and receives messages, then sleeps a moment. */
static void exchange(follower *self) {
    eab_rank_message *message;
    int from;
    eab_rank_clock_s(&self->clock);
    if (!eab_outbox_send(&self->outbox, self->ranks, 0)) self->unsent = true;
    while ((message = eab_rank_receive(self->ranks, &from))) {
        self->heard_s = self->clock.s;
        take_message(self, message);
        g_free(message);
    }
    g_usleep(1000);
}

static bool lost_leader(const follower *self) {
    return self->unsent || self->clock.s - self->heard_s > self->timeout_s;
}

/* Ready for the plan, or `status`: why not. */
static void say_hello(follower *self, const eab_sweep *sweep, const eab_plan *plan, int status) {
    eab_rank_message *message = eab_rank_message_new(EAB_RANK_HELLO, NULL, 0);
    message->hello.status = status;
    if (status) g_strlcpy(message->hello.line, eab_last_error(), sizeof message->hello.line);
    else eab_session_fingerprint(sweep, plan, message->hello.fingerprint);
    gethostname(message->hello.host, sizeof message->hello.host - 1);
    eab_outbox_post(&self->outbox, message);
}

/* ---- training ------------------------------------------------------------------------------------------------ */

static double measure_peak(const eab_sweep *sweep) {
    eab_device *device;
    if (eab_device_open(sweep->backend, sweep->device, &device)) return 0;
    const double peak = eab_peak_gflop_per_s(device, EAB_F32);
    eab_device_close(device);
    return peak;
}

static void train_until_stopped(follower *self, eab_pool *pool) {
    bool stopping = false;
    double reported_s = eab_now_s();
    eab_interrupt_handle_second(true);
    while (!eab_pool_has_ended(pool)) {
        exchange(self);
        const bool interrupted = eab_interrupt_count() > 0;
        if (!stopping && (self->stopped || self->ended || interrupted || lost_leader(self))) {
            stopping = true;
            if (interrupted) eab_outbox_post(&self->outbox, eab_rank_message_new(EAB_RANK_INTERRUPTED, NULL, 0));
            eab_pool_stop(pool);
        }
        if (eab_now_s() - reported_s >= PROGRESS_EVERY_S) {
            reported_s = eab_now_s();
            eab_rank_message *message = eab_rank_message_new(EAB_RANK_PROGRESS, NULL, 0);
            eab_pool_measure(pool, &message->progress);
            eab_outbox_post(&self->outbox, message);
        }
    }
    eab_interrupt_handle_second(false);
}

/* Trains until the leader sends stop or a signal comes, then says goodbye. */
static void train(follower *self, const eab_sweep *sweep, const eab_plan *plan) {
    eab_sweep_session session = {.sweep = sweep,
                                 .plan = plan,
                                 .run = eab_session_run_settings(sweep, plan),
                                 .outbox = &self->outbox,
                                 .mutex = PTHREAD_MUTEX_INITIALIZER};
    const bool same_device = strcmp(sweep->description, self->begin.device) == 0;
    session.run.peak_gflop_per_s = same_device ? self->begin.peak_gflop_per_s : measure_peak(sweep);
    const eab_pool_settings settings = eab_session_pool_settings(&session, self->queue);
    eab_rank_message *message = eab_rank_message_new(EAB_RANK_GOODBYE, NULL, 0);
    eab_rank_goodbye *goodbye = &message->goodbye;
    eab_pool *pool;
    goodbye->status = eab_pool_start(&settings, plan->cells, &pool);
    if (!goodbye->status) {
        train_until_stopped(self, pool);
        eab_pool_measure(pool, &goodbye->progress);
        goodbye->status = eab_pool_finish(pool);
    }
    if (goodbye->status) g_strlcpy(goodbye->line, eab_last_error(), sizeof goodbye->line);
    goodbye->profile = session.profile;
    eab_outbox_post(&self->outbox, message);
}

/* One rank is enough to report a silent leader. The others let it: when one rank ends, a launcher ends all, and their
 * output. */
static void report_lost_leader(follower *self, const eab_sweep *sweep) {
    enum { PATIENCE_US = 5000000 };
    eab_log_redirect(NULL, NULL);
    self->end = (eab_rank_end){EAB_EXIT_ENVIRONMENT, false};
    if (self->unsent) {
        eab_log_error("sweep", "rank %d: a message to the first rank was lost; to resume: %s", sweep->place.rank,
                      sweep->resume_command);
    } else if (sweep->place.rank == 1) {
        eab_log_error("sweep", "the first rank has sent nothing for %.0f s (--rank-timeout); to resume: %s",
                      self->timeout_s, sweep->resume_command);
    } else {
        g_usleep(PATIENCE_US);
    }
}

int eab_sweep_follow(const eab_sweep *sweep, const eab_plan *plan, int status) {
    follower self = {.ranks = sweep->ranks, .timeout_s = sweep->rank_timeout_s, .end = {EAB_EXIT_INTERRUPTED, false}};
    eab_outbox_init(&self.outbox);
    self.queue = eab_queue_new_remote(request, &self.outbox);
    eab_log_redirect(send_note, &self.outbox);
    eab_interrupt_watch();
    say_hello(&self, sweep, plan, status);
    while (!self.begun && !self.ended && !lost_leader(&self) && eab_interrupt_count() == 0) exchange(&self);
    if (self.begun && !self.ended && !status) train(&self, sweep, plan);

    const double began_s = eab_now_s(); /* after a signal the leader may be gone */
    while (!self.ended && !lost_leader(&self) &&
           (eab_interrupt_count() == 0 || eab_now_s() - began_s <= END_PATIENCE_S))
        exchange(&self);
    if (!self.ended && lost_leader(&self)) report_lost_leader(&self, sweep);
    if (!self.end.orderly || !self.ranks->close(self.timeout_s)) {
        fflush(NULL);
        _exit(self.end.code);
    }
    eab_log_redirect(NULL, NULL);
    eab_queue_free(self.queue);
    eab_outbox_destroy(&self.outbox);
    return self.end.code;
}
