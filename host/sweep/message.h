/* Messages between the ranks of a sweep, and their bytes. All ranks run the same build on the same type of machine; the
 * first message checks the build.
 *
 * A follower says hello; the leader answers with begin or end. Then each free worker requests a fleet. The follower
 * sends the rows of each cell that ended, and reports each fleet that ended. On `stop` it leaves its fleets undone,
 * says goodbye when its workers have ended, and waits for `end`. */
#ifndef EAB_SWEEP_MESSAGE_H
#define EAB_SWEEP_MESSAGE_H

#include <glib.h>
#include <stdbool.h>

enum { EAB_RANK_MAX_LISTED = 64 }; /* running fleets in a message */

typedef enum {
    /* from a follower */
    EAB_RANK_HELLO = 1, /* status, line, fingerprint, host */
    EAB_RANK_REQUEST,
    EAB_RANK_RESULT,      /* eab_cell_end, rows of each table */
    EAB_RANK_FLEET_ENDED, /* number, whether complete */
    EAB_RANK_PROGRESS,    /* flop, tokens, number of running fleets, eab_pool_fleet of the first of them */
    EAB_RANK_NOTE,        /* line */
    EAB_RANK_FORGET,      /* path of a checkpoint to remove */
    EAB_RANK_INTERRUPTED,
    EAB_RANK_GOODBYE, /* status, line, flop, tokens, profile */
    /* from the leader */
    EAB_RANK_BEGIN,  /* device, peak */
    EAB_RANK_ASSIGN, /* number, members, indices */
    EAB_RANK_STOP,
    EAB_RANK_END /* code, whether MPI can be closed in order */
} eab_rank_message_kind;

GByteArray *eab_rank_write(eab_rank_message_kind kind);
void eab_rank_put(GByteArray *message, const void *bytes, size_t size);
void eab_rank_put_count(GByteArray *message, int64_t value);
void eab_rank_put_real(GByteArray *message, double value);
void eab_rank_put_text(GByteArray *message, const char *text); /* NULL: "" */

/* Missing values read as 0 and "", and set `bad`. */
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
