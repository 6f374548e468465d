#include "leader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "kernels/clock.h"
#include "kernels/status.h"
#include "message.h"
#include "run/tables.h"

typedef struct {
    bool met, gone; /* hello, goodbye were received */
    char host[64];
    int64_t requests; /* of its workers, not yet answered */
    GArray *assigned; /* int64_t: numbers of its fleets */
    double flop, tokens;
    eab_pool_fleet running[EAB_RANK_MAX_LISTED]; /* the first of its running fleets */
    int32_t running_count;
} follower;

struct eab_leader {
    const eab_ranks *ranks;
    int count;
    follower *followers; /* [count]; the first is unused */
    char *fingerprint;
    eab_queue *queue; /* NULL: requests wait */
    eab_leader_sinks sinks;
    void *context;
    GQueue deferred; /* GBytes: messages that write to the disk; requests, which workers wait for, come first */
    bool begun, stopping, interrupted;
    int sink_status, status; /* the sink's first error; a follower's first error */
    char line[768];
    eab_profile profile;
};

static void nap(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); }

static void send_to(const eab_leader *leader, int rank, GByteArray *message) {
    leader->ranks->send(rank, message->data, message->len);
    g_byte_array_free(message, TRUE);
}

static void note_error(eab_leader *leader, int rank, int status, const char *line) {
    if (leader->status || !status) return;
    leader->status = status;
    g_snprintf(leader->line, sizeof leader->line, "rank %d on %s: %s", rank, leader->followers[rank].host, line);
}

/* ---- what arrives -------------------------------------------------------------------------------------------- */

static void take_hello(eab_leader *leader, int rank, eab_rank_reader *message) {
    follower *own = &leader->followers[rank];
    const int status = (int)eab_rank_get_count(message);
    const char *line = eab_rank_get_text(message), *fingerprint = eab_rank_get_text(message);
    g_strlcpy(own->host, eab_rank_get_text(message), sizeof own->host);
    own->met = true;
    if (status) note_error(leader, rank, status, line);
    else if (message->bad || strcmp(fingerprint, leader->fingerprint) != 0)
        note_error(leader, rank, EAB_BAD_INPUT,
                   "it has another build of eabench or reads another spec; the same for all ranks is allowed");
}

static void take_result(eab_leader *leader, eab_rank_reader *message) {
    eab_cell_end end;
    const char *rows[EAB_TABLE_COUNT];
    eab_rank_get(message, &end, sizeof end);
    for (int table = 0; table < EAB_TABLE_COUNT; table++) rows[table] = eab_rank_get_text(message);
    if (message->bad || leader->sink_status) return;
    leader->sink_status = leader->sinks.rows(leader->context, &end, rows);
}

static void return_fleet(eab_leader *leader, int rank, int64_t number, eab_queue_return_kind how) {
    GArray *assigned = leader->followers[rank].assigned;
    for (guint i = 0; i < assigned->len; i++) {
        if (g_array_index(assigned, int64_t, i) != number) continue;
        g_array_remove_index_fast(assigned, i);
        if (leader->queue) eab_queue_return(leader->queue, number, how);
        return;
    }
}

static void take_progress(follower *own, eab_rank_reader *message) {
    own->flop = eab_rank_get_real(message);
    own->tokens = eab_rank_get_real(message);
    own->running_count = (int32_t)eab_rank_get_count(message);
    for (int32_t i = 0; i < MIN(own->running_count, EAB_RANK_MAX_LISTED); i++)
        eab_rank_get(message, &own->running[i], sizeof own->running[i]);
}

static void take_goodbye(eab_leader *leader, int rank, eab_rank_reader *message) {
    follower *own = &leader->followers[rank];
    eab_profile profile;
    const int status = (int)eab_rank_get_count(message);
    const char *line = eab_rank_get_text(message);
    own->flop = eab_rank_get_real(message);
    own->tokens = eab_rank_get_real(message);
    eab_rank_get(message, &profile, sizeof profile);
    own->gone = true;
    own->requests = 0;
    own->running_count = 0;
    while (own->assigned->len) return_fleet(leader, rank, g_array_index(own->assigned, int64_t, 0), EAB_RETURN_UNDONE);
    if (status && status != EAB_INTERRUPTED) note_error(leader, rank, status, line);
    eab_profile_add(&leader->profile, &profile);
}

