/* The 16-bit floats: every value there and back, and rounding to nearest even against a search in float64. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "simt.h"

static double half_value(unsigned bits) {
    const int exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
    const double size = exponent == 31 ? INFINITY
                        : exponent     ? ldexp(1024 + fraction, exponent - 25)
                                       : ldexp(fraction, -24);
    return bits & 0x8000 ? -size : size;
}

static double bfloat_value(unsigned bits) {
    const int exponent = static_cast<int>(bits >> 7 & 255), fraction = static_cast<int>(bits & 127);
    const double size = exponent == 255 ? INFINITY
                        : exponent      ? ldexp(128 + fraction, exponent - 134)
                                        : ldexp(fraction, -133);
    return bits & 0x8000 ? -size : size;
}

Test(conversions, there_and_back) {
    for (unsigned bits = 0; bits < 0x10000; bits++) {
        const unsigned short stored = static_cast<unsigned short>(bits);
        if ((bits & 0x7fff) <= 0x7c00) {
            cr_assert_eq(static_cast<double>(__half2float({stored})), half_value(bits), "half 0x%04x", bits);
            cr_assert_eq(__float2half(__half2float({stored})).x, stored, "half 0x%04x", bits);
        } else {
            cr_assert(isnan(__half2float({stored})));
        }
        if ((bits & 0x7fff) <= 0x7f80) {
            cr_assert_eq(static_cast<double>(__bfloat162float({stored})), bfloat_value(bits), "bfloat16 0x%04x", bits);
            cr_assert_eq(__float2bfloat16(__bfloat162float({stored})).x, stored, "bfloat16 0x%04x", bits);
        } else {
            cr_assert(isnan(__bfloat162float({stored})));
        }
    }
    cr_assert_eq(__float2half(NAN).x, 0x7fff);
    cr_assert_eq(__float2bfloat16(NAN).x, 0x7fff);
}

/* Of the two neighbours of |x|, the nearer one, on a tie the even one; past the largest by half a step: infinity. */
static unsigned nearest(double (*value)(unsigned), unsigned infinity, float x) {
    unsigned low = 0, high = infinity;
    const double size = fabs(static_cast<double>(x));
    while (high - low > 1) {
        const unsigned middle = (low + high) / 2;
        if (value(middle) <= size) low = middle;
        else high = middle;
    }
    const double next = high == infinity ? 2 * value(infinity - 1) - value(infinity - 2) : value(high);
    const double below = size - value(low), above = next - size;
    const unsigned chosen = isinf(size) ? infinity : below < above || (below == above && !(low & 1)) ? low : high;
    return chosen | (signbit(x) ? 0x8000 : 0);
}

Test(conversions, round_to_nearest_even) {
    srand(1);
    for (int i = 0; i < 200000; i++) {
        unsigned bits = static_cast<unsigned>(rand()) << 12 ^ static_cast<unsigned>(rand());
        if (i % 3 == 0) bits = static_cast<unsigned>(rand() % 0x47800000) & 0xfffff000u; /* ties of half */
        if (i % 3 == 1)
            bits = (bits & 0x807fffffu) | (100u + static_cast<unsigned>(rand()) % 45) << 23; /* in half's range */
        const float x = __uint_as_float(bits);
        if (isnan(x)) continue;
        cr_assert_eq(__float2half(x).x, nearest(half_value, 0x7c00, x), "half of %a", static_cast<double>(x));
        cr_assert_eq(__float2bfloat16(x).x, nearest(bfloat_value, 0x7f80, x), "bfloat16 of %a", static_cast<double>(x));
    }
}

Test(conversions, pairs) {
    const __nv_bfloat162 b = __floats2bfloat162_rn(1, 2);
    const __half2 h = __float22half2_rn(make_float2(3, 4));
    cr_assert_eq(simt_bits<uint32_t>(b), 0x40003f80u); /* the first in the lower half */
    cr_assert_eq(__low2float(b) + 10 * __high2float(b), 21);
    cr_assert_eq(__half22float2(h).x + 10 * __half22float2(h).y, 43);
}

Test(conversions, intrinsics) {
    cr_assert_float_eq(__expf(1), 2.718281828, 1e-6);
    cr_assert_eq(__expf(-200), 0);
    cr_assert_eq(eab_fast_exp2(-140), 0, "subnormal results are 0");
    cr_assert_eq(eab_fast_reciprocal(4), 0.25f);
    cr_assert_eq(__fdividef(1, 0x1p127f), 0);
    cr_assert_eq(__saturatef(NAN), 0);
    cr_assert_eq(max(NAN, 1.0f), 1, "as on the device, the number wins");
    cr_assert_eq(__clz(1), 31);
    cr_assert_eq(__ffs(8), 4);
    cr_assert_eq(__umulhi(0x80000000u, 6), 3);
}
