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
    bool met, gone; /* said hello; goodbye */
    char host[64];
    int64_t wishes;
    GArray *given; /* int64_t: numbers of its fleets */
    double flop, tokens;
    eab_pool_fleet working[EAB_RANK_MAX_LISTED]; /* the first of its fleets at work */
    int32_t working_count;
} follower;

struct eab_leader {
    const eab_ranks *ranks;
    int count;
    follower *followers; /* [count]; the first is not used */
    char *mark;
    eab_deal *deal;
    eab_leader_sinks sinks;
    void *context;
    GQueue later; /* GBytes: results and the like, which go to the disk, after the wishes, for which workers wait */
    bool begun, stopping, interrupted;
    int sink_status, status; /* the sink's; the first error of a follower */
    char line[768];
    eab_profile profile;
};

static void nap(void) { nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); }

static void send_to(const eab_leader *leader, int rank, eab_rank_writer *message) {
    leader->ranks->send(rank, message->bytes->data, message->bytes->len);
    g_byte_array_free(message->bytes, TRUE);
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
    const char *line = eab_rank_get_text(message), *mark = eab_rank_get_text(message);
    g_strlcpy(own->host, eab_rank_get_text(message), sizeof own->host);
    own->met = true;
    if (status) note_error(leader, rank, status, line);
    else if (message->bad || strcmp(mark, leader->mark) != 0)
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

static void take_back(eab_leader *leader, int rank, int64_t number, eab_deal_return how) {
    GArray *given = leader->followers[rank].given;
    for (guint i = 0; i < given->len; i++) {
        if (g_array_index(given, int64_t, i) != number) continue;
        g_array_remove_index_fast(given, i);
        if (leader->deal) eab_deal_take_back(leader->deal, number, how);
        return;
    }
}

static void take_progress(follower *own, eab_rank_reader *message) {
    own->flop = eab_rank_get_real(message);
    own->tokens = eab_rank_get_real(message);
    own->working_count = (int32_t)eab_rank_get_count(message);
    for (int32_t i = 0; i < MIN(own->working_count, EAB_RANK_MAX_LISTED); i++)
        eab_rank_get(message, &own->working[i], sizeof own->working[i]);
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
    own->wishes = 0;
    own->working_count = 0;
    while (own->given->len) take_back(leader, rank, g_array_index(own->given, int64_t, 0), EAB_DEAL_UNDONE);
    if (status && status != EAB_INTERRUPTED) note_error(leader, rank, status, line);
    leader->profile.seconds += profile.seconds;
    leader->profile.checkpoints.calls += profile.checkpoints.calls;
    leader->profile.checkpoints.seconds += profile.checkpoints.seconds;
    for (int phase = 0; phase < EAB_PROFILE_PHASES; phase++)
        for (int row = 0; row < EAB_PROFILE_ROWS; row++) {
            leader->profile.rows[phase][row].calls += profile.rows[phase][row].calls;
            leader->profile.rows[phase][row].seconds += profile.rows[phase][row].seconds;
            leader->profile.rows[phase][row].flop += profile.rows[phase][row].flop;
        }
}

static void take_message(eab_leader *leader, int rank, const void *bytes, size_t size) {
    eab_rank_reader message;
    follower *own = &leader->followers[rank];
    switch (eab_rank_read(&message, bytes, size)) {
        case EAB_RANK_HELLO: take_hello(leader, rank, &message); break;
        case EAB_RANK_WISH: own->wishes++; break;
        case EAB_RANK_FLEET_ENDED: {
            const int64_t number = eab_rank_get_count(&message);
            take_back(leader, rank, number, eab_rank_get_count(&message) ? EAB_DEAL_COMPLETED : EAB_DEAL_UNDONE);
            break;
        }
        case EAB_RANK_PROGRESS: take_progress(own, &message); break;
        case EAB_RANK_RESULT:
        case EAB_RANK_NOTE:
        case EAB_RANK_FORGET: g_queue_push_tail(&leader->later, g_bytes_new(bytes, size)); break;
        case EAB_RANK_INTERRUPTED: leader->interrupted = true; break;
        case EAB_RANK_GOODBYE: take_goodbye(leader, rank, &message); break;
        case EAB_RANK_BEGIN:
        case EAB_RANK_GRANT:
        case EAB_RANK_STOP:
        case EAB_RANK_END: break;
    }
}

static void take_later(eab_leader *leader) {
    GBytes *bytes;
    while ((bytes = g_queue_pop_head(&leader->later))) {
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

/* ---- dealing ------------------------------------------------------------------------------------------------- */

static bool grant(eab_leader *leader, int rank) {
    const eab_fleet *fleet;
    const int64_t number = eab_deal_give(leader->deal, &fleet);
    if (number < 0) return false;
    eab_rank_writer message = eab_rank_write(EAB_RANK_GRANT);
    eab_rank_put_count(&message, number);
    eab_rank_put_count(&message, fleet->members);
    eab_rank_put(&message, fleet->indices, (size_t)fleet->members * sizeof *fleet->indices);
    g_array_append_val(leader->followers[rank].given, number);
    leader->followers[rank].wishes--;
    send_to(leader, rank, &message);
    return true;
}

int eab_leader_serve(eab_leader *leader) {
    receive_all(leader);
    bool left = leader->deal && !leader->stopping;
    for (int rank = 1; rank < leader->count && left; rank++)
        while (left && leader->followers[rank].wishes > 0) left = grant(leader, rank);
    take_later(leader);
    return leader->sink_status;
}

void eab_leader_deal(eab_leader *leader, eab_deal *deal) {
    for (int rank = 1; rank < leader->count; rank++) g_array_set_size(leader->followers[rank].given, 0);
    leader->deal = deal;
}

static bool all_gone(const eab_leader *leader) {
    for (int rank = 1; rank < leader->count; rank++)
        if (!leader->followers[rank].gone) return false;
    return true;
}

bool eab_leader_is_busy(const eab_leader *leader) {
    if (!leader->deal || leader->stopping) return false;
    return eab_deal_given(leader->deal) > 0 || (eab_deal_left(leader->deal) > 0 && !all_gone(leader));
}

bool eab_leader_interrupted(const eab_leader *leader) { return leader->interrupted; }

/* ---- from meeting to parting --------------------------------------------------------------------------------- */

int eab_leader_meet(const eab_ranks *ranks, const eab_ranks_place *place, const char *mark, eab_leader **leader) {
    eab_leader *self = *leader = g_new0(eab_leader, 1);
    self->ranks = ranks;
    self->count = place->count;
    self->mark = g_strdup(mark);
    g_queue_init(&self->later);
    self->followers = g_new0(follower, (gsize)place->count);
    for (int rank = 0; rank < self->count; rank++)
        self->followers[rank].given = g_array_new(FALSE, FALSE, sizeof(int64_t));
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
        eab_rank_writer message = eab_rank_write(EAB_RANK_BEGIN);
        eab_rank_put_text(&message, device);
        eab_rank_put_real(&message, peak_gflop_per_s);
        send_to(leader, rank, &message);
    }
}

void eab_leader_stop(eab_leader *leader, double seconds) {
    const double until_s = eab_now_s() + seconds;
    for (int rank = 1; rank < leader->count && leader->begun && !leader->stopping; rank++) {
        eab_rank_writer message = eab_rank_write(EAB_RANK_STOP);
        send_to(leader, rank, &message);
    }
    leader->stopping = true;
    while (leader->begun && !all_gone(leader) && eab_now_s() < until_s) {
        receive_all(leader);
        take_later(leader);
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
        for (int32_t i = 0; i < own->working_count; i++, count++)
            if (count < room && i < EAB_RANK_MAX_LISTED) fleets[count] = own->working[i];
    }
    return count;
}

int eab_leader_status(const eab_leader *leader, eab_profile *profile) {
    for (int phase = 0; phase < EAB_PROFILE_PHASES && profile; phase++)
        for (int row = 0; row < EAB_PROFILE_ROWS; row++) {
            profile->rows[phase][row].calls += leader->profile.rows[phase][row].calls;
            profile->rows[phase][row].seconds += leader->profile.rows[phase][row].seconds;
            profile->rows[phase][row].flop += leader->profile.rows[phase][row].flop;
        }
    if (profile) {
        profile->seconds += leader->profile.seconds;
        profile->checkpoints.calls += leader->profile.checkpoints.calls;
        profile->checkpoints.seconds += leader->profile.checkpoints.seconds;
    }
    return leader->status ? eab_fail((eab_status)leader->status, "%s", leader->line) : EAB_OK;
}

void eab_leader_dismiss(eab_leader *leader, int code) {
    static const double PATIENCE_S = 0.2;
    const bool orderly = (!leader->begun || all_gone(leader)) && !leader->interrupted && eab_interrupt_count() == 0;
    const double until_s = eab_now_s() + PATIENCE_S;
    for (int rank = 1; rank < leader->count; rank++) {
        eab_rank_writer message = eab_rank_write(EAB_RANK_END);
        eab_rank_put_count(&message, code);
        eab_rank_put_count(&message, orderly);
        send_to(leader, rank, &message);
    }
    if (!orderly) {
        fflush(NULL);
        while (!leader->ranks->is_idle() && eab_now_s() < until_s) nap();
        _exit(code);
    }
    /* A follower may say hello after it was dismissed: MPI does not end with messages that nobody took. */
    for (int rank = 1; rank < leader->count; rank++)
        while (!leader->followers[rank].met) {
            receive_all(leader);
            nap();
        }
    leader->ranks->close();
    g_queue_clear_full(&leader->later, (GDestroyNotify)g_bytes_unref);
    for (int rank = 0; rank < leader->count; rank++) g_array_free(leader->followers[rank].given, TRUE);
    g_free(leader->followers);
    g_free(leader->mark);
    g_free(leader);
}
