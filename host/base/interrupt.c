#include "interrupt.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "exit.h"
#include "log.h"

/* GNU timeout, shells and launchers send a signal to a process and at once to its group again. */
static const int64_t SAME_INTERRUPT_MS = 1000;

static atomic_int count, continued;
static _Atomic int64_t first_ms; /* of the first interrupt; 0: none yet */
static atomic_bool second_is_handled;

static void end_at_once(void) {
    eab_log_from_handler(EAB_INTERRUPTED_AGAIN);
    _exit(EAB_EXIT_INTERRUPTED);
}

static void on_signal(int number) {
    (void)number;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000 + 1;
    int64_t none = 0;
    if (!atomic_compare_exchange_strong(&first_ms, &none, now_ms) &&
        now_ms - atomic_load(&first_ms) < SAME_INTERRUPT_MS)
        return;
    const int before = atomic_fetch_add(&count, 1);
    if (before >= 2 || (before == 1 && !atomic_load(&second_is_handled))) end_at_once();
}

static void on_continue(int number) {
    (void)number;
    atomic_fetch_add(&continued, 1);
}

void eab_interrupt_watch(void) {
    struct sigaction ignore = {.sa_handler = SIG_IGN}, watch = {.sa_handler = on_signal, .sa_flags = SA_RESTART},
                     resume = {.sa_handler = on_continue, .sa_flags = SA_RESTART}, old;
    sigemptyset(&ignore.sa_mask);
    sigemptyset(&watch.sa_mask);
    sigemptyset(&resume.sa_mask);
    sigaction(SIGPIPE, &ignore, NULL);
    sigaction(SIGXFSZ, &ignore, NULL);
    sigaction(SIGINT, &watch, NULL);
    sigaction(SIGTERM, &watch, NULL);
    sigaction(SIGCONT, &resume, NULL);
    if (sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler != SIG_IGN) sigaction(SIGHUP, &watch, NULL);
}

int eab_interrupt_count(void) { return atomic_load(&count); }

int eab_interrupt_continued(void) { return atomic_load(&continued); }

void eab_interrupt_handle_second(bool handled) { atomic_store(&second_is_handled, handled); }
