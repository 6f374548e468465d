/* What a run ran on: the [environment] section of its manifest. Every key is always there; empty means not known. */
#ifndef EAB_RUN_ENVIRONMENT_H
#define EAB_RUN_ENVIRONMENT_H

#include "settings.h"

/* In the manifest's order. version, commit, compiler and flags are those of the build. */
/* clang-format off */
#define EAB_ENVIRONMENT_LIST(X) \
    X(version) X(commit) X(compiler) X(flags) X(os) X(cpu) X(cores) X(isa) X(backend) \
    X(device) X(driver) X(clocks) X(libraries) X(ranks) X(workers) X(fleet) X(started) X(command) X(peak_gflop_per_s)
/* clang-format on */

typedef struct {
#define EAB_ENVIRONMENT_FIELD(name) char *name; /* one line; g_free */
    EAB_ENVIRONMENT_LIST(EAB_ENVIRONMENT_FIELD)
#undef EAB_ENVIRONMENT_FIELD
} eab_environment;

/* Fills in all keys: of the build, this machine, now and `settings`. The peak is left empty. */
void eab_environment_collect(const eab_run_settings *settings, eab_environment *environment);
void eab_environment_free(eab_environment *environment);

#endif
