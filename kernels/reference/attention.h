/* Attention in float64, naive: what every other implementation is checked against.
 *
 * One member of a fleet: q, k, v, out, ... point at its own data, laid out as eab_attention_args says (backend.h);
 * args->scores.mechanism[member] and .scale[member] are its score function. It uses the formulas of DESIGN.md, section
 * 1, written out again here: kernels/mechanism.h is not included, so that a slip there shows. Compiled twice: in
 * float64, and in float32 as the plain implementation that error_ratio divides by (real.h). Both return 0, or
 * EAB_NO_MEMORY (a few rows of `context` doubles are needed), or EAB_BAD_INPUT for an unknown mechanism.
 */
#ifndef EAB_KERNELS_REFERENCE_ATTENTION_H
#define EAB_KERNELS_REFERENCE_ATTENTION_H

#include "../backend.h"
#include "real.h"

/* Writes out and, unless NULL, row_stat[batch][heads][context]: log L for dpa and ea-softmax, L for ea and ea-scaled.
 * */
int EAB_REFERENCE(attention_forward)(const eab_attention_args *args, int32_t member, const eab_real *q,
                                     const eab_real *k, const eab_real *v, eab_real *out, eab_real *row_stat);

/* Writes the attention of one row, weights[time + 1] if causal, else weights[context]: what row `time` of head `head` of
 * batch entry `batch` gives to each key. */
int EAB_REFERENCE(attention_row_weights)(const eab_attention_args *args, int32_t member, int32_t batch, int32_t head,
                                         int32_t time, const eab_real *q, const eab_real *k, eab_real *weights);

/* Writes dq, dk, dv. Computes the rows again, in full precision, instead of reading out and row_stat. */
int EAB_REFERENCE(attention_backward)(const eab_attention_args *args, int32_t member, const eab_real *q,
                                      const eab_real *k, const eab_real *v, const eab_real *dout, eab_real *dq,
                                      eab_real *dk, eab_real *dv);

/* The size of the gradients' terms before they cancel (DESIGN.md section 1, "Conditioning"): the same sums with every
 * term's absolute value, |w' b / L| (|dp| + |D|) carried to q and k, and a |dout| to v. For error_ratio. dp and D are
 * dot products that cancel too, so |dp| stands for sum_i |dout_i v_i|, and |D| for its mean under a. For the
 * exponential class all of a row's terms times max(1, |log L|): the conditioning of exp. */
int EAB_REFERENCE(attention_terms)(const eab_attention_args *args, int32_t member, const eab_real *q, const eab_real *k,
                                   const eab_real *v, const eab_real *dout, eab_real *dq, eab_real *dk, eab_real *dv);

/* Some query rows of member 0, head `head`, whose first elements q, k, v, ... point at, with all their keys: what a check of
 * a large problem can afford. Writes the rows times[0..count) of `out` where it is given. Where dq is given, ADDS those
 * rows' parts of the gradients to dq, dk and dv (which the caller zeroes): the gradients for a dout that is 0 in all other
 * rows; with `magnitudes` the terms' sizes, as attention_terms. */
int EAB_REFERENCE(attention_rows)(const eab_attention_args *args, int32_t head, const int32_t *times, int32_t count,
                                  const eab_real *q, const eab_real *k, const eab_real *v, const eab_real *dout,
                                  eab_real *out, eab_real *dq, eab_real *dk, eab_real *dv, bool magnitudes);

#ifndef EAB_REFERENCE_FLOAT32
/* The same of the plain float32 compilation. */
int eab_plain_attention_rows(const eab_attention_args *args, int32_t head, const int32_t *times, int32_t count,
                             const float *q, const float *k, const float *v, const float *dout, float *out, float *dq,
                             float *dk, float *dv, bool magnitudes);
#endif

#endif
