/* Causal attention whose operands hold NaN or infinity.
 *
 * The kernels multiply masked pairs on the diagonal by a weight of 0, and 0 times NaN or infinity is NaN: a later key
 * or value would reach earlier rows. A test of each pair would cost the most where attention is fast. Instead the
 * kernels test each head's results just after they were written, and compute a head whose results are not all finite
 * again, in plain loops that leave masked pairs out. Finite operands pay for the test only: one multiply-add for each
 * vector of results. Only in standalone calls: in a model one such number makes the loss NaN in any case.
 */
#ifndef EAB_KERNELS_CPU_ATTENTION_NONFINITE_H
#define EAB_KERNELS_CPU_ATTENTION_NONFINITE_H

#include "prefetch.h"

/* Whether rows of x, `row` floats apart, hold finite numbers only. */
EAB_INLINE bool rows_are_finite(const float *x, int64_t row, int32_t rows, int64_t width) {
    eab_vec sums = {0}; /* x * 0: 0, or NaN */
    float rest = 0;
    if (row == width) {
        const int64_t count = rows * width, whole = count / EAB_LANES * EAB_LANES;
        for (int64_t i = 0; i < whole; i += EAB_LANES) sums += eab_load(x + i) * 0;
        for (int64_t i = whole; i < count; i++) rest += x[i] * 0;
    } else {
        const int64_t whole = width / EAB_LANES * EAB_LANES;
        for (int32_t i = 0; i < rows; i++, x += row) {
            for (int64_t dim = 0; dim < whole; dim += EAB_LANES) sums += eab_load(x + dim) * 0;
            for (int64_t dim = whole; dim < width; dim++) rest += x[dim] * 0;
        }
    }
    for (int lane = 0; lane < EAB_LANES; lane++) rest += sums[lane];
    return rest == 0;
}

/* The same of one head's gradients. */
EAB_INLINE bool gradients_are_finite(const eab_attention_args *args, const float *dq, const float *dk,
                                     const float *dv) {
    return rows_are_finite(dq, args->in_time, args->context, args->head_dim) &&
           rows_are_finite(dk, args->in_time, args->context, args->head_dim) &&
           rows_are_finite(dv, args->in_time, args->context, args->head_dim);
}

/* Computes one head's results again from q, k, v (and dout), by the plain implementation in float32. Pointers are at
 * the member's first element. EAB_NO_MEMORY. */
int eab_cpu_attention_again(const eab_attention_args *args, int32_t member, const head_place *place, const float *q,
                            const float *k, const float *v, float *out, float *row_stat);
int eab_cpu_attention_backward_again(const eab_attention_args *args, int32_t member, const head_place *place,
                                     const float *q, const float *k, const float *v, const float *dout, float *dq,
                                     float *dk, float *dv);

#endif
