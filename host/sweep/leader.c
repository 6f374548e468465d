#include "leader.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "kernels/clock.h"
#include "kernels/status.h"
#include "message.h"
#include "run/tables.h"

typedef struct {
    bool met, gone; /* hello, goodbye were received; or it is lost */
    double heard_s; /* its last message, by the leader's clock */
    char host[64];
    int64_t requests;           /* of its workers, not yet answered */
    int64_t fleets;             /* assigned to it and not ended */
    eab_pool_progress progress; /* its last report */
} follower;

struct eab_leader {
    const eab_ranks *ranks;
    int count;
    follower *followers; /* [count]; the first is unused */
    bool lost;           /* one of them is */
    double timeout_s;    /* their longest silence */
    eab_rank_clock clock;
    double alive_s; /* when it sent `alive`, by its clock */
    char fingerprint[EAB_FINGERPRINT_SIZE];
    eab_sweep_session *session; /* NULL: they have not begun */
    eab_queue *queue;           /* NULL: requests wait */
    GQueue deferred;            /* messages that write to the disk; requests, which workers wait for, come first */
    bool stopping, interrupted;
    int status; /* a follower's first error */
    char line[EAB_RANK_LINE_SIZE];
    eab_profile profile;
};

static void nap(void) { g_usleep(1000); }

static void note_error(eab_leader *leader, int rank, int status, const char *line) {
    if (leader->status || !status) return;
    leader->status = status;
    g_snprintf(leader->line, sizeof leader->line, "rank %d on %s: %s", rank, leader->followers[rank].host, line);
}

/* ---- messages that arrive ---------------------------------------------------------------------------------------- */

static void take_hello(eab_leader *leader, int rank, const eab_rank_hello *hello) {
    follower *own = &leader->followers[rank];
    g_strlcpy(own->host, hello->host, sizeof own->host);
    own->met = true;
    if (hello->status) note_error(leader, rank, hello->status, hello->line);
    else if (strcmp(hello->fingerprint, leader->fingerprint) != 0)
        note_error(leader, rank, EAB_BAD_INPUT,
                   "it has another build of eabench or reads another spec; the same for all ranks is allowed");
}

static void end_fleet(eab_leader *leader, int rank, bool complete) {
    if (!leader->followers[rank].fleets) return; /* a lost one may still send this */
    leader->followers[rank].fleets--;
    if (leader->queue) eab_queue_end(leader->queue, complete);
}

static void take_goodbye(eab_leader *leader, int rank, const eab_rank_goodbye *goodbye) {
    follower *own = &leader->followers[rank];
    own->progress = goodbye->progress;
    own->gone = true;
    own->requests = 0;
    while (own->fleets > 0) end_fleet(leader, rank, false);
    if (goodbye->status != EAB_INTERRUPTED) note_error(leader, rank, goodbye->status, goodbye->line);
    eab_profile_add(&leader->profile, &goodbye->profile);
}

/* Rows that a lost rank still sends are kept, but it gets no more cells. */
static void lose(eab_leader *leader, int rank, const char *reason) {
    follower *own = &leader->followers[rank];
    if (own->gone) return;
    note_error(leader, rank, EAB_DEVICE_FAULT, reason);
    if (leader->session)
        eab_log_error("sweep", "rank %d on %s: %s; its cells that are not done are left to the next start", rank,
                      own->host, reason);
    own->met = own->gone = leader->lost = true;
    own->requests = 0;
    own->progress.running_count = 0;
    while (own->fleets > 0) end_fleet(leader, rank, false);
}

static void send_message(eab_leader *leader, int rank, eab_rank_message *message) {
    if (!eab_rank_send(leader->ranks, rank, message)) lose(leader, rank, "a message to it was lost");
}

/* Sends `alive`, so that followers do not end, and detects silent followers. */
static void watch_ranks(eab_leader *leader) {
    const double now = eab_rank_clock_s(&leader->clock);
    const bool alive = now - leader->alive_s >= leader->timeout_s / 4;
    char reason[80];
    if (alive) leader->alive_s = now;
    g_snprintf(reason, sizeof reason, "it has sent nothing for %.0f s (--rank-timeout)", leader->timeout_s);
    for (int rank = 1; rank < leader->count; rank++) {
        const follower *own = &leader->followers[rank];
        if (alive) send_message(leader, rank, eab_rank_message_new(EAB_RANK_ALIVE, NULL, 0));
        /* Between hello and begin a follower sends nothing. */
        if (!(leader->session ? own->gone : own->met) && now - own->heard_s > leader->timeout_s)
            lose(leader, rank, reason);
    }
}

