/* Worker threads that train fleets of cells, the longest first, each on its own device.
 *
 * A cell's result does not depend on the worker or the moment; only the order of the results does. A fleet that does
 * not fit into memory or fails is halved and trained again, until the failing cell is alone: only that cell fails. A
 * device that failed is opened again for this; where it cannot be, a new process must resume (eab_suspects).
 */
#ifndef EAB_SWEEP_POOL_H
#define EAB_SWEEP_POOL_H

#include "kernels/generic/profile.h"
#include "model/train.h"
#include "queue.h"

typedef struct eab_pool eab_pool;

/* Receives a cell's result, in the worker's thread; several workers may call it at once. The result's curve and
 * geometry are freed after the call. An error stops the pool. */
typedef int (*eab_pool_sink)(void *context, int64_t index, const eab_cell_result *result);

/* eab_train_fleet, or a stand-in for tests. */
typedef int (*eab_pool_trainer)(eab_device *device, int32_t members, const eab_config *configs,
                                const eab_train_options *options, eab_cell_result *results);

/* Checkpoints of running fleets: eab_train_checkpoint. */
typedef struct {
    /* The checkpoint file of the fleet whose first cell this is, for g_free; a fleet resumes from it. NULL: none. */
    char *(*path)(void *context, int64_t index);
    /* The checkpoint is obsolete: all results of the fleet were delivered, or it is trained again in halves. */
    void (*remove)(void *context, const char *path);
    void (*note)(void *context, const char *line);
    double every_s;
    bool sparing;
} eab_pool_checkpoints;

typedef struct {
    const char *backend;
    int device;             /* its index */
    int32_t workers, fleet; /* threads at most; cells trained together at most */
    const int32_t *fleets;  /* the same by a cell's index, not kept after eab_pool_start; NULL: `fleet` for all */
    /* The caller's queue, which replaces `fleet`, `fleets`, `begun` and the cells of eab_pool_start. NULL: a queue of
     * those cells. */
    eab_queue *queue;
    bool keep_curves, abandon; /* of eab_train_options */
    /* The file for the cell's model, for g_free; NULL: models are not saved. */
    char *(*model_path)(void *context, int64_t index);
    /* The file for its attention maps; NULL: no geometry is measured. */
    char *(*geometry_path)(void *context, int64_t index);
    const GArray *begun; /* of eab_fleet: they come first, unchanged (eab_fleets_make); or NULL */
    eab_pool_checkpoints checkpoints;
    eab_pool_sink sink;
    /* Receives a fleet that ended; complete: all of its cells went through the sink. May be NULL. */
    void (*fleet_sink)(void *context, const eab_fleet *fleet, bool complete);
    void *context;          /* of all functions here except train */
    eab_pool_trainer train; /* NULL: eab_train_fleet */
    eab_profile *profile;   /* of all workers, complete when the pool is finished; may be NULL */
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
    double flop_done, flop_total; /* of full training lengths; running cells count by their steps, without the
                                     steps that checkpoints restored */
    double tokens;                /* trained input positions, running cells included */
} eab_pool_progress;
void eab_pool_measure(eab_pool *pool, eab_pool_progress *progress);

/* A running fleet: the plan's index of its first cell, its cells, and the share that is done (0..1). */
typedef struct {
    int64_t index;
    int32_t members;
    double share;
} eab_pool_fleet;

/* Lists at most `room` running fleets; returns how many there are. */
int32_t eab_pool_list(eab_pool *pool, eab_pool_fleet *fleets, int32_t room);

/* After the workers have ended: whether a device could not be opened again after a fault, so that a new process must
 * resume, and the cells that it must suspect. */
bool eab_pool_lost_device(eab_pool *pool, eab_suspects *suspects);

/* Stops the workers if they still run, waits for them and frees the pool. EAB_OK if every cell has a result,
 * EAB_INTERRUPTED if the pool was stopped, else the first error: the sink's, or the device's where no worker could
 * continue. */
int eab_pool_finish(eab_pool *pool);

#endif
