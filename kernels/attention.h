/* eabench's attention kernels: the public interface of libeabench.
 *
 *   eab_device *device;
 *   eab_attention attention = {.batch = 8, .heads = 4, .context = 128, .head_dim = 32,
 *                              .mechanism = eab_mechanism_from_name("ea"), .dtype = EAB_F32, .causal = 1};
 *   if (eab_device_open("cpu", 0, &device) || eab_attention_forward(device, &attention, q, k, v, out, row_stat))
 *       fprintf(stderr, "%s\n", eab_last_error());
 *
 * With z_ij = scale * (q_i . k_j), a weight w(z) for the mechanism and b_ij = exp(-slope_h |i - j|):
 *   out_i = sum_j w_ij b_ij v_j / L_i,   L_i = sum_j w_ij b_ij,   over j <= i where causal, all j otherwise.
 * row_stat is one float a row, which the backward pass needs: log L_i for dpa and ea-softmax, L_i for ea and ea-scaled.
 *
 * Every call returns 0 (EAB_OK) or an eab_status, with a line for eab_last_error(). A device is used by one thread
 * at a time; different devices by different threads are independent. Calls are asynchronous on the device's stream
 * (on "cpu" and "reference" they are done when they return).
 */
#ifndef EAB_ATTENTION_H
#define EAB_ATTENTION_H

#include <stdint.h>

#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

#pragma GCC visibility push(default) /* the library hides everything else */

typedef struct eab_device eab_device;

enum { EAB_F32 = 0, EAB_BF16 = 1, EAB_F16 = 2 };

typedef struct {
    int32_t batch, heads, context,
        head_dim;        /* q, k, v, out: [batch][heads][context][head_dim]; all >= 1, head_dim <= 256 */
    int32_t mechanism;   /* eab_mechanism_from_name("ea") */
    int32_t dtype;       /* EAB_F32, ...; "cpu" and "reference" take EAB_F32 only */
    int32_t causal;      /* 0: every key is allowed; 1: keys j <= i */
    float scale;         /* z = scale * (q . k); 0 means the mechanism's default; never negative */
    const float *slopes; /* [heads] on the host, finite and >= 0, or NULL for no position bias */
} eab_attention;

/* The number of mechanism `name` ("dpa", "ea", "ea-scaled", "ea-softmax"), or -1 if unknown. */
int32_t eab_mechanism_from_name(const char *name);

/* The name of mechanism 0, 1, ..., or NULL past the last. */
const char *eab_mechanism_name(int32_t mechanism);

/* Opens device `index` (0, 1, ...) of a backend: "cpu", "cuda" or "reference" (float64, slow, for checks).
 * EAB_NO_DEVICE if the backend is unknown, was not built, or has no such device. */
int eab_device_open(const char *backend, int index, eab_device **device);

/* Frees the device and all memory it holds; NULL is fine. */
void eab_device_close(eab_device *device);

/* Makes the device work on `stream`: a cudaStream_t; NULL: its own, which waits for no other; cudaStreamLegacy, that is
 * (void *)1: the one that CUDA takes by default. What was queued before goes on where it was, so wait for it
 * (eab_device_synchronize) if it may still run. Ignored by host backends. */
int eab_device_set_stream(eab_device *device, void *stream);

/* Waits until all work is done; a fault of an asynchronous call shows here. */
int eab_device_synchronize(eab_device *device);

/* q, k, v, out as above, out overlapping no input; row_stat: float [batch][heads][context], or NULL if no backward
 * pass follows. Host pointers for "cpu" and "reference", device pointers for "cuda". The same call gives the same bits
 * each time; on "cpu" those of one head may differ in the last place with batch * heads, which chooses the kernel. */
int eab_attention_forward(eab_device *device, const eab_attention *attention, const void *q, const void *k,
                          const void *v, void *out, float *row_stat);

/* Writes dq, dk, dv (overlapping nothing else) for the gradient dout; out and row_stat are the forward pass's. */
int eab_attention_backward(eab_device *device, const eab_attention *attention, const void *q, const void *k,
                           const void *v, const void *out, const float *row_stat, const void *dout, void *dq, void *dk,
                           void *dv);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
