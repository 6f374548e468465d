/* Operations of a backend held against the float64 reference. */
#ifndef EAB_CHECK_SUITE_H
#define EAB_CHECK_SUITE_H

#include "kernels/backend.h"

/* What an operation is checked on; each reads the fields that it has a use for. */
typedef struct {
    int32_t members, batch, context, d_model, heads, mlp_ratio, vocab;
    int32_t mechanism;
    bool slopes;
} eab_check_shape;

/* A device with the buffers of one check: inputs filled alike on every backend, outputs poisoned with NaN, a guard zone
 * around each member's part. Library-internal to the checks (check_buffers.c, check_operations*.c). */
typedef struct eab_check_run eab_check_run;

typedef struct {
    const char *name;
    bool gradient;     /* bound 3 instead of 2 */
    bool by_mechanism; /* run once for each */
    int (*run)(eab_check_run *run, const eab_check_shape *shape);
    eab_precision precision; /* only backends that have it are checked */
} eab_check_operation;

/* Operation 0, 1, ...; NULL past the last. */
const eab_check_operation *eab_check_operation_at(int index);

/* The same of attention in bf16 and fp16, for backends that have it (check_half.c). */
const eab_check_operation *eab_check_half_operation_at(int index);

typedef struct {
    double error, plain_error; /* relative to the reference's norm */
    double error_ratio;        /* DESIGN.md 1: to the plain float32 implementation, at least the unit roundoff */
    double bound;
    bool passed;
    char reason[160]; /* where it failed for another reason than the ratio */
} eab_check_result;

/* Runs one operation on one shape on `device`, in plain float32 and in float64. An error status means that it could not be
 * run at all. */
int eab_check_run_operation(eab_device *device, const eab_check_operation *operation, const eab_check_shape *shape,
                            eab_check_result *result);

/* Every operation that `names` has (between commas; NULL: all) on every shape of the table: calls report() for each. *failed counts misses; what could not
 * be run is one. After a fault *device is closed and opened anew; NULL where that fails, whose status is returned. */
int eab_check_all(eab_device **device, const char *names,
                  void (*report)(void *context, const eab_check_operation *, const eab_check_shape *,
                                 const eab_check_result *),
                  void *context, int *failed);

#endif
