/* Norm, activation, embedding, rotation and sums, for one SIMD level.
 *
 * Limited by the first- and second-level caches: a few flops for each float read. Rows are whole vectors for the usual
 * widths; the rest of a row is done float by float. Reductions add into one vector and then across its lanes, in an
 * order that depends on the width alone.
 */
#include "../dropout.h"
#include "level.h"
#include "reduce.h"
#include "simd_math.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* y = normalized * gain + bias of one row; scale: the inverse standard deviation. */
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

/* The sums of a row: of its whole vectors, by lane, and in *rest of the remaining floats. */
EAB_INLINE eab_vec row_sum(int32_t width, const float *x, float *rest) {
    const int32_t whole = width / EAB_LANES * EAB_LANES;
    eab_vec lane_sum = {0};
    *rest = 0;
    for (int32_t i = 0; i < whole; i += EAB_LANES) lane_sum += eab_load(x + i);
    for (int32_t i = whole; i < width; i++) *rest += x[i];
    return lane_sum;
}

EAB_INLINE eab_vec row_square_sum(int32_t width, const float *x, float mean, float *rest) {
    const int32_t whole = width / EAB_LANES * EAB_LANES;
    eab_vec lane_sum = {0};
    *rest = 0;
    for (int32_t i = 0; i < whole; i += EAB_LANES) {
        const eab_vec centred = eab_load(x + i) - mean;
        lane_sum += centred * centred;
    }
    for (int32_t i = whole; i < width; i++) *rest += (x[i] - mean) * (x[i] - mean);
    return lane_sum;
}

EAB_INLINE eab_vec add_rest(int32_t width, eab_vec sums, const float *rest) {
    return width % EAB_LANES ? sums + eab_load(rest) : sums;
}

/* A row's reduction, quotient and root are a chain of slow operations, so EAB_LANES rows are done at a time, one in
 * each lane; missing rows repeat the last one. For a width of 32 twice as fast as single rows, with the same bits. */
EAB_INLINE int32_t block_row(int32_t row, int32_t count) { return row < count ? row : count - 1; }

EAB_INLINE void normalize_block(int32_t count, int32_t width, const float *gain, const float *bias, const float *x,
                                float *y, float *normalized, float *inv_std) {
    const float inv_width = 1 / (float)width;
    eab_vec sums[EAB_LANES];
    float rest[EAB_LANES], mean[EAB_LANES], scale[EAB_LANES];
    for (int32_t row = 0; row < EAB_LANES; row++)
        sums[row] = row_sum(width, x + (int64_t)block_row(row, count) * width, &rest[row]);
    eab_store(mean, add_rest(width, eab_reduce_add_rows(sums), rest) * inv_width);
    for (int32_t row = 0; row < EAB_LANES; row++)
        sums[row] = row_square_sum(width, x + (int64_t)block_row(row, count) * width, mean[row], &rest[row]);
    eab_store(scale, add_rest(width, eab_reduce_add_rows(sums), rest) * inv_width + 1e-5f);
    for (int32_t row = 0; row < EAB_LANES; row++) scale[row] = eab_inverse_sqrt(scale[row]);
    memcpy(inv_std, scale, (size_t)count * sizeof *scale);
    for (int32_t row = 0; row < count; row++)
        normalize_row(width, mean[row], scale[row], gain, bias, x + (int64_t)row * width, y + (int64_t)row * width,
                      normalized + (int64_t)row * width);
}

EAB_INLINE void normalize_rows(int32_t width, const eab_norm_args *args, int32_t member, const float *x, float *y) {
    const float *gain = eab_cpu_member(args->gain, member), *bias = eab_cpu_member(args->bias, member);
    float *normalized = eab_cpu_member(args->normalized, member), *inv_std = eab_cpu_member(args->inv_std, member);
    for (int32_t first = 0; first < args->rows; first += EAB_LANES) {
        const int32_t count = args->rows - first < EAB_LANES ? args->rows - first : EAB_LANES;
        const int64_t offset = (int64_t)first * width;
        normalize_block(count, width, gain, bias, x + offset, y + offset, normalized + offset, inv_std + first);
    }
}

/* A constant width for the most common ones: the loops over a row's few vectors are then unrolled. */
#define WITH_CONSTANT_WIDTH(width, function, ...)                                \
    do {                                                                         \
        if ((width) == EAB_LANES) function(EAB_LANES, __VA_ARGS__);              \
        else if ((width) == 2 * EAB_LANES) function(2 * EAB_LANES, __VA_ARGS__); \
        else if ((width) == 4 * EAB_LANES) function(4 * EAB_LANES, __VA_ARGS__); \
        else function(width, __VA_ARGS__);                                       \
    } while (0)

