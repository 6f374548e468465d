/* RMS norm of each head's q and k, in place, for one SIMD level.
 *
 *   unit = x inv_rms, inv_rms = 1 / sqrt(mean(x^2) + 1e-5), y = unit gain
 *   with g = dy gain: dx = inv_rms (g - unit mean(g unit)), dgain += dy unit
 *
 * A head is often narrower than a vector: its sum takes four chains whatever the level, and the compiler unrolls it for the
 * widths that models have. Rows are taken in blocks that stay in the first-level cache between the passes: the squares of all
 * heads first, then their roots and quotients, which wait for nothing and make whole vectors, then the products.
 */
#include "level.h"
#include "simd.h"

#include <math.h>
#include <string.h>

enum { BLOCK_ROWS = 32, MAX_HEAD_DIM = 256 };

typedef float quad __attribute__((vector_size(16)));

EAB_INLINE quad load_quad(const float *from) {
    quad value;
    memcpy(&value, from, sizeof value);
    return value;
}

/* The sum of x[i] y[i], or with `gain` of x[i] gain[i] y[i]; the same order at every level. */
EAB_INLINE float head_dot(int32_t head_dim, const float *x, const float *gain, const float *y) {
    quad sum = {0, 0, 0, 0};
    float rest = 0;
    const int32_t whole = head_dim / 4 * 4;
    for (int32_t i = 0; i < whole; i += 4)
        sum += (gain ? load_quad(x + i) * load_quad(gain + i) : load_quad(x + i)) * load_quad(y + i);
    for (int32_t i = whole; i < head_dim; i++) rest += (gain ? x[i] * gain[i] : x[i]) * y[i];
    return (sum[0] + sum[2]) + (sum[1] + sum[3]) + rest;
}

EAB_INLINE void normalize_heads(int32_t head_dim, const eab_qk_norm_args *args, int32_t member, float *qkv) {
    const int32_t heads = args->heads;
    const float *q_gain = eab_cpu_member(args->q_gain, member), *k_gain = eab_cpu_member(args->k_gain, member);
    const float share = 1 / (float)head_dim;
    for (int32_t first = 0; first < args->rows; first += BLOCK_ROWS) {
        const int32_t rows = args->rows - first < BLOCK_ROWS ? args->rows - first : BLOCK_ROWS;
        float *const block = qkv + (int64_t)first * 3 * heads * head_dim;
        float *inv_rms = eab_cpu_member(args->inv_rms, member) + (int64_t)first * 2 * heads;
        float *restrict unit = eab_cpu_member(args->unit, member) + (int64_t)first * 2 * heads * head_dim;
        for (int32_t row = 0; row < rows; row++)
            for (int32_t head = 0; head < 2 * heads; head++) { /* those of q, then those of k */
                const float *x = block + ((int64_t)row * 3 * heads + head) * head_dim;
                inv_rms[(int64_t)row * 2 * heads + head] = head_dot(head_dim, x, NULL, x);
            }
        for (int64_t i = 0; i < (int64_t)rows * 2 * heads; i++) inv_rms[i] = 1 / sqrtf(inv_rms[i] * share + 1e-5f);
        for (int32_t row = 0; row < rows; row++)
            for (int32_t head = 0; head < 2 * heads; head++, unit += head_dim) {
                float *restrict x = block + ((int64_t)row * 3 * heads + head) * head_dim;
                const float *restrict gain = head < heads ? q_gain : k_gain;
                const float scale = *inv_rms++;
                for (int32_t i = 0; i < head_dim; i++) {
                    const float one = x[i] * scale;
                    unit[i] = one;
                    x[i] = one * gain[i];
                }
            }
    }
}

EAB_INLINE void differentiate_heads(int32_t head_dim, const eab_qk_norm_args *args, int32_t member, float *dqkv,
                                    float *dq_gain, float *dk_gain) {
    const int32_t heads = args->heads;
    const float *inv_rms = eab_cpu_member(args->inv_rms, member), *unit = eab_cpu_member(args->unit, member);
    const float share = 1 / (float)head_dim;
    for (int32_t part = 0; part < 2; part++) { /* q, k */
        const float *restrict gain = eab_cpu_member(part ? args->k_gain : args->q_gain, member);
        float *dgain = part ? dk_gain : dq_gain, sums[MAX_HEAD_DIM] = {0};
        for (int64_t row = 0; row < args->rows; row++)
            for (int32_t head = 0; head < heads; head++) {
                const int64_t place = row * 2 * heads + part * heads + head;
                const float *restrict own = unit + place * head_dim, scale = inv_rms[place];
                float *restrict dx = dqkv + ((row * 3 + part) * heads + head) * head_dim;
                const float mean = head_dot(head_dim, dx, gain, own) * share;
                for (int32_t i = 0; i < head_dim; i++) {
                    const float dy = dx[i];
                    sums[i] += dy * own[i];
                    dx[i] = scale * (dy * gain[i] - own[i] * mean);
                }
            }
        for (int32_t i = 0; i < head_dim; i++) dgain[i] += sums[i];
    }
}

/* Loops over a head of constant width become straight code. */
#define WITH_CONSTANT_HEAD(head_dim, function, ...)           \
    do {                                                      \
        if ((head_dim) == 4) function(4, __VA_ARGS__);        \
        else if ((head_dim) == 8) function(8, __VA_ARGS__);   \
        else if ((head_dim) == 16) function(16, __VA_ARGS__); \
        else if ((head_dim) == 32) function(32, __VA_ARGS__); \
        else function(head_dim, __VA_ARGS__);                 \
    } while (0)

void EAB_ISA_NAME(eab_cpu_qk_norm_forward)(const eab_qk_norm_args *args, int32_t member, float *qkv) {
    WITH_CONSTANT_HEAD(args->head_dim, normalize_heads, args, member, qkv);
}

void EAB_ISA_NAME(eab_cpu_qk_norm_backward)(const eab_qk_norm_args *args, int32_t member, float *dqkv, float *dq_gain,
                                            float *dk_gain) {
    WITH_CONSTANT_HEAD(args->head_dim, differentiate_heads, args, member, dqkv, dq_gain, dk_gain);
}
