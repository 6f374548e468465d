/* The operations of a backend that only measuring needs: eab_backend.bench, NULL on a backend that is not measured. */
#ifndef EAB_KERNELS_BENCH_H
#define EAB_KERNELS_BENCH_H

#include "backend.h"

struct eab_bench_table {
    /* Optional: events on the device's stream (CUDA events), to time what the device does between two of them.
     * event_elapsed_s waits for `to`. */
    int (*event_create)(eab_device *, void **event);
    void (*event_free)(eab_device *, void *event);
    int (*event_record)(eab_device *, void *event);
    int (*event_elapsed_s)(eab_device *, void *from, void *to, double *seconds);

    /* Optional: does at least `flop` of work of a dtype (EAB_F32, ...) at the device's highest rate and waits for it;
     * *done is the work done. "cpu": multiply-adds held in registers; "cuda": products of large matrices by cuBLAS.
     * EAB_UNSUPPORTED for a dtype without such products. NULL: the device has no peaks, of arithmetic or memory. */
    int (*burn)(eab_device *, int32_t dtype, double flop, double *done);

    /* What attention does between its products where nothing is fused, in float32. All tensors are
     * [batch][heads][context][context], contiguous, of one member. forward: scores = q k^T become weights a (0 where
     * masked); both may be the same memory. backward: dweights = dout v^T become the gradient of q k^T, from the
     * weights and, unless the mechanism is dpa, the scores. */
    int (*scores_forward)(eab_device *, const eab_attention_args *, eab_tensor scores, eab_tensor weights);
    int (*scores_backward)(eab_device *, const eab_attention_args *, eab_tensor scores, eab_tensor weights,
                           eab_tensor dweights);
};

static inline bool eab_backend_has_peaks(const eab_backend *backend) { return backend->bench && backend->bench->burn; }

#endif
