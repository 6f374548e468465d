#include "primitives.h"

#include <tgmath.h>

#include "../dropout.h"

#ifdef EAB_REFERENCE_FLOAT32
#pragma GCC diagnostic ignored "-Wconversion" /* this compilation rounds every result to float */
#pragma GCC diagnostic ignored "-Wfloat-conversion"
#endif

#define MEMBER EAB_REFERENCE(member)

/* An input of a product. bf16: sign, exponent and 7 more bits, rounded to nearest, ties to even. TF32 is not
 * rounded: it is allowed to be more exact. */
static eab_real round_input(eab_real x, eab_precision precision) {
    if (precision != EAB_PRECISION_BF16 || !isfinite(x) || x == 0) return x;
    int exponent;
    const double mantissa = frexp((double)x, &exponent);          /* in [0.5, 1): the 8 bits above 2^-8 stay */
    const int lowest = exponent - 8 < -133 ? -133 : exponent - 8; /* subnormals end at 2^-133 */
    return (eab_real)ldexp(rint(ldexp(mantissa, exponent - lowest)), lowest);
}

int EAB_REFERENCE(gemm)(eab_device *device, const eab_gemm *gemm) {
    (void)device;
    for (int32_t member = 0; member < gemm->members; member++) {
        const eab_real *a = MEMBER(gemm->a, member), *b = MEMBER(gemm->b, member), *bias = MEMBER(gemm->bias, member);
        eab_real *c = MEMBER(gemm->c, member);
        for (int32_t row = 0; row < gemm->m; row++)
            for (int32_t column = 0; column < gemm->n; column++) {
                eab_real sum = 0;
                for (int32_t i = 0; i < gemm->k; i++)
                    sum += round_input(gemm->transpose_a ? a[(int64_t)i * gemm->lda + row]
                                                         : a[(int64_t)row * gemm->lda + i],
                                       gemm->precision) *
                           round_input(gemm->transpose_b ? b[(int64_t)column * gemm->ldb + i]
                                                         : b[(int64_t)i * gemm->ldb + column],
                                       gemm->precision);
                eab_real *out = &c[(int64_t)row * gemm->ldc + column];
                *out = (gemm->accumulate ? *out : 0) + sum + (bias ? bias[column] : 0);
            }
    }
    return EAB_OK;
}

int EAB_REFERENCE(norm_forward)(eab_device *device, const eab_norm_args *args, eab_tensor x_all, eab_tensor y_all) {
    (void)device;
    const int32_t width = args->width;
    for (int32_t member = 0; member < args->members; member++) {
        const eab_real *gain = MEMBER(args->gain, member), *bias = MEMBER(args->bias, member);
        for (int64_t row = 0; row < args->rows; row++) {
            const eab_real *x = MEMBER(x_all, member) + row * width;
            eab_real *y = MEMBER(y_all, member) + row * width;
            eab_real *normalized = MEMBER(args->normalized, member) + row * width;
            eab_real mean = 0, variance = 0;
            for (int32_t i = 0; i < width; i++) mean += x[i] / width;
            for (int32_t i = 0; i < width; i++) variance += (x[i] - mean) * (x[i] - mean) / width;
            const eab_real inv_std = 1 / sqrt(variance + 1e-5);
            MEMBER(args->inv_std, member)[row] = inv_std;
            for (int32_t i = 0; i < width; i++) {
                normalized[i] = (x[i] - mean) * inv_std;
                y[i] = normalized[i] * gain[i] + (bias ? bias[i] : 0);
            }
        }
    }
    return EAB_OK;
}

int EAB_REFERENCE(norm_backward)(eab_device *device, const eab_norm_args *args, eab_tensor dy_all, eab_tensor dx_all,
                                 eab_tensor dgain_all, eab_tensor dbias_all) {
    (void)device;
    const int32_t width = args->width;
    for (int32_t member = 0; member < args->members; member++) {
        const eab_real *gain = MEMBER(args->gain, member);
        eab_real *dgain = MEMBER(dgain_all, member), *dbias = MEMBER(dbias_all, member);
        for (int64_t row = 0; row < args->rows; row++) {
            const eab_real *dy = MEMBER(dy_all, member) + row * width;
            const eab_real *normalized = MEMBER(args->normalized, member) + row * width;
            const eab_real inv_std = MEMBER(args->inv_std, member)[row];
            eab_real *dx = MEMBER(dx_all, member) + row * width;
            eab_real mean = 0, mean_normalized = 0; /* of g = dy * gain, and of g * normalized */
            for (int32_t i = 0; i < width; i++) {
                mean += dy[i] * gain[i] / width;
                mean_normalized += dy[i] * gain[i] * normalized[i] / width;
                dgain[i] += dy[i] * normalized[i];
                if (dbias) dbias[i] += dy[i];
            }
            for (int32_t i = 0; i < width; i++)
                dx[i] += inv_std * (dy[i] * gain[i] - mean - normalized[i] * mean_normalized);
        }
    }
    return EAB_OK;
}

