/* The exit codes of the program, and the one for a status of the library. */
#ifndef EAB_BASE_EXIT_H
#define EAB_BASE_EXIT_H

enum {
    EAB_EXIT_DONE = 0,
    EAB_EXIT_FAILED = 1,
    EAB_EXIT_BAD_INPUT = 2,
    EAB_EXIT_ENVIRONMENT = 3,
    EAB_EXIT_INTERRUPTED = 130
};

int eab_exit_code(int status); /* of an eab_status */

#endif
