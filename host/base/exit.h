/* The program's exit codes. */
#ifndef EAB_BASE_EXIT_H
#define EAB_BASE_EXIT_H

enum {
    EAB_EXIT_DONE = 0,
    EAB_EXIT_FAILED = 1,
    EAB_EXIT_BAD_INPUT = 2,
    EAB_EXIT_ENVIRONMENT = 3,
    EAB_EXIT_INTERRUPTED = 130
};

/* The exit code for an eab_status. */
int eab_exit_code(int status);

#endif