static void take_message(eab_leader *leader, int rank, const void *bytes, size_t size) {
    eab_rank_reader message;
    follower *own = &leader->followers[rank];
    switch (eab_rank_read(&message, bytes, size)) {
        case EAB_RANK_HELLO: take_hello(leader, rank, &message); break;
        case EAB_RANK_REQUEST: own->requests++; break;
        case EAB_RANK_FLEET_ENDED: {
            const int64_t number = eab_rank_get_count(&message);
            return_fleet(leader, rank, number, eab_rank_get_count(&message) ? EAB_RETURN_COMPLETE : EAB_RETURN_UNDONE);
            break;
        }
        case EAB_RANK_PROGRESS: take_progress(own, &message); break;
        case EAB_RANK_RESULT:
        case EAB_RANK_NOTE:
        case EAB_RANK_FORGET: g_queue_push_tail(&leader->deferred, g_bytes_new(bytes, size)); break;
        case EAB_RANK_INTERRUPTED: leader->interrupted = true; break;
        case EAB_RANK_GOODBYE: take_goodbye(leader, rank, &message); break;
        case EAB_RANK_BEGIN:
        case EAB_RANK_ASSIGN:
        case EAB_RANK_STOP:
        case EAB_RANK_END: break;
    }
}

static void take_deferred(eab_leader *leader) {
    GBytes *bytes;
    while ((bytes = g_queue_pop_head(&leader->deferred))) {
        eab_rank_reader message;
        gsize size;
        const void *data = g_bytes_get_data(bytes, &size);
        const eab_rank_message_kind kind = eab_rank_read(&message, data, size);
        if (kind == EAB_RANK_RESULT) take_result(leader, &message);
        else if (kind == EAB_RANK_NOTE) leader->sinks.note(leader->context, eab_rank_get_text(&message));
        else leader->sinks.forget(leader->context, eab_rank_get_text(&message));
        g_bytes_unref(bytes);
    }
}

static void receive_all(eab_leader *leader) {
    void *bytes;
    int from;
    size_t size;
    while ((bytes = leader->ranks->receive(&from, &size))) {
        if (from > 0 && from < leader->count) take_message(leader, from, bytes, size);
        free(bytes);
    }
}

/* ---- assigning fleets -------------------------------------------------------------------------------------------- */

static bool assign(eab_leader *leader, int rank) {
    const eab_fleet *fleet;
    const int64_t number = eab_queue_assign(leader->queue, &fleet);
    if (number < 0) return false;
    GByteArray *message = eab_rank_write(EAB_RANK_ASSIGN);
    eab_rank_put_count(message, number);
    eab_rank_put_count(message, fleet->members);
    eab_rank_put(message, fleet->indices, (size_t)fleet->members * sizeof *fleet->indices);
    g_array_append_val(leader->followers[rank].assigned, number);
    leader->followers[rank].requests--;
    send_to(leader, rank, message);
    return true;
}

int eab_leader_serve(eab_leader *leader) {
    receive_all(leader);
    bool left = leader->queue && !leader->stopping;
    for (int rank = 1; rank < leader->count && left; rank++)
        while (left && leader->followers[rank].requests > 0) left = assign(leader, rank);
    take_deferred(leader);
    return leader->sink_status;
}

void eab_leader_set_queue(eab_leader *leader, eab_queue *queue) {
    for (int rank = 1; rank < leader->count; rank++) g_array_set_size(leader->followers[rank].assigned, 0);
    leader->queue = queue;
}

static bool all_gone(const eab_leader *leader) {
    for (int rank = 1; rank < leader->count; rank++)
        if (!leader->followers[rank].gone) return false;
    return true;
}

bool eab_leader_is_busy(const eab_leader *leader) {
    if (!leader->queue || leader->stopping) return false;
    return eab_queue_assigned(leader->queue) > 0 || (eab_queue_waiting(leader->queue) > 0 && !all_gone(leader));
}

bool eab_leader_interrupted(const eab_leader *leader) { return leader->interrupted; }

/* ---- from the first message to the last -------------------------------------------------------------------------- */

