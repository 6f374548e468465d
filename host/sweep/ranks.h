/* The processes of one sweep, called ranks, that a launcher (mpirun, mpiexec, srun, flux, jsrun) started, and messages
 * between them. MPI is in a library of its own (ranks_mpi.c), loaded only where a launcher started several processes,
 * so that the program starts without MPI.
 *
 * One thread calls these. Messages from one rank to another arrive in the order in which they were sent. */
#ifndef EAB_SWEEP_RANKS_H
#define EAB_SWEEP_RANKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the launcher left in the environment. */
typedef struct {
    const char *launcher; /* "mpirun"; NULL: none */
    int tasks, rank;      /* 1 and 0 without one */
    bool can_connect;     /* the launcher lets its tasks find each other (PMI, PMIx) */
} eab_launch;

eab_launch eab_launch_detect(void);

typedef struct {
    int rank, count;           /* among all */
    int node_rank, node_count; /* among those on this machine */
    int same_rank, same_count; /* among those on this machine with the same token */
} eab_ranks_place;

/* What the library exports, as `eab_ranks_by_mpi`. Functions that return bool are true on success. */
typedef struct {
    int version; /* EAB_RANKS_VERSION */
    /* Connects. Ranks of a machine with the same `token` share their cores. */
    bool (*open)(uint64_t token, eab_ranks_place *place, char *error, size_t size);
    /* Sends a copy of the bytes (1..2^31-1), without waiting for it to arrive. False: this message or an earlier one to
     * this rank is lost. */
    bool (*send)(int to, const void *bytes, size_t size);
    /* A message that has arrived: malloc'd, with one more byte, 0, behind it; NULL if there is none. One that could not
     * be received has size 0. */
    void *(*receive)(int *from, size_t *size);
    /* Whether all messages have left. */
    bool (*is_idle)(void);
    /* Disconnects; every rank must do so, and waits at most `seconds` for the others. False: MPI stays open. */
    bool (*close)(double seconds);
} eab_ranks;
enum { EAB_RANKS_VERSION = 2 };

/* Loads the library and connects. EAB_UNSUPPORTED or EAB_BAD_INPUT with a line if that fails. */
int eab_ranks_open(uint64_t token, const eab_ranks **api, eab_ranks_place *place);

#endif
