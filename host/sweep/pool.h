/* Worker threads that train fleets of cells, the longest first, each on its own device.
 *
 * A cell's result does not depend on the worker or the moment; only the order of the results does. A fleet that does
 * not fit into memory or fails is halved and trained again, until the failing cell is alone: only that cell fails. A
 * device that failed is opened again for this; if that fails, a new process must resume (eab_suspects).
 */
#ifndef EAB_SWEEP_POOL_H
#define EAB_SWEEP_POOL_H

#include "kernels/generic/profile.h"
#include "model/train.h"
#include "queue.h"
#include "run/state.h"

typedef struct eab_pool eab_pool;

/* Receives a cell's result, in the worker's thread; several workers may call it at once. The result's curve and
 * geometry are freed after the call. An error stops the pool. */
typedef int (*eab_pool_sink)(void *context, int64_t index, const eab_cell_result *result);

/* eab_train_fleet, or a stand-in for tests. */
typedef int (*eab_pool_trainer)(eab_device *device, int32_t members, const eab_config *configs,
                                const eab_train_options *options, eab_cell_result *results);

typedef struct {
    const char *backend;
    int device;       /* its index */
    int32_t workers;  /* threads */
    eab_queue *queue; /* of the fleets to train; it must outlive the pool */
    const char *run;  /* the run's folder, for models, geometry and checkpoints */
    bool save_models, save_geometry;
    bool keep_curves, abandon; /* eab_train_options */
    double checkpoint_every_s; /* 0: no checkpoints */
    bool checkpoint_adaptive;  /* eab_train_checkpoint */
    eab_pool_trainer train;    /* NULL: eab_train_fleet */
    eab_profile *profile;      /* of all workers, complete when the pool is finished; may be NULL */

    /* Called in the workers' threads, with `context`. All but the sink may be NULL. */
    void *context;
    eab_pool_sink sink;
    /* A fleet ended; complete: all of its cells went through the sink. */
    void (*fleet_ended)(void *context, bool complete);
    /* A checkpoint is obsolete: all results of the fleet were delivered, or it is trained again in halves. */
    void (*remove_checkpoint)(void *context, const char *path);
    /* A message about a checkpoint. */
    void (*note)(void *context, const char *line);
} eab_pool_settings;

/* Starts to train the queue's fleets, of `cells`, which must outlive the pool. EAB_NO_MEMORY if no thread can be
 * started. */
int eab_pool_start(const eab_pool_settings *settings, const eab_cell *cells, eab_pool **pool);

/* Makes the workers end within about one training step. Any thread, any time. */
void eab_pool_stop(eab_pool *pool);

/* Whether all workers have ended. */
bool eab_pool_has_ended(eab_pool *pool);

typedef struct {
    double flop_done, flop_total; /* of full training lengths; running cells count by their steps, without the
                                     steps that checkpoints restored */
    double tokens;                /* trained input positions, running cells included */
    int32_t running_count;        /* all running fleets; the first EAB_STATE_MAX_RUNNING are listed */
    eab_running running[EAB_STATE_MAX_RUNNING];
} eab_pool_progress;
void eab_pool_measure(eab_pool *pool, eab_pool_progress *progress);

/* After the workers have ended: whether a device could not be opened again after a fault, so that a new process must
 * resume, and the cells that it must suspect. */
bool eab_pool_lost_device(eab_pool *pool, eab_suspects *suspects);

/* Stops the workers if they still run, waits for them and frees the pool. EAB_OK if every cell has a result,
 * EAB_INTERRUPTED if the pool was stopped, else the first error: the sink's, or the device's that a worker could not
 * recover from. */
int eab_pool_finish(eab_pool *pool);

#endif
