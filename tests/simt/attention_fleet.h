/* A fleet's attention computed three ways, for the tests of the CUDA kernels: float64 reference, plain (unfused, in the
 * dtype under test), and the kernels, which run under simt. */
#ifndef EAB_TESTS_SIMT_ATTENTION_FLEET_H
#define EAB_TESTS_SIMT_ATTENTION_FLEET_H

#include "kernels/cuda/attention_formula.h"

#include "kernels/cuda/attention.h"

#include <string>
#include <vector>

typedef struct {
    int32_t members, batch, heads, context, head_dim;
    bool causal, sloped;
    int32_t gap;       /* floats between rows that belong to nobody; odd: rows are not aligned */
    double size;       /* standard deviation of q, k, v and dout */
    int32_t mechanism; /* of member 0; member p has mechanism + p */
    int32_t dtype;     /* EAB_F32: strided, q, k and v inside one row, as in the model; else contiguous */
    bool without_backward;
    bool only_finite; /* very large inputs (q and k of size `size`, v and dout 1): only NaN and infinity are checked */
} attention_fleet_case;

std::string attention_fleet_name(const attention_fleet_case &spec);

/* The largest error ratios over the members: of out, dq, dk, dv. Infinite where a value is not finite, where row_stat
 * is off, where a gap was written, or where a call failed. `bits`, if not NULL, gets a checksum of everything
 * written. */
typedef struct {
    double ratio[4];
} attention_fleet_errors;
attention_fleet_errors attention_fleet_run(const attention_fleet_case &spec, uint32_t seed, uint64_t *bits);

/* Fails the Criterion test where an error ratio is over its bound (2 forward, 3 gradients). */
void attention_fleet_check(const attention_fleet_case &spec, uint32_t seed);

#endif
