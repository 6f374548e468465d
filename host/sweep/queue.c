#include "queue.h"

#include <pthread.h>

typedef struct {
    eab_fleet fleet; /* first, so that a fleet's address is its entry's */
    bool assigned;   /* to another process */
    int64_t number;  /* the leader's */
} entry;

struct eab_queue {
    void (*request)(void *context); /* NULL: all fleets are known from the start */
    void *context;
    pthread_mutex_t mutex; /* protects everything below */
    pthread_cond_t changed;
    GPtrArray *entries; /* of entry; entries never move, so a fleet's address stays valid */
    guint next;         /* entries before it were taken */
    GArray *requeued;   /* int64_t: places of fleets that were returned to be trained by another worker */
    int64_t assigned, completed;
    double flop_total, flop_done;
    bool stopped;
};

static eab_queue *queue_new(void) {
    eab_queue *queue = g_new0(eab_queue, 1);
    pthread_mutex_init(&queue->mutex, NULL);
    pthread_cond_init(&queue->changed, NULL);
    queue->entries = g_ptr_array_new();
    queue->requeued = g_array_new(FALSE, FALSE, sizeof(int64_t));
    return queue;
}

static void add_fleet(eab_queue *queue, const eab_fleet *fleet, int64_t number) {
    entry *fresh = g_new(entry, 1);
    *fresh = (entry){.fleet = *fleet, .number = number};
    g_ptr_array_add(queue->entries, fresh);
    queue->flop_total += fleet->flop;
}

eab_queue *eab_queue_new(GArray *fleets) {
    eab_queue *queue = queue_new();
    for (guint i = 0; i < fleets->len; i++) add_fleet(queue, &g_array_index(fleets, eab_fleet, i), i);
    g_array_free(fleets, TRUE);
    return queue;
}

eab_queue *eab_queue_new_remote(void (*request)(void *context), void *context) {
    eab_queue *queue = queue_new();
    queue->request = request;
    queue->context = context;
    return queue;
}

void eab_queue_free(eab_queue *queue) {
    for (guint i = 0; i < queue->entries->len; i++) {
        entry *own = queue->entries->pdata[i];
        g_free(own->fleet.indices);
        g_free(own);
    }
    g_ptr_array_free(queue->entries, TRUE);
    g_array_free(queue->requeued, TRUE);
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->mutex);
    g_free(queue);
}

/* ---- with the mutex held ------------------------------------------------------------------------------------- */

/* The place of the next fleet, or -1. Requeued fleets are the longest that are left. */
static int64_t take_due(eab_queue *queue) {
    if (queue->stopped) return -1;
    if (queue->requeued->len) {
        const int64_t place = g_array_index(queue->requeued, int64_t, 0);
        g_array_remove_index(queue->requeued, 0);
        return place;
    }
    return queue->next < queue->entries->len ? (int64_t)queue->next++ : -1;
}

static entry *entry_at(const eab_queue *queue, int64_t place) { return queue->entries->pdata[place]; }

/* ---- for workers --------------------------------------------------------------------------------------------- */

const eab_fleet *eab_queue_next(eab_queue *queue) {
    if (queue->request) queue->request(queue->context);
    pthread_mutex_lock(&queue->mutex);
    int64_t place = take_due(queue);
    while (place < 0 && !queue->stopped && (queue->request || queue->assigned > 0)) {
        pthread_cond_wait(&queue->changed, &queue->mutex);
        place = take_due(queue);
    }
    const eab_fleet *fleet = place < 0 ? NULL : &entry_at(queue, place)->fleet;
    pthread_mutex_unlock(&queue->mutex);
    return fleet;
}

void eab_queue_complete(eab_queue *queue, const eab_fleet *fleet) {
    pthread_mutex_lock(&queue->mutex);
    queue->completed++;
    queue->flop_done += fleet->flop;
    pthread_mutex_unlock(&queue->mutex);
}

void eab_queue_stop(eab_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    queue->stopped = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
}

bool eab_queue_is_complete(eab_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    const bool all = queue->completed == queue->entries->len;
    pthread_mutex_unlock(&queue->mutex);
    return all;
}

/* ---- between processes --------------------------------------------------------------------------------------- */

int64_t eab_queue_assign(eab_queue *queue, const eab_fleet **fleet) {
    pthread_mutex_lock(&queue->mutex);
    const int64_t place = take_due(queue);
    if (place >= 0) {
        entry *own = entry_at(queue, place);
        own->assigned = true;
        queue->assigned++;
        *fleet = &own->fleet;
    }
    pthread_mutex_unlock(&queue->mutex);
    return place;
}

void eab_queue_return(eab_queue *queue, int64_t number, eab_queue_return_kind how) {
    pthread_mutex_lock(&queue->mutex);
    entry *own = number >= 0 && number < queue->entries->len ? entry_at(queue, number) : NULL;
    if (own && own->assigned) {
        own->assigned = false;
        queue->assigned--;
        if (how == EAB_RETURN_COMPLETE) queue->completed++;
        if (how == EAB_RETURN_REQUEUE) g_array_append_val(queue->requeued, number);
        pthread_cond_broadcast(&queue->changed);
    }
    pthread_mutex_unlock(&queue->mutex);
}

int64_t eab_queue_assigned(eab_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    const int64_t assigned = queue->assigned;
    pthread_mutex_unlock(&queue->mutex);
    return assigned;
}

int64_t eab_queue_waiting(eab_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    const int64_t waiting = queue->stopped ? 0 : (int64_t)(queue->entries->len - queue->next) + queue->requeued->len;
    pthread_mutex_unlock(&queue->mutex);
    return waiting;
}

void eab_queue_add(eab_queue *queue, const eab_fleet *fleet, int64_t number) {
    pthread_mutex_lock(&queue->mutex);
    add_fleet(queue, fleet, number);
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
}

int64_t eab_queue_number(eab_queue *queue, const eab_fleet *fleet) {
    pthread_mutex_lock(&queue->mutex);
    const int64_t number = ((const entry *)fleet)->number;
    pthread_mutex_unlock(&queue->mutex);
    return number;
}

/* ---- sums ---------------------------------------------------------------------------------------------------- */

void eab_queue_measure(eab_queue *queue, double *flop_total, double *flop_done) {
    pthread_mutex_lock(&queue->mutex);
    *flop_total = queue->flop_total;
    *flop_done = queue->flop_done;
    pthread_mutex_unlock(&queue->mutex);
}

int64_t eab_queue_count(eab_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    const int64_t count = queue->entries->len;
    pthread_mutex_unlock(&queue->mutex);
    return count;
}
