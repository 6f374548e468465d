#include "part.h"

#include <stdio.h>

enum { LEAST_SETS = 16, MOST_ROWS = 256 };

int eab_bench_part_open(eab_bench_task *task, const eab_bench_tensor *tensors, int32_t count, double bytes) {
    int status = task->device->backend->real_bytes == sizeof(float)
                     ? eab_bench_buffers_open(task->own, task, tensors, count)
                     : eab_fail(EAB_UNSUPPORTED, "this operation is measured in float32 only");
    task->bytes = bytes;
    if (status) eab_bench_part_close(task);
    return status;
}

int eab_bench_part_open_refreshed(eab_bench_task *task, const eab_bench_tensor *tensors, int32_t count, double bytes) {
    size_t set_bytes = 0;
    for (int32_t i = 0; i < count; i++) set_bytes += (size_t)tensors[i].count * sizeof(float);
    task->rotate_bytes = MAX(task->rotate_bytes * (size_t)count, LEAST_SETS * set_bytes);
    return eab_bench_part_open(task, tensors, count, bytes);
}

void eab_bench_part_close(eab_bench_task *task) {
    eab_bench_buffers_close(task->own);
    g_free(task->own);
}

int eab_bench_part_check(eab_bench_task *task, const char *name, const eab_check_shape *shape, double *ratio,
                         double *bound) {
    eab_check_result result;
    EAB_TRY(eab_check_run_operation(task->device, eab_check_operation_from_name(name), shape, &result));
    *ratio = result.error_ratio;
    *bound = result.bound;
    return *result.reason ? eab_fail(EAB_DEVICE_FAULT, "%s", result.reason) : EAB_OK;
}

eab_check_shape eab_bench_part_shape(const eab_bench_task *task) {
    const int32_t rows = MIN(task->point->m, MOST_ROWS);
    return (eab_check_shape){.members = 1, .batch = 1, .context = rows, .heads = 1, .mlp_ratio = 1};
}

void eab_bench_part_add_point(GArray *points, const eab_bench_point *point, int32_t m, int32_t n,
                              const eab_config *config) {
    eab_bench_point added = *point;
    added.m = m;
    added.n = n;
    snprintf(added.label, sizeof added.label, "d_model %d", config->d_model);
    g_array_append_val(points, added);
}
