/* How library code fails: it returns an eab_status and leaves one line for eab_last_error(). Only main exits. */
#ifndef EAB_KERNELS_STATUS_H
#define EAB_KERNELS_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    EAB_OK = 0,
    EAB_BAD_INPUT,    /* an argument, file or option is wrong: exit 2 */
    EAB_UNSUPPORTED,  /* this backend or build cannot do it: exit 3 */
    EAB_NO_MEMORY,    /* of the host or the device */
    EAB_NO_DEVICE,    /* no such backend or device here: exit 3 */
    EAB_DEVICE_FAULT, /* the device failed while it computed */
    EAB_IO,           /* a file could not be read or written: exit 3 */
    EAB_INTERRUPTED   /* a signal or the time limit: exit 130 */
} eab_status;

/* The last error of this thread: one line, no newline; "" if there was none. Valid until the next failing call. */
__attribute__((visibility("default"))) const char *eab_last_error(void);

/* Sets this thread's error line (printf format) and returns `status`. Internal. */
int eab_fail(eab_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Puts a prefix (printf format) before this thread's error line and returns `status`. Internal. */
int eab_fail_prefix(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif

/* Passes an error on: `EAB_TRY(call());` returns from the enclosing function if the call fails. */
#define EAB_TRY(call)                              \
    do {                                           \
        const int eab_try_status = (call);         \
        if (eab_try_status) return eab_try_status; \
    } while (0)

#endif
