/* `eabench check`: every operation on every shape, compared with the float64 reference. */
#ifndef EAB_CHECK_SUITE_H
#define EAB_CHECK_SUITE_H

#include "operation.h"

typedef struct {
    double error, plain_error; /* relative to the reference's norm */
    double error_ratio;        /* error_ratio.h */
    double bound;
    bool ran; /* false: the operation could not be run, for `reason` */
    bool passed;
    char reason[160]; /* of a failure */
} eab_check_result;

/* Operation 0, 1, ...; NULL past the last. */
const eab_check_operation *eab_check_operation_at(int index);

/* The operation called `name`, or NULL. */
const eab_check_operation *eab_check_operation_from_name(const char *name);

/* Runs one operation on one shape on `device`, in plain float32 and in float64. An error status means that it could
 * not be run at all. */
int eab_check_run_operation(eab_device *device, const eab_check_operation *operation, const eab_check_shape *shape,
                            eab_check_result *result);

typedef void eab_check_reporter(void *context, const eab_check_operation *operation, const eab_check_shape *shape,
                                const eab_check_result *result);

/* Runs every operation that `names` has (between commas; NULL: all) on every shape of the table and calls report()
 * for each. *failed counts the results that did not pass. After a fault *device is closed and opened again; if
 * that fails, *device is NULL and its status is returned. */
int eab_check_all(eab_device **device, const char *names, eab_check_reporter *report, void *context, int *failed);

/* The same for every operation on a few shapes that reach all kinds of edges. */
int eab_check_some(eab_device **device, eab_check_reporter *report, void *context, int *failed);

#endif
