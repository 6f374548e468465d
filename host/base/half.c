#include "half.h"

#include <math.h>
#include <string.h>

#include "kernels/attention.h"

double eab_half_roundoff(int32_t dtype) { return dtype == EAB_BF16 ? 0x1p-8 : 0x1p-11; }

double eab_half_round(double value, int32_t dtype) {
    int exponent;
    const double digits = dtype == EAB_BF16 ? 0x1p8 : 0x1p11, fraction = frexp(value, &exponent);
    return ldexp(nearbyint(fraction * digits) / digits, exponent);
}

uint16_t eab_half_encode(double value, int32_t dtype) {
    float rounded = (float)eab_half_round(value, dtype);
    uint32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    if (dtype == EAB_BF16 || rounded == 0) return (uint16_t)(bits >> 16);
    return (uint16_t)((bits >> 16 & 0x8000) | ((bits >> 23 & 0xFF) - 112) << 10 | (bits >> 13 & 0x3FF));
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
