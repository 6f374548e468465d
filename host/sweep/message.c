#include "message.h"

#include <string.h>

#include "kernels/clock.h"

eab_rank_message *eab_rank_message_new(eab_rank_message_kind kind, const void *tail, size_t size) {
    eab_rank_message *message = g_malloc0(sizeof *message + size);
    message->kind = kind;
    message->size = size;
    if (size) memcpy(message->tail, tail, size);
    return message;
}

bool eab_rank_send(const eab_ranks *ranks, int to, eab_rank_message *message) {
    const bool sent = ranks->send(to, message, sizeof *message + message->size);
    g_free(message);
    return sent;
}

eab_rank_message *eab_rank_receive(const eab_ranks *ranks, int *from) {
    size_t size;
    eab_rank_message *message = ranks->receive(from, &size);
    if (!message || (size >= sizeof *message && size - sizeof *message == message->size)) return message;
    g_free(message);
    return eab_rank_message_new(EAB_RANK_DAMAGED, NULL, 0);
}

void eab_outbox_init(eab_outbox *outbox) {
    pthread_mutex_init(&outbox->mutex, NULL);
    g_queue_init(&outbox->messages);
}

void eab_outbox_destroy(eab_outbox *outbox) {
    g_queue_clear_full(&outbox->messages, g_free);
    pthread_mutex_destroy(&outbox->mutex);
}

void eab_outbox_post(eab_outbox *outbox, eab_rank_message *message) {
    pthread_mutex_lock(&outbox->mutex);
    g_queue_push_tail(&outbox->messages, message);
    pthread_mutex_unlock(&outbox->mutex);
}

bool eab_outbox_send(eab_outbox *outbox, const eab_ranks *ranks, int to) {
    eab_rank_message *message;
    bool sent = true;
    do {
        pthread_mutex_lock(&outbox->mutex);
        message = g_queue_pop_head(&outbox->messages);
        pthread_mutex_unlock(&outbox->mutex);
        if (message) sent = eab_rank_send(ranks, to, message) && sent;
    } while (message);
    return sent;
}

double eab_rank_clock_s(eab_rank_clock *clock) {
    const double now = eab_now_s();
    clock->s += MIN(now - clock->called_s, 0.5);
    clock->called_s = now;
    return clock->s;
}
