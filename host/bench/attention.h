/* A problem of attention with its operands: shared by the fused and the unfused implementation and by their check. */
#ifndef EAB_BENCH_ATTENTION_H
#define EAB_BENCH_ATTENTION_H

#include "operation.h"

/* Tensors of a set: [batch][heads][context][head_dim], row_stat [batch][heads][context]. The last three are used by
 * the unfused implementation: [batch][heads][context][context]. Tensors that the pass or the implementation does not
 * need are empty. */
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

/* The task's own memory. */
typedef struct {
    eab_attention attention;
    float *slopes; /* of `attention`, owned; or NULL */
    bool backward, unfused;
    int64_t count, rows; /* elements of q; batch * heads * context */
} eab_bench_attention_problem;

/* Why the device has no unfused attention (one static line), or NULL. */
const char *eab_bench_unfused_unsupported(const eab_device *device, const eab_bench_point *point);

/* One unfused pass on a set. Before a backward pass the forward pass keeps the scores, as training would. */
int eab_bench_unfused_run(eab_bench_task *task, int32_t set, bool backward);

/* error_ratio of the operation's run on set 0. Large problems are checked in part: attention_check.c. */
int eab_bench_attention_check(eab_bench_task *task, eab_check_result *result);

#endif
