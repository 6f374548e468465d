/* Numbers of 16 bits: rounding and encoding against the sorted list of all of them. EAB_FLOAT_STEP=1 tries all floats,
 * by default one of 4,099. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "host/base/half.h"
#include "kernels/attention.h"

static const int32_t dtypes[] = {EAB_F16, EAB_BF16};

static uint16_t infinity_of(int32_t dtype) { return dtype == EAB_F16 ? 0x7C00 : 0x7F80; }

/* Half-way from number `bits` (positive, finite) to the next; after the largest the next would be as far again. */
static double middle_after(uint16_t bits, int32_t dtype) {
    const double here = eab_half_decode(bits, dtype);
    if (bits + 1 < infinity_of(dtype)) return (here + eab_half_decode((uint16_t)(bits + 1), dtype)) / 2;
    return here + (here - eab_half_decode((uint16_t)(bits - 1), dtype)) / 2;
}

static void expect_code(double value, uint16_t bits, int32_t dtype) {
    const uint16_t found = eab_half_encode(value, dtype), negative = eab_half_encode(-value, dtype);
    if (found != bits || negative != (bits | 0x8000))
        cr_assert_fail("%a, type %d: %04x and %04x, not %04x", value, (int)dtype, (unsigned)found, (unsigned)negative,
                       (unsigned)bits);
}

Test(half, all_numbers_and_the_middles_between_them) {
    for (int i = 0; i < 2; i++)
        for (uint16_t bits = 0; bits < infinity_of(dtypes[i]); bits++) {
            const double value = eab_half_decode(bits, dtypes[i]), middle = middle_after(bits, dtypes[i]);
            expect_code(value, bits, dtypes[i]);
            cr_assert_eq(eab_half_round(value, dtypes[i]), value);
            expect_code(nextafter(middle, 0), bits, dtypes[i]);
            expect_code(middle, (uint16_t)(bits + (bits & 1)), dtypes[i]); /* ties to even */
            expect_code(nextafter(middle, INFINITY), (uint16_t)(bits + 1), dtypes[i]);
        }
}

Test(half, all_floats) {
    const char *step_text = getenv("EAB_FLOAT_STEP");
    const uint32_t step = step_text && atoi(step_text) == 1 ? 1 : 4099;
    for (int i = 0; i < 2; i++) {
        const uint16_t last = infinity_of(dtypes[i]);
        uint16_t bits = 0;
        double middle = middle_after(0, dtypes[i]);
        for (uint32_t pattern = 0; pattern <= 0x7F800000; pattern += step) {
            float value;
            memcpy(&value, &pattern, sizeof value);
            while (bits < last && ((double)value > middle || ((double)value == middle && bits & 1))) {
                bits++;
                if (bits < last) middle = middle_after(bits, dtypes[i]);
            }
            expect_code((double)value, bits, dtypes[i]);
        }
    }
}

Test(half, special_values) {
    for (int i = 0; i < 2; i++) {
        cr_expect(isnan(eab_half_decode(eab_half_encode(NAN, dtypes[i]), dtypes[i])));
        cr_expect(isnan(eab_half_round(NAN, dtypes[i])));
        expect_code(INFINITY, infinity_of(dtypes[i]), dtypes[i]);
        expect_code(1e300, infinity_of(dtypes[i]), dtypes[i]);
        expect_code(5e-324, 0, dtypes[i]);
    }
    cr_expect_eq(eab_half_encode(1e-5, EAB_F16), 168); /* 168 / 2^24 = 1.0014e-5 */
    cr_expect_eq(eab_half_roundoff(EAB_F16), 0x1p-11);
    cr_expect_eq(eab_half_roundoff(EAB_BF16), 0x1p-8);
}
