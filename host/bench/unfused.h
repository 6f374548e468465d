/* Attention the unfused way, on the tensors of bench_attention.h: the products by a library where one is here (OpenBLAS on
 * the processor; a backend with cuBLAS uses that), the scores between them in memory. */
#ifndef EAB_BENCH_UNFUSED_H
#define EAB_BENCH_UNFUSED_H

#include "attention.h"

/* Why it cannot be done on this device, or NULL. */
const char *eab_bench_unfused_unsupported(const eab_device *device, const eab_bench_point *point);

/* One pass on a set. The forward pass of a measured backward pass keeps the scores, as training would. */
int eab_bench_unfused_forward(eab_device *device, const eab_bench_attention_problem *problem, int32_t set);
int eab_bench_unfused_backward(eab_device *device, const eab_bench_attention_problem *problem, int32_t set);

#endif
