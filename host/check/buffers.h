/* The buffers of one check: inputs with the same values on every backend, outputs poisoned with NaN, a guard zone
 * around each member's part. */
#ifndef EAB_CHECK_BUFFERS_H
#define EAB_CHECK_BUFFERS_H

#include "operation.h"

enum { EAB_CHECK_MAX_BUFFERS = 64, EAB_CHECK_MAX_MEMBERS = 8, EAB_CHECK_MAX_TOKENS = 4096 };

typedef struct {
    void *memory;
    int64_t count; /* reals of one member, without its guard; 0: integers or tallies, without guards */
} eab_check_buffer;

struct eab_check_run {
    eab_device *device;
    const eab_check_operation *operation;
    int32_t members; /* parts of every tensor */
    eab_check_buffer buffers[EAB_CHECK_MAX_BUFFERS];
    int32_t buffer_count;
    uint32_t draws;
    double *outputs; /* what the operation wrote, in the order of the eab_check_output calls */
    int64_t output_count, output_room;
    double terms_squared; /* sum of squares of the outputs' terms before they cancel, where the operation knows it */
    double roundoff;      /* of the type that the operation works in; 0: the backend's own */
    int status;           /* the first failure; later calls do nothing */
};

/* Calls an operation of the run's backend, unless an earlier call failed. */
#define EAB_CHECK_CALL(operation, ...)                                                             \
    do {                                                                                           \
        if (!run->status) run->status = run->device->backend->operation(run->device, __VA_ARGS__); \
    } while (0)

static inline int64_t eab_check_rows(const eab_check_shape *shape) { return (int64_t)shape->batch * shape->context; }

/* The next random number: nearly normal (the sum of four uniforms), standard deviation 1. */
double eab_check_normal(eab_random *random);

/* A tensor of `count` reals a member, between guards: random values times `scale`. NAN as the scale poisons an
 * output, 0 zeroes it. Values depend on the order of calls only. */
eab_tensor eab_check_tensor(eab_check_run *run, int64_t count, double scale);

/* Device memory with a copy of `bytes` at `from` (NULL: zeroes). */
void *eab_check_upload(eab_check_run *run, const void *from, size_t bytes);

/* `count` random tokens below `vocab` in device memory. some_free: every third is no determined token (-1 - token). */
int32_t *eab_check_random_tokens(eab_check_run *run, int64_t count, int32_t vocab, bool some_free);

/* Adds to the outputs that are compared: all reals of a tensor of this run (none if its data is NULL), `count` reals in
 * device memory, a number from the host. */
void eab_check_output(eab_check_run *run, eab_tensor tensor);
void eab_check_output_reals(eab_check_run *run, const void *from, int64_t count);
void eab_check_output_number(eab_check_run *run, double number);

/* Whether every guard still holds its values. */
bool eab_check_guards_hold(eab_check_run *run);

/* Frees the buffers; the device stays. */
void eab_check_release(eab_check_run *run);

#endif
