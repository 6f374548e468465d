/* Operands of a measurement: sets of tensors with random numbers, as many sets as the calls rotate over. */
#ifndef EAB_BENCH_BUFFERS_H
#define EAB_BENCH_BUFFERS_H

#include <stdbool.h>

#include "kernels/backend.h"

enum { EAB_BENCH_MAX_TENSORS = 16 };

/* One tensor of a set. */
typedef struct {
    int64_t count;    /* elements */
    int32_t dtype;    /* EAB_F32, ... */
    bool input;       /* filled with random numbers; outputs begin as zeros */
    double magnitude; /* standard deviation of an input: uniform in +-sqrt(3) times this, never 0 */
} eab_bench_tensor;

static inline eab_bench_tensor eab_bench_float32_input(int64_t count) {
    return (eab_bench_tensor){.count = count, .dtype = EAB_F32, .input = true, .magnitude = 1};
}

static inline eab_bench_tensor eab_bench_float32_output(int64_t count) {
    return (eab_bench_tensor){.count = count, .dtype = EAB_F32};
}

typedef struct {
    eab_device *device;
    char *memory;
    int32_t tensor_count, sets;
    eab_bench_tensor tensors[EAB_BENCH_MAX_TENSORS];
    size_t offsets[EAB_BENCH_MAX_TENSORS], set_bytes;
} eab_bench_buffers;

/* Bytes of an element. */
size_t eab_dtype_bytes(int32_t dtype);

/* Allocates max(2, rotate_bytes / bytes of a set, rounded up) sets and fills each with other numbers. EAB_NO_MEMORY
 * with the arithmetic if they do not fit into the free memory. */
int eab_bench_buffers_open(eab_bench_buffers *buffers, eab_device *device, const eab_bench_tensor *tensors,
                           int32_t count, size_t rotate_bytes);
void eab_bench_buffers_close(eab_bench_buffers *buffers); /* also of buffers that were not opened */

/* One tensor of a set, and all of them. */
void *eab_bench_buffer(const eab_bench_buffers *buffers, int32_t set, int32_t tensor);
void eab_bench_set_of(const eab_bench_buffers *buffers, int32_t set, void **tensors);

/* One tensor of a set as an operand of the backend's operations, of one member. */
static inline eab_tensor eab_bench_operand(const eab_bench_buffers *buffers, int32_t set, int32_t tensor) {
    return (eab_tensor){eab_bench_buffer(buffers, set, tensor), 0};
}

/* Restores an input. */
int eab_bench_refill(const eab_bench_buffers *buffers, int32_t set, int32_t tensor);

/* Reads elements [first, first + count) of a tensor of set 0 as doubles. */
int eab_bench_read(const eab_bench_buffers *buffers, int32_t tensor, int64_t first, int64_t count, double *to);

#endif