int EAB_REFERENCE(qk_norm_forward)(eab_device *device, const eab_qk_norm_args *args, eab_tensor qkv) {
    (void)device;
    const int32_t head_dim = args->head_dim, heads = args->heads;
    for (int32_t member = 0; member < args->members; member++)
        for (int64_t row = 0; row < args->rows; row++)
            for (int32_t head = 0; head < 2 * heads; head++) { /* q's heads, then k's */
                const eab_real *gain = MEMBER(head < heads ? args->q_gain : args->k_gain, member);
                eab_real *x = MEMBER(qkv, member) + (row * 3 * heads + head) * head_dim;
                eab_real *unit = MEMBER(args->unit, member) + (row * 2 * heads + head) * head_dim;
                eab_real mean_square = 0;
                for (int32_t i = 0; i < head_dim; i++) mean_square += x[i] * x[i] / head_dim;
                const eab_real inv_rms = 1 / sqrt(mean_square + 1e-5);
                MEMBER(args->inv_rms, member)[row * 2 * heads + head] = inv_rms;
                for (int32_t i = 0; i < head_dim; i++) {
                    unit[i] = x[i] * inv_rms;
                    x[i] = unit[i] * gain[i];
                }
            }
    return EAB_OK;
}

/* With g = dy gain: dx = inv_rms (g - unit mean(g unit)); dgain += dy unit */
int EAB_REFERENCE(qk_norm_backward)(eab_device *device, const eab_qk_norm_args *args, eab_tensor dqkv,
                                    eab_tensor dq_gain, eab_tensor dk_gain) {
    (void)device;
    const int32_t head_dim = args->head_dim, heads = args->heads;
    for (int32_t member = 0; member < args->members; member++)
        for (int64_t row = 0; row < args->rows; row++)
            for (int32_t head = 0; head < 2 * heads; head++) {
                const eab_real *gain = MEMBER(head < heads ? args->q_gain : args->k_gain, member);
                eab_real *dgain = MEMBER(head < heads ? dq_gain : dk_gain, member);
                eab_real *dx = MEMBER(dqkv, member) + (row * 3 * heads + head) * head_dim;
                const eab_real *unit = MEMBER(args->unit, member) + (row * 2 * heads + head) * head_dim;
                const eab_real inv_rms = MEMBER(args->inv_rms, member)[row * 2 * heads + head];
                eab_real mean = 0;
                for (int32_t i = 0; i < head_dim; i++) {
                    dgain[i] += dx[i] * unit[i];
                    mean += dx[i] * gain[i] * unit[i] / head_dim;
                }
                for (int32_t i = 0; i < head_dim; i++) dx[i] = inv_rms * (dx[i] * gain[i] - unit[i] * mean);
            }
    return EAB_OK;
}

/* gelu(x) = x/2 (1 + tanh(u)), u = sqrt(2/pi) (x + 0.044715 x^3): Hendrycks and Gimpel, arXiv 1606.08415 */
static eab_real gelu_argument(eab_real x) { return sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x); }

int EAB_REFERENCE(activation_forward)(eab_device *device, eab_activation activation, int32_t members, int64_t count,
                                      eab_tensor x_all, eab_tensor y_all) {
    (void)device;
    for (int32_t member = 0; member < members; member++) {
        const eab_real *x = MEMBER(x_all, member);
        eab_real *y = MEMBER(y_all, member);
        for (int64_t i = 0; i < count; i++)
            y[i] = activation == EAB_ACTIVATION_RELU ? fmax(x[i], 0) : x[i] / 2 * (1 + tanh(gelu_argument(x[i])));
    }
    return EAB_OK;
}

