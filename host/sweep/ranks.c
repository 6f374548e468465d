#include "ranks.h"

#include <dlfcn.h>

#include "base/module.h"
#include "kernels/status.h"
#include "launch.h"

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
                        "%s started %d tasks and does not tell them how to connect (srun: --mpi=pmix or pmi2); %s",
                        launch.launcher, launch.tasks, instead);
    void *library = eab_module_open("eabench_mpi", true);
    if (!library || !eab_module_find(library, "eab_ranks_by_mpi", api, sizeof *api)) {
        const char *reason = dlerror();
        return eab_fail(EAB_UNSUPPORTED, "MPI cannot be loaded: %s; %s", reason ? reason : "not found", instead);
    }
    if ((*api)->version != EAB_RANKS_VERSION)
        return eab_fail(EAB_UNSUPPORTED, "libeabench_mpi.so beside the program is of another build; build both again");
    if (!(*api)->open(token, place, error, sizeof error))
        return eab_fail(EAB_UNSUPPORTED, "MPI cannot be started: %s", error);
    if (place->count == launch.tasks) return EAB_OK;
    (*api)->close();
    return eab_fail(EAB_BAD_INPUT,
                    "%s started %d tasks, MPI connects %d of them (is it another MPI's launcher than the one "
                    "that eabench was built with?); %s",
                    launch.launcher, launch.tasks, place->count, instead);
}