static void norm_forward(const eab_norm_args *args, int32_t member, const float *x, float *y) {
    WITH_CONSTANT_WIDTH(args->width, normalize_rows, args, member, x, y);
}

/* The sums over the row of g = dy * gain and of g * normalized. */
EAB_INLINE void row_slopes(int32_t width, const float *gain, const float *normalized, const float *dy, eab_vec *sum,
                           eab_vec *dot, float *rest_sum, float *rest_dot) {
    const int32_t whole = width / EAB_LANES * EAB_LANES;
    *sum = *dot = (eab_vec){0};
    *rest_sum = *rest_dot = 0;
    for (int32_t i = 0; i < whole; i += EAB_LANES) {
        const eab_vec scaled = eab_load(dy + i) * eab_load(gain + i);
        *sum += scaled;
        *dot += scaled * eab_load(normalized + i);
    }
    for (int32_t i = whole; i < width; i++) {
        *rest_sum += dy[i] * gain[i];
        *rest_dot += dy[i] * gain[i] * normalized[i];
    }
}

/* Column by column, so that the sums stay in registers over the rows. */
EAB_INLINE void add_norm_gradients(int32_t count, int32_t width, const float *normalized, const float *dy, float *dgain,
                                   float *dbias) {
    const int32_t whole = width / EAB_LANES * EAB_LANES;
    for (int32_t i = 0; i < whole; i += EAB_LANES) {
        eab_vec gain = eab_load(dgain + i), bias = dbias ? eab_load(dbias + i) : (eab_vec){0};
        for (int64_t row = 0; row < count; row++) {
            const eab_vec slope = eab_load(dy + row * width + i);
            gain += slope * eab_load(normalized + row * width + i);
            bias += slope;
        }
        eab_store(dgain + i, gain);
        if (dbias) eab_store(dbias + i, bias);
    }
    for (int64_t row = 0; row < count; row++)
        for (int32_t i = whole; i < width; i++) {
            dgain[i] += dy[row * width + i] * normalized[row * width + i];
            if (dbias) dbias[i] += dy[row * width + i];
        }
}

EAB_INLINE void differentiate_row(int32_t width, const float *gain, const float *normalized, float scale, float mean,
                                  float mean_dot, const float *dy, float *dx) {
    const int32_t whole = width / EAB_LANES * EAB_LANES;
    for (int32_t i = 0; i < whole; i += EAB_LANES)
        eab_store(dx + i, eab_load(dx + i) + scale * (eab_load(dy + i) * eab_load(gain + i) - mean -
                                                      eab_load(normalized + i) * mean_dot));
    for (int32_t i = whole; i < width; i++) dx[i] += scale * (dy[i] * gain[i] - mean - normalized[i] * mean_dot);
}

EAB_INLINE void differentiate_rows(int32_t width, const eab_norm_args *args, int32_t member, const float *dy, float *dx,
                                   float *dgain, float *dbias) {
    const float *gain = eab_cpu_member(args->gain, member), *normalized = eab_cpu_member(args->normalized, member);
    const float *inv_std = eab_cpu_member(args->inv_std, member);
    const float inv_width = 1 / (float)width;
    for (int32_t first = 0; first < args->rows; first += EAB_LANES) {
        const int32_t count = args->rows - first < EAB_LANES ? args->rows - first : EAB_LANES;
        eab_vec sums[EAB_LANES], dots[EAB_LANES];
        float rest_sum[EAB_LANES], rest_dot[EAB_LANES], mean[EAB_LANES], mean_dot[EAB_LANES];
        for (int32_t row = 0; row < EAB_LANES; row++) {
            const int64_t at = (int64_t)block_row(row, count) * width;
            row_slopes(width, gain, normalized + at, dy + at, &sums[row], &dots[row], &rest_sum[row], &rest_dot[row]);
        }
        eab_store(mean, add_rest(width, eab_reduce_add_rows(sums), rest_sum) * inv_width);
        eab_store(mean_dot, add_rest(width, eab_reduce_add_rows(dots), rest_dot) * inv_width);
        add_norm_gradients(count, width, normalized, dy, dgain, dbias);
        for (int32_t row = 0; row < count; row++, dy += width, dx += width, normalized += width)
            differentiate_row(width, gain, normalized, inv_std[first + row], mean[row], mean_dot[row], dy, dx);
    }
}

static void norm_backward(const eab_norm_args *args, int32_t member, const float *dy, float *dx, float *dgain,
                          float *dbias) {
    WITH_CONSTANT_WIDTH(args->width, differentiate_rows, args, member, dy, dx, dgain, dbias);
}

