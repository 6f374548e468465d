#include "exit.h"

#include "kernels/status.h"

int eab_exit_code(int status) {
    switch ((eab_status)status) {
        case EAB_OK: return EAB_EXIT_DONE;
        case EAB_BAD_INPUT: return EAB_EXIT_BAD_INPUT;
        case EAB_INTERRUPTED: return EAB_EXIT_INTERRUPTED;
        case EAB_UNSUPPORTED:
        case EAB_NO_MEMORY:
        case EAB_NO_DEVICE:
        case EAB_DEVICE_FAULT:
        case EAB_IO: break;
    }
    return EAB_EXIT_ENVIRONMENT;
}
