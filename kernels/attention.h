/* eabench's attention kernels: the public interface of libeabench.
 *
 *   eab_device *device;
 *   eab_attention attention = {.batch = 8, .heads = 4, .context = 128, .head_dim = 32,
 *                              .mechanism = eab_mechanism_from_name("ea"), .dtype = EAB_F32, .causal = 1};
 *   if (eab_device_open("cpu", 0, &device) || eab_attention_forward(device, &attention, q, k, v, out, row_stat))
 *       fprintf(stderr, "%s\n", eab_last_error());
 *
 * With z_ij = scale * (q_i . k_j), the mechanism's weight w(z) and b_ij = exp(-slope_h |i - j|):
 *   out_i = sum_j w_ij b_ij v_j / L_i,   L_i = sum_j w_ij b_ij,   over j <= i where causal, all j otherwise.
 *
 *   mechanism    w(z)                        default scale       row_stat
 *   dpa          exp(z)                      1 / sqrt(head_dim)  log L
 *   ea           z^2 / (1 + z^2) + 2^-24     1                   L
 *   ea-scaled    z^2 / (1 + z^2) + 2^-24     1 / sqrt(head_dim)  L
 *   ea-softmax   exp(z^2)                    1 / sqrt(head_dim)  log L
 *   ea-parallel  as ea, of max(z, 0)         1                   L
 *   square       z^2 + 2^-24                 1                   L
 *   ea-quartic   z^4 / (1 + z^4) + 2^-24     1                   L
 *   sigmoid      1 / (1 + exp(-z)) + 2^-24   1 / sqrt(head_dim)  L
 *   mix          (1 - t) dpa + t ea-scaled   1 / sqrt(head_dim)  log L     t 0.001..0.999
 *
 * The floor 2^-24 makes a query whose scores are all zero attend uniformly; with ea it matters for |z| below about
 * 2^-12 only. z^2 is held at 2^100 or below (square: 2^64), so finite inputs never give NaN unless a partial sum of a
 * score overflows float32. With a causal mask, NaN and infinity reach only the rows that depend on them, as long as no
 * score overflows. row_stat, one float a query, is the forward pass's output that
 * the backward pass needs.
 * Sources: Vaswani et al. 2017 (dpa); Gros, arXiv 2407.18601 (ea).
 *
 * Every call returns 0 (EAB_OK) or an eab_status, with a line for eab_last_error(). One thread at a time may use a
 * device; threads with different devices are independent. Calls are asynchronous on the device's stream (on "cpu" and
 * "reference" they are done when they return). On "cuda" this is a non-blocking stream: it does not wait for work that
 * you queued on CUDA's default stream, such as a kernel or a copy. Call cudaDeviceSynchronize after such work, or call
 * eab_device_set_stream once, with the stream that you use or with (void *)1, the default stream.
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
    /* q, k, v, out: [batch][heads][context][head_dim]; all >= 1, head_dim <= 256 */
    int32_t batch, heads, context, head_dim;
    int32_t mechanism;   /* eab_mechanism_from_name("ea") */
    int32_t dtype;       /* EAB_F32, ...; "cpu" and "reference" take EAB_F32 only */
    int32_t causal;      /* 0: every key is allowed; 1: keys j <= i */
    float scale;         /* z = scale * (q . k); 0 means the mechanism's default; never negative */
    const float *slopes; /* [heads] on the host, finite and >= 0, or NULL for no position bias */
    float mix;           /* t of mechanism mix, 0.001..0.999; other mechanisms ignore it */
} eab_attention;

/* The number of mechanism `name` ("dpa", "ea", ...: the table above), or -1 if unknown. */
int32_t eab_mechanism_from_name(const char *name);

/* The name of mechanism 0, 1, ..., or NULL past the last. */
const char *eab_mechanism_name(int32_t mechanism);

/* Opens device `index` (0, 1, ...) of a backend: "cpu", "cuda" or "reference" (float64, slow, for checks).
 * EAB_NO_DEVICE if the backend is unknown, was not built, or has no such device. */
int eab_device_open(const char *backend, int index, eab_device **device);

/* Frees the device and all memory it holds; NULL is fine. */
void eab_device_close(eab_device *device);

/* Makes the device work on `stream`: a cudaStream_t; NULL: the device's own, which waits for no other;
 * cudaStreamLegacy, that is (void *)1: CUDA's default stream. Work queued before stays on its stream: call
 * eab_device_synchronize first if it may still run. Ignored by host backends. */
int eab_device_set_stream(eab_device *device, void *stream);

/* Waits until all work is done; returns the error of an asynchronous call. */
int eab_device_synchronize(eab_device *device);

/* q, k, v, out as above; out overlaps no input. row_stat: float [batch][heads][context], or NULL if no backward pass
 * follows. Host pointers for "cpu" and "reference", device pointers for "cuda". The same call gives the same bits each
 * time; on "cpu" batch * heads selects the kernel, so a head's last bits may change with it. */
int eab_attention_forward(eab_device *device, const eab_attention *attention, const void *q, const void *k,
                          const void *v, void *out, float *row_stat);

/* Writes dq, dk, dv, which overlap nothing else, for the gradient dout; out and row_stat: from the forward pass. */
int eab_attention_backward(eab_device *device, const eab_attention *attention, const void *q, const void *k,
                           const void *v, const void *out, const float *row_stat, const void *dout, void *dq, void *dk,
                           void *dv);

#pragma GCC visibility pop

#ifdef __cplusplus
}
#endif

#endif
