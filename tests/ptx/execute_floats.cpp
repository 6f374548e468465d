/* Arithmetic of floats. Compiled without contraction: only fma is fused. */
#include <cfenv>
#include <cmath>

#include "executor.h"

namespace ptx {

static float flush(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }

/* Off by up to so many units in the last place: the same for the same value, different between values. */
static float disturbed(float x, int units) {
    if (!settings().approximate || !std::isfinite(x) || x == 0) return x;
    uint32_t hash = bits_as<uint32_t>(x) * 2654435761u;
    hash ^= hash >> 15;
    hash *= 2246822519u;
    hash ^= hash >> 13;
    const uint32_t step = hash % (uint32_t)(2 * units + 1) - (uint32_t)units;
    return bits_as<float>(bits_as<uint32_t>(x) + step);
}

/* Errors by PTX ISA: 2 units (ex2), 1 (rcp). Powers of two are exact. */
static float approximate_exp2(float x, bool flushes) {
    if (flushes) x = flush(x);
    const float exact = (float)exp2((double)x), y = x == rintf(x) ? exact : disturbed(exact, 2);
    return flushes ? flush(y) : y;
}

static float approximate_reciprocal(float x, bool flushes) {
    if (flushes) x = flush(x);
    int exponent;
    const bool power = fabsf(frexpf(x, &exponent)) == 0.5f;
    const float y = power ? 1 / x : disturbed(1 / x, 1);
    return flushes ? flush(y) : y;
}

static double upper_half(double x) { return bits_as<double>(bits_as<uint64_t>(x) & ~0xFFFFFFFFull); }

void Executor::special_function(Warp &w, const Instruction &i, uint32_t lanes) {
    const bool flushes = i.flush, wide = i.type == F64;
    switch (i.op) {
        case EX2:
            if (!i.approximate || wide) missing(i);
            map1<float>(w, i, lanes, [=](float x) { return approximate_exp2(x, flushes); });
            break;
        case LG2:
            if (!i.approximate || wide) missing(i);
            map1<float>(w, i, lanes,
                        [=](float x) { return disturbed((float)log2((double)(flushes ? flush(x) : x)), 2); });
            break;
        case RCP:
            if (wide && i.approximate) /* the upper half of the bits is used, and written */
                map1<double>(w, i, lanes, [](double x) { return upper_half(1 / upper_half(x)); });
            else if (wide) map1<double>(w, i, lanes, [](double x) { return 1 / x; });
            else if (i.approximate)
                map1<float>(w, i, lanes, [=](float x) { return approximate_reciprocal(x, flushes); });
            else if (i.round == NEAREST) map1<float>(w, i, lanes, [](float x) { return 1 / x; });
            else missing(i);
            break;
        case SQRT:
            if (i.approximate || i.round != NEAREST) missing(i);
            if (wide) map1<double>(w, i, lanes, [](double x) { return sqrt(x); });
            else map1<float>(w, i, lanes, [](float x) { return sqrtf(x); });
            break;
        default: /* RSQRT */
            if (wide || i.flush) missing(i);
            map1<float>(w, i, lanes, [](float x) { return disturbed((float)(1 / sqrt((double)x)), 2); });
    }
}

void Executor::fused_multiply_add(Warp &w, const Instruction &i, uint32_t lanes) {
    if (i.type == F64) {
        if (i.round != NEAREST) missing(i);
        map3<double>(w, i, lanes, [](double x, double y, double z) { return fma(x, y, z); });
    } else if (i.round == NEAREST) {
        map3<float>(w, i, lanes, [](float x, float y, float z) { return fmaf(x, y, z); });
    } else { /* the compiler's code of a division uses them */
        fesetround(i.round == DOWN ? FE_DOWNWARD : i.round == UP ? FE_UPWARD : FE_TOWARDZERO);
        map3<float>(w, i, lanes, [](float x, float y, float z) {
            volatile float a = x, b = y, c = z; /* computed here, under this rounding */
            return fmaf(a, b, c);
        });
        fesetround(FE_TONEAREST);
    }
}

/* A NaN is ignored, or kept with .NaN; -0 is less than 0. */
void Executor::minimum_or_maximum(Warp &w, const Instruction &i, uint32_t lanes) {
    const bool lowest = i.op == MIN_F, keep_nan = i.keep_nan;
    const auto choose = [=](auto x, auto y) {
        if (x != x) return keep_nan ? x : y;
        if (y != y) return keep_nan ? y : x;
        if (x == y) return std::signbit(x) == lowest ? x : y;
        return (x < y) == lowest ? x : y;
    };
    if (i.type == F32) map2<float>(w, i, lanes, choose);
    else map2<double>(w, i, lanes, choose);
}

void Executor::execute_float(Warp &w, const Instruction &i, uint32_t lanes) {
    const bool single = i.type == F32;
    if (i.op >= EX2) {
        special_function(w, i, lanes);
        return;
    }
    if ((!single && i.type != F64) || i.flush || i.saturate || i.approximate) missing(i);
    if (i.op != FMA && i.round != NEAREST && i.round != NO_ROUND) missing(i);
    const auto both = [&](auto function) {
        if (single) map2<float>(w, i, lanes, function);
        else map2<double>(w, i, lanes, function);
    };
    const uint64_t sign = 1ull << 63;
    switch (i.op) {
        case ADD_F: both([](auto x, auto y) { return x + y; }); break;
        case SUB_F: both([](auto x, auto y) { return x - y; }); break;
        case MUL_F: both([](auto x, auto y) { return x * y; }); break;
        case DIV_F: both([](auto x, auto y) { return x / y; }); break;
        case FMA: fused_multiply_add(w, i, lanes); break;
        case MIN_F:
        case MAX_F: minimum_or_maximum(w, i, lanes); break;
        case ABS_F:
            if (single) map1<uint32_t>(w, i, lanes, [](uint32_t x) { return x & 0x7FFFFFFFu; });
            else map1<uint64_t>(w, i, lanes, [=](uint64_t x) { return x & ~sign; });
            break;
        default: /* NEG_F */
            if (single) map1<uint32_t>(w, i, lanes, [](uint32_t x) { return x ^ 0x80000000u; });
            else map1<uint64_t>(w, i, lanes, [=](uint64_t x) { return x ^ sign; });
    }
}

} // namespace ptx
