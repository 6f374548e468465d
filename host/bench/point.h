/* What one row of kernels.csv measures: a point of the axes. One table of options gives the axes their names, bounds and
 * words (range.h has the grammar), the columns of kernels.csv and the lines of --help. */
#ifndef EAB_BENCH_POINT_H
#define EAB_BENCH_POINT_H

#include <glib.h>

#include "spec/options.h"

typedef enum { EAB_BENCH_FORWARD, EAB_BENCH_BACKWARD } eab_bench_pass;
typedef enum { EAB_BENCH_NO_POSITION, EAB_BENCH_ALIBI } eab_bench_position;
typedef enum { EAB_BENCH_TRANSPOSE_NONE, EAB_BENCH_TRANSPOSE_A, EAB_BENCH_TRANSPOSE_B } eab_bench_transpose;

/* Choices are indices into their option's words. An axis that the operation does not have is NOT_AN_AXIS. */
enum { EAB_BENCH_NOT_AN_AXIS = -1 };
typedef struct {
    int32_t op, implementation;
    int32_t mechanism, pass, dtype; /* dtype: EAB_F32, ... */
    int32_t batch, heads, context, head_dim, causal, position;
    int32_t m, n, k, transpose;
    char label[96];           /* of a model's piece, such as "d_model 32 qkv"; "" otherwise */
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

/* In the order in which a product of axes runs, the last one fastest; `offset` is a field's place in eab_bench_point, the key
 * is as on the command line ("head-dim"). */
extern const eab_option eab_bench_axes[EAB_AXIS_COUNT];

/* The axis called `key`, or -1. */
int eab_bench_axis_from_name(const char *key);

int32_t eab_bench_get(eab_bench_axis axis, const eab_bench_point *point);
void eab_bench_set(eab_bench_axis axis, eab_bench_point *point, int32_t value);

/* The value as kernels.csv shows it; "" for what is no axis of the operation. */
void eab_bench_print(eab_bench_axis axis, const eab_bench_point *point, char *text, size_t size);

/* Every axis and the label in one line: equal for equal points only. Free with g_free. */
char *eab_bench_point_key(const eab_bench_point *point);

#endif
