/* SIGINT, SIGTERM and SIGHUP, counted for loops that check for an interrupt. Those within a second of the first count
 * as one interrupt. */
#ifndef EAB_BASE_INTERRUPT_H
#define EAB_BASE_INTERRUPT_H

#include <stdbool.h>

/* The last message of a process that a repeated interrupt ends. */
#define EAB_INTERRUPTED_AGAIN "interrupted again: ended at once; what is on the disk stays"

/* Counts interrupts from now on. Ignores SIGPIPE and SIGXFSZ, so that writes fail with an error instead. SIGHUP stays
 * ignored if it was (nohup). */
void eab_interrupt_watch(void);

int eab_interrupt_count(void);

/* How often the process was continued after a stop (SIGCONT, after SIGSTOP or a terminal's Ctrl-Z). */
int eab_interrupt_continued(void);

/* While a loop handles repeated interrupts, the third one ends the process with exit code 130; otherwise the second
 * one does. */
void eab_interrupt_handle_second(bool handled);

#endif
