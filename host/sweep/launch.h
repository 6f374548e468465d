/* Whether a launcher (mpirun, mpiexec, srun, flux, jsrun) started this process as one of several, from what it leaves
 * in the environment: a process that was started by itself never pays for MPI. */
#ifndef EAB_SWEEP_LAUNCH_H
#define EAB_SWEEP_LAUNCH_H

#include <stdbool.h>

typedef struct {
    const char *launcher; /* "mpirun"; NULL: none */
    int tasks, rank;      /* 1 and 0 without one */
    bool can_connect;     /* the launcher tells its tasks how to find each other (PMI, PMIx) */
} eab_launch;

eab_launch eab_launch_detect(void);

#endif
