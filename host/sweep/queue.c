#include "queue.h"

#include <pthread.h>

struct eab_queue {
    void (*request)(void *context); /* NULL: all fleets are known from the start */
    void *context;
    pthread_mutex_t mutex; /* protects everything below */
    pthread_cond_t changed;
    GArray *fleets; /* eab_fleet; those before `taken` were taken */
    guint taken, ended, complete;
    double flop; /* of all fleets */
    bool stopped;
};

eab_queue *eab_queue_new(GArray *fleets) {
    eab_queue *queue = g_new0(eab_queue, 1);
    pthread_mutex_init(&queue->mutex, NULL);
    pthread_cond_init(&queue->changed, NULL);
    queue->fleets = fleets;
    for (guint i = 0; i < fleets->len; i++) queue->flop += g_array_index(fleets, eab_fleet, i).flop;
    return queue;
}

eab_queue *eab_queue_new_remote(void (*request)(void *context), void *context) {
    eab_queue *queue = eab_queue_new(g_array_new(FALSE, FALSE, sizeof(eab_fleet)));
    queue->request = request;
    queue->context = context;
    return queue;
}

void eab_queue_free(eab_queue *queue) {
    eab_fleets_free(queue->fleets);
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->mutex);
    g_free(queue);
}

bool eab_queue_next(eab_queue *queue, eab_fleet *fleet) {
    if (queue->request) queue->request(queue->context);
    pthread_mutex_lock(&queue->mutex);
    while (queue->request && !queue->stopped && queue->taken == queue->fleets->len)
        pthread_cond_wait(&queue->changed, &queue->mutex);
    const bool found = !queue->stopped && queue->taken < queue->fleets->len;
    if (found) *fleet = g_array_index(queue->fleets, eab_fleet, queue->taken++);
    pthread_mutex_unlock(&queue->mutex);
    return found;
}

void eab_queue_end(eab_queue *queue, bool complete) {
    pthread_mutex_lock(&queue->mutex);
    queue->ended++;
    queue->complete += complete;
    pthread_mutex_unlock(&queue->mutex);
}

void eab_queue_add(eab_queue *queue, const eab_fleet *fleet) {
    pthread_mutex_lock(&queue->mutex);
    g_array_append_val(queue->fleets, *fleet);
    queue->flop += fleet->flop;
    pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
}

void eab_queue_stop(eab_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    queue->stopped = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->mutex);
}

eab_queue_state eab_queue_measure(eab_queue *queue) {
    pthread_mutex_lock(&queue->mutex);
    const eab_queue_state state = {.waiting = queue->stopped ? 0 : queue->fleets->len - queue->taken,
                                   .running = queue->taken - queue->ended,
                                   .complete = queue->complete == queue->fleets->len,
                                   .flop = queue->flop};
    pthread_mutex_unlock(&queue->mutex);
    return state;
}
