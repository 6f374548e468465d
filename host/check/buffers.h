/* The buffers of one check; see check.h. */
#ifndef EAB_CHECK_BUFFERS_H
#define EAB_CHECK_BUFFERS_H

#include "suite.h"

enum { EAB_CHECK_MAX_BUFFERS = 64 };

typedef struct {
    void *memory;
    int64_t count; /* reals of one member, without its guard */
    int32_t members;
} eab_check_buffer;

struct eab_check_run {
    eab_device *device;
    eab_check_buffer buffers[EAB_CHECK_MAX_BUFFERS];
    int32_t buffer_count;
    void *plain_memory[EAB_CHECK_MAX_BUFFERS]; /* integers and tallies */
    int32_t plain_count;
    uint32_t draws;
    double *outputs; /* what the operation wrote, one after another */
    int64_t output_count, output_room;
    double terms_squared; /* of the size of the outputs' terms before they cancel, where an operation knows it */
    double roundoff;      /* of the type that the operation works in; 0: the backend's own */
    int status;           /* the first failure; later calls do nothing */
};

/* A tensor of `count` reals a member, between guards. fill: normal-ish random values times `scale`; NaN where scale is
 * NAN (an output that must be written everywhere); 0 where it is 0. Draws depend on the order of calls only. */
eab_tensor eab_check_tensor(eab_check_run *run, int32_t members, int64_t count, double scale);

/* Device memory with a copy of `bytes` at `from` (NULL: zeroes). */
void *eab_check_upload(eab_check_run *run, const void *from, size_t bytes);

/* Uniform in 0..bound-1, the same on every backend. */
int32_t eab_check_below(eab_check_run *run, int32_t bound);

/* Adds `count` reals of each member, or numbers from the host, to the outputs that are compared. */
void eab_check_output(eab_check_run *run, eab_tensor tensor, int32_t members, int64_t count);
void eab_check_output_number(eab_check_run *run, double number);

/* Whether every guard still holds what was put there. */
bool eab_check_guards_hold(eab_check_run *run);

void eab_check_release(eab_check_run *run);

#endif
