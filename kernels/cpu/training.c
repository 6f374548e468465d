/* Cross-entropy and the optimizers, for one SIMD level. */
#include "level.h"
#include "reduce.h"
#include "simd_math.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ---- the loss ------------------------------------------------------------------------------------------------- */

/* A queue of up to EAB_LANES rows, whose loss is computed together: a row's reductions are a chain of slow
 * operations, and their results, one row in each lane, share a quotient and a logarithm. Rows narrower than a vector
 * are copied. */
typedef struct {
    const eab_loss_args *args;
    int32_t vocab, count; /* count: rows in the queue */
    float share;          /* of a row in the mean; 0: no gradient */
    float *logits[EAB_LANES];
    int32_t targets[EAB_LANES]; /* negative: only a prediction is needed */
    int32_t *predictions[EAB_LANES];
    int32_t sequences[EAB_LANES];
    float narrow[EAB_LANES][EAB_LANES];
    eab_tally *tally;
    double differences, logs; /* sums over rows: largest logit - the target's; log of the sum of exponentials */
    int32_t sequence;         /* of the counts below */
    int64_t tokens, right;    /* determined tokens, and those of them that are right */
} loss_block;

/* EAB_LANES logits of a row from `first` on; `fill` past its end. */
EAB_INLINE eab_vec load_logits(const float *logits, int32_t first, int32_t width, float fill) {
    if (first + EAB_LANES <= width) return eab_load(logits + first);
    float lanes[EAB_LANES];
    for (int32_t lane = 0; lane < EAB_LANES; lane++) lanes[lane] = first + lane < width ? logits[first + lane] : fill;
    return eab_load(lanes);
}

EAB_INLINE void store_logits(float *logits, int32_t first, int32_t width, eab_vec value) {
    if (first + EAB_LANES <= width) {
        eab_store(logits + first, value);
        return;
    }
    float lanes[EAB_LANES];
    eab_store(lanes, value);
    for (int32_t i = first; i < width; i++) logits[i] = lanes[i - first];
}

/* Minus the first place of `value`; -FLT_MAX if it is nowhere (NaN logits). */
EAB_INLINE eab_vec minus_place(float value, const float *logits, int32_t width, eab_vec minus_lanes) {
    eab_vec place = eab_splat(-FLT_MAX);
    for (int32_t first = 0; first < width; first += EAB_LANES)
        place = eab_max_vec(place, eab_select(load_logits(logits, first, width, -FLT_MAX) == value,
                                              minus_lanes - (float)first, eab_splat(-FLT_MAX)));
    return place;
}

/* The row becomes exp(row - maximum), 0 in its padding; returns the sum of each lane. */
EAB_INLINE eab_vec exponentiate(float *logits, int32_t width, float maximum) {
    eab_vec lane_sum = {0};
    for (int32_t first = 0; first < width; first += EAB_LANES) {
        const eab_vec value = eab_exp_vec(load_logits(logits, first, width, -FLT_MAX) - maximum);
        store_logits(logits, first, width, value);
        lane_sum += value;
    }
    return lane_sum;
}

/* Adds the finished sequence to the tally. */
EAB_INLINE void end_sequence(loss_block *block, int32_t next) {
    block->tally->tokens += block->tokens;
    block->tally->tokens_right += block->right;
    block->tally->sequences += block->tokens > 0;
    block->tally->sequences_right += block->tokens > 0 && block->right == block->tokens;
    block->tokens = block->right = 0;
    block->sequence = next;
}

/* difference: of the maximum and the target's logit. */
EAB_INLINE void tally_row(loss_block *block, int32_t row, int32_t best, float difference, float log_sum) {
    const int32_t target = block->targets[row];
    if (block->predictions[row]) *block->predictions[row] = best;
    if (target < 0) return;
    if (block->sequences[row] != block->sequence) end_sequence(block, block->sequences[row]);
    block->tokens++;
    block->right += best == target;
    block->differences += (double)difference;
    block->logs += (double)log_sum;
}

/* The rows' logits, in padded copies where they are narrower than a vector. Missing rows repeat the last one, which is
 * only read. */
EAB_INLINE void find_rows(loss_block *block, bool narrow, float **rows) {
    for (int32_t row = 0; row < EAB_LANES; row++) {
        rows[row] = block->logits[row < block->count ? row : block->count - 1];
        if (!narrow) continue;
        for (int32_t i = 0; i < EAB_LANES; i++) block->narrow[row][i] = i < block->vocab ? rows[row][i] : -FLT_MAX;
        rows[row] = block->narrow[row];
    }
}

