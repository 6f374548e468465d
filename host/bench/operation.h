/* The operations that `eabench bench` measures. To add one: a file bench_NAME.c with its descriptor, its line in
 * bench_operation.c, and an entry of bench_cases.c that says what is measured of it by default. */
#ifndef EAB_BENCH_OPERATION_H
#define EAB_BENCH_OPERATION_H

#include "kernels/backend.h"
#include "point.h"

/* X(IDENTIFIER, descriptor) */
#define EAB_BENCH_OPERATION_LIST(X) \
    X(ATTENTION, attention)         \
    X(GEMM, gemm) X(NORM, norm) X(LOSS, loss) X(OPTIMIZER, optimizer) X(STEP, step) X(NOTHING, nothing)

typedef enum {
#define EAB_BENCH_ENUM(identifier, name) EAB_BENCH_##identifier,
    EAB_BENCH_OPERATION_LIST(EAB_BENCH_ENUM)
#undef EAB_BENCH_ENUM
        EAB_BENCH_OP_COUNT
} eab_bench_op;

/* A point being measured on a device. */
typedef struct {
    eab_device *device;
    const eab_bench_point *point;
    size_t rotate_bytes; /* all sets of operands together should take at least this, so that none is found in a cache */
    /* open() fills these in: */
    void *own;
    int32_t sets;       /* of operands, at least 2: call i works on set i % sets */
    size_t set_bytes;   /* operands of one set */
    double flop, bytes; /* of one call: floating-point operations, and the compulsory traffic of its operands */
    double tokens;      /* of one call of `step`; 0 elsewhere */
} eab_bench_task;

typedef struct {
    const char *name, *summary;
    uint32_t axes;                      /* bits of eab_bench_axis */
    bool counts_tokens;                 /* its speed is told in tokens */
    bool keeps_state;                   /* works on its own memory call after call: never cold, one set */
    const char *const *implementations; /* NULL-terminated words of the implementation axis */
    /* Appends the points (of eab_bench_point, with label) at which a model meets this operation; point: with the axes that are
     * the same for all of them. rows: batch * context of its micro-batch. NULL: models are no axis of this operation. */
    void (*model_points)(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points);
    /* Why this cannot be done here (one static line), or NULL. Optional. */
    const char *(*unsupported)(const eab_device *device, const eab_bench_point *point);
    /* Allocates and fills what one call and its rotation need; on an error the task is closed as well. */
    int (*open)(eab_bench_task *task);
    /* One call, on set `set`. Asynchronous where the device is. */
    int (*run)(eab_bench_task *task, int32_t set);
    /* Makes a set's inputs what they were, outside of the timing, for operations that change them; all sets in turn when all
     * were used. Optional. */
    int (*refresh)(eab_bench_task *task, int32_t set);
    /* The error against float64 as error_ratio (DESIGN.md 1), with its bound. Optional: *ratio stays NAN. */
    int (*check)(eab_bench_task *task, double *ratio, double *bound);
    void (*close)(eab_bench_task *task);
} eab_bench_operation;

/* Operation 0 .. EAB_BENCH_OP_COUNT - 1. */
const eab_bench_operation *eab_bench_operation_at(int op);

bool eab_bench_has_axis(const eab_bench_operation *operation, eab_bench_axis axis);

#define EAB_AXIS_BIT(axis) (UINT32_C(1) << (EAB_AXIS_##axis))

#endif
