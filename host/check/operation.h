/* The operations of a backend that are checked against float64. Each fills buffers, calls the backend and collects
 * what the backend wrote. The same code runs on the backend under test, on the reference and on the plain float32
 * one. To add a check: a function, and a line in the table at the end of its file. */
#ifndef EAB_CHECK_OPERATION_H
#define EAB_CHECK_OPERATION_H

#include "kernels/backend.h"

/* What an operation is checked on. Each operation reads the fields it needs. */
typedef struct {
    int32_t members, batch, context, d_model, heads, mlp_ratio, vocab;
    int32_t mechanism;
    bool slopes;
} eab_check_shape;

/* A device with the buffers of one check: buffers.h. */
typedef struct eab_check_run eab_check_run;

typedef struct {
    const char *name;
    void (*run)(eab_check_run *run, const eab_check_shape *shape); /* a failure: in run->status */
    const void *context;                           /* read by `run`: the problem of an operation that is in no table */
    int32_t form;                                  /* read by `run`: which activation, optimizer, dtype, ... */
    bool gradient;                                 /* a backward pass: EAB_BOUND_GRADIENT applies */
    bool by_mechanism;                             /* checked once for each mechanism */
    bool half;                                     /* checked only on backends that have attention in bf16 and fp16 */
    bool (*applies)(const eab_check_shape *shape); /* to which shapes; NULL: to all */
    eab_precision precision;                       /* checked only on backends that have it */
} eab_check_operation;

/* Tables of operations, each ended by an entry without a name. */
extern const eab_check_operation eab_check_tasks[], eab_check_products[], eab_check_layers[], eab_check_training[],
    eab_check_attention[];

#endif