int EAB_REFERENCE(activation_backward)(eab_device *device, eab_activation activation, int32_t members, int64_t count,
                                       eab_tensor x_all, eab_tensor dy_all) {
    (void)device;
    for (int32_t member = 0; member < members; member++) {
        const eab_real *x = MEMBER(x_all, member);
        eab_real *dy = MEMBER(dy_all, member);
        for (int64_t i = 0; i < count; i++) {
            const eab_real t = tanh(gelu_argument(x[i]));
            const eab_real slope = sqrt(2 / 3.14159265358979323846) * (1 + 3 * 0.044715 * x[i] * x[i]);
            dy[i] *= activation == EAB_ACTIVATION_RELU ? (x[i] > 0) : (1 + t) / 2 + x[i] / 2 * (1 - t * t) * slope;
        }
    }
    return EAB_OK;
}

int EAB_REFERENCE(add)(eab_device *device, int32_t members, int64_t count, eab_tensor x, eab_tensor y) {
    (void)device;
    for (int32_t member = 0; member < members; member++)
        for (int64_t i = 0; i < count; i++) MEMBER(y, member)[i] += MEMBER(x, member)[i];
    return EAB_OK;
}

int EAB_REFERENCE(dropout)(eab_device *device, const eab_shape *shape, eab_tensor x_all, eab_tensor y_all, bool add) {
    (void)device;
    const eab_dropout *dropout = shape->dropout;
    const uint32_t width = (uint32_t)shape->d_model, blocks = (width + 3) / 4;
    for (int32_t member = 0; member < shape->members; member++)
        for (int64_t row = 0; row < (int64_t)shape->batch * shape->context; row++) {
            const eab_real *x = MEMBER(x_all, member) + row * width;
            eab_real *y = MEMBER(y_all, member) + row * width;
            for (uint32_t i = 0; i < width; i++) {
                const eab_philox_block block = eab_dropout_block(
                    dropout->seeds[member], dropout->place, dropout->first_index + (uint64_t)(row / shape->context),
                    (uint32_t)(row % shape->context), i % blocks);
                const bool keeps = block.word[i / blocks] >= eab_dropout_threshold(dropout->probability);
                y[i] = (add ? y[i] : 0) + (keeps ? x[i] / (1 - dropout->probability) : 0);
            }
        }
    return EAB_OK;
}

int EAB_REFERENCE(column_sum)(eab_device *device, int32_t members, int32_t rows, int32_t width, eab_tensor x,
                              eab_tensor sums) {
    (void)device;
    for (int32_t member = 0; member < members; member++)
        for (int64_t row = 0; row < rows; row++)
            for (int32_t i = 0; i < width; i++) MEMBER(sums, member)[i] += MEMBER(x, member)[row * width + i];
    return EAB_OK;
}

int EAB_REFERENCE(rotate)(eab_device *device, const eab_shape *shape, eab_tensor qkv, bool inverse) {
    (void)device;
    const int32_t half = shape->d_model / shape->heads / 2;
    for (int32_t member = 0; member < shape->members; member++)
        for (int64_t row = 0; row < (int64_t)shape->batch * shape->context; row++)
            for (int32_t head = 0; head < 2 * shape->heads; head++) { /* q's heads, then k's */
                eab_real *x = MEMBER(qkv, member) + row * 3 * shape->d_model + (int64_t)head * 2 * half;
                const eab_real *table = (const eab_real *)shape->rope.data + row % shape->context * 2 * half;
                for (int32_t i = 0; i < half; i++) {
                    const eab_real c = table[2 * (int64_t)i], sine = table[2 * (int64_t)i + 1];
                    const eab_real s = inverse ? -sine : sine;
                    const eab_real first = x[i], second = x[i + half];
                    x[i] = first * c - second * s;
                    x[i + half] = first * s + second * c;
                }
            }
    return EAB_OK;
}

int EAB_REFERENCE(embed_forward)(eab_device *device, const eab_shape *shape, const eab_embedding *weights,
                                 const int32_t *tokens, int64_t tokens_stride, eab_tensor x_all) {
    (void)device;
    const int32_t width = shape->d_model;
    for (int32_t member = 0; member < shape->members; member++)
        for (int64_t row = 0; row < (int64_t)shape->batch * shape->context; row++) {
            const eab_real *token =
                MEMBER(weights->token, member) + (int64_t)tokens[member * tokens_stride + row] * width;
            const eab_real *position = MEMBER(weights->position, member);
            eab_real *x = MEMBER(x_all, member) + row * width;
            for (int32_t i = 0; i < width; i++)
                x[i] = token[i] + (position ? position[row % shape->context * width + i] : 0);
        }
    return EAB_OK;
}

