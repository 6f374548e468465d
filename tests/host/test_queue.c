/* The queue: each fleet goes to one worker, and a worker waits only for a fleet that it requested. Shards. Messages
 * between ranks. */
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "host/plan/shard.h"
#include "host/sweep/message.h"
#include "host/sweep/queue.h"
#include "sweep_fixture.h"

static eab_queue *queue_of(const eab_plan *plan) {
    int64_t *indices = g_new(int64_t, (gsize)plan->count);
    for (int64_t i = 0; i < plan->count; i++) indices[i] = i;
    GArray *fleets = eab_fleets_make(NULL, plan->cells, indices, plan->count, 1, NULL);
    g_free(indices);
    return eab_queue_new(fleets);
}

static const char lengths[] = "[task recurrence]\nbasis = 4, 8, 16\n[train]\nsteps = 10, 30, 20\nseed = 1:5\n";

Test(queue, the_longest_first_and_each_once) {
    eab_plan plan = fixture_plan(lengths);
    eab_queue *queue = queue_of(&plan);
    eab_fleet fleet;
    double before = INFINITY, sum = 0;
    int64_t count = 0;
    for (; eab_queue_next(queue, &fleet); count++) {
        cr_expect_leq(fleet.flop, before);
        before = fleet.flop;
        sum += fleet.flop;
        cr_expect_not(eab_queue_measure(queue).complete);
        cr_expect_eq(eab_queue_measure(queue).running, 1);
        cr_expect_eq(eab_queue_measure(queue).waiting, plan.count - count - 1);
        eab_queue_end(queue, true);
    }
    cr_expect_eq(count, plan.count);
    cr_expect_float_eq(eab_queue_measure(queue).flop, sum, 1e-9 * sum);
    cr_expect(eab_queue_measure(queue).complete);
    eab_queue_free(queue);
    eab_plan_free(&plan);
}

Test(queue, a_fleet_that_is_left_undone) {
    eab_plan plan = fixture_plan(lengths);
    eab_queue *queue = queue_of(&plan);
    eab_fleet fleet;
    for (int64_t i = 0; eab_queue_next(queue, &fleet); i++) eab_queue_end(queue, i != 3);
    cr_expect_eq(eab_queue_measure(queue).running, 0);
    cr_expect_eq(eab_queue_measure(queue).waiting, 0);
    cr_expect_not(eab_queue_measure(queue).complete);
    eab_queue_free(queue);
    eab_plan_free(&plan);
}

Test(queue, stopped) {
    eab_plan plan = fixture_plan(lengths);
    eab_queue *queue = queue_of(&plan);
    eab_fleet fleet;
    cr_expect(eab_queue_next(queue, &fleet));
    eab_queue_stop(queue);
    cr_expect_not(eab_queue_next(queue, &fleet));
    cr_expect_eq(eab_queue_measure(queue).waiting, 0);
    cr_expect_eq(eab_queue_measure(queue).running, 1);
    eab_queue_free(queue);
    eab_plan_free(&plan);
}

/* ---- a follower's queue ------------------------------------------------------------------------------------------ */

static void count_request(void *context) { atomic_fetch_add((atomic_int *)context, 1); }

typedef struct {
    eab_queue *queue;
    atomic_int taken;
} worker;

static void *work(void *argument) {
    worker *self = argument;
    eab_fleet fleet;
    while (eab_queue_next(self->queue, &fleet)) {
        atomic_fetch_add(&self->taken, 1);
        eab_queue_end(self->queue, true);
    }
    return NULL;
}

/* A worker waits for each fleet that it requested, until the queue is stopped. */
Test(queue, requested_fleets) {
    atomic_int requests = 0;
    worker self = {.queue = eab_queue_new_remote(count_request, &requests)};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, work, &self), 0);
    for (int i = 0; i < 5; i++) {
        while (atomic_load(&requests) <= i) sched_yield();
        const eab_fleet fleet = {.indices = g_new0(int64_t, 1), .members = 1, .flop = 2};
        eab_queue_add(self.queue, &fleet);
    }
    while (atomic_load(&requests) < 6) sched_yield();
    eab_queue_stop(self.queue);
    pthread_join(thread, NULL);
    cr_expect_eq(atomic_load(&self.taken), 5);
    cr_expect_eq(atomic_load(&requests), 6);
    cr_expect_eq(eab_queue_measure(self.queue).flop, 10);
    eab_queue_free(self.queue);
}

/* ---- messages ------------------------------------------------------------------------------------------------ */

static GQueue arrived = G_QUEUE_INIT; /* GBytes */

static bool deliver(int to, const void *bytes, size_t size) {
    (void)to;
    g_queue_push_tail(&arrived, g_bytes_new(bytes, size));
    return true;
}

