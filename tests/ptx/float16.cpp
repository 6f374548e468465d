#include "float16.h"

#include <cmath>

namespace ptx {

const int smallest_half_exponent = -24; /* of the unit of subnormal halves */

float half_to_float(uint16_t half) {
    const int exponent = half >> 10 & 31, fraction = half & 1023;
    float value;
    if (exponent == 31) value = fraction ? NAN : INFINITY;
    else if (exponent == 0) value = ldexpf((float)fraction, smallest_half_exponent);
    else value = ldexpf((float)(1024 + fraction), exponent - 25);
    return half >> 15 ? -value : value;
}

uint16_t float_to_half(float value) {
    if (std::isnan(value)) return 0x7FFF;
    const uint32_t sign = bits_as<uint32_t>(value) >> 16 & 0x8000u;
    const double size = fabs((double)value);
    if (size >= 65520) return (uint16_t)(sign | 0x7C00u); /* rounds to infinity */
    int exponent;
    frexp(size, &exponent);
    int unit = exponent - 11; /* the exponent of the last of 11 bits */
    if (size == 0 || unit < smallest_half_exponent) unit = smallest_half_exponent;
    /* A carry of the rounding runs into the exponent, as it should. */
    const uint32_t significand = (uint32_t)nearbyint(ldexp(size, -unit));
    return (uint16_t)(sign | (((uint32_t)(unit - smallest_half_exponent) << 10) + significand));
}

uint16_t float_to_bf16(float value) {
    if (std::isnan(value)) return 0x7FFF;
    const uint32_t bits = bits_as<uint32_t>(value);
    return (uint16_t)((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16);
}

} // namespace ptx
