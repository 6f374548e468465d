/* Operands of a measurement: sets of tensors, filled with random numbers, many enough to rotate over. */
#ifndef EAB_BENCH_BUFFERS_H
#define EAB_BENCH_BUFFERS_H

#include "kernels/backend.h"

enum { EAB_BENCH_MAX_TENSORS = 16 };

/* One tensor of a set. */
typedef struct {
    int64_t count;    /* elements */
    int32_t dtype;    /* EAB_F32, ... */
    bool input;       /* filled; outputs begin as zeros */
    double magnitude; /* of inputs: uniform in +-sqrt(3) times this, so that it is their standard deviation; never 0 */
} eab_bench_tensor;

typedef struct {
    eab_device *device;
    char *memory;
    int32_t tensor_count, sets;
    eab_bench_tensor tensors[EAB_BENCH_MAX_TENSORS];
    size_t offsets[EAB_BENCH_MAX_TENSORS], set_bytes;
} eab_bench_buffers;

/* Bytes of an element. */
size_t eab_dtype_bytes(int32_t dtype);

/* Allocates max(2, rotate_bytes / set_bytes rounded up) sets and fills them; every set differs. EAB_NO_MEMORY with the
 * arithmetic where it, with `extra_bytes` that the caller needs beside, does not fit into what is free. */
int eab_bench_buffers_open(eab_bench_buffers *buffers, eab_device *device, const eab_bench_tensor *tensors,
                           int32_t count, size_t rotate_bytes, size_t extra_bytes);
void eab_bench_buffers_close(eab_bench_buffers *buffers);

void *eab_bench_buffer(const eab_bench_buffers *buffers, int32_t set, int32_t tensor);

/* Fills an input anew, as it was. */
int eab_bench_refill(const eab_bench_buffers *buffers, int32_t set, int32_t tensor);

/* Reads elements [first, first + count) of a tensor as doubles. */
int eab_bench_read(const eab_bench_buffers *buffers, int32_t set, int32_t tensor, int64_t first, int64_t count,
                   double *to);

/* Bytes that can still be allocated on the device; 0: not known. */
double eab_bench_free_bytes(eab_device *device);

#endif
