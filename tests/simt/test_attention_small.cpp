/* The float32 attention kernels (kernels/cuda/attention_small_*.cu) under simt, against float64. Four members a case:
 * every mechanism, mixed in one launch. */
#include "attention_fleet.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

static attention_fleet_case fleet(int32_t batch, int32_t heads, int32_t context, int32_t head_dim, int variant) {
    attention_fleet_case spec = {};
    spec.members = EAB_MECHANISM_COUNT;
    spec.batch = batch;
    spec.heads = heads;
    spec.context = context;
    spec.head_dim = head_dim;
    spec.causal = !(variant & 1);
    spec.sloped = variant & 2;
    spec.gap = variant & 4 ? 5 : 4; /* an odd gap takes the path without 16-byte accesses */
    spec.size = 1;
    spec.dtype = EAB_F32;
    return spec;
}

Test(attention_small, the_quick_ladder) {
    for (int variant = 0; variant < 8; variant++) attention_fleet_check(fleet(3, 4, 24, 8, variant), (uint32_t)variant);
}

Test(attention_small, contexts) {
    static const int32_t contexts[] = {1, 2, 3, 5, 17, 63, 64, 65, 127, 128, 129};
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++)
        for (int variant = 0; variant < 4; variant++) {
            attention_fleet_check(fleet(1, 2, contexts[i], 8, variant), (uint32_t)i);
            attention_fleet_check(fleet(2, 1, contexts[i], 3, variant + 4), (uint32_t)i);
        }
}

Test(attention_small, head_dims) {
    static const int32_t head_dims[] = {1, 2, 4, 7, 12, 16, 17, 32, 33, 64, 65, 100, 128, 200, 256};
    for (size_t i = 0; i < sizeof head_dims / sizeof *head_dims; i++)
        for (int variant = 0; variant < 8; variant += 3)
            attention_fleet_check(fleet(1, 2, 19, head_dims[i], variant), (uint32_t)i);
}

Test(attention_small, several_tiles_of_rows_and_columns) {
    static const int32_t shapes[][2] = {{257, 1},  {600, 4},  {530, 8},  {300, 16},
                                        {150, 32}, {100, 64}, {70, 128}, {67, 256}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int variant = 0; variant < 4; variant += shapes[i][0] < 200 ? 1 : 2)
            attention_fleet_check(fleet(1, 1, shapes[i][0], shapes[i][1], variant + 4 * (int)(i % 2)), (uint32_t)i);
}

Test(attention_small, sizes_of_the_inputs) {
    static const double sizes[] = {1e-6, 1e-3, 0.03, 1.5};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int variant = 0; variant < 4; variant++) {
            attention_fleet_case spec = fleet(1, 2, 35, 8, variant);
            spec.size = sizes[i];
            attention_fleet_check(spec, (uint32_t)i);
        }
}

Test(attention_small, same_bits_for_any_schedule) {
    for (int variant = 0; variant < 2; variant++) {
        uint64_t first = 0, other = 0;
        for (int seed = 0; seed < 3; seed++) {
            char text[16];
            snprintf(text, sizeof text, "%d", seed);
            setenv("EAB_SIMT_SEED", text, 1);
            attention_fleet_run(fleet(2, 2, 37, 20, variant), 1, seed ? &other : &first);
            cr_expect(!seed || first == other, "schedule %d, variant %d", seed, variant);
        }
    }
}

Test(attention_small, large_scores_give_no_nan) {
    static const double sizes[] = {1e9, 3e17, 1e-20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int variant = 0; variant < 4; variant++) {
            attention_fleet_case spec = fleet(1, 2, 33, 8, variant);
            spec.size = sizes[i];
            spec.only_finite = true;
            attention_fleet_check(spec, (uint32_t)i);
        }
}
