/* GQueue: first in, first out. */
#include "glib.h"

struct GList {
    GList *next;
    gpointer data;
};

void g_queue_init(GQueue *queue) { *queue = (GQueue){NULL, NULL, 0}; }
gboolean g_queue_is_empty(GQueue *queue) { return !queue->head; }

void g_queue_push_tail(GQueue *queue, gpointer data) {
    GList *last = g_new(GList, 1);
    *last = (GList){NULL, data};
    if (queue->tail) queue->tail->next = last;
    else queue->head = last;
    queue->tail = last;
    queue->length++;
}

gpointer g_queue_pop_head(GQueue *queue) {
    GList *first = queue->head;
    if (!first) return NULL;
    gpointer data = first->data;
    queue->head = first->next;
    if (!queue->head) queue->tail = NULL;
    queue->length--;
    g_free(first);
    return data;
}

void g_queue_clear_full(GQueue *queue, GDestroyNotify free_one) {
    while (queue->head) {
        gpointer data = g_queue_pop_head(queue);
        if (free_one) free_one(data);
    }
}
