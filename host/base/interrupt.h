/* SIGINT, SIGTERM and SIGHUP as counts that a loop looks at. */
#ifndef EAB_BASE_INTERRUPT_H
#define EAB_BASE_INTERRUPT_H

#include <stdbool.h>

/* What a process says that does not wait for its work to stop. */
#define EAB_INTERRUPTED_AGAIN "eabench: interrupted again: ended at once; what is on the disk stays"

/* Counts them from here on; SIGPIPE and SIGXFSZ are ignored, so that writes fail with an error instead. SIGHUP stays
 * ignored where it was (nohup). */
void eab_interrupt_watch(void);

/* How many came. */
int eab_interrupt_count(void);

/* While someone looks, the second one is theirs to act on (and the third ends the process); while nobody does, the
 * second ends the process with exit code 130. */
void eab_interrupt_looking(bool looking);

#endif
