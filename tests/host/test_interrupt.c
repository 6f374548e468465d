/* Which signals count as an interrupt. Criterion runs each test in a process of its own. */
#include <criterion/criterion.h>
#include <signal.h>
#include <unistd.h>

#include "host/base/exit.h"
#include "host/base/interrupt.h"

Test(interrupt, signals_within_a_second_count_once) {
    eab_interrupt_watch();
    cr_assert_eq(eab_interrupt_count(), 0);
    raise(SIGTERM);
    raise(SIGINT);
    raise(SIGTERM);
    cr_assert_eq(eab_interrupt_count(), 1);
}

Test(interrupt, a_second_one_ends_the_process, .exit_code = EAB_EXIT_INTERRUPTED) {
    eab_interrupt_watch();
    raise(SIGINT);
    usleep(1100000);
    raise(SIGINT);
    _exit(1); /* not reached */
}

Test(interrupt, a_loop_may_handle_the_second_one, .exit_code = EAB_EXIT_INTERRUPTED) {
    eab_interrupt_watch();
    eab_interrupt_handle_second(true);
    raise(SIGINT);
    usleep(1100000);
    raise(SIGTERM);
    if (eab_interrupt_count() != 2) _exit(1);
    raise(SIGHUP);
    _exit(1); /* not reached */
}
