/* A device's time by operation: `eabench sweep --profile`.
 *
 * Attaching gives the device a copy of its backend's table whose operations read the clock around the real ones; a
 * device that is not profiled has no overhead. On asynchronous devices each operation is waited for and recordings are
 * off, so the sum is more than the time of a sweep without a profile.
 */
#ifndef EAB_KERNELS_GENERIC_PROFILE_H
#define EAB_KERNELS_GENERIC_PROFILE_H

#include "../backend.h"

/* X(operation): the timed ones, in the order of the table. A block's time excludes the primitives that it calls. */
/* clang-format off */
#define EAB_PROFILE_LIST(X) \
    X(gemm) X(attention_forward) X(attention_backward) X(norm_forward) X(norm_backward) X(qk_norm_forward) \
    X(qk_norm_backward) X(activation_forward) X(activation_backward) X(add) X(dropout) X(column_sum) \
    X(rotate) X(embed_forward) X(embed_backward) X(loss) X(optimizer_step) X(attention_block_forward) \
    X(attention_block_backward) X(mlp_block_forward) X(mlp_block_backward) X(head_forward) X(head_backward) \
    X(generate) X(feed_back) X(zero) X(copy) X(upload) X(download)
/* clang-format on */

typedef enum {
#define EAB_PROFILE_ROW(operation) EAB_PROFILE_##operation,
    EAB_PROFILE_LIST(EAB_PROFILE_ROW)
#undef EAB_PROFILE_ROW
        EAB_PROFILE_ROWS
} eab_profile_operation;

/* What generate() drew last: sequences to train on, or to evaluate on. */
typedef enum { EAB_PROFILE_TRAINING, EAB_PROFILE_EVALUATION, EAB_PROFILE_PHASES } eab_profile_phase;

typedef struct {
    int64_t calls;
    double seconds, flop; /* flop: of matrix products, as docs/design.md 5 counts; 0: none */
} eab_profile_row;

typedef struct {
    eab_profile_row rows[EAB_PROFILE_PHASES][EAB_PROFILE_ROWS];
    double seconds;              /* from attaching to detaching, summed over devices */
    eab_profile_row checkpoints; /* of these: writing checkpoints; added by the caller */
} eab_profile;

/* Adds all rows and seconds of `profile` to *sum. */
void eab_profile_add(eab_profile *sum, const eab_profile *profile);

const char *eab_profile_name(eab_profile_operation operation);

/* Begins to time the device's operations. EAB_NO_MEMORY is the only error. */
int eab_profile_attach(eab_device *device);

/* Ends it and adds the measurements to *profile; does nothing if the device is not profiled. Call it before the
 * device is closed. */
void eab_profile_detach(eab_device *device, eab_profile *profile);

#endif
