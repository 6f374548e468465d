/* Norm, activation, embedding, rotation and sums, for one SIMD level.
 *
 * All of it is limited by the first- and second-level cache: a few flops for each float read. Rows are whole vectors
 * for the widths that models have; what is left over is done float by float. Reductions add into one vector and then
 * across its lanes, in an order that depends on the width alone.
 */
#include "level.h"
#include "reduce.h"
#include "simd_math.h"

#include <math.h>
#include <string.h>

/* y = normalized * gain + bias of one row, where its mean and inverse standard deviation are known. */
EAB_INLINE void normalize_row(int32_t width, float mean, float scale, const float *gain, const float *bias,
                              const float *x, float *y, float *normalized) {
    const int32_t whole = width / EAB_LANES * EAB_LANES;
    for (int32_t i = 0; i < whole; i += EAB_LANES) {
        const eab_vec unit = (eab_load(x + i) - mean) * scale;
        eab_store(normalized + i, unit);
        eab_store(y + i, bias ? unit * eab_load(gain + i) + eab_load(bias + i) : unit * eab_load(gain + i));
    }
    for (int32_t i = whole; i < width; i++) {
        normalized[i] = (x[i] - mean) * scale;
        y[i] = bias ? normalized[i] * gain[i] + bias[i] : normalized[i] * gain[i];
    }
}

EAB_INLINE float row_sum(int32_t width, const float *x) {
    const int32_t whole = width / EAB_LANES * EAB_LANES;
    eab_vec lane_sum = {0};
    float rest = 0;
    for (int32_t i = 0; i < whole; i += EAB_LANES) lane_sum += eab_load(x + i);
    for (int32_t i = whole; i < width; i++) rest += x[i];
    return eab_reduce_add(lane_sum) + rest;
}

EAB_INLINE float row_square_sum(int32_t width, const float *x, float mean) {
    const int32_t whole = width / EAB_LANES * EAB_LANES;
    eab_vec lane_sum = {0};
    float rest = 0;
    for (int32_t i = 0; i < whole; i += EAB_LANES) {
        const eab_vec centred = eab_load(x + i) - mean;
        lane_sum += centred * centred;
    }
    for (int32_t i = whole; i < width; i++) rest += (x[i] - mean) * (x[i] - mean);
    return eab_reduce_add(lane_sum) + rest;
}

/* One quotient and one root wait for a reduction in every row: in three passes over a block of rows, the rows' chains
 * overlap. Twice as fast as row after row for a width of 32. */
static void norm_forward(int32_t rows, int32_t width, const float *gain, const float *bias, const float *x, float *y,
                         float *normalized, float *inv_std) {
    enum { BLOCK_ROWS = 16 };
    float mean[BLOCK_ROWS], variance[BLOCK_ROWS];
    const float inv_width = 1 / (float)width;
    for (int32_t first = 0; first < rows; first += BLOCK_ROWS) {
        const int32_t count = rows - first < BLOCK_ROWS ? rows - first : BLOCK_ROWS;
        const int64_t offset = (int64_t)first * width;
        for (int32_t row = 0; row < count; row++)
            mean[row] = row_sum(width, x + offset + (int64_t)row * width) * inv_width;
        for (int32_t row = 0; row < count; row++)
            variance[row] = row_square_sum(width, x + offset + (int64_t)row * width, mean[row]) * inv_width;
        for (int32_t row = 0; row < count; row++) inv_std[first + row] = 1 / sqrtf(variance[row] + 1e-5f);
        for (int32_t row = 0; row < count; row++)
            normalize_row(width, mean[row], inv_std[first + row], gain, bias, x + offset + (int64_t)row * width,
                          y + offset + (int64_t)row * width, normalized + offset + (int64_t)row * width);
    }
}

static void norm_backward(int32_t rows, int32_t width, const float *gain, const float *normalized, const float *inv_std,
                          const float *dy, float *dx, float *dgain, float *dbias) {
    const int32_t whole = width / EAB_LANES * EAB_LANES;
    for (int32_t row = 0; row < rows; row++, dy += width, dx += width, normalized += width) {
        /* of g = dy * gain and of g * normalized */
        eab_vec lane_sum = {0}, lane_dot = {0};
        float rest_sum = 0, rest_dot = 0;
        for (int32_t i = 0; i < whole; i += EAB_LANES) {
            const eab_vec slope = eab_load(dy + i), unit = eab_load(normalized + i);
            const eab_vec scaled = slope * eab_load(gain + i);
            lane_sum += scaled;
            lane_dot += scaled * unit;
            eab_store(dgain + i, eab_load(dgain + i) + slope * unit);
            if (dbias) eab_store(dbias + i, eab_load(dbias + i) + slope);
        }
        for (int32_t i = whole; i < width; i++) {
            rest_sum += dy[i] * gain[i];
            rest_dot += dy[i] * gain[i] * normalized[i];
            dgain[i] += dy[i] * normalized[i];
            if (dbias) dbias[i] += dy[i];
        }
        const float mean = (eab_reduce_add(lane_sum) + rest_sum) / (float)width;
        const float mean_dot = (eab_reduce_add(lane_dot) + rest_dot) / (float)width;
        const float scale = inv_std[row];
        for (int32_t i = 0; i < whole; i += EAB_LANES)
            eab_store(dx + i, eab_load(dx + i) + scale * (eab_load(dy + i) * eab_load(gain + i) - mean -
                                                          eab_load(normalized + i) * mean_dot));
        for (int32_t i = whole; i < width; i++) dx[i] += scale * (dy[i] * gain[i] - mean - normalized[i] * mean_dot);
    }
}

