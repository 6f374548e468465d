/* A sweep: its settings, and its run in one process or as one of several. */
#ifndef EAB_SWEEP_RUN_H
#define EAB_SWEEP_RUN_H

#include "plan/cells.h"
#include "pool.h"
#include "progress.h"
#include "ranks.h"

/* How to resume in a new process after an unrecoverable device error. */
typedef struct {
    bool wanted;
    eab_suspects suspects;
    double elapsed_s; /* of the time limit */
} eab_sweep_restart;

typedef struct {
    const char *spec;
    const char *const *sets; /* NULL-terminated, or NULL */
    char *out;               /* the run's folder */
    const char *backend;     /* resolved: never "auto" */
    int device;
    int32_t workers, fleet;    /* fleet 0: what fills the device, for each shape of model */
    double time_limit_s;       /* after this time the sweep stops as if interrupted */
    double checkpoint_every_s; /* 0: no checkpoints */
    eab_progress_kind progress;
    bool checkpoint_adaptive;                                           /* eab_train_checkpoint */
    gboolean dry_run, save_models, save_curves, save_geometry, profile; /* as GOption reads them */
    gboolean search;                /* train only the cells that show the frontiers: search.h */
    const bool *chosen;             /* train only these cells, by a cell's index; NULL: all */
    char *command;                  /* the command line, quoted for a shell */
    char *resume_command;           /* the same, with the name by which the program was called */
    char description[256], isa[32]; /* of the device; of the CPU kernels, or "" */
    const eab_ranks *ranks;         /* messages to the sweep's other processes; NULL: there are none */
    eab_ranks_place place;          /* among them */
    double rank_timeout_s;          /* a process that is silent for longer is lost; HUGE_VAL: never */
    bool resumed;                   /* an earlier process lost its device: cells that failed there stay failed */
    eab_suspects suspects;          /* what that process was training */
    double elapsed_s;               /* of the time limit, before this process */
    eab_sweep_restart *restart;     /* output: whether a new process must resume; NULL: none can */
} eab_sweep;

/* Trains the cells that are not done, leading the other processes if there are any. Returns the exit code. */
int eab_sweep_run(const eab_sweep *sweep, const eab_plan *plan);

/* Trains what the leader assigns. `status`: why this process cannot take part, with eab_last_error(). Returns the exit
 * code. */
int eab_sweep_follow(const eab_sweep *sweep, const eab_plan *plan, int status);

/* If the sweep cannot begin: ends the other processes, if there are any, with `code`, and returns it. */
int eab_sweep_refuse(const eab_sweep *sweep, int code);

/* --dry-run: prints the cells, their cost and an estimate of the time, from about a second of training, or from FLOP
 * and the peak where a step would take too long; writes nothing. */
int eab_dry_run(const eab_sweep *sweep, const eab_plan *plan);

/* --dry-run --list: prints the cells that are not done as CSV, in the order of training: order (from 1), fleet, cell,
 * mechanism, task, level, layers, d_model, heads, context, batch, steps, lr, seed, flop (without an early stop),
 * flop_with_evaluation, and a column SECTION.KEY for each option of eab_plan_varying. */
int eab_list_cells(const eab_sweep *sweep, const eab_plan *plan);

#endif