int EAB_REFERENCE(embed_backward)(eab_device *device, const eab_shape *shape, const eab_embedding *gradients,
                                  const int32_t *tokens, int64_t tokens_stride, eab_tensor dx_all) {
    (void)device;
    const int32_t width = shape->d_model;
    for (int32_t member = 0; member < shape->members; member++) {
        eab_real *token = MEMBER(gradients->token, member), *position = MEMBER(gradients->position, member);
        for (int64_t row = 0; row < (int64_t)shape->batch * shape->context; row++) {
            const eab_real *dx = MEMBER(dx_all, member) + row * width;
            const int64_t id = tokens[member * tokens_stride + row];
            for (int32_t i = 0; i < width; i++) {
                if (token) token[id * width + i] += dx[i];
                if (position) position[row % shape->context * width + i] += dx[i];
            }
        }
    }
    return EAB_OK;
}

int EAB_REFERENCE(loss)(eab_device *device, const eab_loss_args *args) {
    (void)device;
    for (int32_t member = 0; member < args->members; member++) {
        eab_tally *tally = &args->tally[member];
        const int32_t vocab = args->member_vocab[member];
        for (int64_t sequence = 0; sequence < args->batch; sequence++) {
            int64_t asked = 0, right = 0;
            for (int64_t row = sequence * args->context; row < (sequence + 1) * args->context; row++) {
                eab_real *logits = MEMBER(args->logits, member) + row * args->vocab;
                const int32_t target = args->targets[member * args->targets_stride + row];
                int32_t best = 0;
                eab_real sum = 0;
                for (int32_t i = 1; i < vocab; i++)
                    if (logits[i] > logits[best]) best = i;
                const eab_real maximum = logits[best];
                for (int32_t i = 0; i < vocab; i++) sum += exp(logits[i] - maximum);
                if (args->predictions) args->predictions[member * args->targets_stride + row] = best;
                if (target >= 0) {
                    asked++;
                    right += best == target;
                    tally->loss_nats += maximum + log(sum) - logits[target];
                }
                if (!args->counts) continue;
                for (int32_t i = 0; i < args->vocab; i++)
                    logits[i] = target < 0 || i >= vocab
                                    ? 0
                                    : (exp(logits[i] - maximum) / sum - (i == target)) / (eab_real)args->counts[member];
            }
            tally->tokens += asked;
            tally->tokens_right += right;
            tally->sequences += asked > 0;
            tally->sequences_right += asked > 0 && right == asked;
        }
    }
    return EAB_OK;
}

int EAB_REFERENCE(optimizer_step)(eab_device *device, const eab_optimizer_args *args) {
    (void)device;
    for (int32_t member = 0; member < args->members; member++) {
        const eab_optimizer *optimizer = &args->optimizers[member];
        eab_real *weights = MEMBER(args->weights, member), *gradients = MEMBER(args->gradients, member);
        eab_real *moment1 = MEMBER(args->moment1, member), *moment2 = MEMBER(args->moment2, member);
        const eab_real rate = eab_learning_rate(optimizer, args->step), t = (eab_real)(args->step + 1);
        eab_real squares = 0;
        for (int64_t i = 0; i < args->count; i++) squares += gradients[i] * gradients[i];
        const eab_real norm = sqrt(squares);
        const eab_real factor = optimizer->clip > 0 && norm > optimizer->clip ? optimizer->clip / norm : 1;
        for (int64_t i = 0; i < args->count; i++) {
            const eab_real gradient = gradients[i] * factor;
            const eab_real decay = i < args->decayed ? rate * optimizer->weight_decay * weights[i] : 0;
            gradients[i] = 0;
            if (optimizer->kind == EAB_OPTIMIZER_SGD) {
                moment1[i] = optimizer->momentum * moment1[i] + gradient;
                weights[i] -= decay + rate * moment1[i];
            } else {
                moment1[i] = optimizer->beta1 * moment1[i] + (1 - optimizer->beta1) * gradient;
                moment2[i] = optimizer->beta2 * moment2[i] + (1 - optimizer->beta2) * gradient * gradient;
                const eab_real mean = moment1[i] / (1 - pow(optimizer->beta1, t));
                const eab_real square = moment2[i] / (1 - pow(optimizer->beta2, t));
                weights[i] -= decay + rate * mean / (sqrt(square) + 1e-8);
            }
        }
    }
    return EAB_OK;
}
