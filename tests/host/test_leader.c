/* What the first rank and the others do when a message cannot be sent or received. Criterion runs each test in a
 * separate process. */
#include <criterion/criterion.h>
#include <string.h>
#include <unistd.h>

#include "host/base/exit.h"
#include "host/sweep/leader.h"
#include "host/sweep/message.h"
#include "sweep_fixture.h"

static GQueue arrived = G_QUEUE_INIT; /* GBytes, of rank 1 */
static bool is_reachable = true;
static int sent;

static bool send_bytes(int to, const void *bytes, size_t size) {
    (void)to;
    (void)bytes;
    (void)size;
    sent++;
    return is_reachable;
}

static void *receive_bytes(int *from, size_t *size) {
    GBytes *bytes = g_queue_pop_head(&arrived);
    if (!bytes) return NULL;
    *from = 1;
    return g_bytes_unref_to_data(bytes, size);
}

static bool is_idle(void) { return true; }

static bool never_closes(double seconds) {
    (void)seconds;
    return false;
}

static const eab_ranks fake = {EAB_RANKS_VERSION, NULL, send_bytes, receive_bytes, is_idle, never_closes};

static void arrive(eab_rank_message *message) {
    g_queue_push_tail(&arrived, g_bytes_new_take(message, sizeof *message + message->size));
}

static eab_sweep sweep = {.ranks = &fake, .place = {.count = 2}, .rank_timeout_s = 5, .resume_command = (char[]){"x"}};

static eab_sweep_session session;
static eab_plan plan;
static eab_queue *queue;
static eab_leader *leader;

/* Leads one follower, which has sent its hello and two requests, with a queue of the plan's four cells. */
static void begin(void) {
    static int64_t todo[] = {0, 1, 2, 3};
    eab_rank_message *hello = eab_rank_message_new(EAB_RANK_HELLO, NULL, 0);
    g_strlcpy(hello->hello.host, "somewhere", sizeof hello->hello.host);
    arrive(hello);
    plan = fixture_plan(fixture_small_spec);
    session = (eab_sweep_session){.sweep = &sweep, .plan = &plan};
    queue = eab_queue_new(eab_fleets_make(NULL, plan.cells, todo, 4, 1, NULL));
    cr_assert_eq(eab_leader_meet(&sweep, "", &leader), EAB_OK, "%s", eab_last_error());
    eab_leader_begin(leader, &session);
    eab_leader_set_queue(leader, queue);
    for (int i = 0; i < 2; i++) arrive(eab_rank_message_new(EAB_RANK_REQUEST, NULL, 0));
}

static void take_all(void) {
    eab_fleet fleet;
    while (eab_queue_next(queue, &fleet)) eab_queue_end(queue, true);
}

static void expect_lost(const char *reason) {
    cr_expect(!eab_leader_is_busy(leader), "it waits for the lost rank");
    cr_expect_eq(eab_leader_status(leader, NULL), EAB_DEVICE_FAULT);
    cr_expect_eq(eab_exit_code(EAB_DEVICE_FAULT), EAB_EXIT_ENVIRONMENT);
    cr_expect_str_eq(eab_last_error(), reason);
}

Test(leader, a_rank_without_a_hello_is_lost) {
    sweep.rank_timeout_s = 0.6;
    cr_expect_eq(eab_leader_meet(&sweep, "", &leader), EAB_DEVICE_FAULT);
    cr_expect_str_eq(eab_last_error(), "rank 1 on an unknown host: it has sent nothing for 1 s (--rank-timeout)");
    cr_expect_gt(sent, 0, "signs of life");
}

Test(leader, a_fleet_that_cannot_be_sent_loses_the_rank) {
    begin();
    is_reachable = false;
    sent = 0;
    eab_leader_serve(leader);
    cr_expect_eq(sent, 1, "a lost rank gets no second fleet");
    cr_expect_eq(eab_queue_measure(queue).waiting, 3);
    take_all();
    expect_lost("rank 1 on somewhere: a message to it was lost");
    cr_expect(!eab_queue_measure(queue).complete);
}

Test(leader, a_message_that_cannot_be_received_loses_the_rank) {
    begin();
    eab_leader_serve(leader);
    take_all();
    cr_expect(eab_leader_is_busy(leader), "two fleets are running");
    g_queue_push_tail(&arrived, g_bytes_new("x", 1));
    arrive(eab_rank_message_new(EAB_RANK_FLEET_ENDED, NULL, 0)); /* what it sends later changes nothing */
    arrive(eab_rank_message_new(EAB_RANK_REQUEST, NULL, 0));
    arrive(eab_rank_message_new(EAB_RANK_GOODBYE, NULL, 0));
    eab_leader_serve(leader);
    expect_lost("rank 1 on somewhere: a message from it was lost");
    cr_expect_eq(eab_queue_measure(queue).running, 0);
}

Test(leader, a_lost_rank_ends_the_process_with_the_code, .exit_code = 3) {
    begin();
    is_reachable = false;
    eab_leader_serve(leader);
    eab_leader_dismiss(leader, 3);
    _exit(1); /* not reached */
}

/* After an error before the sweep, such as a bad spec. */
Test(leader, a_rank_that_never_says_hello_is_not_waited_for, .exit_code = 7) {
    sweep.rank_timeout_s = 0.6;
    sweep.place.count = 3;
    eab_rank_message *hello = eab_rank_message_new(EAB_RANK_HELLO, NULL, 0);
    g_strlcpy(hello->hello.fingerprint, "another spec", sizeof hello->hello.fingerprint);
    arrive(hello);
    if (eab_leader_meet(&sweep, "", &leader) != EAB_BAD_INPUT) _exit(1);
    eab_leader_dismiss(leader, 7);
    _exit(2); /* not reached */
}

Test(leader, a_rank_that_does_not_close_ends_the_process_with_the_code, .exit_code = 7) {
    begin();
    arrive(eab_rank_message_new(EAB_RANK_GOODBYE, NULL, 0));
    eab_leader_serve(leader);
    eab_leader_dismiss(leader, 7);
    _exit(1); /* not reached */
}

Test(follower, a_message_that_cannot_be_sent_ends_it, .exit_code = EAB_EXIT_ENVIRONMENT) {
    sweep.place.rank = 2;
    is_reachable = false;
    eab_sweep_follow(&sweep, NULL, eab_fail(EAB_BAD_INPUT, "a bad spec"));
    _exit(1); /* not reached */
}

Test(clock, a_stop_of_this_rank_is_nobodys_silence) {
    eab_rank_clock clock = {0};
    const double begin_s = eab_rank_clock_s(&clock);
    usleep(100000);
    cr_expect_geq(eab_rank_clock_s(&clock) - begin_s, 0.1);
    clock.called_s -= 3600; /* as if it had been stopped for an hour */
    const double before_s = clock.s, after_s = eab_rank_clock_s(&clock);
    cr_expect_float_eq(after_s - before_s, 0.5, 1e-9);
}
