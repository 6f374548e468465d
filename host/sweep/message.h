/* Messages between the ranks of a sweep: what they are, and how they are put into bytes (of one machine type: all ranks run
 * the same build, which the first message makes sure of).
 *
 * A follower says hello and is told either to begin or to end. Then each of its free workers wishes for a fleet; it sends
 * each cell's rows when the cell has ended and says when a fleet has; on `stop` it leaves its fleets undone, says goodbye
 * when its workers have ended, and waits for `end`. */
#ifndef EAB_SWEEP_MESSAGE_H
#define EAB_SWEEP_MESSAGE_H

#include <glib.h>
#include <stdbool.h>

enum { EAB_RANK_MAX_LISTED = 64 }; /* fleets at work, in a message */

typedef enum {
    /* from a follower */
    EAB_RANK_HELLO = 1, /* status, line, plan, host, device */
    EAB_RANK_WISH,
    EAB_RANK_RESULT,      /* eab_rank_result */
    EAB_RANK_FLEET_ENDED, /* number, whether complete */
    EAB_RANK_PROGRESS,    /* flop, tokens, fleets at work, eab_pool_fleet of the first of them */
    EAB_RANK_NOTE,        /* line */
    EAB_RANK_FORGET,      /* path of a checkpoint */
    EAB_RANK_INTERRUPTED,
    EAB_RANK_GOODBYE, /* status, line, flop, tokens, profile */
    /* from the leader */
    EAB_RANK_BEGIN, /* device, peak */
    EAB_RANK_GRANT, /* number, members, indices */
    EAB_RANK_STOP,
    EAB_RANK_END /* code, whether MPI can be closed in order */
} eab_rank_message_kind;

typedef struct {
    GByteArray *bytes;
} eab_rank_writer;
eab_rank_writer eab_rank_write(eab_rank_message_kind kind);
void eab_rank_put(eab_rank_writer *message, const void *bytes, size_t size);
void eab_rank_put_count(eab_rank_writer *message, int64_t value);
void eab_rank_put_real(eab_rank_writer *message, double value);
void eab_rank_put_text(eab_rank_writer *message, const char *text); /* NULL: "" */

/* What is missing reads as 0 and "", and makes `bad` true. */
typedef struct {
    const char *at, *end;
    bool bad;
} eab_rank_reader;
eab_rank_message_kind eab_rank_read(eab_rank_reader *message, const void *bytes, size_t size);
void eab_rank_get(eab_rank_reader *message, void *bytes, size_t size);
int64_t eab_rank_get_count(eab_rank_reader *message);
double eab_rank_get_real(eab_rank_reader *message);
const char *eab_rank_get_text(eab_rank_reader *message); /* within the message */

#endif
