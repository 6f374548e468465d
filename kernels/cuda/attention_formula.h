/* mechanism.h for a GPU's arithmetic, wrapped so that kernels can be templates over a formula.
 *
 * EAB_REAL is a float whose quotients are one MUFU.RCP (1 ulp) and whose minimum is one FMNMX that propagates NaN: IEEE
 * division of plain floats takes about ten instructions and a branch. Include this header before any other that
 * includes mechanism.h.
 */
#ifndef EAB_KERNELS_CUDA_ATTENTION_FORMULA_H
#define EAB_KERNELS_CUDA_ATTENTION_FORMULA_H

#include "device.h"

#include <math.h>
#include <stdint.h>

#ifdef EAB_KERNELS_MECHANISM_H
#error "include attention_formula.h before mechanism.h"
#endif

#define EAB_FORMULA_FUNCTION __host__ __device__ __forceinline__

#define EAB_LOG2_E 1.44269504088896341f
#define EAB_LN_2 0.693147180559945309f

/* exp(x). Its relative error is |x| 2^-24 plus that of 2^x: small wherever the result matters, because x <= 0 here. */
__device__ __forceinline__ float eab_fast_exp(float x) { return eab_fast_exp2(x * EAB_LOG2_E); }

/* Never called on the host, where it exists because mechanism.h's functions are compiled for both sides. */
EAB_FORMULA_FUNCTION float eab_formula_reciprocal(float x) {
#ifdef __CUDA_ARCH__
    return eab_fast_reciprocal(x);
#else
    return 1 / x;
#endif
}

EAB_FORMULA_FUNCTION float eab_formula_exp(float x) {
#ifdef __CUDA_ARCH__
    return eab_fast_exp(x);
#else
    return expf(x);
#endif
}

/* min(x, limit); NaN if x is NaN. */
EAB_FORMULA_FUNCTION float eab_fast_min(float x, float limit) {
#ifdef __CUDA_ARCH__
    float y;
    asm("min.NaN.f32 %0, %1, %2;" : "=f"(y) : "f"(x), "f"(limit));
    return y;
#else
    return x > limit ? limit : x;
#endif
}

struct eab_fast_real {
    float value;
    EAB_FORMULA_FUNCTION eab_fast_real(float x) : value(x) {}
    EAB_FORMULA_FUNCTION eab_fast_real operator-() const { return -value; }
    EAB_FORMULA_FUNCTION friend eab_fast_real operator+(eab_fast_real x, eab_fast_real y) { return x.value + y.value; }
    EAB_FORMULA_FUNCTION friend eab_fast_real operator-(eab_fast_real x, eab_fast_real y) { return x.value - y.value; }
    EAB_FORMULA_FUNCTION friend eab_fast_real operator*(eab_fast_real x, eab_fast_real y) { return x.value * y.value; }
    EAB_FORMULA_FUNCTION friend eab_fast_real operator/(int one, eab_fast_real y) {
        return (float)one * eab_formula_reciprocal(y.value);
    }
};

#define EAB_REAL eab_fast_real
#define EAB_REAL_MIN(x, limit) eab_fast_real(eab_fast_min((x).value, limit))
#define EAB_REAL_WITHIN(x, limit) (-EAB_REAL_MIN(-EAB_REAL_MIN(x, limit), limit))
#define EAB_REAL_IF_BELOW(x, limit, y) eab_fast_real((x).value < (limit) ? eab_fast_real(y).value : 0.0f)
#define EAB_REAL_EXP(x) eab_fast_real(eab_formula_exp((x).value))
#define EAB_REAL_LOG(x) eab_fast_real(logf((x).value))
#include "../mechanism.h"

/* One struct for each formula: `bounded`, with weight and derivative if it is, else log_weight and log_derivative. */
#define EAB_FORMULA_EXPONENTIAL(formula)                                           \
    struct eab_formula_##formula {                                                 \
        static const bool bounded = false;                                         \
        EAB_FORMULA_FUNCTION static float log_weight(float z, float mix = 0) {     \
            return eab_##formula##_log_weight(z, mix).value;                       \
        }                                                                          \
        EAB_FORMULA_FUNCTION static float log_derivative(float z, float mix = 0) { \
            return eab_##formula##_log_derivative(z, mix).value;                   \
        }                                                                          \
        EAB_FORMULA_FUNCTION static float weight(float) { return 0; }              \
        EAB_FORMULA_FUNCTION static float derivative(float) { return 0; }          \
    };