static void take_damaged(eab_leader *leader, int rank) {
    if (leader->followers[rank].met) lose(leader, rank, "a message from it was lost");
    else take_hello(leader, rank, &(eab_rank_hello){.host = "another build"});
}

static void take_message(eab_leader *leader, int rank, const eab_rank_message *message) {
    switch (message->kind) {
        case EAB_RANK_DAMAGED: take_damaged(leader, rank); break;
        case EAB_RANK_HELLO: take_hello(leader, rank, &message->hello); break;
        case EAB_RANK_REQUEST: leader->followers[rank].requests += !leader->followers[rank].gone; break;
        case EAB_RANK_FLEET_ENDED: end_fleet(leader, rank, message->complete); break;
        case EAB_RANK_PROGRESS:
            if (!leader->followers[rank].gone) leader->followers[rank].progress = message->progress;
            break;
        case EAB_RANK_INTERRUPTED: leader->interrupted = true; break;
        case EAB_RANK_GOODBYE: take_goodbye(leader, rank, &message->goodbye); break;
        default: break;
    }
}

static void take_result(const eab_leader *leader, const eab_rank_message *message) {
    const char *rows[EAB_TABLE_COUNT], *at = message->tail;
    for (int table = 0; table < EAB_TABLE_COUNT; table++, at += strlen(at) + 1) rows[table] = at;
    eab_session_take_rows(leader->session, &message->result, rows); /* the folder keeps an error and reports it */
}

static bool is_deferred(const eab_rank_message *message) {
    return message->kind == EAB_RANK_RESULT || message->kind == EAB_RANK_NOTE ||
           message->kind == EAB_RANK_REMOVE_CHECKPOINT;
}

static void take_deferred(eab_leader *leader) {
    eab_rank_message *message;
    while ((message = g_queue_pop_head(&leader->deferred))) {
        if (message->kind == EAB_RANK_RESULT) take_result(leader, message);
        else if (message->kind == EAB_RANK_NOTE) eab_log_note("sweep", "%s", message->tail);
        else eab_session_remove_checkpoint(leader->session, message->tail);
        g_free(message);
    }
}

static void receive_all(eab_leader *leader) {
    eab_rank_message *message;
    int from;
    while ((message = eab_rank_receive(leader->ranks, &from))) {
        leader->followers[from].heard_s = leader->clock.s;
        if (is_deferred(message)) {
            g_queue_push_tail(&leader->deferred, message);
            continue;
        }
        take_message(leader, from, message);
        g_free(message);
    }
}

/* ---- assigning fleets -------------------------------------------------------------------------------------------- */

static bool assign(eab_leader *leader, int rank) {
    eab_fleet fleet;
    if (!eab_queue_next(leader->queue, &fleet)) return false;
    eab_rank_message *message =
        eab_rank_message_new(EAB_RANK_ASSIGN, fleet.indices, (size_t)fleet.members * sizeof *fleet.indices);
    message->fleet = fleet;
    leader->followers[rank].requests--;
    leader->followers[rank].fleets++;
    send_message(leader, rank, message);
    return true;
}

void eab_leader_serve(eab_leader *leader) {
    receive_all(leader);
    watch_ranks(leader);
    bool left = leader->queue && !leader->stopping;
    for (int rank = 1; rank < leader->count && left; rank++)
        while (left && leader->followers[rank].requests > 0) left = assign(leader, rank);
    take_deferred(leader);
}

void eab_leader_set_queue(eab_leader *leader, eab_queue *queue) {
    for (int rank = 1; rank < leader->count; rank++) leader->followers[rank].fleets = 0;
    leader->queue = queue;
}

static bool all_gone(const eab_leader *leader) {
    for (int rank = 1; rank < leader->count; rank++)
        if (!leader->followers[rank].gone) return false;
    return true;
}

bool eab_leader_is_busy(const eab_leader *leader) {
    if (!leader->queue || leader->stopping) return false;
    const eab_queue_state state = eab_queue_measure(leader->queue);
    return state.running > 0 || (state.waiting > 0 && !all_gone(leader));
}

bool eab_leader_interrupted(const eab_leader *leader) { return leader->interrupted; }

/* ---- from hello to goodbye --------------------------------------------------------------------------------------- */

