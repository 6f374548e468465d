/* How a run is done: what its folder, its tables and its manifest record besides the plan. */
#ifndef EAB_RUN_SETTINGS_H
#define EAB_RUN_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *backend;     /* "cpu" */
    const char *device;      /* the device's description */
    const char *isa;         /* SIMD level of the CPU kernels, or "" */
    int32_t ranks;           /* processes of the sweep; 0 stands for 1 */
    int32_t workers, fleet;  /* of each of them */
    double peak_gflop_per_s; /* the device's measured peak, for the throughput rows; 0: not known */
    const char *command;     /* the command line */
    bool save_models, save_curves, save_geometry;
    bool keep_timeouts; /* cells with status timeout count as done */
    bool keep_failures; /* so do cells with status fail or oom */
} eab_run_settings;

#endif
