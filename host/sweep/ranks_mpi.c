/* ranks.h by MPI: a library that the program loads when a launcher started it (any MPI 3). All calls are of one thread
 * and none of them waits but the first and the last, so that training goes on beside them. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ranks.h"

typedef struct pending {
    MPI_Request request;
    struct pending *next;
    char bytes[];
} pending;

static MPI_Comm all = MPI_COMM_NULL;
static pending *unsent;

static bool is_well(int code, char *error, size_t size) {
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS) return true;
    MPI_Error_string(code, text, &length);
    snprintf(error, size, "%.*s", (int)strcspn(text, "\n"), text);
    return false;
}

/* The place among those on this machine, and among those of them with the same token. */
static int find_node(uint64_t token, eab_ranks_place *place) {
    MPI_Comm node, same;
    int code = MPI_Comm_split_type(all, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node);
    if (code) return code;
    MPI_Comm_rank(node, &place->node_rank);
    MPI_Comm_size(node, &place->node_count);
    uint64_t *tokens = calloc((size_t)place->node_count, sizeof *tokens);
    if (!tokens) return MPI_ERR_NO_MEM;
    code = MPI_Allgather(&token, 1, MPI_UINT64_T, tokens, 1, MPI_UINT64_T, node);
    int colour = 0; /* the first rank with the same token */
    while (colour < place->node_rank && tokens[colour] != token) colour++;
    free(tokens);
    if (!code) code = MPI_Comm_split(node, colour, place->node_rank, &same);
    if (!code) {
        MPI_Comm_rank(same, &place->same_rank);
        MPI_Comm_size(same, &place->same_count);
        MPI_Comm_free(&same);
    }
    MPI_Comm_free(&node);
    return code;
}

static bool open_mpi(uint64_t token, eab_ranks_place *place, char *error, size_t size) {
    int level = MPI_THREAD_SINGLE;
    int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level);
    if (!is_well(code, error, size)) return false;
    if (level < MPI_THREAD_FUNNELED) {
        snprintf(error, size, "this MPI does not allow threads (MPI_THREAD_FUNNELED)");
        return false;
    }
    code = MPI_Comm_dup(MPI_COMM_WORLD, &all);
    if (!code) code = MPI_Comm_set_errhandler(all, MPI_ERRORS_RETURN);
    if (!code) code = MPI_Comm_rank(all, &place->rank);
    if (!code) code = MPI_Comm_size(all, &place->count);
    if (!code) code = find_node(token, place);
    return is_well(code, error, size);
}

/* Frees what has left. */
static void sweep_unsent(void) {
    for (pending **link = &unsent; *link;) {
        pending *own = *link;
        int done = 0;
        if (MPI_Test(&own->request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done) {
            link = &own->next;
            continue;
        }
        *link = own->next; /* sent, or never to be */
        free(own);
    }
}

static bool send_bytes(int to, const void *bytes, size_t size) {
    sweep_unsent();
    pending *own = malloc(sizeof *own + size);
    if (!own) return false;
    memcpy(own->bytes, bytes, size);
    if (MPI_Isend(own->bytes, (int)size, MPI_BYTE, to, 0, all, &own->request) != MPI_SUCCESS) {
        free(own);
        return false; /* NOLINT(clang-analyzer-optin.mpi.MPI-Checker): what was not begun is not waited for */
    }
    own->next = unsent;
    unsent = own;
    return true;
}

static void *receive_bytes(int *from, size_t *size) {
    MPI_Status status;
    int here = 0, count = 0;
    if (unsent) sweep_unsent();
    if (MPI_Iprobe(MPI_ANY_SOURCE, 0, all, &here, &status) != MPI_SUCCESS || !here) return NULL;
    MPI_Get_count(&status, MPI_BYTE, &count);
    char *bytes = malloc((size_t)count + 1);
    if (!bytes) return NULL;
    if (MPI_Recv(bytes, count, MPI_BYTE, status.MPI_SOURCE, 0, all, MPI_STATUS_IGNORE) != MPI_SUCCESS) {
        free(bytes);
        return NULL;
    }
    bytes[count] = '\0';
    *from = status.MPI_SOURCE;
    *size = (size_t)count;
    return bytes;
}

static bool is_idle(void) {
    sweep_unsent();
    return !unsent;
}

static void close_mpi(void) {
    while (unsent) sweep_unsent();
    MPI_Comm_free(&all);
    MPI_Finalize();
}

extern const eab_ranks eab_ranks_by_mpi;
__attribute__((visibility("default")))
const eab_ranks eab_ranks_by_mpi = {EAB_RANKS_VERSION, open_mpi, send_bytes, receive_bytes, is_idle, close_mpi};
