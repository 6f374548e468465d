/* kernels/mechanism.h: names, classes, scales; formulas against float64 and finite differences. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/mechanism.h"

/* In double: the weight of a bounded mechanism, the log-weight of an exponential one, and the derivative. */
static double dpa(double z) { return z; }
static double dpa_slope(double z) { return 1 + 0 * z; }
static double ea(double z) { return z * z / (1 + z * z) + 0x1p-24; }
static double ea_slope(double z) { return 2 * z / ((1 + z * z) * (1 + z * z)); }
static double ea_softmax(double z) { return z * z; }
static double twice(double z) { return 2 * z; }
static double ea_parallel(double z) { return z > 0 ? ea(z) : 0x1p-24; }
static double ea_parallel_slope(double z) { return z > 0 ? ea_slope(z) : 0; }
static double square(double z) { return fmin(z * z, 0x1p64) + 0x1p-24; }
static double square_slope(double z) { return z * z < 0x1p64 ? 2 * z : 0; }
static double ea_quartic(double z) { return 1 / (1 + pow(z, -4)) + 0x1p-24; }
static double ea_quartic_slope(double z) { return z * z < 0x1p50 ? 4 * pow(z, 3) / pow(1 + pow(z, 4), 2) : 0; }
static double sigmoid(double z) { return 1 / (1 + exp(-z)) + 0x1p-24; }
static double sigmoid_slope(double z) { return z > -64 ? 1 / ((1 + exp(-z)) * (1 + exp(z))) : 0; }
/* l(z) and l'(z) of mix; exponentials are divided by exp(max(z, 0)), against overflow. */
static double mix_sum(double t, double z, double of_ea) {
    return (1 - t) * exp(fmin(z, 0)) + t * of_ea * exp(-fmax(z, 0));
}
static double mix(double t, double z) { return fmax(z, 0) + log(mix_sum(t, z, ea(z))); }
static double mix_slope(double t, double z) { return mix_sum(t, z, ea_slope(z)) / mix_sum(t, z, ea(z)); }
/* The formulas of the exponential class as functions of z. */
#define EXPONENTIAL(name, formula, mix)                                                \
    static float name##_weight(float z) { return eab_##formula##_log_weight(z, mix); } \
    static float name##_derivative(float z) { return eab_##formula##_log_derivative(z, mix); }
EXPONENTIAL(dpa, dpa, 0)
EXPONENTIAL(ea_softmax, ea_softmax, 0)
#define MIX(name, t)                                                         \
    static double name(double z) { return mix((double)t, z); }               \
    static double name##_slope(double z) { return mix_slope((double)t, z); } \
    EXPONENTIAL(name, mix, t)
MIX(mix_least, EAB_MIX_LEAST)
MIX(mix_quarter, 0.25f)
MIX(mix_half, 0.5f)
MIX(mix_most, EAB_MIX_MOST)

static const struct {
    const char *name;
    eab_mechanism_class class;
    float scale; /* the default at head_dim 64 */
    double (*exact)(double z), (*exact_slope)(double z);
    float (*weight)(float z), (*slope)(float z); /* of mechanism.h */
    double tolerance, slope_tolerance;           /* relative, in units of 2^-24 */
    bool cancels; /* the log-weight, of terms of size 1, and the derivative, of terms of size exp(min(z, 0)) */
} mechanisms[] = {
    {"dpa", EAB_CLASS_EXPONENTIAL, 0.125f, dpa, dpa_slope, dpa_weight, dpa_derivative, 0, 0, false},
    {"ea", EAB_CLASS_BOUNDED, 1, ea, ea_slope, eab_ea_weight, eab_ea_derivative, 4, 6, false},
    {"ea-scaled", EAB_CLASS_BOUNDED, 0.125f, ea, ea_slope, eab_ea_weight, eab_ea_derivative, 4, 6, false},
    {"ea-softmax", EAB_CLASS_EXPONENTIAL, 0.125f, ea_softmax, twice, ea_softmax_weight, ea_softmax_derivative, 1, 0,
     false},
    {"ea-parallel", EAB_CLASS_BOUNDED, 1, ea_parallel, ea_parallel_slope, eab_ea_parallel_weight,
     eab_ea_parallel_derivative, 4, 6, false},
    {"square", EAB_CLASS_BOUNDED, 1, square, square_slope, eab_square_weight, eab_square_derivative, 2, 0, false},
    {"ea-quartic", EAB_CLASS_BOUNDED, 1, ea_quartic, ea_quartic_slope, eab_ea_quartic_weight, eab_ea_quartic_derivative,
     6, 12, false},
    {"sigmoid", EAB_CLASS_BOUNDED, 0.125f, sigmoid, sigmoid_slope, eab_sigmoid_weight, eab_sigmoid_derivative, 4, 6,
     false},
    {"mix", EAB_CLASS_EXPONENTIAL, 0.125f, mix_least, mix_least_slope, mix_least_weight, mix_least_derivative, 4, 8,
     true},
    {"mix", EAB_CLASS_EXPONENTIAL, 0.125f, mix_quarter, mix_quarter_slope, mix_quarter_weight, mix_quarter_derivative,
     4, 8, true},
    {"mix", EAB_CLASS_EXPONENTIAL, 0.125f, mix_half, mix_half_slope, mix_half_weight, mix_half_derivative, 4, 8, true},
    {"mix", EAB_CLASS_EXPONENTIAL, 0.125f, mix_most, mix_most_slope, mix_most_weight, mix_most_derivative, 4, 8, true},
};
enum { COUNT = sizeof mechanisms / sizeof *mechanisms, NAMES = COUNT - 3 }; /* mix has four */

