/* Training of a fleet. Knows cells' options and a device, but no tables and no run folder. */
#ifndef EAB_MODEL_TRAIN_H
#define EAB_MODEL_TRAIN_H

#include "result.h"
#include "spec/config.h"
#include "train_options.h"

/* Trains `cells` cells of one shape (eab_train_same_fleet) in lockstep and fills in results[cells]; the caller frees
 * each with eab_cell_result_free. A cell that diverges is a result. options: NULL for none. Returns EAB_OK,
 * EAB_INTERRUPTED (no results; the checkpoint is written if one was requested), or an error of the whole fleet, such
 * as EAB_NO_MEMORY or EAB_DEVICE_FAULT, with a line in eab_last_error(). On the CPU a cell's result does not depend on
 * its fleet. */
int eab_train_fleet(eab_device *device, int32_t cells, const eab_config *configs, const eab_train_options *options,
                    eab_cell_result *results);

/* Whether two cells can be trained in one fleet. They may differ in level, mechanism, scale, mix, seed and every
 * option of the optimizer but its kind. */
bool eab_train_same_fleet(const eab_config *a, const eab_config *b);

#endif