static bool all_met(const eab_leader *leader) {
    for (int rank = 1; rank < leader->count; rank++)
        if (!leader->followers[rank].met) return false;
    return true;
}

int eab_leader_meet(const eab_sweep *sweep, const char *fingerprint, eab_leader **leader) {
    eab_leader *self = *leader = g_new0(eab_leader, 1);
    self->ranks = sweep->ranks;
    self->count = sweep->place.count;
    self->timeout_s = sweep->rank_timeout_s;
    g_strlcpy(self->fingerprint, fingerprint, sizeof self->fingerprint);
    g_queue_init(&self->deferred);
    self->followers = g_new0(follower, (gsize)self->count);
    for (int rank = 1; rank < self->count; rank++) g_strlcpy(self->followers[rank].host, "an unknown host", 64);
    for (;;) {
        receive_all(self);
        watch_ranks(self);
        if (self->status) return eab_fail((eab_status)self->status, "%s", self->line);
        if (eab_interrupt_count() > 0) return eab_fail(EAB_INTERRUPTED, "interrupted");
        if (all_met(self)) return EAB_OK;
        nap();
    }
}

void eab_leader_begin(eab_leader *leader, eab_sweep_session *session) {
    leader->session = session;
    for (int rank = 1; rank < leader->count; rank++) {
        eab_rank_message *message = eab_rank_message_new(EAB_RANK_BEGIN, NULL, 0);
        g_strlcpy(message->begin.device, session->sweep->description, sizeof message->begin.device);
        message->begin.peak_gflop_per_s = session->run.peak_gflop_per_s;
        leader->followers[rank].heard_s = leader->clock.s;
        send_message(leader, rank, message);
    }
}

void eab_leader_stop(eab_leader *leader, double seconds) {
    const double until_s = eab_now_s() + seconds;
    if (!leader->session) return;
    for (int rank = 1; rank < leader->count && !leader->stopping; rank++)
        send_message(leader, rank, eab_rank_message_new(EAB_RANK_STOP, NULL, 0));
    leader->stopping = true;
    while (!all_gone(leader) && eab_now_s() < until_s) {
        receive_all(leader);
        watch_ranks(leader);
        take_deferred(leader);
        nap();
    }
}

void eab_leader_add_progress(const eab_leader *leader, eab_pool_progress *progress) {
    for (int rank = 1; rank < leader->count; rank++) {
        const eab_pool_progress *own = &leader->followers[rank].progress;
        progress->flop_done += own->flop_done;
        progress->tokens += own->tokens;
        for (int32_t i = 0; i < own->running_count; i++, progress->running_count++)
            if (progress->running_count < EAB_STATE_MAX_RUNNING && i < EAB_STATE_MAX_RUNNING)
                progress->running[progress->running_count] = own->running[i];
    }
}

int eab_leader_status(const eab_leader *leader, eab_profile *profile) {
    if (profile) eab_profile_add(profile, &leader->profile);
    return leader->status ? eab_fail((eab_status)leader->status, "%s", leader->line) : EAB_OK;
}

void eab_leader_dismiss(eab_leader *leader, int code) {
    static const double PATIENCE_S = 0.2;
    const double met_by_s = eab_now_s() + leader->timeout_s;
    const bool orderly =
        (!leader->session || all_gone(leader)) && !leader->lost && !leader->interrupted && eab_interrupt_count() == 0;
    const double until_s = eab_now_s() + PATIENCE_S;
    for (int rank = 1; rank < leader->count; rank++) {
        eab_rank_message *message = eab_rank_message_new(EAB_RANK_END, NULL, 0);
        message->end = (eab_rank_end){code, orderly};
        eab_rank_send(leader->ranks, rank, message);
    }
    if (!orderly) {
        fflush(NULL);
        while (!leader->ranks->is_idle() && eab_now_s() < until_s) nap();
        _exit(code);
    }
    /* A follower may say hello after it was dismissed, and MPI cannot be closed with unreceived messages. */
    while (!all_met(leader) && eab_now_s() < met_by_s) {
        receive_all(leader);
        nap();
    }
    if (!all_met(leader) || !leader->ranks->close(leader->timeout_s)) {
        eab_log_error("sweep", "a rank does not end (--rank-timeout); ended without it");
        _exit(code);
    }
    g_queue_clear_full(&leader->deferred, g_free);
    g_free(leader->followers);
    g_free(leader);
}
