/* optimizer: a step of AdamW. Compulsory traffic: reads and writes weights, two moments and the gradient (which the
 * step zeroes). */
#include "model/cost.h"
#include "part.h"

enum { WEIGHTS, GRADIENTS, MOMENT1, MOMENT2, TENSORS };
enum { MOST_CHECKED_WIDTH = 4096 };

typedef struct {
    eab_bench_buffers buffers;
    int64_t step;
} optimizer_problem;

static int open_optimizer(eab_bench_task *task) {
    const int64_t count = task->point->n;
    const eab_bench_tensor tensors[TENSORS] = {[WEIGHTS] = eab_bench_float32_input(count),
                                               [GRADIENTS] = eab_bench_float32_input(count),
                                               [MOMENT1] = eab_bench_float32_output(count),
                                               [MOMENT2] = eab_bench_float32_output(count)};
    task->own = g_new0(optimizer_problem, 1);
    return eab_bench_part_open_refreshed(task, tensors, TENSORS, sizeof(float) * 8.0 * (double)count);
}

static int run_optimizer(eab_bench_task *task, int32_t set) {
    static const eab_optimizer optimizer = {.kind = EAB_OPTIMIZER_ADAMW,
                                            .schedule = EAB_SCHEDULE_CONSTANT,
                                            .lr = 1e-3,
                                            .beta1 = 0.9,
                                            .beta2 = 0.98,
                                            .weight_decay = 0.01,
                                            .clip = 1,
                                            .lr_final = 1,
                                            .steps = INT64_MAX};
    optimizer_problem *problem = task->own;
    const int32_t count = task->point->n;
    const eab_extent all = {0, 1, count, false};
    const eab_optimizer_args args = {.members = 1,
                                     .count = count,
                                     .decayed = count,
                                     .extents = &all,
                                     .extent_count = 1,
                                     .weights = eab_bench_operand(&problem->buffers, set, WEIGHTS),
                                     .gradients = eab_bench_operand(&problem->buffers, set, GRADIENTS),
                                     .moment1 = eab_bench_operand(&problem->buffers, set, MOMENT1),
                                     .moment2 = eab_bench_operand(&problem->buffers, set, MOMENT2),
                                     .optimizers = &optimizer,
                                     .step = problem->step++};
    return task->device->backend->optimizer_step(task->device, &args);
}

/* The step zeroes the gradient; further steps on zeros would make the moments denormal. */
static int refresh_optimizer(eab_bench_task *task, int32_t set) { return eab_bench_refill(task->own, set, GRADIENTS); }

static int check_optimizer(eab_bench_task *task, double *ratio, double *bound) {
    const int32_t width = CLAMP(task->point->n / 2, 1, MOST_CHECKED_WIDTH);
    const eab_check_shape shape = {.members = 1, .batch = 1, .context = 2, .d_model = width};
    return eab_bench_part_check(task, "adamw", &shape, ratio, bound);
}

static void model_points(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points) {
    (void)rows;
    const int64_t parameters = eab_config_parameters(config);
    if (parameters <= INT32_MAX)
        eab_bench_part_add_point(points, point, EAB_BENCH_NOT_AN_AXIS, (int32_t)parameters, config);
}

const eab_bench_operation eab_bench_optimizer = {
    .name = "optimizer",
    .summary = "clipping by the gradient's norm and a step of AdamW on n weights",
    .axes = EAB_AXIS_BIT(N),
    .implementations = 1 << EAB_BENCH_EABENCH,
    .model_points = model_points,
    .open = open_optimizer,
    .run = run_optimizer,
    .refresh = refresh_optimizer,
    .check = check_optimizer,
    .close = eab_bench_part_close,
};