static void relu_forward(int64_t count, const float *x, float *y) {
    for (int64_t i = 0; i < count; i++) y[i] = x[i] < 0 ? 0 : x[i]; /* this way round NaN stays NaN */
}

static void relu_backward(int64_t count, const float *x, float *dy) {
    for (int64_t i = 0; i < count; i++) dy[i] = x[i] > 0 ? dy[i] : 0;
}

/* gelu(x) = x/2 (1 + tanh(u)) = x / (1 + exp(-2u)), u = sqrt(2/pi) (x + 0.044715 x^3) */
static inline float gelu_exp(float x) { return eab_expf_lane(-1.5957691216057308f * x * (1 + 0.044715f * x * x)); }

static void gelu_forward(int64_t count, const float *x, float *y) {
    for (int64_t i = 0; i < count; i++) y[i] = x[i] / (1 + gelu_exp(x[i]));
}

/* With s = 1 / (1 + e), e = exp(-2u): f' = s + x s (1 - s) 2u', and 1 - s = e s without cancellation. */
static void gelu_backward(int64_t count, const float *x, float *dy) {
    for (int64_t i = 0; i < count; i++) {
        const float e = gelu_exp(x[i]), s = 1 / (1 + e);
        const float slope = 1.5957691216057308f * (1 + 3 * 0.044715f * x[i] * x[i]);
        dy[i] *= s * (1 + x[i] * slope * (e * s));
    }
}

static void add(int64_t count, const float *x, float *y) {
    for (int64_t i = 0; i < count; i++) y[i] += x[i];
}

static void column_sum(int32_t rows, int32_t width, const float *x, float *sums) {
    enum { VECTORS = 4 };
    int32_t i = 0;
    for (; i + VECTORS * EAB_LANES <= width; i += VECTORS * EAB_LANES) {
        eab_vec sum[VECTORS];
        for (int32_t v = 0; v < VECTORS; v++) sum[v] = eab_load(sums + i + v * EAB_LANES);
        for (int32_t row = 0; row < rows; row++)
            for (int32_t v = 0; v < VECTORS; v++) sum[v] += eab_load(x + (int64_t)row * width + i + v * EAB_LANES);
        for (int32_t v = 0; v < VECTORS; v++) eab_store(sums + i + v * EAB_LANES, sum[v]);
    }
    for (; i + EAB_LANES <= width; i += EAB_LANES) {
        eab_vec sum = eab_load(sums + i);
        for (int32_t row = 0; row < rows; row++) sum += eab_load(x + (int64_t)row * width + i);
        eab_store(sums + i, sum);
    }
    for (int32_t row = 0; row < rows; row++)
        for (int32_t j = i; j < width; j++) sums[j] += x[(int64_t)row * width + j];
}

static void rotate(const eab_shape *shape, const float *table, float *qkv, bool inverse) {
    const int32_t head_dim = shape->d_model / shape->heads, half = head_dim / 2;
    const float sign = inverse ? -1.0f : 1.0f;
    for (int64_t row = 0; row < (int64_t)shape->batch * shape->context; row++) {
        const float *angles = table + row % shape->context * head_dim;
        float *x = qkv + row * 3 * shape->d_model;
        for (int32_t head = 0; head < 2 * shape->heads; head++, x += head_dim) /* those of q, then those of k */
            for (int32_t i = 0; i < half; i++) {
                const float c = angles[2 * i], s = sign * angles[2 * i + 1];
                const float first = x[i], second = x[i + half];
                x[i] = first * c - second * s;
                x[i + half] = first * s + second * c;
            }
    }
}

static void embed_forward(const eab_shape *shape, const float *token, const float *position, const int32_t *tokens,
                          float *x) {
    const int32_t width = shape->d_model;
    for (int64_t row = 0; row < (int64_t)shape->batch * shape->context; row++, x += width) {
        const float *from = token + (int64_t)tokens[row] * width;
        if (position) {
            const float *place = position + row % shape->context * width;
            for (int32_t i = 0; i < width; i++) x[i] = from[i] + place[i];
        } else {
            for (int32_t i = 0; i < width; i++) x[i] = from[i];
        }
    }
}

static void embed_backward(const eab_shape *shape, const int32_t *tokens, const float *dx, float *token,
                           float *position) {
    const int32_t width = shape->d_model;
    const int64_t rows = (int64_t)shape->batch * shape->context;
    if (token)
        for (int64_t row = 0; row < rows; row++) add(width, dx + row * width, token + (int64_t)tokens[row] * width);
    if (position)
        for (int64_t row = 0; row < rows; row++) add(width, dx + row * width, position + row % shape->context * width);
}

const eab_cpu_elementwise EAB_ISA_NAME(eab_cpu_elementwise_table) = {
    .norm_forward = norm_forward,
    .norm_backward = norm_backward,
    .relu_forward = relu_forward,
    .relu_backward = relu_backward,
    .gelu_forward = gelu_forward,
    .gelu_backward = gelu_backward,
    .add = add,
    .column_sum = column_sum,
    .rotate = rotate,
    .embed_forward = embed_forward,
    .embed_backward = embed_backward,
    .loss = EAB_ISA_NAME(eab_cpu_loss),
    .optimizer_step = EAB_ISA_NAME(eab_cpu_optimizer_step),
};
