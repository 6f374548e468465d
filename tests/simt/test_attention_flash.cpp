/* The 16-bit attention kernels (kernels/cuda/attention_flash*.cu) under simt, against float64. Four members a case:
 * every mechanism, one call each. */
#include "attention_fleet.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static attention_fleet_case problem(int32_t heads, int32_t context, int32_t head_dim, int variant) {
    attention_fleet_case spec = {};
    spec.members = EAB_MECHANISM_COUNT;
    spec.batch = 1;
    spec.heads = heads;
    spec.context = context;
    spec.head_dim = head_dim;
    spec.causal = !(variant & 1);
    spec.sloped = variant & 2;
    spec.dtype = variant & 4 ? EAB_F16 : EAB_BF16;
    spec.size = 1;
    return spec;
}

Test(attention_flash, contexts) {
    static const int32_t contexts[] = {1, 3, 17, 63, 64, 65, 127, 128, 129};
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++)
        for (int variant = 0; variant < 4; variant++)
            attention_fleet_check(problem(2, contexts[i], 32, variant + 4 * ((int)i % 2)), (uint32_t)i);
}

Test(attention_flash, head_dims) {
    static const int32_t head_dims[] = {1, 3, 8, 17, 32, 40, 64, 65, 96, 128};
    for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++)
        for (int variant = 0; variant < 8; variant += 3)
            attention_fleet_check(problem(2, 37, head_dims[i], variant), (uint32_t)i);
}

Test(attention_flash, several_tiles) {
    for (int variant = 0; variant < 8; variant += 3) {
        attention_fleet_check(problem(1, 257, 64, variant), (uint32_t)variant);
        attention_fleet_check(problem(1, 200, 128, variant), (uint32_t)variant);
    }
}

Test(attention_flash, sizes_of_the_inputs) {
    static const double sizes[] = {1e-3, 0.05, 2};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int variant = 0; variant < 8; variant++) {
            attention_fleet_case spec = problem(1, 70, 16, variant);
            spec.size = sizes[i];
            attention_fleet_check(spec, (uint32_t)i);
        }
}

Test(attention_flash, same_bits_for_any_schedule) {
    for (int variant = 0; variant < 8; variant += 7) {
        uint64_t first = 0, other = 0;
        for (int seed = 0; seed < 3; seed++) {
            char text[16];
            snprintf(text, sizeof text, "%d", seed);
            setenv("EAB_SIMT_SEED", text, 1);
            attention_fleet_run(problem(2, 130, 64, variant), 1, seed ? &other : &first);
            cr_expect(!seed || first == other, "schedule %d, variant %d", seed, variant);
        }
    }
}

Test(attention_flash, large_scores_give_no_nan) {
    static const double sizes[] = {20, 300, 1e9, 3e17}; /* the last two are beyond fp16 */
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int variant = 0; variant < (i ? 4 : 8); variant++) {
            attention_fleet_case spec = problem(1, 70, 32, variant);
            spec.size = sizes[i];
            spec.only_finite = true;
            attention_fleet_check(spec, (uint32_t)i);
        }
}
