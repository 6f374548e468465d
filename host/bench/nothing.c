/* nothing: an empty call, whose time is the cost of the harness itself. */
#include "operation.h"

static int open_nothing(eab_bench_task *task) {
    task->sets = 2;
    return EAB_OK;
}

static int run_nothing(eab_bench_task *task, int32_t set) {
    (void)task;
    (void)set;
    return EAB_OK;
}

static void close_nothing(eab_bench_task *task) { (void)task; }

const eab_bench_operation eab_bench_nothing = {
    .name = "nothing",
    .summary = "an empty call: what the harness adds to every other",
    .implementations = 1 << EAB_BENCH_EABENCH,
    .open = open_nothing,
    .run = run_nothing,
    .close = close_nothing,
};