EAB_INLINE eab_vec row_maxima(float *const *rows, const int32_t width) {
    eab_vec lanes[EAB_LANES];
    for (int32_t row = 0; row < EAB_LANES; row++) {
        lanes[row] = load_logits(rows[row], 0, width, -FLT_MAX);
        for (int32_t first = EAB_LANES; first < width; first += EAB_LANES)
            lanes[row] = eab_max_vec(lanes[row], load_logits(rows[row], first, width, -FLT_MAX));
    }
    return eab_reduce_max_rows(lanes);
}

/* Minus the first place of each row's maximum. */
EAB_INLINE eab_vec minus_places(float *const *rows, const int32_t width, const float *maxima) {
    eab_vec lanes[EAB_LANES], minus_lanes;
    for (int32_t i = 0; i < EAB_LANES; i++) minus_lanes[i] = (float)-i;
    for (int32_t row = 0; row < EAB_LANES; row++) lanes[row] = minus_place(maxima[row], rows[row], width, minus_lanes);
    return eab_reduce_max_rows(lanes);
}

/* exp(row - maximum), in place, of rows with a target; returns their sums, and for other rows any positive number. */
EAB_INLINE eab_vec exponentiate_rows(const loss_block *block, float *const *rows, const int32_t width,
                                     const float *maxima) {
    eab_vec lanes[EAB_LANES];
    for (int32_t row = 0; row < EAB_LANES; row++) {
        const bool determined = row < block->count && block->targets[row] >= 0;
        lanes[row] = determined ? exponentiate(rows[row], width, maxima[row]) : eab_splat(1);
    }
    return eab_reduce_add_rows(lanes);
}

/* Logits become their gradient; `factor`: the row's share of the mean, over its sum of exponentials. */
EAB_INLINE void store_gradient(const loss_block *block, int32_t row, float *exponentials, const int32_t width,
                               float factor) {
    float *logits = block->logits[row];
    const int32_t vocab = block->vocab, stored = block->args->vocab;
    if (block->targets[row] < 0) {
        memset(logits, 0, (size_t)stored * sizeof *logits);
        return;
    }
    for (int32_t first = 0; first < width; first += EAB_LANES)
        store_logits(exponentials, first, width, load_logits(exponentials, first, width, 0) * factor);
    exponentials[block->targets[row]] -= block->share;
    if (exponentials != logits)
        for (int32_t i = 0; i < vocab; i++) logits[i] = exponentials[i];
    for (int32_t i = vocab; i < stored; i++) logits[i] = 0;
}

/* width: the vocabulary's, or EAB_LANES for a narrower one. */
EAB_INLINE void flush_rows(loss_block *block, const int32_t width) {
    float maxima[EAB_LANES], places[EAB_LANES], differences[EAB_LANES], log_sums[EAB_LANES], factors[EAB_LANES];
    float *rows[EAB_LANES];
    find_rows(block, block->vocab < width, rows);
    eab_store(maxima, row_maxima(rows, width));
    eab_store(places, minus_places(rows, width, maxima));
    for (int32_t row = 0; row < block->count; row++)
        differences[row] = maxima[row] - rows[row][block->targets[row] < 0 ? 0 : block->targets[row]];
    const eab_vec sums = exponentiate_rows(block, rows, width, maxima);
    eab_store(log_sums, eab_log_vec(sums));
    eab_store(factors, block->share / sums);
    for (int32_t row = 0; row < block->count; row++) {
        const int32_t best = places[row] > -FLT_MAX ? (int32_t)-places[row] : 0;
        tally_row(block, row, best, differences[row], log_sums[row]);
        if (block->args->counts) store_gradient(block, row, rows[row], width, factors[row]);
    }
    block->count = 0;
}

static void flush(loss_block *block) {
    if (block->count == 0) return;
    if (block->vocab <= EAB_LANES) flush_rows(block, EAB_LANES); /* a constant width: no loops */
    else flush_rows(block, block->vocab);
}

void EAB_ISA_NAME(eab_cpu_loss)(const eab_loss_args *args, int32_t member) {
    const int32_t *targets = args->targets + member * args->targets_stride;
    int32_t *predictions = args->predictions ? args->predictions + member * args->targets_stride : NULL;
    float *logits = eab_cpu_member(args->logits, member);
    loss_block block = {.args = args,
                        .vocab = args->member_vocab[member],
                        .share = args->counts ? 1.0f / (float)args->counts[member] : 0,
                        .tally = &args->tally[member]};
    for (int32_t sequence = 0; sequence < args->batch; sequence++)
        for (int32_t t = 0; t < args->context; t++) {
            const int64_t row = (int64_t)sequence * args->context + t;
            float *at = logits + row * args->vocab;
            if (targets[row] >= 0 || predictions) {
                block.logits[block.count] = at;
                block.targets[block.count] = targets[row];
                block.predictions[block.count] = predictions ? &predictions[row] : NULL;
                block.sequences[block.count] = sequence;
                if (++block.count == EAB_LANES) flush(&block);
            } else if (args->counts) {
                memset(at, 0, (size_t)args->vocab * sizeof *at);
            }
        }
    flush(&block);
    end_sequence(&block, 0);
    block.tally->loss_nats += block.differences + block.logs;
}