Test(mechanism, names) {
    for (int32_t i = 0; i < NAMES; i++) {
        cr_expect_eq(eab_mechanism_from_name(mechanisms[i].name), i);
        cr_expect_str_eq(eab_mechanism_name(i), mechanisms[i].name);
    }
    cr_expect_eq(EAB_MECHANISM_COUNT, NAMES);
    cr_expect_null(eab_mechanism_name(NAMES));
    cr_expect_null(eab_mechanism_name(-1));
    cr_expect_eq(eab_mechanism_from_name("EA"), -1);
    cr_expect_eq(eab_mechanism_from_name(""), -1);
    cr_expect_eq(eab_mechanism_from_name(NULL), -1);
}

Test(mechanism, classes_and_scales) {
    for (int32_t i = 0; i < NAMES; i++) {
        cr_expect_eq(eab_mechanism_class_of(i), mechanisms[i].class, "%s", mechanisms[i].name);
        cr_expect_float_eq(eab_mechanism_default_scale(i, 64), mechanisms[i].scale, 0, "%s", mechanisms[i].name);
    }
}

/* `terms`: the size of those that cancel in `exact`. */
static void expect_close(const char *what, int32_t mechanism, float z, double value, double exact, double tolerance,
                         double terms) {
    cr_expect(fabs(value - exact) <= tolerance * 0x1p-24 * (fabs(exact) + terms) + 1e-37,
              "%s of %s (%d) at %g: %.9g, not %.9g", what, mechanisms[mechanism].name, (int)mechanism, (double)z, value,
              exact);
}

Test(mechanism, formulas) {
    for (int32_t i = 0; i < COUNT; i++)
        for (int power = 0; power < 176; power++) /* |z| from 1e-12 to 8e11 */
            for (int sign = -1; sign <= 1; sign += 2) {
                const float z = (float)(sign * 1e-12 * pow(1.37, power));
                expect_close("weight", i, z, (double)mechanisms[i].weight(z), mechanisms[i].exact((double)z),
                             mechanisms[i].tolerance, mechanisms[i].cancels ? 1 : 0);
                expect_close("derivative", i, z, (double)mechanisms[i].slope(z), mechanisms[i].exact_slope((double)z),
                             mechanisms[i].slope_tolerance, mechanisms[i].cancels ? exp(fmin((double)z, 0)) : 0);
            }
}

Test(mechanism, derivatives_are_finite_differences) {
    for (int32_t i = 0; i < COUNT; i++)
        for (int k = 0; k < 22; k++) {
            const double z = -4 + 0.37 * k, step = 1e-5 * fmax(fabs(z), 1e-3);
            const double numeric = (mechanisms[i].exact(z + step) - mechanisms[i].exact(z - step)) / (2 * step);
            cr_expect(fabs(numeric - (double)mechanisms[i].slope((float)z)) < 1e-6 * fmax(1, fabs(numeric)), "%s at %g",
                      mechanisms[i].name, z);
        }
}

Test(mechanism, ends) {
    const float ends[] = {0.0f, 1e-45f, 1e-30f, 300, 1e15f, 1e19f, 1e30f, 3.4e38f, INFINITY};
    for (int32_t m = 0; m < COUNT; m++) {
        const bool bounded = mechanisms[m].class == EAB_CLASS_BOUNDED;
        const bool saturates = bounded && strcmp(mechanisms[m].name, "square") != 0;
        for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
            for (int sign = -1; sign <= 1; sign += 2) {
                const float z = (float)sign * ends[i], weight = mechanisms[m].weight(z), slope = mechanisms[m].slope(z);
                const float most = saturates ? 1 + 2 * EAB_WEIGHT_EPS : bounded ? 0x1p64f : 0x1p126f;
                cr_expect(fabsf(weight) <= most && (!bounded || weight >= EAB_WEIGHT_EPS), "%s: w(%g) = %g",
                          mechanisms[m].name, (double)z, (double)weight);
                cr_expect(isfinite(slope) && (!saturates || fabsf(slope) < 1.1f), "%s: w'(%g) = %g", mechanisms[m].name,
                          (double)z, (double)slope);
            }
        cr_expect(isnan(mechanisms[m].weight(NAN)), "%s", mechanisms[m].name);
    }
    cr_expect_eq(eab_ea_weight(0), EAB_WEIGHT_EPS);
    cr_expect_eq(eab_ea_derivative(0), 0);
}
