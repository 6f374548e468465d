/* The attention mechanisms, each defined once: name, class, default scale, weight and derivative.
 *
 * With z = scale * (q . k) and a position bias b (docs/design.md 1):
 *   exponential: weight exp(l(z)) b. Kernels subtract the running row maximum of l + log b; row_stat is log L.
 *   bounded:     weight w(z) b, 2^-24 <= w <= 2^64: sums of weights cannot overflow, so no maximum, no rescaling;
 *                row_stat is L.
 *
 * To add a mechanism: a line in EAB_MECHANISM_LIST and, unless it shares one, a formula below (and one in
 * kernels/reference/attention.c, which never includes this file). A formula is two functions of one EAB_REAL, without
 * branches. EAB_REAL is float (the default; in CUDA too), or a vector of floats where the includer defines EAB_REAL,
 * its three selections, its exponential and its logarithm, as kernels/cpu/formulas.h does.
 *   exponential: eab_NAME_log_weight(z, mix) = l(z), eab_NAME_log_derivative(z, mix) = l'(z)
 *   bounded:     eab_NAME_weight(z) = w(z),          eab_NAME_derivative(z) = w'(z)
 * mix is the parameter of mechanism mix, which the other formulas ignore.
 * A formula passes NaN on, and gives no NaN for any other z, infinities included.
 */
#ifndef EAB_KERNELS_MECHANISM_H
#define EAB_KERNELS_MECHANISM_H

#include <math.h>
#include <stdint.h>

#include "../tasks/philox.h" /* EAB_HOST_DEVICE */

typedef enum { EAB_CLASS_EXPONENTIAL, EAB_CLASS_BOUNDED } eab_mechanism_class;
typedef enum { EAB_SCALE_ONE, EAB_SCALE_INVERSE_SQRT } eab_scale_rule; /* 1, 1 / sqrt(head_dim) */

/* X(identifier, name, class, default scale, formula) */
#define EAB_MECHANISM_LIST(X)                                          \
    X(dpa, "dpa", EXPONENTIAL, INVERSE_SQRT, dpa)                      \
    X(ea, "ea", BOUNDED, ONE, ea)                                      \
    X(ea_scaled, "ea-scaled", BOUNDED, INVERSE_SQRT, ea)               \
    X(ea_softmax, "ea-softmax", EXPONENTIAL, INVERSE_SQRT, ea_softmax) \
    X(ea_parallel, "ea-parallel", BOUNDED, ONE, ea_parallel)           \
    X(square, "square", BOUNDED, ONE, square)                          \
    X(ea_quartic, "ea-quartic", BOUNDED, ONE, ea_quartic)              \
    X(sigmoid, "sigmoid", BOUNDED, INVERSE_SQRT, sigmoid)              \
    X(mix, "mix", EXPONENTIAL, INVERSE_SQRT, mix)

/* X(formula) */
#define EAB_EXPONENTIAL_FORMULA_LIST(X) X(dpa) X(ea_softmax) X(mix)
#define EAB_BOUNDED_FORMULA_LIST(X) X(ea) X(ea_parallel) X(square) X(ea_quartic) X(sigmoid)

enum {
#define EAB_MECHANISM_ENUM(identifier, name, class_name, scale, formula) EAB_MECHANISM_##identifier,
    EAB_MECHANISM_LIST(EAB_MECHANISM_ENUM)
#undef EAB_MECHANISM_ENUM
        EAB_MECHANISM_COUNT
};

/* An all-zero row attends uniformly, without a branch; 2^-24 is half of float's spacing at 1. */
#define EAB_WEIGHT_EPS 0x1p-24f

/* z^2 is clamped here, with derivative 0 beyond: no finite score gives NaN. */
#define EAB_SQUARE_LIMIT 0x1p100f

/* z^2 of square: weights of 2^64 leave room for 2^20 keys with values up to 2^43. */
#define EAB_UNSATURATED_LIMIT 0x1p64f

/* z^2 of ea-quartic: z^4 is at most 2^100. */
#define EAB_QUARTIC_LIMIT 0x1p50f

/* -z of sigmoid: exp(64) has a reciprocal, far below the floor. */
#define EAB_SIGMOID_LIMIT 64.0f

/* Log-weights are clamped to +-2^126, so that the difference of two of them is finite. */
#define EAB_LOG_WEIGHT_LIMIT 0x1p126f

