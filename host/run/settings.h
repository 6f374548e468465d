/* Settings of a run besides its plan, for its folder, tables and manifest. */
#ifndef EAB_RUN_SETTINGS_H
#define EAB_RUN_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *backend;     /* "cpu" */
    const char *device;      /* the device's description */
    const char *isa;         /* SIMD level of the CPU kernels, or "" */
    int32_t ranks;           /* processes of the sweep; 0 means 1 */
    int32_t workers;         /* of each process */
    int32_t fleet;           /* cells per fleet; 0: automatic */
    double peak_gflop_per_s; /* the device's measured peak, for the throughput rows; 0: not known */
    const char *command;     /* the command line */
    bool save_models, save_curves, save_geometry;
    uint64_t later;     /* eab_plan: the columns of accuracy.csv */
    bool keep_timeouts; /* cells with status timeout count as done */
    bool keep_failures; /* cells with status fail or oom count as done */
    bool merges;        /* opening the folder writes no manifest: that of the cells' own sweep is written later */
} eab_run_settings;

#endif