static void relu_forward(int64_t count, const float *x, float *y) {
    for (int64_t i = 0; i < count; i++) y[i] = x[i] < 0 ? 0 : x[i]; /* NaN stays NaN */
}

static void relu_backward(int64_t count, const float *x, float *dy) {
    for (int64_t i = 0; i < count; i++) dy[i] = x[i] > 0 ? dy[i] : 0;
}

EAB_INLINE void gelu_at(const int vectors, const float *x, float *y, float *slope) {
    eab_vec values[4], slopes[4];
    EAB_UNROLL
    for (int i = 0; i < vectors; i++) values[i] = eab_load(x + (ptrdiff_t)i * EAB_LANES);
    eab_gelu_vecs(vectors, values, slopes);
    EAB_UNROLL
    for (int i = 0; i < vectors; i++) {
        eab_store(y + (ptrdiff_t)i * EAB_LANES, values[i]);
        eab_store(slope + (ptrdiff_t)i * EAB_LANES, slopes[i]);
    }
}

void EAB_ISA_NAME(eab_cpu_gelu)(int64_t count, const float *x, float *y, float *slope) {
    enum { TOGETHER = EAB_LANES == 16 ? 4 : 2 };
    int64_t i = 0;
    for (; i + TOGETHER * EAB_LANES <= count; i += TOGETHER * EAB_LANES) gelu_at(TOGETHER, x + i, y + i, slope + i);
    for (; i + EAB_LANES <= count; i += EAB_LANES) gelu_at(1, x + i, y + i, slope + i);
    if (i == count) return;
    float values[EAB_LANES] = {0}, slopes[EAB_LANES];
    memcpy(values, x + i, (size_t)(count - i) * sizeof *x);
    gelu_at(1, values, values, slopes);
    memcpy(y + i, values, (size_t)(count - i) * sizeof *y);
    memcpy(slope + i, slopes, (size_t)(count - i) * sizeof *slope);
}

static void gelu_forward(int64_t count, const float *x, float *y) {
    float slopes[256];
    for (int64_t i = 0; i < count; i += 256)
        EAB_ISA_NAME(eab_cpu_gelu)(count - i < 256 ? count - i : 256, x + i, y + i, slopes);
}

static void gelu_backward(int64_t count, const float *x, float *dy) {
    float values[256], slopes[256];
    for (int64_t first = 0; first < count; first += 256) {
        const int64_t length = count - first < 256 ? count - first : 256;
        EAB_ISA_NAME(eab_cpu_gelu)(length, x + first, values, slopes);
        for (int64_t i = 0; i < length; i++) dy[first + i] *= slopes[i];
    }
}

static void add(int64_t count, const float *x, float *y) {
    for (int64_t i = 0; i < count; i++) y[i] += x[i];
}

enum { DROPOUT_CHUNK = 64 }; /* blocks of words that are drawn at a time */

EAB_INLINE void drop_run(int32_t count, const uint32_t *words, uint32_t threshold, float scale, bool add,
                         const float *x, float *y) {
    for (int32_t i = 0; i < count; i++) {
        const float kept = words[i] >= threshold ? x[i] * scale : 0;
        y[i] = add ? y[i] + kept : kept;
    }
}

/* The rounds of Philox (tasks/philox.h) for EAB_LANES / 2 blocks, in 64-bit lanes whose upper halves are not used. */
EAB_INLINE void draw_words(eab_wide_vec word[4], uint32_t key0) {
    uint32_t key1 = EAB_DROPOUT_KEY;
    EAB_UNROLL
    for (int round = 0; round < 10; round++, key0 += 0x9E3779B9u, key1 += 0xBB67AE85u) {
        const eab_wide_vec product0 = eab_multiply_low(word[0], 0xD2511F53u);
        const eab_wide_vec product1 = eab_multiply_low(word[2], 0xCD9E8D57u);
        word[0] = product1 >> 32 ^ word[1] ^ key0;
        word[1] = product1;
        word[2] = product0 >> 32 ^ word[3] ^ key1;
        word[3] = product0;
    }
}

