/* kernels/mechanism.h: names, classes, scales; formulas against float64 and finite differences. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "kernels/attention.h"
#include "kernels/mechanism.h"

Test(mechanism, names) {
    static const char *const names[] = {"dpa", "ea", "ea-scaled", "ea-softmax"};
    for (int32_t i = 0; i < 4; i++) {
        cr_expect_eq(eab_mechanism_from_name(names[i]), i);
        cr_expect_str_eq(eab_mechanism_name(i), names[i]);
    }
    cr_expect_eq(EAB_MECHANISM_COUNT, 4);
    cr_expect_null(eab_mechanism_name(4));
    cr_expect_null(eab_mechanism_name(-1));
    cr_expect_eq(eab_mechanism_from_name("EA"), -1);
    cr_expect_eq(eab_mechanism_from_name(""), -1);
    cr_expect_eq(eab_mechanism_from_name(NULL), -1);
}

Test(mechanism, classes_and_scales) {
    for (int32_t i = 0; i < 4; i++) {
        const bool ea = i == 1 || i == 2;
        cr_expect_eq(eab_mechanism_class_of(i), ea ? EAB_CLASS_BOUNDED : EAB_CLASS_EXPONENTIAL);
        cr_expect_float_eq(eab_mechanism_default_scale(i, 64), i == 1 ? 1.0f : 0.125f, 0);
    }
}

static double central_difference(double (*f)(double), double z) {
    const double step = 1e-5 * fmax(fabs(z), 1e-3);
    return (f(z + step) - f(z - step)) / (2 * step);
}

static double ea(double z) { return z * z / (1 + z * z) + 0x1p-24; }
static double square(double z) { return z * z; }

Test(mechanism, formulas) {
    for (int power = 0; power < 176; power++) /* |z| from 1e-12 to 8e11 */
        for (int sign = -1; sign <= 1; sign += 2) {
            const float z = (float)(sign * 1e-12 * pow(1.37, power));
            const double exact = ea((double)z),
                         derivative = 2 * (double)z / ((1 + (double)z * z) * (1 + (double)z * z));
            cr_expect(fabs((double)eab_ea_weight(z) - exact) <= 4 * 0x1p-24 * exact, "w(%g)", (double)z);
            cr_expect(fabs((double)eab_ea_derivative(z) - derivative) <= 6 * 0x1p-24 * fabs(derivative) + 1e-44,
                      "w'(%g)", (double)z);
            cr_expect_eq(eab_dpa_log_weight(z), z);
            cr_expect_eq(eab_dpa_log_derivative(z), 1);
            cr_expect_float_eq(eab_ea_softmax_log_weight(z), z * z, 0);
            cr_expect_float_eq(eab_ea_softmax_log_derivative(z), 2 * z, 0);
        }
    for (int i = 0; i < 22; i++) { /* the derivatives against finite differences */
        const double z = -4 + 0.37 * i;
        cr_expect(fabs(central_difference(ea, z) - (double)eab_ea_derivative((float)z)) < 1e-6);
        cr_expect(fabs(central_difference(square, z) - (double)eab_ea_softmax_log_derivative((float)z)) < 1e-5);
    }
}

Test(mechanism, ends) {
    const float ends[] = {0.0f, 1e-45f, 1e-30f, 1e15f, 1e19f, 1e30f, 3.4e38f, INFINITY};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        for (int sign = -1; sign <= 1; sign += 2) {
            const float z = (float)sign * ends[i];
            cr_expect(eab_ea_weight(z) >= EAB_WEIGHT_EPS && eab_ea_weight(z) <= 1 + 2 * EAB_WEIGHT_EPS, "%g",
                      (double)z);
            cr_expect(fabsf(eab_ea_derivative(z)) < 1, "%g", (double)z);
            cr_expect(fabsf(eab_dpa_log_weight(z)) <= 0x1p126f, "%g", (double)z);
            cr_expect(eab_ea_softmax_log_weight(z) <= 0x1p100f, "%g", (double)z);
            cr_expect(isfinite(eab_ea_softmax_log_derivative(z)), "%g", (double)z);
        }
    cr_expect_eq(eab_ea_weight(0), EAB_WEIGHT_EPS);
    cr_expect_eq(eab_ea_derivative(0), 0);
    cr_expect(isnan(eab_ea_weight(NAN)) && isnan(eab_dpa_log_weight(NAN)) && isnan(eab_ea_softmax_log_weight(NAN)));
}
