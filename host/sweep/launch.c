#include "launch.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

/* The innermost launcher first: mpirun may run inside a step of srun. A batch script of Slurm has SLURM_NTASKS, too,
 * and is one process, so that only what a step has counts. */
static const struct {
    const char *launcher, *size, *rank;
} launchers[] = {
    {"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
    {"mpirun", "MV2_COMM_WORLD_SIZE", "MV2_COMM_WORLD_RANK"},
    {"mpiexec", "PMI_SIZE", "PMI_RANK"},
    {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},
    {"flux", "FLUX_JOB_SIZE", "FLUX_TASK_RANK"},
    {"jsrun", "JSM_NAMESPACE_SIZE", "JSM_NAMESPACE_RANK"},
};

/* A variable that is a number 0..10^7, or -1. */
static long number_of(const char *name) {
    const char *text = getenv(name);
    char *end;
    if (!text || !*text) return -1;
    errno = 0;
    const long number = strtol(text, &end, 10);
    return errno || *end || number < 0 || number > 10000000 ? -1 : number;
}

eab_launch eab_launch_detect(void) {
    eab_launch launch = {.tasks = 1};
    for (size_t i = 0; i < sizeof launchers / sizeof *launchers; i++) {
        const long tasks = number_of(launchers[i].size), rank = number_of(launchers[i].rank);
        if (tasks < 1 || rank < 0 || rank >= tasks) continue;
        launch = (eab_launch){.launcher = launchers[i].launcher, .tasks = (int)tasks, .rank = (int)rank};
        break;
    }
    static const char *const ways[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_FD", "PMI_RANK", "PMI_PORT",
                                       "JSM_NAMESPACE_SIZE"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) launch.can_connect = launch.can_connect || getenv(ways[i]);
    return launch;
}