static void *receive(int *from, size_t *size) {
    GBytes *bytes = g_queue_pop_head(&arrived);
    if (!bytes) return NULL;
    *from = 3;
    *size = g_bytes_get_size(bytes);
    char *copy = malloc(*size + 1); /* exactly as long as a library's, for the sanitizers */
    memcpy(copy, g_bytes_get_data(bytes, NULL), *size);
    copy[*size] = '\0';
    g_bytes_unref(bytes);
    return copy;
}

static const eab_ranks loopback = {.send = deliver, .receive = receive};

Test(rank_message, arrives_in_order_with_its_tail) {
    eab_outbox outbox;
    int from = 0;
    eab_outbox_init(&outbox);
    eab_rank_message *message = eab_rank_message_new(EAB_RANK_END, NULL, 0);
    message->end = (eab_rank_end){130, true};
    eab_outbox_post(&outbox, message);
    eab_outbox_post(&outbox, eab_rank_message_new(EAB_RANK_NOTE, "a line, with \"quotes\"", 21));
    eab_outbox_send(&outbox, &loopback, 0);

    message = eab_rank_receive(&loopback, &from);
    cr_expect_eq(from, 3);
    cr_expect_eq(message->kind, EAB_RANK_END);
    cr_expect(message->end.code == 130 && message->end.orderly);
    g_free(message);
    message = eab_rank_receive(&loopback, &from);
    cr_expect_eq(message->kind, EAB_RANK_NOTE);
    cr_expect_str_eq(message->tail, "a line, with \"quotes\"");
    g_free(message);
    cr_expect_null(eab_rank_receive(&loopback, &from));
    eab_outbox_destroy(&outbox);
}

/* A rank of another build may have messages of other sizes. */
Test(rank_message, of_another_size_is_damaged) {
    eab_rank_message *sent = eab_rank_message_new(EAB_RANK_NOTE, "text", 5);
    const size_t whole = sizeof *sent + sent->size;
    int from;
    for (size_t size = 1; size <= whole; size++) {
        deliver(0, sent, size);
        eab_rank_message *message = eab_rank_receive(&loopback, &from);
        cr_expect_eq(message->kind, size == whole ? EAB_RANK_NOTE : EAB_RANK_DAMAGED, "%zu bytes", size);
        g_free(message);
    }
    g_free(sent);
}

/* ---- shards -------------------------------------------------------------------------------------------------- */

Test(shard, reads_pairs_only) {
    eab_shard shard;
    cr_expect(eab_shard_read("2/8", &shard));
    cr_expect_eq(shard.part, 2);
    cr_expect_eq(shard.parts, 8);
    cr_expect(eab_shard_read("100000/100000", &shard));
    const char *const wrong[] = {"",
                                 "/",
                                 "1/",
                                 "/1",
                                 "0/1",
                                 "2/1",
                                 "1 /2",
                                 "1/2x",
                                 "-1/2",
                                 "1/-2",
                                 "0x1/2",
                                 "1/100001",
                                 "1//2",
                                 "1/2/",
                                 "a",
                                 "1-of-2",
                                 "9999999999999999999999/9999999999999999999999"};
    for (size_t i = 0; i < G_N_ELEMENTS(wrong); i++) cr_expect_not(eab_shard_read(wrong[i], &shard), "%s", wrong[i]);
}

Test(shard, every_cell_in_one_part_and_none_much_heavier) {
    eab_plan plan = fixture_plan(lengths);
    for (int32_t parts = 1; parts <= 60; parts += 7) {
        double *load = g_new0(double, (gsize)parts), longest = 0, least = INFINITY, most = 0;
        int32_t *part_of = eab_shard_split(&plan, parts), *again = eab_shard_split(&plan, parts);
        for (int64_t i = 0; i < plan.count; i++) {
            const double flop = eab_cell_flop(&plan.cells[i].config);
            cr_assert(part_of[i] >= 1 && part_of[i] <= parts);
            cr_expect_eq(part_of[i], again[i]);
            load[part_of[i] - 1] += flop;
            longest = fmax(longest, flop);
        }
        for (int32_t i = 0; i < parts; i++) {
            least = fmin(least, load[i]);
            most = fmax(most, load[i]);
        }
        cr_expect_leq(most - least, longest * (1 + 1e-9));
        int64_t together = 0;
        for (int32_t part = 1; part <= parts; part++) {
            eab_plan own = fixture_plan(lengths);
            eab_shard_take(&(eab_shard){part, parts}, &own);
            for (int64_t i = 0, at = 0; i < own.count; i++, at++) { /* in the plan's order */
                while (at < plan.count && strcmp(plan.cells[at].id, own.cells[i].id) != 0) at++;
                cr_expect_lt(at, plan.count);
            }
            together += own.count;
            eab_plan_free(&own);
        }
        cr_expect_eq(together, plan.count);
        g_free(load);
        g_free(part_of);
        g_free(again);
    }
    eab_plan_free(&plan);
}
