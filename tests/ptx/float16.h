/* 16-bit floats, to nearest with ties to even. */
#ifndef EAB_TESTS_PTX_FLOAT16_H
#define EAB_TESTS_PTX_FLOAT16_H

#include <cstdint>
#include <cstring>

namespace ptx {

/* The same bits as another type; narrower ones get zeros above. */
template <typename To, typename From> inline To bits_as(From from) {
    To to = 0;
    memcpy(&to, &from, sizeof to < sizeof from ? sizeof to : sizeof from);
    return to;
}

float half_to_float(uint16_t half);
uint16_t float_to_half(float value);
inline float bf16_to_float(uint16_t bits) { return bits_as<float>((uint32_t)bits << 16); }
uint16_t float_to_bf16(float value);

} // namespace ptx

#endif