int eab_leader_meet(const eab_ranks *ranks, const eab_ranks_place *place, const char *fingerprint,
                    eab_leader **leader) {
    eab_leader *self = *leader = g_new0(eab_leader, 1);
    self->ranks = ranks;
    self->count = place->count;
    self->fingerprint = g_strdup(fingerprint);
    g_queue_init(&self->deferred);
    self->followers = g_new0(follower, (gsize)place->count);
    for (int rank = 0; rank < self->count; rank++)
        self->followers[rank].assigned = g_array_new(FALSE, FALSE, sizeof(int64_t));
    int met = 1;
    while (met < self->count) {
        receive_all(self);
        for (met = 1; met < self->count && self->followers[met].met; met++) {
        }
        if (self->status) return eab_fail((eab_status)self->status, "%s", self->line);
        if (eab_interrupt_count() > 0) return eab_fail(EAB_INTERRUPTED, "interrupted");
        if (met < self->count) nap();
    }
    return EAB_OK;
}

void eab_leader_begin(eab_leader *leader, const char *device, double peak_gflop_per_s, const eab_leader_sinks *sinks,
                      void *context) {
    leader->sinks = *sinks;
    leader->context = context;
    leader->begun = true;
    for (int rank = 1; rank < leader->count; rank++) {
        GByteArray *message = eab_rank_write(EAB_RANK_BEGIN);
        eab_rank_put_text(message, device);
        eab_rank_put_real(message, peak_gflop_per_s);
        send_to(leader, rank, message);
    }
}

void eab_leader_stop(eab_leader *leader, double seconds) {
    const double until_s = eab_now_s() + seconds;
    for (int rank = 1; rank < leader->count && leader->begun && !leader->stopping; rank++) {
        send_to(leader, rank, eab_rank_write(EAB_RANK_STOP));
    }
    leader->stopping = true;
    while (leader->begun && !all_gone(leader) && eab_now_s() < until_s) {
        receive_all(leader);
        take_deferred(leader);
        nap();
    }
}

void eab_leader_measure(const eab_leader *leader, double *flop_done, double *tokens) {
    *flop_done = *tokens = 0;
    for (int rank = 1; rank < leader->count; rank++) {
        *flop_done += leader->followers[rank].flop;
        *tokens += leader->followers[rank].tokens;
    }
}

int32_t eab_leader_list(const eab_leader *leader, eab_pool_fleet *fleets, int32_t room) {
    int32_t count = 0;
    for (int rank = 1; rank < leader->count; rank++) {
        const follower *own = &leader->followers[rank];
        for (int32_t i = 0; i < own->running_count; i++, count++)
            if (count < room && i < EAB_RANK_MAX_LISTED) fleets[count] = own->running[i];
    }
    return count;
}

int eab_leader_status(const eab_leader *leader, eab_profile *profile) {
    if (profile) eab_profile_add(profile, &leader->profile);
    return leader->status ? eab_fail((eab_status)leader->status, "%s", leader->line) : EAB_OK;
}

void eab_leader_dismiss(eab_leader *leader, int code) {
    static const double PATIENCE_S = 0.2;
    const bool orderly = (!leader->begun || all_gone(leader)) && !leader->interrupted && eab_interrupt_count() == 0;
    const double until_s = eab_now_s() + PATIENCE_S;
    for (int rank = 1; rank < leader->count; rank++) {
        GByteArray *message = eab_rank_write(EAB_RANK_END);
        eab_rank_put_count(message, code);
        eab_rank_put_count(message, orderly);
        send_to(leader, rank, message);
    }
    if (!orderly) {
        fflush(NULL);
        while (!leader->ranks->is_idle() && eab_now_s() < until_s) nap();
        _exit(code);
    }
    /* A follower may say hello after it was dismissed, and MPI cannot be closed with unreceived messages. */
    for (int rank = 1; rank < leader->count; rank++)
        while (!leader->followers[rank].met) {
            receive_all(leader);
            nap();
        }
    leader->ranks->close();
    g_queue_clear_full(&leader->deferred, (GDestroyNotify)g_bytes_unref);
    for (int rank = 0; rank < leader->count; rank++) g_array_free(leader->followers[rank].assigned, TRUE);
    g_free(leader->followers);
    g_free(leader->fingerprint);
    g_free(leader);
}