/* The words of `count` blocks from `counter` on: those of even number in one vector, the others in a second. */
EAB_INLINE void draw_chunk(int32_t count, uint32_t seed, const eab_philox_block *counter,
                           uint32_t words[4][DROPOUT_CHUNK]) {
    for (int32_t i = 0; i < count; i += EAB_LANES) {
        uint64_t number[2][EAB_LANES / 2]; /* the blocks' */
        for (int lane = 0; lane < EAB_LANES; lane++)
            number[lane % 2][lane / 2] = counter->word[0] + (uint32_t)(i + lane);
        eab_wide_vec even[4], odd[4];
        for (int w = 1; w < 4; w++) even[w] = odd[w] = (eab_wide_vec){0} + counter->word[w];
        memcpy(&even[0], number[0], sizeof *even);
        memcpy(&odd[0], number[1], sizeof *odd);
        draw_words(even, seed);
        draw_words(odd, seed);
        for (int w = 0; w < 4; w++) {
            const eab_wide_vec both = (even[w] & 0xFFFFFFFFu) | odd[w] << 32;
            memcpy(&words[w][i], &both, sizeof both);
        }
    }
}

/* A chunk of a row's blocks at a time; word w of theirs belongs to a run of channels (dropout.h). */
static void dropout(const eab_shape *shape, int32_t member, const float *x, float *y, bool add) {
    const eab_dropout *args = shape->dropout;
    const int32_t width = shape->d_model, blocks = (width + 3) / 4;
    const uint32_t seed = args->seeds[member], place = args->place;
    const uint32_t threshold = eab_dropout_threshold(args->probability);
    const float scale = (float)(1 / (1 - args->probability));
    uint32_t words[4][DROPOUT_CHUNK];
    for (int64_t row = 0; row < (int64_t)shape->batch * shape->context; row++, x += width, y += width) {
        const uint64_t sequence = args->first_index + (uint64_t)(row / shape->context);
        const uint32_t position = (uint32_t)(row % shape->context);
        for (int32_t first = 0; first < blocks; first += DROPOUT_CHUNK) {
            const int32_t count = blocks - first < DROPOUT_CHUNK ? blocks - first : DROPOUT_CHUNK;
            const eab_philox_block counter = eab_dropout_counter(place, sequence, position, (uint32_t)first);
            draw_chunk(count, seed, &counter, words);
            for (int32_t word = 0; word < 4; word++) {
                const int32_t begin = word * blocks + first, left = width - begin, run = count < left ? count : left;
                if (add) drop_run(run, words[word], threshold, scale, true, x + begin, y + begin);
                else drop_run(run, words[word], threshold, scale, false, x + begin, y + begin);
            }
        }
    }
}

/* Each addition waits for the one before it, so several vectors of columns are summed at a time. */
EAB_INLINE void sum_columns(const int32_t vectors, int32_t rows, int32_t width, const float *x, float *sums) {
    eab_vec sum[8];
    EAB_UNROLL
    for (int32_t v = 0; v < vectors; v++) sum[v] = eab_load(sums + v * (int64_t)EAB_LANES);
    for (int32_t row = 0; row < rows; row++, x += width) {
        EAB_UNROLL
        for (int32_t v = 0; v < vectors; v++) sum[v] += eab_load(x + v * (int64_t)EAB_LANES);
    }
    EAB_UNROLL
    for (int32_t v = 0; v < vectors; v++) eab_store(sums + v * (int64_t)EAB_LANES, sum[v]);
}

static void column_sum(int32_t rows, int32_t width, const float *x, float *sums) {
    int32_t i = 0;
    for (; i + 8 * EAB_LANES <= width; i += 8 * EAB_LANES) sum_columns(8, rows, width, x + i, sums + i);
    for (; i + 6 * EAB_LANES <= width; i += 6 * EAB_LANES) sum_columns(6, rows, width, x + i, sums + i);
    for (; i + 4 * EAB_LANES <= width; i += 4 * EAB_LANES) sum_columns(4, rows, width, x + i, sums + i);
    for (; i + 2 * EAB_LANES <= width; i += 2 * EAB_LANES) sum_columns(2, rows, width, x + i, sums + i);
    for (; i + EAB_LANES <= width; i += EAB_LANES) sum_columns(1, rows, width, x + i, sums + i);
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
                const float c = angles[2 * (int64_t)i], s = sign * angles[2 * (int64_t)i + 1];
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
    .qk_norm_forward = EAB_ISA_NAME(eab_cpu_qk_norm_forward),
    .qk_norm_backward = EAB_ISA_NAME(eab_cpu_qk_norm_backward),
    .relu_forward = relu_forward,
    .relu_backward = relu_backward,
    .gelu_forward = gelu_forward,
    .gelu_backward = gelu_backward,
    .add = add,
    .dropout = dropout,
    .column_sum = column_sum,
    .rotate = rotate,
    .embed_forward = embed_forward,
    .embed_backward = embed_backward,
    .loss = EAB_ISA_NAME(eab_cpu_loss),
    .optimizer_step = EAB_ISA_NAME(eab_cpu_optimizer_step),
};
