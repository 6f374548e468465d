/* What a run ran on: the [environment] section of its manifest. Every key is always there; empty means not known. */
#ifndef EAB_HOST_ENVIRONMENT_H
#define EAB_HOST_ENVIRONMENT_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "run_folder.h"

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

/* Cores that this process may run on (sched_getaffinity); at least 1. */
int eab_environment_cores(void);

/* A hash of which cores these are: processes with the same one share them. */
uint64_t eab_environment_core_mark(void);

/* "2025-11-22T08:31:00Z": UTC, so that TZ has no say. */
void eab_time_print(time_t moment, char *text, size_t size);

/* The build's version and commit ("" if it was not built in a git checkout). */
const char *eab_build_version(void);
const char *eab_build_commit(void);

#endif
