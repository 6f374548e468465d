/* A problem of attention as the bench holds it, for what times it and what checks it. */
#ifndef EAB_BENCH_ATTENTION_H
#define EAB_BENCH_ATTENTION_H

#include "buffers.h"
#include "operation.h"

/* Tensors of a set; those that a pass or an implementation has no use for are empty. The last three are the unfused one's:
 * [batch][heads][context][context]. */
enum {
    EAB_BENCH_Q,
    EAB_BENCH_K,
    EAB_BENCH_V,
    EAB_BENCH_OUT,
    EAB_BENCH_ROW_STAT,
    EAB_BENCH_DOUT,
    EAB_BENCH_DQ,
    EAB_BENCH_DK,
    EAB_BENCH_DV,
    EAB_BENCH_SCORES,
    EAB_BENCH_WEIGHTS,
    EAB_BENCH_DWEIGHTS,
    EAB_BENCH_ATTENTION_TENSORS
};

typedef struct {
    eab_attention attention; /* with slopes of our own */
    float *slopes;
    bool backward, unfused;
    int64_t count, rows; /* elements of q; batch * heads * context */
    eab_bench_buffers buffers;
} eab_bench_attention_problem;

/* The error of task->run on set 0 as error_ratio. Large problems are checked in part: see bench_attention_check.c. */
int eab_bench_attention_check(eab_bench_task *task, const eab_bench_attention_problem *problem, double *ratio,
                              double *bound);

#endif
