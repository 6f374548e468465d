/* Cross-entropy and the optimizers, for one SIMD level. */
#include "level.h"
#include "reduce.h"
#include "simd_math.h"

#include <float.h>
#include <math.h>

/* Logits first..first + EAB_LANES of a row; past its end `fill`. */
EAB_INLINE eab_vec load_logits(const float *logits, int32_t first, int32_t vocab, float fill) {
    if (first + EAB_LANES <= vocab) return eab_load(logits + first);
    float lanes[EAB_LANES];
    for (int32_t lane = 0; lane < EAB_LANES; lane++) lanes[lane] = first + lane < vocab ? logits[first + lane] : fill;
    return eab_load(lanes);
}

EAB_INLINE void store_logits(float *logits, int32_t first, int32_t vocab, eab_vec value) {
    if (first + EAB_LANES <= vocab) {
        eab_store(logits + first, value);
        return;
    }
    float lanes[EAB_LANES];
    eab_store(lanes, value);
    for (int32_t i = first; i < vocab; i++) logits[i] = lanes[i - first];
}

EAB_INLINE float largest_logit(const float *logits, int32_t vocab) {
    eab_vec largest = load_logits(logits, 0, vocab, -FLT_MAX);
    for (int32_t first = EAB_LANES; first < vocab; first += EAB_LANES)
        largest = eab_max_vec(largest, load_logits(logits, first, vocab, -FLT_MAX));
    return eab_reduce_max(largest);
}

/* The first place of `value`; 0 if it is nowhere (logits that are no numbers). */
EAB_INLINE int32_t place_of(float value, const float *logits, int32_t vocab) {
    for (int32_t i = 0; i < vocab; i++)
        if (logits[i] == value) return i;
    return 0;
}

/* The row becomes exp(row - maximum); returns the sum. */
EAB_INLINE float exponentiate(float *logits, int32_t vocab, float maximum) {
    eab_vec lane_sum = {0};
    for (int32_t first = 0; first < vocab; first += EAB_LANES) {
        /* far below the lowest exponent: what pads the row adds 0 */
        const eab_vec value = eab_exp_vec(load_logits(logits, first, vocab, -FLT_MAX / 2) - maximum);
        store_logits(logits, first, vocab, value);
        lane_sum += value;
    }
    return eab_reduce_add(lane_sum);
}

/* The row, exponentiated, becomes the gradient of `share` of its loss. */
EAB_INLINE void differentiate(float *logits, int32_t vocab, int32_t padded, float sum, int32_t target, float share) {
    const float factor = share / sum;
    for (int32_t first = 0; first < vocab; first += EAB_LANES)
        store_logits(logits, first, vocab, load_logits(logits, first, vocab, 0) * factor);
    logits[target] -= share;
    for (int32_t i = vocab; i < padded; i++) logits[i] = 0;
}

/* Sums whose logarithms are due, a vector at a time. */
typedef struct {
    float sums[EAB_LANES];
    int32_t count;
    double total;
} log_queue;

EAB_INLINE void log_queue_flush(log_queue *queue) {
    for (int32_t i = queue->count; i < EAB_LANES; i++) queue->sums[i] = 1;
    float logs[EAB_LANES];
    eab_store(logs, eab_log_vec(eab_load(queue->sums)));
    for (int32_t i = 0; i < queue->count; i++) queue->total += (double)logs[i];
    queue->count = 0;
}

EAB_INLINE void log_queue_add(log_queue *queue, float sum) {
    queue->sums[queue->count++] = sum;
    if (queue->count == EAB_LANES) log_queue_flush(queue);
}

void EAB_ISA_NAME(eab_cpu_loss)(const eab_loss_args *args, int32_t member) {
    const int32_t vocab = args->member_vocab[member], padded = args->vocab, context = args->context;
    const int32_t *targets = args->targets + member * args->targets_stride;
    int32_t *predictions = args->predictions ? args->predictions + member * args->targets_stride : NULL;
    const float share = args->counts ? 1.0f / (float)args->counts[member] : 0;
    eab_tally *tally = &args->tally[member];
    log_queue logs = {.count = 0};
    double differences = 0; /* of the largest logit and the target's */
    for (int32_t sequence = 0; sequence < args->batch; sequence++) {
        int64_t asked = 0, right = 0;
        for (int32_t t = 0; t < context; t++) {
            const int64_t row = (int64_t)sequence * context + t;
            const int32_t target = targets[row];
            float *logits = eab_cpu_member(args->logits, member) + row * padded;
            if (target >= 0 || predictions) {
                const float maximum = largest_logit(logits, vocab);
                const int32_t best = place_of(maximum, logits, vocab);
                if (predictions) predictions[row] = best;
                if (target >= 0) {
                    differences += (double)(maximum - logits[target]);
                    const float sum = exponentiate(logits, vocab, maximum);
                    log_queue_add(&logs, sum);
                    asked++;
                    right += best == target;
                    if (args->counts) differentiate(logits, vocab, padded, sum, target, share);
                }
            }
            if (target < 0 && args->counts)
                for (int32_t i = 0; i < padded; i++) logits[i] = 0;
        }
        tally->tokens += asked;
        tally->tokens_right += right;
        tally->sequences += asked > 0;
        tally->sequences_right += asked > 0 && right == asked;
    }
    log_queue_flush(&logs);
    tally->loss_nats += differences + logs.total;
}

/* Element (row, column) of an extent always goes to lane column % EAB_LANES, in the order of the rows: zeros that pad the
 * columns or rows change nothing. */
static double sum_of_squares(const eab_extent *extent, const float *x) {
    enum { BLOCK_ROWS = 128 }; /* summed in single precision at most */
    const int32_t columns = extent->columns, whole = columns / EAB_LANES * EAB_LANES;
    double sum = 0;
    x += extent->offset;
    for (int32_t first = 0; first < extent->rows; first += BLOCK_ROWS) {
        const int32_t end = first + BLOCK_ROWS < extent->rows ? first + BLOCK_ROWS : extent->rows;
        eab_vec lane_sum = {0};
        for (int32_t row = first; row < end; row++, x += columns) {
            for (int32_t i = 0; i < whole; i += EAB_LANES) {
                const eab_vec value = eab_load(x + i);
                lane_sum += value * value;
            }
            if (whole == columns) continue;
            float rest[EAB_LANES] = {0};
            for (int32_t i = whole; i < columns; i++) rest[i - whole] = x[i];
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
} step_factors;

static void adamw(int64_t first, int64_t end, const step_factors *f, float *restrict w, float *restrict g,
                  float *restrict m, float *restrict v) {
    for (int64_t i = first; i < end; i++) {
        const float gradient = g[i] * f->factor;
        m[i] = f->beta1 * m[i] + (1 - f->beta1) * gradient;
        v[i] = f->beta2 * v[i] + (1 - f->beta2) * gradient * gradient;
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
                            .momentum = (float)optimizer->momentum};
    if (optimizer->clip > 0) {
        double squares = 0;
        for (int32_t i = 0; i < args->extent_count; i++) squares += sum_of_squares(&args->extents[i], g);
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