#ifndef EAB_REAL
#define EAB_REAL float
#define EAB_REAL_MIN(x, limit) ((x) > (limit) ? (limit) : (x)) /* NaN stays NaN */
#define EAB_REAL_WITHIN(x, limit) ((x) > (limit) ? (limit) : (x) < -(limit) ? -(limit) : (x))
#define EAB_REAL_IF_BELOW(x, limit, value) ((x) < (limit) ? (value) : 0) /* value where x < limit, else 0 */
#define EAB_REAL_EXP(x) expf(x)
#define EAB_REAL_LOG(x) logf(x) /* of positive normal numbers */
#endif

/* dpa (Vaswani et al. 2017): exp(z) */
EAB_HOST_DEVICE static inline EAB_REAL eab_dpa_log_weight(EAB_REAL z, float mix) {
    (void)mix;
    return EAB_REAL_WITHIN(z, EAB_LOG_WEIGHT_LIMIT);
}
/* 1, in the type of z. The clamped log-weight, which the kernel has anyway, avoids 0 * infinity. */
EAB_HOST_DEVICE static inline EAB_REAL eab_dpa_log_derivative(EAB_REAL z, float mix) {
    return 1 - 0 * eab_dpa_log_weight(z, mix);
}

/* ea-softmax: exp(z^2) */
EAB_HOST_DEVICE static inline EAB_REAL eab_ea_softmax_log_weight(EAB_REAL z, float mix) {
    (void)mix;
    const EAB_REAL square = z * z;
    return EAB_REAL_MIN(square, EAB_SQUARE_LIMIT);
}
EAB_HOST_DEVICE static inline EAB_REAL eab_ea_softmax_log_derivative(EAB_REAL z, float mix) {
    (void)mix;
    const EAB_REAL square = z * z;
    return EAB_REAL_IF_BELOW(square, EAB_SQUARE_LIMIT, 2 * z);
}

/* ea (Gros, arXiv 2407.18601): z^2 / (1 + z^2) + eps, and 2 z / (1 + z^2)^2. Neither divides by z; 1 - 1 / (1 + z^2)
 * would cancel for small z, and 2 z (r r) would underflow sooner than (2 z r) r. */
EAB_HOST_DEVICE static inline EAB_REAL eab_ea_weight(EAB_REAL z) {
    const EAB_REAL unbounded = z * z, square = EAB_REAL_MIN(unbounded, EAB_SQUARE_LIMIT);
    return square * (1 / (1 + square)) + EAB_WEIGHT_EPS;
}
EAB_HOST_DEVICE static inline EAB_REAL eab_ea_derivative(EAB_REAL z) {
    const EAB_REAL unbounded = z * z, square = EAB_REAL_MIN(unbounded, EAB_SQUARE_LIMIT);
    const EAB_REAL reciprocal = 1 / (1 + square);
    return EAB_REAL_IF_BELOW(square, EAB_SQUARE_LIMIT, 2 * z * reciprocal * reciprocal);
}

/* ea-parallel: ea of max(z, 0). Opposite vectors weigh as much as orthogonal ones. */
EAB_HOST_DEVICE static inline EAB_REAL eab_parallel_part(EAB_REAL z) {
    const EAB_REAL negated = -z;
    return -EAB_REAL_MIN(negated, 0.0f); /* NaN stays NaN */
}
EAB_HOST_DEVICE static inline EAB_REAL eab_ea_parallel_weight(EAB_REAL z) {
    return eab_ea_weight(eab_parallel_part(z));
}
EAB_HOST_DEVICE static inline EAB_REAL eab_ea_parallel_derivative(EAB_REAL z) {
    return eab_ea_derivative(eab_parallel_part(z));
}

/* square: z^2 + eps, and 2 z. As a weight, not as exp(log z^2): z^2 has one rounding at any z, where the logarithm's
 * rounding grows with its size (44 at the limit). */
EAB_HOST_DEVICE static inline EAB_REAL eab_square_weight(EAB_REAL z) {
    const EAB_REAL unbounded = z * z;
    return EAB_REAL_MIN(unbounded, EAB_UNSATURATED_LIMIT) + EAB_WEIGHT_EPS;
}
EAB_HOST_DEVICE static inline EAB_REAL eab_square_derivative(EAB_REAL z) {
    const EAB_REAL square = z * z;
    return EAB_REAL_IF_BELOW(square, EAB_UNSATURATED_LIMIT, 2 * z);
}

