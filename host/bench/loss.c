/* loss: cross-entropy with its gradient. Compulsory traffic: reads the logits and writes their gradient, reads the
 * targets. */
#include "part.h"
#include "tasks/philox.h"
#include "tasks/task.h"

typedef struct {
    eab_bench_buffers buffers; /* the logits */
    /* the same for all sets, on the device: */
    int32_t *targets;
    int64_t *counts;
    eab_tally *tally;
} loss_problem;

static void close_loss(eab_bench_task *task) {
    loss_problem *problem = task->own;
    void *const all[] = {problem->targets, problem->counts, problem->tally};
    for (size_t i = 0; i < G_N_ELEMENTS(all); i++)
        if (all[i]) task->device->backend->release(task->device, all[i]);
    eab_bench_part_close(task);
}

static int upload_targets(eab_device *device, loss_problem *problem, int32_t rows, int32_t vocab) {
    const eab_backend *backend = device->backend;
    const size_t bytes = (size_t)rows * sizeof *problem->targets;
    const int64_t count = rows;
    EAB_TRY(backend->allocate(device, bytes, (void **)&problem->targets));
    EAB_TRY(backend->allocate(device, sizeof *problem->counts, (void **)&problem->counts));
    EAB_TRY(backend->allocate(device, sizeof *problem->tally, (void **)&problem->tally));
    EAB_TRY(backend->upload(device, problem->counts, &count, sizeof count));
    EAB_TRY(backend->zero(device, problem->tally, sizeof *problem->tally));
    eab_random random = eab_random_at(20240718, 4, 0, 0, 0);
    int32_t *targets = g_new(int32_t, rows);
    for (int32_t i = 0; i < rows; i++) targets[i] = eab_random_below(&random, vocab);
    const int status = backend->upload(device, problem->targets, targets, bytes);
    g_free(targets);
    return status;
}

static int open_loss(eab_bench_task *task) {
    const int32_t rows = task->point->m, vocab = task->point->n;
    const eab_bench_tensor logits = eab_bench_float32_input((int64_t)rows * vocab);
    const double bytes = sizeof(float) * 2.0 * rows * vocab + sizeof(int32_t) * (double)rows;
    task->own = g_new0(loss_problem, 1);
    EAB_TRY(eab_bench_part_open_refreshed(task, &logits, 1, bytes));
    const int status = upload_targets(task->device, task->own, rows, vocab);
    if (status) close_loss(task);
    return status;
}

static int run_loss(eab_bench_task *task, int32_t set) {
    const loss_problem *problem = task->own;
    const eab_loss_args args = {.members = 1,
                                .batch = 1,
                                .context = task->point->m,
                                .vocab = task->point->n,
                                .member_vocab = &task->point->n,
                                .targets = problem->targets,
                                .targets_stride = task->point->m,
                                .logits = eab_bench_operand(&problem->buffers, set, 0),
                                .tally = problem->tally,
                                .counts = problem->counts};
    return task->device->backend->loss(task->device, &args);
}

/* The call overwrites the logits by their gradient. */
static int refresh_loss(eab_bench_task *task, int32_t set) { return eab_bench_refill(task->own, set, 0); }

static int check_loss(eab_bench_task *task, double *ratio, double *bound) {
    eab_check_shape shape = eab_bench_part_shape(task);
    shape.vocab = task->point->n;
    return eab_bench_part_check(task, "loss", &shape, ratio, bound);
}

static void model_points(const eab_config *config, int32_t rows, const eab_bench_point *point, GArray *points) {
    const int32_t vocab = eab_task_at(config->level.family)->vocab(&config->level);
    eab_bench_part_add_point(points, point, rows, vocab, config);
}

const eab_bench_operation eab_bench_loss = {
    .name = "loss",
    .summary = "cross-entropy of m rows over n words, with its gradient",
    .axes = EAB_AXIS_BIT(M) | EAB_AXIS_BIT(N),
    .implementations = 1 << EAB_BENCH_EABENCH,
    .model_points = model_points,
    .open = open_loss,
    .run = run_loss,
    .refresh = refresh_loss,
    .check = check_loss,
    .close = close_loss,
};
