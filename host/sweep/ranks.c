#include "ranks.h"

#include <dlfcn.h>
#include <glib.h>
#include <math.h>
#include <stdlib.h>

#include "base/module.h"
#include "kernels/status.h"

/* ---- the launcher -------------------------------------------------------------------------------------------- */

/* The innermost launcher first: mpirun may run inside a step of srun. A batch script of Slurm is one process and
 * has SLURM_NTASKS, too: only the variables of a step count. */
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
static int number_of(const char *name) {
    const char *text = getenv(name);
    guint64 number;
    return text && g_ascii_string_to_unsigned(text, 10, 0, 10000000, &number, NULL) ? (int)number : -1;
}

eab_launch eab_launch_detect(void) {
    eab_launch launch = {.tasks = 1};
    for (size_t i = 0; i < G_N_ELEMENTS(launchers); i++) {
        const int tasks = number_of(launchers[i].size), rank = number_of(launchers[i].rank);
        if (tasks < 1 || rank < 0 || rank >= tasks) continue;
        launch = (eab_launch){.launcher = launchers[i].launcher, .tasks = tasks, .rank = rank};
        break;
    }
    static const char *const ways[] = {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_FD", "PMI_RANK", "PMI_PORT",
                                       "JSM_NAMESPACE_SIZE"};
    for (size_t i = 0; i < G_N_ELEMENTS(ways); i++) launch.can_connect = launch.can_connect || getenv(ways[i]);
    return launch;
}

/* ---- MPI ----------------------------------------------------------------------------------------------------- */

#ifdef EAB_MPI
static const bool built_with_mpi = true;
#else
static const bool built_with_mpi = false;
#endif

static const char *const instead = "start one process, or give each a part with --shard i/n (docs/cluster.md)";

int eab_ranks_open(uint64_t token, const eab_ranks **api, eab_ranks_place *place) {
    const eab_launch launch = eab_launch_detect();
    char error[512] = "";
    if (!built_with_mpi)
        return eab_fail(EAB_BAD_INPUT, "%s started %d tasks, but this eabench was built without MPI; %s",
                        launch.launcher, launch.tasks, instead);
    if (!launch.can_connect)
        return eab_fail(EAB_BAD_INPUT,
                        "%s started %d tasks without a way to connect them (srun: --mpi=pmix or pmi2); %s",
                        launch.launcher, launch.tasks, instead);
    void *library = eab_module_open("eabench_mpi", true);
    if (!library || !eab_module_find(library, "eab_ranks_by_mpi", api, sizeof *api)) {
        const char *reason = dlerror();
        return eab_fail(EAB_UNSUPPORTED, "MPI cannot be loaded: %s; %s", reason ? reason : "not found", instead);
    }
    if ((*api)->version != EAB_RANKS_VERSION)
        return eab_fail(EAB_UNSUPPORTED,
                        "libeabench_mpi.so beside the program is from another build; build both again");
    if (!(*api)->open(token, place, error, sizeof error))
        return eab_fail(EAB_UNSUPPORTED, "MPI cannot be started: %s", error);
    if (place->count == launch.tasks) return EAB_OK;
    (*api)->close(HUGE_VAL);
    return eab_fail(EAB_BAD_INPUT,
                    "%s started %d tasks, MPI connects %d of them (is it another MPI's launcher than the one "
                    "that eabench was built with?); %s",
                    launch.launcher, launch.tasks, place->count, instead);
}
