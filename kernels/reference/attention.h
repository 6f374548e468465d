/* Attention in float64, naive: every other implementation is checked against it.
 *
 * One member of a fleet: q, k, v, out, ... point at that member's data, laid out as in eab_attention_args (backend.h);
 * args->scores.mechanism[member] and .scale[member] are its score function. The formulas of docs/design.md 1 are
 * written out here a second time: this file never includes kernels/mechanism.h, so that an error there is found.
 * Compiled twice: in float64, and in float32 as the plain implementation in the denominator of error_ratio (real.h).
 * All return 0, or EAB_NO_MEMORY (three rows of `context` reals are needed), or EAB_BAD_INPUT for an unknown mechanism.
 */
#ifndef EAB_KERNELS_REFERENCE_ATTENTION_H
#define EAB_KERNELS_REFERENCE_ATTENTION_H

#include "../backend.h"
#include "real.h"

/* Writes out and, unless NULL, row_stat[batch][heads][context]: log L for dpa and ea-softmax, L for the
 * others. */
int EAB_REFERENCE(attention_forward)(const eab_attention_args *args, int32_t member, const eab_real *q,
                                     const eab_real *k, const eab_real *v, eab_real *out, eab_real *row_stat);

/* Writes the normalised weights of query `time` of one batch entry and head, one for each allowed key: weights[time
 * + 1] if causal, else weights[context]. */
int EAB_REFERENCE(attention_row_weights)(const eab_attention_args *args, int32_t member, int32_t batch, int32_t head,
                                         int32_t time, const eab_real *q, const eab_real *k, eab_real *weights);

/* Writes dq, dk, dv. Computes the rows again, in full precision, instead of reading out and row_stat. */
int EAB_REFERENCE(attention_backward)(const eab_attention_args *args, int32_t member, const eab_real *q,
                                      const eab_real *k, const eab_real *v, const eab_real *dout, eab_real *dq,
                                      eab_real *dk, eab_real *dv);

/* The size of the gradients' terms before they cancel (docs/design.md 1, "Conditioning"), for error_ratio: the same
 * sums over absolute values, |w' b / L| (|dp| + |D|) carried to q and k, and a |dout| to v. dp and D are dot
 * products that cancel too: |dp| is sum_i |dout_i v_i|, and |D| its mean under a. In the exponential class all terms
 * of a row are multiplied by max(1, |log L|), the condition number of exp. `centred`: terms |w' b / L| |dp - D|, for
 * 16-bit kernels, which compute these in float32 and round afterwards. */
int EAB_REFERENCE(attention_terms)(const eab_attention_args *args, int32_t member, const eab_real *q, const eab_real *k,
                                   const eab_real *v, const eab_real *dout, eab_real *dq, eab_real *dk, eab_real *dv,
                                   bool centred);

/* The same for some queries of one head of member 0, with all their keys: affordable for large problems. q, k, v,
 * ... point at that head's first element. Writes the rows times[0..count) of `out` unless it is NULL. Unless dq is
 * NULL, ADDS these queries' parts of the gradients to dq, dk and dv (the caller zeroes them): the gradients for a
 * dout that is 0 in all other rows; with `magnitudes` the sizes of the terms, as attention_terms. */
int EAB_REFERENCE(attention_rows)(const eab_attention_args *args, int32_t head, const int32_t *times, int32_t count,
                                  const eab_real *q, const eab_real *k, const eab_real *v, const eab_real *dout,
                                  eab_real *out, eab_real *dq, eab_real *dk, eab_real *dv, bool magnitudes);

#ifndef EAB_REFERENCE_FLOAT32
/* The float32 compilation. */
int eab_plain_attention_forward(const eab_attention_args *args, int32_t member, const float *q, const float *k,
                                const float *v, float *out, float *row_stat);
int eab_plain_attention_backward(const eab_attention_args *args, int32_t member, const float *q, const float *k,
                                 const float *v, const float *dout, float *dq, float *dk, float *dv);
int eab_plain_attention_rows(const eab_attention_args *args, int32_t head, const int32_t *times, int32_t count,
                             const float *q, const float *k, const float *v, const float *dout, float *out, float *dq,
                             float *dk, float *dv, bool magnitudes);
#endif

#endif
