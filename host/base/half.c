#include "half.h"

#include <math.h>
#include <string.h>

#include "kernels/attention.h"

/* Digits of the significand, and the exponent of the smallest positive number. */
typedef struct {
    int digits, lowest;
    double overflow; /* from here on the nearest is infinity */
} half_format;

static half_format format_of(int32_t dtype) {
    return dtype == EAB_BF16 ? (half_format){8, -133, 0x1.FFp127} : (half_format){11, -24, 65520};
}

double eab_half_roundoff(int32_t dtype) { return ldexp(1, -format_of(dtype).digits); }

double eab_half_round(double value, int32_t dtype) {
    const half_format format = format_of(dtype);
    int exponent;
    if (!isfinite(value)) return value;
    if (fabs(value) >= format.overflow) return copysign(INFINITY, value);
    frexp(value, &exponent);
    const int spacing = exponent - format.digits > format.lowest ? exponent - format.digits : format.lowest;
    return copysign(ldexp(nearbyint(ldexp(value, -spacing)), spacing), value);
}

uint16_t eab_half_encode(double value, int32_t dtype) {
    const double rounded = eab_half_round(value, dtype), size = fabs(rounded);
    if (dtype == EAB_BF16) {
        const float single = (float)rounded;
        uint32_t bits;
        memcpy(&bits, &single, sizeof bits);
        return (uint16_t)(bits >> 16);
    }
    const uint16_t sign = signbit(rounded) ? 0x8000 : 0;
    if (isnan(rounded)) return sign | 0x7E00;
    if (isinf(rounded)) return sign | 0x7C00;
    if (size < 0x1p-14) return sign | (uint16_t)ldexp(size, 24);
    int exponent;
    const double digits = ldexp(frexp(size, &exponent), 11); /* 1024 to 2047 */
    return (uint16_t)(sign | ((exponent + 14) << 10) | ((int)digits - 1024));
}

double eab_half_decode(uint16_t bits, int32_t dtype) {
    if (dtype == EAB_BF16) {
        const uint32_t wide = (uint32_t)bits << 16;
        float value;
        memcpy(&value, &wide, sizeof value);
        return (double)value;
    }
    const int exponent = bits >> 10 & 31, digits = bits & 0x3FF;
    const double size = exponent == 31  ? (digits ? NAN : INFINITY)
                        : exponent == 0 ? ldexp(digits, -24)
                                        : ldexp(1024 + digits, exponent - 25);
    return bits >> 15 ? -size : size;
}
