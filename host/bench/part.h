/* What norm, loss and optimizer share: the parts of a model between its products, in float32, by the backend's own
 * operations.
 *
 * FLOP are counted for products only (docs/design.md 5), so these rows have none: their roof is the memory
 * bandwidth. */
#ifndef EAB_BENCH_PART_H
#define EAB_BENCH_PART_H

#include "buffers.h"
#include "check/suite.h"

/* Opens the operands; task->own must be the part's memory, which begins with `buffers`. bytes: compulsory traffic of
 * a call. EAB_UNSUPPORTED if the backend is not float32. */
int eab_bench_part_open(eab_bench_task *task, const eab_bench_tensor *tensors, int32_t count, double bytes);

/* The same for operations that refresh their inputs. Refreshed data is in a cache, so one tensor of every set must
 * exceed the cache; and a sample has no more calls than there are sets, so there must be many. */
int eab_bench_part_open_refreshed(eab_bench_task *task, const eab_bench_tensor *tensors, int32_t count, double bytes);

/* Closes the operands and frees task->own. */
void eab_bench_part_close(eab_bench_task *task);

/* Checks the part by the operation of `eabench check` called `name`, on a shape of the same width. */
int eab_bench_part_check(eab_bench_task *task, const char *name, const eab_check_shape *shape, double *ratio,
                         double *bound);

/* One sequence of the point's rows, at most 256: each row is a problem of its own. */
eab_check_shape eab_bench_part_shape(const eab_bench_task *task);

/* Appends the point with m and n, labelled by the model's d_model. */
void eab_bench_part_add_point(GArray *points, const eab_bench_point *point, int32_t m, int32_t n,
                              const eab_config *config);

#endif
