/* What `eabench sweep` was asked to do. */
#ifndef EAB_SWEEP_SESSION_H
#define EAB_SWEEP_SESSION_H

#include <stdio.h>

#include "plan/cells.h"
#include "pool.h"
#include "progress.h"
#include "ranks.h"

/* What a fresh process is to begin with, after a fault of the device that only the end of this one heals. */
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
    int32_t workers, fleet;    /* fleet 0: what suits the device, for each shape of model */
    double time_limit_s;       /* after this it stops as if interrupted */
    double checkpoint_every_s; /* 0: what is at work is not kept */
    eab_progress_kind progress;
    bool checkpoint_sparing; /* eab_train_checkpoint */
    bool dry_run, save_models, save_curves, save_geometry, profile;
    bool search;                    /* only the cells that show the frontiers: search.h */
    char *command;                  /* the command line, quoted for a shell */
    char *again;                    /* the same under the name that the program was called by */
    char description[256], isa[32]; /* of the device; of the CPU kernels, or "" */
    const eab_ranks *ranks;         /* to the other processes of the sweep; NULL: it is the only one */
    eab_ranks_place place;          /* among them */
    bool goes_on;                   /* a process before this one lost its device: what failed there stays failed */
    eab_suspects suspects;          /* what that one was at */
    double elapsed_s;               /* of the time limit, before this process */
    eab_sweep_restart *restart;     /* written: whether a fresh process has to go on; NULL: it cannot */
} eab_sweep;

/* Trains what is not done yet, leading the other processes if there are any; returns the program's exit code. */
int eab_sweep_run(const eab_sweep *sweep, const eab_plan *plan);

/* The same in a process that is led. `status`: why it cannot take part, with eab_last_error(). */
int eab_sweep_follow(const eab_sweep *sweep, const eab_plan *plan, int status);

/* Ends the others with `code`, which it returns, where the leader cannot begin. */
int eab_sweep_refuse(const eab_sweep *sweep, int code);

/* What must be the same in all processes of a sweep, as a text: build, backend, cells. g_free. */
char *eab_sweep_mark(const eab_sweep *sweep, const eab_plan *plan);

/* Prints what the sweep would do and an estimate of its time, from training for about a second; writes nothing.
 * An eab_status. */
int eab_dry_run(const eab_sweep *sweep, const eab_plan *plan);

/* Prints what the sweep would train as CSV, in the order of dealing: order (from 1), fleet, cell, mechanism, task, level,
 * layers, d_model, heads, context, batch, steps, lr, seed, flop (if not stopped early), flop_with_evaluation. */
int eab_list_cells(FILE *file, const eab_sweep *sweep, const eab_plan *plan);

/* A cell's work with its evaluations: a forward pass, a third of a step's work for each token, and for each part of a
 * mixture; one at every eval_every steps, one held out, and a few for the rollout. */
double eab_cell_flop_with_evaluation(const eab_config *config);

#endif
