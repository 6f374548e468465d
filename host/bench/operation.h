/* The operations that `eabench bench` measures, and the points at which it measures them. To add an operation: its
 * descriptor (in a file of its own, or in parts.c), a word in EAB_BENCH_OPERATION_LIST, and an entry of cases.c (what
 * is measured by default). */
#ifndef EAB_BENCH_OPERATION_H
#define EAB_BENCH_OPERATION_H

#include <glib.h>

#include "buffers.h"
#include "check/suite.h"
#include "spec/options.h"

/* X(IDENTIFIER, name) */
#define EAB_BENCH_OPERATION_LIST(X) \
    X(ATTENTION, attention)         \
    X(GEMM, gemm) X(NORM, norm) X(LOSS, loss) X(OPTIMIZER, optimizer) X(STEP, step) X(NOTHING, nothing)

typedef enum {
#define EAB_BENCH_ENUM(identifier, name) EAB_BENCH_##identifier,
    EAB_BENCH_OPERATION_LIST(EAB_BENCH_ENUM)
#undef EAB_BENCH_ENUM
        EAB_BENCH_OP_COUNT
} eab_bench_op;

/* ---- points ----------------------------------------------------------------------------------------------------- */

typedef enum { EAB_BENCH_FORWARD, EAB_BENCH_BACKWARD } eab_bench_pass;
typedef enum { EAB_BENCH_NO_POSITION, EAB_BENCH_ALIBI } eab_bench_position;
typedef enum { EAB_BENCH_TRANSPOSE_NONE, EAB_BENCH_TRANSPOSE_A, EAB_BENCH_TRANSPOSE_B } eab_bench_transpose;
typedef enum {
    EAB_BENCH_FUSED,
    EAB_BENCH_UNFUSED,
    EAB_BENCH_EABENCH,
    EAB_BENCH_OPENBLAS,
    EAB_BENCH_LIBXSMM,
    EAB_BENCH_IMPLEMENTATION_COUNT
} eab_bench_implementation;

/* What one row of kernels.csv measures. An axis that the operation does not have is EAB_BENCH_NOT_AN_AXIS. */
enum { EAB_BENCH_NOT_AN_AXIS = -1 };
typedef struct {
    int32_t op, implementation;
    int32_t mechanism, pass, dtype; /* dtype: EAB_F32, ... */
    int32_t batch, heads, context, head_dim, causal, position;
    int32_t m, n, k, transpose;
    const char *label;        /* where a model has this shape, such as "d_model 32 qkv"; "" otherwise. Interned */
    const eab_config *config; /* the model of a training step, or NULL; not owned */
} eab_bench_point;

typedef enum {
    EAB_AXIS_OP,
    EAB_AXIS_MECHANISM,
    EAB_AXIS_POSITION,
    EAB_AXIS_CAUSAL,
    EAB_AXIS_HEAD_DIM,
    EAB_AXIS_BATCH,
    EAB_AXIS_HEADS,
    EAB_AXIS_CONTEXT,
    EAB_AXIS_M,
    EAB_AXIS_N,
    EAB_AXIS_K,
    EAB_AXIS_TRANSPOSE,
    EAB_AXIS_PASS,
    EAB_AXIS_DTYPE,
    EAB_AXIS_IMPLEMENTATION,
    EAB_AXIS_COUNT
} eab_bench_axis;

/* Names, bounds and words of the axes, in the order in which their product runs, the last one fastest. `offset` is a
 * field's place in eab_bench_point; the key is that of the command line ("head-dim"). */
extern const eab_option eab_bench_axes[EAB_AXIS_COUNT];

/* The axis of an option ("head-dim") or a column ("head_dim"), or -1. */
int eab_bench_axis_from_name(const char *name);

int32_t eab_bench_get(eab_bench_axis axis, const eab_bench_point *point);
void eab_bench_set(eab_bench_axis axis, eab_bench_point *point, int32_t value);

/* The value as kernels.csv shows it; "" for what is no axis of the operation. */
void eab_bench_print(eab_bench_axis axis, const eab_bench_point *point, char *text, size_t size);

/* Takes ownership of a text and returns an interned label. */
const char *eab_bench_label(char *text);

/* ---- operations ------------------------------------------------------------------------------------------------- */

typedef struct eab_bench_operation eab_bench_operation;

/* A point that is measured on a device. */
typedef struct {
    eab_device *device;
    const eab_bench_point *point;
    const eab_bench_operation *operation;
    size_t rotate_bytes; /* least size of all sets of operands together, so that no call finds its set in a cache */
    /* set by the operation's open(): */
    void *own;                  /* operation->own_bytes, zeroed before open() and freed after close() */
    eab_bench_buffers operands; /* call i works on set i % operands.sets */
    double flop, bytes;         /* of one call: floating-point operations, and the compulsory traffic of its operands */
    double tokens;              /* trained by one call; 0 unless it trains */
} eab_bench_task;

struct eab_bench_operation {
    const char *name, *summary;
    uint32_t axes;            /* EAB_AXIS_BIT(...) */
    uint32_t implementations; /* 1 << EAB_BENCH_FUSED, ... */
    bool trains;     /* works on a model's memory call after call: never cold; its speed is counted in tokens */
    bool overwrites; /* a call overwrites tensor 0 of its set, which is restored outside of the timing */
    size_t own_bytes;
    /* Appends the points (with label) at which a model has this operation. `point` has the axes that they share;
     * rows: batch * context of the model's micro-batch. NULL: the operation takes no models. */
    void (*model_points)(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points);
    /* Why the device cannot do this (one static line), or NULL. Optional. */
    const char *(*unsupported)(const eab_device *device, const eab_bench_point *point);
    /* Allocates and fills all sets of operands. Optional. */
    int (*open)(eab_bench_task *task);
    /* One call on one set. Asynchronous where the device is. */
    int (*run)(eab_bench_task *task, int32_t set);
    /* Sets error_ratio and bound of the result, and where it failed otherwise, `reason`. Optional. */
    int (*check)(eab_bench_task *task, eab_check_result *result);
    /* Releases what open() allocated besides the operands, also after an error in open(). Optional. */
    void (*close)(eab_bench_task *task);
};

#define EAB_AXIS_BIT(axis) (UINT32_C(1) << (EAB_AXIS_##axis))

#define EAB_BENCH_DECLARE(identifier, name) extern const eab_bench_operation eab_bench_##name;
EAB_BENCH_OPERATION_LIST(EAB_BENCH_DECLARE)
#undef EAB_BENCH_DECLARE

/* The operation numbered so in eab_bench_op. */
const eab_bench_operation *eab_bench_operation_at(int op);

bool eab_bench_has_axis(const eab_bench_operation *operation, eab_bench_axis axis);

/* "fused, unfused": the operation's implementations, between commas. */
void eab_bench_list_implementations(const eab_bench_operation *operation, char *text, size_t size);

/* Opens the point's operation. EAB_UNSUPPORTED if the device cannot do it. After an error the task is closed. */
int eab_bench_task_open(eab_bench_task *task, eab_device *device, const eab_bench_point *point, size_t rotate_bytes);
void eab_bench_task_close(eab_bench_task *task);

#endif