/* ---- the optimizers -------------------------------------------------------------------------------------------- */

/* Sums columns 0..used of the rows. Element (row, column) always goes to lane column % EAB_LANES, in the order of
 * the rows. Padding is not summed, not even as zeros: a compiler may round whole vectors and the rest of a row
 * differently (with and without a fused multiply-add), so the bits would depend on how wide the fleet's vocabulary
 * is padded. */
static double sum_of_squares(const eab_extent *extent, int32_t used, const float *x) {
    enum { BLOCK_ROWS = 128 }; /* rows summed in single precision */
    const int32_t whole = used / EAB_LANES * EAB_LANES;
    double sum = 0;
    x += extent->offset;
    for (int32_t first = 0; first < extent->rows; first += BLOCK_ROWS) {
        const int32_t end = first + BLOCK_ROWS < extent->rows ? first + BLOCK_ROWS : extent->rows;
        eab_vec lane_sum = {0};
        for (int32_t row = first; row < end; row++, x += extent->columns) {
            for (int32_t i = 0; i < whole; i += EAB_LANES) {
                const eab_vec value = eab_load(x + i);
                lane_sum += value * value;
            }
            if (whole == used) continue;
            float rest[EAB_LANES] = {0};
            for (int32_t i = whole; i < used; i++) rest[i - whole] = x[i];
            const eab_vec value = eab_load(rest);
            lane_sum += value * value;
        }
        sum += (double)eab_reduce_add(lane_sum);
    }
    return sum;
}

typedef struct {
    float factor; /* of the gradient: clipping */
    float rate, decay, beta1, beta2, correction1, correction2, momentum;
    float fresh1,
        fresh2; /* 1 - beta, from beta in double precision: for beta near 1 a rounded beta has few digits left */
} step_factors;

static void adamw(int64_t first, int64_t end, const step_factors *f, float *restrict w, float *restrict g,
                  float *restrict m, float *restrict v) {
    for (int64_t i = first; i < end; i++) {
        const float gradient = g[i] * f->factor;
        m[i] = f->beta1 * m[i] + f->fresh1 * gradient;
        v[i] = f->beta2 * v[i] + f->fresh2 * gradient * gradient;
        w[i] -= f->decay * w[i] + f->rate * (m[i] * f->correction1) / (sqrtf(v[i] * f->correction2) + 1e-8f);
        g[i] = 0;
    }
}

static void sgd(int64_t first, int64_t end, const step_factors *f, float *restrict w, float *restrict g,
                float *restrict velocity) {
    for (int64_t i = first; i < end; i++) {
        velocity[i] = f->momentum * velocity[i] + g[i] * f->factor;
        w[i] -= f->decay * w[i] + f->rate * velocity[i];
        g[i] = 0;
    }
}

void EAB_ISA_NAME(eab_cpu_optimizer_step)(const eab_optimizer_args *args, int32_t member) {
    const eab_optimizer *optimizer = &args->optimizers[member];
    float *w = eab_cpu_member(args->weights, member), *g = eab_cpu_member(args->gradients, member);
    float *m = eab_cpu_member(args->moment1, member), *v = eab_cpu_member(args->moment2, member);
    const double rate = eab_learning_rate(optimizer, args->step), t = (double)(args->step + 1);
    step_factors factors = {.factor = 1,
                            .rate = (float)rate,
                            .decay = (float)(rate * optimizer->weight_decay),
                            .beta1 = (float)optimizer->beta1,
                            .beta2 = (float)optimizer->beta2,
                            .correction1 = (float)(1 / (1 - pow(optimizer->beta1, t))),
                            .correction2 = (float)(1 / (1 - pow(optimizer->beta2, t))),
                            .momentum = (float)optimizer->momentum,
                            .fresh1 = (float)(1 - optimizer->beta1),
                            .fresh2 = (float)(1 - optimizer->beta2)};
    if (optimizer->clip > 0) {
        double squares = 0;
        for (int32_t i = 0; i < args->extent_count; i++) {
            const eab_extent *extent = &args->extents[i];
            squares += sum_of_squares(extent, extent->vocab_columns ? args->member_vocab[member] : extent->columns, g);
        }
        const double norm = sqrt(squares);
        if (norm > optimizer->clip) factors.factor = (float)(optimizer->clip / norm);
    }
    for (int part = 0; part < 2; part++) { /* with weight decay, then without */
        const int64_t first = part ? args->decayed : 0, end = part ? args->count : args->decayed;
        if (part) factors.decay = 0;
        if (optimizer->kind == EAB_OPTIMIZER_SGD) sgd(first, end, &factors, w, g, m);
        else adamw(first, end, &factors, w, g, m, v);
    }
}
