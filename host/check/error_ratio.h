/* error_ratio = |tested - exact| / max(|plain - exact|, unit roundoff * |terms before cancellation|): docs/design.md 1.
 * exact: float64. plain: the plain implementation, which computes in float32 and rounds to the tested type. */
#ifndef EAB_CHECK_ERROR_RATIO_H
#define EAB_CHECK_ERROR_RATIO_H

#include <math.h>

/* Bounds of error_ratio. */
#define EAB_BOUND_FORWARD 2.0
#define EAB_BOUND_GRADIENT 3.0

/* Sums of squares over the elements. */
typedef struct {
    double error, plain, terms;
} eab_error_sums;

/* terms: size of the element's terms before they cancel; 0 if unknown. It counts as at least the element itself. */
static inline void eab_error_add(eab_error_sums *sums, double tested, double plain, double exact, double terms) {
    sums->error += (tested - exact) * (tested - exact);
    sums->plain += (plain - exact) * (plain - exact);
    sums->terms += fmax(exact * exact, terms * terms);
}

/* NAN if the tested values have a NAN. */
static inline double eab_error_ratio(const eab_error_sums *sums, double roundoff) {
    if (sums->error == 0) return 0;
    return sqrt(sums->error) / fmax(sqrt(sums->plain), roundoff * sqrt(sums->terms));
}

#endif
