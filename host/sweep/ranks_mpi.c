/* ranks.h by MPI (any MPI 3): a library that the program loads if a launcher started it. One thread makes all calls.
 * Only open and close wait, so that training continues during the others. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ranks.h"

typedef struct pending {
    MPI_Request request;
    int to;
    struct pending *next;
    char bytes[];
} pending;

static MPI_Comm all = MPI_COMM_NULL;
static pending *unsent;
static bool *unreachable; /* by rank: a message to it was lost */

static bool is_success(int code, char *error, size_t size) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS) return true;
    MPI_Error_string(code, text, &length);
    snprintf(error, size, "%.*s", (int)strcspn(text, "\n"), text);
    return false;
}

/* Fills in the rank's place among those on this machine, and among those of them with the same token. */
static int find_node(uint64_t token, eab_ranks_place *place) {
    MPI_Comm node;
    int code = MPI_Comm_split_type(all, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    if (code) return code;
    MPI_Comm_rank(node, &place->node_rank);
    MPI_Comm_size(node, &place->node_count);
    place->same_rank = place->same_count = 0;
    uint64_t *tokens = calloc((size_t)place->node_count, sizeof *tokens);
    if (!tokens) return MPI_ERR_NO_MEM;
    code = MPI_Allgather(&token, 1, MPI_UINT64_T, tokens, 1, MPI_UINT64_T, node);
    for (int i = 0; i < place->node_count; i++) {
        place->same_count += tokens[i] == token;
        place->same_rank += tokens[i] == token && i < place->node_rank;
    }
    free(tokens);
    MPI_Comm_free(&node);
    return code;
}

static bool open_mpi(uint64_t token, eab_ranks_place *place, char *error, size_t size) {
    int level = MPI_THREAD_SINGLE;
    int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
    if (!is_success(code, error, size)) return false;
    if (level < MPI_THREAD_FUNNELED) {
        snprintf(error, size, "this MPI does not allow threads (MPI_THREAD_FUNNELED)");
        return false;
    }
    code = MPI_Comm_dup(MPI_COMM_WORLD, &all);
    if (!code) code = MPI_Comm_set_errhandler(all, MPI_ERRORS_RETURN);
    if (!code) code = MPI_Comm_rank(all, &place->rank);
    if (!code) code = MPI_Comm_size(all, &place->count);
    if (!code) code = find_node(token, place);
    if (!code) unreachable = calloc((size_t)place->count, sizeof *unreachable);
    if (!code && !unreachable) code = MPI_ERR_NO_MEM;
    return is_success(code, error, size);
}

/* Frees the messages that were sent. */
static void free_sent(void) {
    for (pending **link = &unsent; *link;) {
        pending *own = *link;
        int done = 0;
        const bool failed = MPI_Test(&own->request, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS;
        if (!failed && !done) {
            link = &own->next;
            continue;
        }
        if (failed) unreachable[own->to] = true;
        *link = own->next;
        free(own);
    }
}

static bool send_bytes(int to, const void *bytes, size_t size) {
    free_sent();
    pending *own = malloc(sizeof *own + size);
    if (!own) return false;
    memcpy(own->bytes, bytes, size);
    if (MPI_Isend(own->bytes, (int)size, MPI_BYTE, to, 0, all, &own->request) != MPI_SUCCESS) {
        free(own);
        return false; /* NOLINT(clang-analyzer-optin.mpi.MPI-Checker): a send that did not begin needs no wait */
    }
    own->to = to;
    own->next = unsent;
    unsent = own;
    return !unreachable[to];
}

static void *receive_bytes(int *from, size_t *size) {
    MPI_Status status;
    int here = 0, count = 0;
    if (unsent) free_sent();
    if (MPI_Iprobe(MPI_ANY_SOURCE, 0, all, &here, &status) != MPI_SUCCESS || !here) return NULL;
    MPI_Get_count(&status, MPI_BYTE, &count);
    char *bytes = malloc((size_t)count + 1);
    if (!bytes) return NULL;
    if (MPI_Recv(bytes, count, MPI_BYTE, status.MPI_SOURCE, 0, all, MPI_STATUS_IGNORE) != MPI_SUCCESS) count = 0;
    bytes[count] = '\0';
    *from = status.MPI_SOURCE;
    *size = (size_t)count;
    return bytes;
}

static bool is_idle(void) {
    free_sent();
    return !unsent;
}

/* MPI_Finalize waits for all ranks without a time limit, so they meet in a barrier with a limit before it. */
static bool close_mpi(double seconds) {
    const double until_s = MPI_Wtime() + seconds;
    MPI_Request met;
    int done = 0;
    if (MPI_Ibarrier(all, &met) != MPI_SUCCESS) return false;
    while (!is_idle() || !done) {
        if (MPI_Wtime() > until_s) return false;
        if (!done && MPI_Test(&met, &done, MPI_STATUS_IGNORE) != MPI_SUCCESS) return false;
        usleep(100);
    }
    free(unreachable);
    MPI_Comm_free(&all);
    MPI_Finalize();
    return true;
}

extern const eab_ranks eab_ranks_by_mpi;
__attribute__((visibility("default")))
const eab_ranks eab_ranks_by_mpi = {EAB_RANKS_VERSION, open_mpi, send_bytes, receive_bytes, is_idle, close_mpi};
