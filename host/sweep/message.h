/* Messages between the ranks of a sweep: structs that are sent as they are. All ranks run the same build on the same
 * type of machine; the first message checks the build.
 *
 * A follower says hello; the leader answers with begin or end. Then each free worker requests a fleet. The follower
 * sends the rows of each cell that ended, and reports each fleet that ended. On `stop` it leaves its fleets undone,
 * says goodbye when its workers have ended, and waits for `end`.
 *
 * A rank that hangs is detected by its silence (--rank-timeout). A separate thread handles the messages, so a long cell
 * is no silence: a follower reports its progress every second, and the leader sends `alive`. */
#ifndef EAB_SWEEP_MESSAGE_H
#define EAB_SWEEP_MESSAGE_H

#include <pthread.h>

#include "pool.h"
#include "ranks.h"
#include "run/folder.h"

typedef enum {
    EAB_RANK_DAMAGED, /* another build sent it, or it could not be received */
    /* from a follower */
    EAB_RANK_HELLO,
    EAB_RANK_REQUEST,
    EAB_RANK_RESULT, /* tail: rows of each table, each with its terminating 0 */
    EAB_RANK_FLEET_ENDED,
    EAB_RANK_PROGRESS,
    EAB_RANK_NOTE,              /* tail: the line */
    EAB_RANK_REMOVE_CHECKPOINT, /* tail: its path */
    EAB_RANK_INTERRUPTED,
    EAB_RANK_GOODBYE,
    /* from the leader */
    EAB_RANK_BEGIN,
    EAB_RANK_ASSIGN, /* tail: the fleet's indices */
    EAB_RANK_ALIVE,
    EAB_RANK_STOP,
    EAB_RANK_END
} eab_rank_message_kind;

enum { EAB_RANK_LINE_SIZE = 768, EAB_FINGERPRINT_SIZE = 65 };

typedef struct {
    int status; /* why the rank cannot take part, with `line`; EAB_OK: it can */
    char line[EAB_RANK_LINE_SIZE], fingerprint[EAB_FINGERPRINT_SIZE], host[64];
} eab_rank_hello;

typedef struct {
    int status;
    char line[EAB_RANK_LINE_SIZE];
    eab_pool_progress progress;
    eab_profile profile;
} eab_rank_goodbye;

typedef struct {
    char device[256];
    double peak_gflop_per_s; /* of this device */
} eab_rank_begin;

typedef struct {
    int code;     /* the exit code */
    bool orderly; /* MPI can be closed in order */
} eab_rank_end;

typedef struct {
    eab_rank_message_kind kind;
    union {
        eab_rank_hello hello;
        eab_cell_end result;
        bool complete; /* of a fleet that ended: every cell has a result */
        eab_pool_progress progress;
        eab_rank_goodbye goodbye;
        eab_rank_begin begin;
        eab_fleet fleet; /* its indices are in the tail */
        eab_rank_end end;
    };
    size_t size; /* of the tail */
    char tail[];
} eab_rank_message;

/* A message whose members are 0, with a copy of `size` bytes as its tail; g_free. */
eab_rank_message *eab_rank_message_new(eab_rank_message_kind kind, const void *tail, size_t size);

/* Sends the message and frees it. False: it, or an earlier one to this rank, is lost. */
bool eab_rank_send(const eab_ranks *ranks, int to, eab_rank_message *message);

/* A message that has arrived, with a 0 behind its tail, for g_free; NULL if there is none. */
eab_rank_message *eab_rank_receive(const eab_ranks *ranks, int *from);

/* Messages that any thread posts and the main thread sends, in this order. */
typedef struct {
    pthread_mutex_t mutex;
    GQueue messages; /* eab_rank_message */
} eab_outbox;
void eab_outbox_init(eab_outbox *outbox);
void eab_outbox_destroy(eab_outbox *outbox);
void eab_outbox_post(eab_outbox *outbox, eab_rank_message *message);
bool eab_outbox_send(eab_outbox *outbox, const eab_ranks *ranks, int to); /* false: a message is lost */

/* The clock that measures the silence of other ranks. It runs only while this rank can receive their messages: not
 * while this rank is stopped or waits for a disk. Returns seconds; call it at least twice a second. */
typedef struct {
    double s, called_s;
} eab_rank_clock;
double eab_rank_clock_s(eab_rank_clock *clock);

#endif
