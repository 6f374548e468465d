#include "exit.h"

#include "kernels/status.h"

int eab_exit_code(int status) {
    if (status == EAB_OK) return EAB_EXIT_DONE;
    if (status == EAB_BAD_INPUT) return EAB_EXIT_BAD_INPUT;
    return status == EAB_INTERRUPTED ? EAB_EXIT_INTERRUPTED : EAB_EXIT_ENVIRONMENT;
}
