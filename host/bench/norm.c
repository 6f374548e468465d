/* norm: layer norm. Compulsory traffic, in elements: forward reads x and writes y and the saved (x - mean) / std;
 * backward reads dy, that and dx and writes dx. */
#include "part.h"

enum { X, Y, NORMALIZED, INV_STD, GAIN, BIAS, DGAIN, DBIAS, TENSORS };

static int open_norm(eab_bench_task *task) {
    const int64_t rows = task->point->m, width = task->point->n, count = rows * width;
    const bool backward = task->point->pass == EAB_BENCH_BACKWARD;
    const eab_bench_tensor saved = backward ? eab_bench_float32_input(count) : eab_bench_float32_output(count);
    const eab_bench_tensor tensors[TENSORS] = {[X] = eab_bench_float32_input(count),
                                               [Y] = saved,
                                               [NORMALIZED] = saved,
                                               [INV_STD] = backward ? eab_bench_float32_input(rows)
                                                                    : eab_bench_float32_output(rows),
                                               [GAIN] = eab_bench_float32_input(width),
                                               [BIAS] = eab_bench_float32_input(width),
                                               [DGAIN] = eab_bench_float32_output(width),
                                               [DBIAS] = eab_bench_float32_output(width)};
    task->own = g_new0(eab_bench_buffers, 1);
    return eab_bench_part_open(task, tensors, TENSORS, sizeof(float) * (double)count * (backward ? 4 : 3));
}

/* Backward: Y holds dy, X the gradient that is added to. */
static int run_norm(eab_bench_task *task, int32_t set) {
    const eab_bench_buffers *buffers = task->own;
    const eab_tensor x = eab_bench_operand(buffers, set, X), y = eab_bench_operand(buffers, set, Y);
    const eab_norm_args args = {.members = 1,
                                .rows = task->point->m,
                                .width = task->point->n,
                                .gain = eab_bench_operand(buffers, set, GAIN),
                                .bias = eab_bench_operand(buffers, set, BIAS),
                                .normalized = eab_bench_operand(buffers, set, NORMALIZED),
                                .inv_std = eab_bench_operand(buffers, set, INV_STD)};
    if (task->point->pass == EAB_BENCH_FORWARD) return task->device->backend->norm_forward(task->device, &args, x, y);
    return task->device->backend->norm_backward(task->device, &args, y, x, eab_bench_operand(buffers, set, DGAIN),
                                                eab_bench_operand(buffers, set, DBIAS));
}

static int check_norm(eab_bench_task *task, double *ratio, double *bound) {
    const bool backward = task->point->pass == EAB_BENCH_BACKWARD;
    eab_check_shape shape = eab_bench_part_shape(task);
    shape.d_model = task->point->n;
    return eab_bench_part_check(task, backward ? "norm_backward" : "norm", &shape, ratio, bound);
}

static void model_points(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points) {
    if (config->norm == EAB_NORM_LAYER) eab_bench_part_add_point(points, point, rows, config->d_model, config);
}

const eab_bench_operation eab_bench_norm = {
    .name = "norm",
    .summary = "layer norm over n of m rows",
    .axes = EAB_AXIS_BIT(M) | EAB_AXIS_BIT(N) | EAB_AXIS_BIT(PASS),
    .implementations = 1 << EAB_BENCH_EABENCH,
    .model_points = model_points,
    .open = open_norm,
    .run = run_norm,
    .check = check_norm,
    .close = eab_bench_part_close,
};