/* ea-quartic: z^4 / (1 + z^4) + eps, and 4 z^3 / (1 + z^4)^2, where 4 z^3 r r underflows later than 4 z^3 (r r). */
EAB_HOST_DEVICE static inline EAB_REAL eab_ea_quartic_weight(EAB_REAL z) {
    const EAB_REAL unbounded = z * z, square = EAB_REAL_MIN(unbounded, EAB_QUARTIC_LIMIT), quartic = square * square;
    return quartic * (1 / (1 + quartic)) + EAB_WEIGHT_EPS;
}
EAB_HOST_DEVICE static inline EAB_REAL eab_ea_quartic_derivative(EAB_REAL z) {
    const EAB_REAL unbounded = z * z, square = EAB_REAL_MIN(unbounded, EAB_QUARTIC_LIMIT);
    const EAB_REAL reciprocal = 1 / (1 + square * square);
    return EAB_REAL_IF_BELOW(square, EAB_QUARTIC_LIMIT, 4 * z * square * reciprocal * reciprocal);
}

/* sigmoid: s + eps with s = 1 / (1 + exp(-z)), and exp(-z) s s, which does not cancel as 1 - s would. Without the floor
 * the weights of a row of very negative scores would underflow. */
EAB_HOST_DEVICE static inline EAB_REAL eab_sigmoid_weight(EAB_REAL z) {
    const EAB_REAL negated = -z, exponential = EAB_REAL_EXP(EAB_REAL_MIN(negated, EAB_SIGMOID_LIMIT));
    return 1 / (1 + exponential) + EAB_WEIGHT_EPS;
}
EAB_HOST_DEVICE static inline EAB_REAL eab_sigmoid_derivative(EAB_REAL z) {
    const EAB_REAL negated = -z, exponential = EAB_REAL_EXP(EAB_REAL_MIN(negated, EAB_SIGMOID_LIMIT));
    const EAB_REAL reciprocal = 1 / (1 + exponential);
    return EAB_REAL_IF_BELOW(negated, EAB_SIGMOID_LIMIT, exponential * reciprocal * reciprocal);
}

/* Least and largest parameter of mix: at 0, which is dpa, and at 1 the sum S below could vanish. */
#define EAB_MIX_LEAST 0.001f
#define EAB_MIX_MOST 0.999f

/* mix: (1 - t) exp(z) + t f with f the weight of ea: the way from dpa (t = 0) to ea-scaled (t = 1). With m = max(z, 0),
 * l = m + log S and l' = S' / S, where S = (1 - t) exp(z - m) + t f exp(-m) stays within 2^-34 and 1.01, and S' has f'
 * for f. l' loses digits only next to its zeros, where the two terms cancel. One of the exponentials is 1, the other
 * exp(-|z|). */
EAB_HOST_DEVICE static inline EAB_REAL eab_mix_sum(EAB_REAL z, float t, EAB_REAL of_ea) {
    const EAB_REAL negated = -z, e = EAB_REAL_EXP(EAB_REAL_MIN(z, 0.0f) + EAB_REAL_MIN(negated, 0.0f));
    const EAB_REAL dpa_factor = e + EAB_REAL_IF_BELOW(negated, 0.0f, 1 - e);
    const EAB_REAL ea_factor = e + EAB_REAL_IF_BELOW(z, 0.0f, 1 - e);
    return (1 - t) * dpa_factor + t * of_ea * ea_factor;
}
EAB_HOST_DEVICE static inline EAB_REAL eab_mix_log_weight(EAB_REAL z, float mix) {
    const EAB_REAL m = eab_parallel_part(z);
    return EAB_REAL_MIN(m, EAB_LOG_WEIGHT_LIMIT) + EAB_REAL_LOG(eab_mix_sum(z, mix, eab_ea_weight(z)));
}
EAB_HOST_DEVICE static inline EAB_REAL eab_mix_log_derivative(EAB_REAL z, float mix) {
    return eab_mix_sum(z, mix, eab_ea_derivative(z)) * (1 / eab_mix_sum(z, mix, eab_ea_weight(z)));
}

#ifdef __cplusplus
extern "C" {
#endif

/* Of mechanism 0..EAB_MECHANISM_COUNT-1; names: attention.h. */
eab_mechanism_class eab_mechanism_class_of(int32_t mechanism);
float eab_mechanism_default_scale(int32_t mechanism, int32_t head_dim);

#ifdef __cplusplus
}
#endif

#endif
