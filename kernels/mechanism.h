/* The attention mechanisms, each defined once: name, class, default scale, weight and derivative.
 *
 * With z = scale * (q . k) and a position bias b (docs/design.md 1):
 *   exponential: weight exp(l(z)) b. Kernels subtract the running row maximum of l + log b; row_stat is log L.
 *   bounded:     weight w(z) b, 0 < w <= 1 + EAB_WEIGHT_EPS: no maximum, no rescaling; row_stat is L.
 *
 * To add a mechanism: a line in EAB_MECHANISM_LIST and, unless it shares one, a formula below (and one in
 * kernels/reference/attention.c, which never includes this file). A formula is two functions of one EAB_REAL, without
 * branches. EAB_REAL is float (the default; in CUDA too), or a vector of floats where the includer defines EAB_REAL and
 * its two selections, as kernels/cpu/formulas.h does.
 *   exponential: eab_NAME_log_weight(z) = l(z), eab_NAME_log_derivative(z) = l'(z)
 *   bounded:     eab_NAME_weight(z) = w(z),     eab_NAME_derivative(z) = w'(z)
 * A formula passes NaN on, and gives no NaN for any other z, infinities included.
 */
#ifndef EAB_KERNELS_MECHANISM_H
#define EAB_KERNELS_MECHANISM_H

#include <stdint.h>

#include "../tasks/philox.h" /* EAB_HOST_DEVICE */

typedef enum { EAB_CLASS_EXPONENTIAL, EAB_CLASS_BOUNDED } eab_mechanism_class;
typedef enum { EAB_SCALE_ONE, EAB_SCALE_INVERSE_SQRT } eab_scale_rule; /* 1, 1 / sqrt(head_dim) */

/* X(identifier, name, class, default scale, formula) */
#define EAB_MECHANISM_LIST(X)                            \
    X(dpa, "dpa", EXPONENTIAL, INVERSE_SQRT, dpa)        \
    X(ea, "ea", BOUNDED, ONE, ea)                        \
    X(ea_scaled, "ea-scaled", BOUNDED, INVERSE_SQRT, ea) \
    X(ea_softmax, "ea-softmax", EXPONENTIAL, INVERSE_SQRT, ea_softmax)

/* X(formula) */
#define EAB_EXPONENTIAL_FORMULA_LIST(X) X(dpa) X(ea_softmax)
#define EAB_BOUNDED_FORMULA_LIST(X) X(ea)

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

/* Log-weights are clamped to +-2^126, so that the difference of two of them is finite. */
#define EAB_LOG_WEIGHT_LIMIT 0x1p126f

#ifndef EAB_REAL
#define EAB_REAL float
#define EAB_REAL_MIN(x, limit) ((x) > (limit) ? (limit) : (x))           /* NaN stays NaN */
#define EAB_REAL_IF_BELOW(x, limit, value) ((x) < (limit) ? (value) : 0) /* value where x < limit, else 0 */
#endif

/* dpa (Vaswani et al. 2017): exp(z) */
EAB_HOST_DEVICE static inline EAB_REAL eab_dpa_log_weight(EAB_REAL z) {
    const EAB_REAL negated = -EAB_REAL_MIN(z, EAB_LOG_WEIGHT_LIMIT);
    return -EAB_REAL_MIN(negated, EAB_LOG_WEIGHT_LIMIT);
}
/* 1, in the type of z. The clamped log-weight, which the kernel has anyway, avoids 0 * infinity. */
EAB_HOST_DEVICE static inline EAB_REAL eab_dpa_log_derivative(EAB_REAL z) { return 1 - 0 * eab_dpa_log_weight(z); }

/* ea-softmax: exp(z^2) */
EAB_HOST_DEVICE static inline EAB_REAL eab_ea_softmax_log_weight(EAB_REAL z) {
    const EAB_REAL square = z * z;
    return EAB_REAL_MIN(square, EAB_SQUARE_LIMIT);
}
EAB_HOST_DEVICE static inline EAB_REAL eab_ea_softmax_log_derivative(EAB_REAL z) {
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
