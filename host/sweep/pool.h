/* Worker threads that train fleets of cells, the longest first, each on its own device.
 *
 * What a cell's result is does not depend on which worker had it or when; only the order in which results come in does.
 * A fleet that does not fit into memory, or in which something fails, is halved and tried again until the cell that is
 * to blame is alone: that one fails, the others do not. A device that failed is opened anew for that; where it cannot
 * be, a fresh process has to go on (eab_suspects).
 */
#ifndef EAB_SWEEP_POOL_H
#define EAB_SWEEP_POOL_H

#include "deal.h"
#include "kernels/generic/profile.h"
#include "model/train.h"

typedef struct eab_pool eab_pool;

/* Takes a cell's result, in the worker's thread; several workers may be in it at once. The result's curve and
 * geometry are freed after the call. An eab_status other than EAB_OK stops the pool. */
typedef int (*eab_pool_sink)(void *context, int64_t index, const eab_cell_result *result);

/* eab_train_fleet, or a stand-in for tests. */
typedef int (*eab_pool_trainer)(eab_device *device, int32_t members, const eab_config *configs,
                                const eab_train_options *options, eab_cell_result *results);

/* Keeping what is at work: eab_train_checkpoint. */
typedef struct {
    /* Where the checkpoint of the fleet whose first cell this is lies, as a string for g_free; a fleet goes on from what
     * is there. NULL: none are kept. */
    char *(*path)(void *context, int64_t index);
    /* All results of the fleet were delivered, or it is to be tried in halves: its checkpoint is of no use any more. */
    void (*remove)(void *context, const char *path);
    void (*note)(void *context, const char *line);
    double every_s;
    bool sparing;
} eab_pool_checkpoints;

typedef struct {
    const char *backend;
    int device;             /* its index */
    int32_t workers, fleet; /* threads at most; cells trained together at most */
    const int32_t *fleets;  /* the same by a cell's index, used up when eab_pool_start returns; NULL: `fleet` for all */
    /* Where fleets come from, of the caller's; `fleet` and `fleets` are then not read, nor what eab_pool_start is given.
     * NULL: fleets of the cells given, dealt among the workers. */
    eab_deal *deal;
    bool keep_curves, abandon; /* of eab_train_options */
    /* Where the cell's model goes, as a string for g_free; NULL: models are not saved. */
    char *(*model_path)(void *context, int64_t index);
    /* Where its attention maps go; NULL: no geometry is measured. */
    char *(*geometry_path)(void *context, int64_t index);
    const GArray *begun; /* of eab_fleet: to be dealt first, as they are (eab_fleets_make_after), or NULL */
    eab_pool_checkpoints checkpoints;
    eab_pool_sink sink;
    /* Takes a fleet that ended: with `complete` all of its cells went through the sink. NULL: not wanted. */
    void (*fleet_sink)(void *context, const eab_fleet *fleet, bool complete);
    void *context;          /* of all functions here but train */
    eab_pool_trainer train; /* NULL: eab_train_fleet */
    eab_profile *profile;   /* of all workers, complete when the pool is finished; NULL: none is made */
} eab_pool_settings;

/* Starts to train cells[indices[0..count)]; `cells` must outlive the pool. EAB_NO_MEMORY if no thread can be
 * started. */
int eab_pool_start(const eab_pool_settings *settings, const eab_cell *cells, const int64_t *indices, int64_t count,
                   eab_pool **pool);

/* Makes the workers end within about one training step. Any thread, any time. */
void eab_pool_stop(eab_pool *pool);

/* Waits for all workers to end, at most `seconds`; whether they have. */
bool eab_pool_wait(eab_pool *pool, double seconds);

typedef struct {
    double flop_done, flop_total; /* of cells' full lengths; running cells count by their steps, and what checkpoints
                                     had of them not at all */
    double tokens;                /* trained input positions, running cells included */
} eab_pool_progress;
void eab_pool_measure(eab_pool *pool, eab_pool_progress *progress);

/* What a worker is training: the plan's index of its first cell, how many, and how much of it is done (0..1). */
typedef struct {
    int64_t index;
    int32_t members;
    double share;
} eab_pool_fleet;

/* The fleets at work, at most `room` of them; returns how many there are. */
int32_t eab_pool_list(eab_pool *pool, eab_pool_fleet *fleets, int32_t room);

/* Of a pool whose workers have ended: whether a device could not be opened again after a fault, so that a fresh process has
 * to go on, and what that one is to suspect. */
bool eab_pool_lost_device(eab_pool *pool, eab_suspects *suspects);

/* Stops the workers if they still run, waits for them and frees the pool. EAB_OK if every cell got a result;
 * EAB_INTERRUPTED if it was stopped; else the error that ended it: the sink's, or the device's where no worker could
 * go on. */
int eab_pool_finish(eab_pool *pool);

#endif