EAB_EXPONENTIAL_FORMULA_LIST(EAB_FORMULA_EXPONENTIAL)
#undef EAB_FORMULA_EXPONENTIAL

#define EAB_FORMULA_BOUNDED(formula)                                                                          \
    struct eab_formula_##formula {                                                                            \
        static const bool bounded = true;                                                                     \
        EAB_FORMULA_FUNCTION static float weight(float z) { return eab_##formula##_weight(z).value; }         \
        EAB_FORMULA_FUNCTION static float derivative(float z) { return eab_##formula##_derivative(z).value; } \
        EAB_FORMULA_FUNCTION static float log_weight(float, float = 0) { return 0; }                          \
        EAB_FORMULA_FUNCTION static float log_derivative(float, float = 0) { return 0; }                      \
    };
EAB_BOUNDED_FORMULA_LIST(EAB_FORMULA_BOUNDED)
#undef EAB_FORMULA_BOUNDED

/* Numbers of the formulas. Mechanisms with the same formula share a kernel's code. */
typedef enum {
#define EAB_FORMULA_NUMBER(formula) EAB_FORMULA_##formula,
    EAB_EXPONENTIAL_FORMULA_LIST(EAB_FORMULA_NUMBER) EAB_BOUNDED_FORMULA_LIST(EAB_FORMULA_NUMBER)
#undef EAB_FORMULA_NUMBER
        EAB_FORMULA_COUNT
} eab_formula;

EAB_FORMULA_FUNCTION eab_formula eab_formula_of(int32_t mechanism) {
    switch (mechanism) {
#define EAB_FORMULA_CASE(identifier, name, class_name, scale, formula) \
    case EAB_MECHANISM_##identifier: return EAB_FORMULA_##formula;
        EAB_MECHANISM_LIST(EAB_FORMULA_CASE)
#undef EAB_FORMULA_CASE
    }
    return EAB_FORMULA_COUNT;
}

/* The formulas with code of their own in the large kernels, where each costs nvcc some 40 s of a core. The others share
 * two instances of the float32 kernels, eab_formula_shared if bounded, else eab_formula_mix, and have no tensor-core
 * kernels. So there mix is always 0. */
#define EAB_OWN_CODE_LIST(X) X(dpa) X(ea_softmax) X(ea)

/* The formula of this block where it has no code of its own. */
__device__ __forceinline__ eab_formula &eab_block_formula() {
    EAB_SHARED(eab_formula, formula, 1);
    return formula[0];
}
__device__ __forceinline__ void eab_set_block_formula(eab_formula formula) {
    if (threadIdx.x == 0) eab_block_formula() = formula;
    __syncthreads();
}

/* A bounded formula that branches on the block's; NaN for others, which must have code of their own. */
struct eab_formula_shared {
    static const bool bounded = true;
    __device__ __forceinline__ static float weight(float z) {
        switch (eab_block_formula()) {
#define EAB_CASE(formula) \
    case EAB_FORMULA_##formula: return eab_formula_##formula::weight(z);
            EAB_BOUNDED_FORMULA_LIST(EAB_CASE)
#undef EAB_CASE
            default: return NAN;
        }
    }
    __device__ __forceinline__ static float derivative(float z) {
        switch (eab_block_formula()) {
#define EAB_CASE(formula) \
    case EAB_FORMULA_##formula: return eab_formula_##formula::derivative(z);
            EAB_BOUNDED_FORMULA_LIST(EAB_CASE)
#undef EAB_CASE
            default: return NAN;
        }
    }
    __device__ __forceinline__ static float log_weight(float, float) { return 0; }
    __device__ __forceinline__ static float log_derivative(float, float) { return 0; }
};

#endif
