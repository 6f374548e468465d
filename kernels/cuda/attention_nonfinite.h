/* Causal attention whose operands hold NaN or infinity.
 *
 * The kernels multiply masked pairs on the diagonal by a weight of 0, and 0 times NaN or infinity is NaN: a later key
 * or value, or an earlier query, would reach rows that do not depend on it. After a standalone causal call one more
 * kernel therefore tests each row of the results, and recomputes rows that are not finite, pair by pair, without the
 * masked pairs. The cost for finite rows: their results are read once more, mostly from the L2 cache.
 */
#ifndef EAB_KERNELS_CUDA_ATTENTION_NONFINITE_H
#define EAB_KERNELS_CUDA_ATTENTION_NONFINITE_H

#include "attention.h"

/* Tensors hold elements of `dtype` (EAB_F32, ...) with the strides of args; row_stat is float, which the forward pass
 * computes right in any case. scores: mechanism and scale may be NULL where args has one member. A call that is not
 * standalone or not causal does nothing. */
int eab_cuda_attention_mend(cudaStream_t stream, int32_t dtype, const eab_attention_args *args,
                            const eab_cuda_scores *scores, eab_const_tensor q, eab_const_tensor k, eab_const_tensor v,
                            eab_tensor out);
int eab_cuda_attention_mend_backward(cudaStream_t stream, int32_t dtype, const eab_attention_args *args,
                                     const eab_cuda_scores *scores, eab_const_tensor q, eab_const_tensor k,
                                     eab_const_tensor v, eab_const_tensor out, eab_const_tensor row_stat,
                                     eab_const_tensor dout, eab_tensor dq, eab_tensor dk, eab_tensor dv);

#endif
