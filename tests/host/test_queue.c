/* The queue: each fleet goes to one worker of some process, and no worker waits in vain. */
#include <criterion/criterion.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
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
    const eab_fleet *fleet;
    double before = INFINITY, sum = 0, total, done;
    int64_t count = 0;
    for (; (fleet = eab_queue_next(queue)); count++) {
        cr_expect_leq(fleet->flop, before);
        before = fleet->flop;
        sum += fleet->flop;
        cr_expect_not(eab_queue_is_complete(queue));
        eab_queue_complete(queue, fleet);
    }
    eab_queue_measure(queue, &total, &done);
    cr_expect_eq(count, plan.count);
    cr_expect_eq(count, eab_queue_count(queue));
    cr_expect_float_eq(total, sum, 1e-9 * sum);
    cr_expect_float_eq(done, sum, 1e-9 * sum);
    cr_expect(eab_queue_is_complete(queue));
    eab_queue_free(queue);
    eab_plan_free(&plan);
}

typedef struct {
    eab_queue *queue;
    atomic_int taken;
    atomic_bool ended;
} worker;

static void *work(void *argument) {
    worker *self = argument;
    const eab_fleet *fleet;
    while ((fleet = eab_queue_next(self->queue))) {
        atomic_fetch_add(&self->taken, 1);
        eab_queue_complete(self->queue, fleet);
    }
    atomic_store(&self->ended, true);
    return NULL;
}

/* A worker waits while fleets that were given away may come back, and has them if they do. */
Test(queue, returned_fleets_are_taken_again) {
    eab_plan plan = fixture_plan(lengths);
    worker self = {.queue = queue_of(&plan)};
    const eab_fleet *fleet, *first = NULL;
    pthread_t thread;
    int64_t numbers[3];
    for (int i = 0; i < 3; i++) {
        numbers[i] = eab_queue_assign(self.queue, &fleet);
        cr_assert_geq(numbers[i], 0);
        if (i == 0) first = fleet;
    }
    cr_expect_eq(eab_queue_assigned(self.queue), 3);
    cr_expect_eq(eab_queue_waiting(self.queue), plan.count - 3);
    cr_assert_eq(pthread_create(&thread, NULL, work, &self), 0);
    while (atomic_load(&self.taken) < plan.count - 3) sched_yield();
    cr_expect_not(atomic_load(&self.ended));
    eab_queue_return(self.queue, numbers[1], EAB_RETURN_COMPLETE);
    eab_queue_return(self.queue, numbers[1], EAB_RETURN_REQUEUE); /* twice is once */
    eab_queue_return(self.queue, numbers[0], EAB_RETURN_REQUEUE);
    eab_queue_return(self.queue, -1, EAB_RETURN_REQUEUE);
    eab_queue_return(self.queue, 1 << 20, EAB_RETURN_REQUEUE);
    while (atomic_load(&self.taken) < plan.count - 2) sched_yield();
    cr_expect_not(atomic_load(&self.ended));
    eab_queue_return(self.queue, numbers[2], EAB_RETURN_UNDONE);
    pthread_join(thread, NULL);
    cr_expect_eq(atomic_load(&self.taken), (int)plan.count - 2);
    cr_expect_not(eab_queue_is_complete(self.queue));
    cr_expect_eq(eab_queue_assigned(self.queue), 0);
    cr_expect_eq(eab_queue_assign(self.queue, &fleet), -1);
    cr_expect_not_null(first);
    eab_queue_free(self.queue);
    eab_plan_free(&plan);
}

Test(queue, stopping_frees_who_waits) {
    eab_plan plan = fixture_plan(lengths);
    worker self = {.queue = queue_of(&plan)};
    const eab_fleet *fleet;
    pthread_t thread;
    cr_assert_geq(eab_queue_assign(self.queue, &fleet), 0);
    cr_assert_eq(pthread_create(&thread, NULL, work, &self), 0);
    while (atomic_load(&self.taken) < plan.count - 1) sched_yield();
    eab_queue_stop(self.queue);
    pthread_join(thread, NULL);
    cr_expect_eq(eab_queue_waiting(self.queue), 0);
    eab_queue_free(self.queue);
    eab_plan_free(&plan);
}

static void count_wish(void *context) { atomic_fetch_add((atomic_int *)context, 1); }

Test(queue, granted_fleets) {
    atomic_int wishes = 0;
    worker self = {.queue = eab_queue_new_remote(count_wish, &wishes)};
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, work, &self), 0);
    for (int i = 0; i < 5; i++) {
        while (atomic_load(&wishes) <= i) sched_yield();
        const eab_fleet fleet = {.indices = g_new0(int64_t, 1), .members = 1, .flop = 2};
        eab_queue_add(self.queue, &fleet, 100 + i);
    }
    while (atomic_load(&wishes) < 6) sched_yield();
    eab_queue_stop(self.queue);
    pthread_join(thread, NULL);
    cr_expect_eq(atomic_load(&self.taken), 5);
    cr_expect_eq(atomic_load(&wishes), 6);
    eab_queue_free(self.queue);
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

/* ---- messages ------------------------------------------------------------------------------------------------ */

Test(rank_message, reads_back_and_bears_any_cut) {
    GByteArray *written = eab_rank_write(EAB_RANK_GOODBYE);
    eab_rank_put_count(written, -7);
    eab_rank_put_text(written, "a line, with \"quotes\"");
    eab_rank_put_real(written, 0.5);
    eab_rank_put_text(written, NULL);
    for (guint size = 0; size <= written->len; size++) {
        char *bytes = g_memdup2(written->data, size); /* exactly as long, for the sanitizers */
        eab_rank_reader message;
        const eab_rank_message_kind kind = eab_rank_read(&message, bytes, size);
        const int64_t count = eab_rank_get_count(&message);
        const char *text = eab_rank_get_text(&message);
        const size_t length = strlen(text);
        const double real = eab_rank_get_real(&message);
        const char *none = eab_rank_get_text(&message);
        cr_expect_eq(message.bad, size < written->len);
        cr_expect_str_empty(none);
        if (!message.bad) {
            cr_expect_eq(kind, EAB_RANK_GOODBYE);
            cr_expect_eq(count, -7);
            cr_expect_eq(length, strlen("a line, with \"quotes\""));
            cr_expect_eq(real, 0.5);
        }
        g_free(bytes);
    }
    g_byte_array_free(written, TRUE);
}
