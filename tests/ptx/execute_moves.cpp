/* Moves, selections, conversions and comparisons. */
#include <cmath>

#include "executor.h"

namespace ptx {

template <typename T> void Executor::compare(Warp &w, const Instruction &i, uint32_t lanes) {
    const Bits<T> *const a = source<Bits<T>>(w, i.from[0]), *const b = source<Bits<T>>(w, i.from[1]);
    uint32_t result = 0;
    const auto all = [&](auto holds) {
        for (int l = 0; l < 32; l++) {
            const T x = bits_as<T>(a[l]), y = bits_as<T>(b[l]);
            result |= (uint32_t)holds(x, y, x != x || y != y) << l;
        }
    };
    switch (i.compare) {
        case EQ: all([](T x, T y, bool) { return x == y; }); break;
        case NE: all([](T x, T y, bool nan) { return !nan && x != y; }); break;
        case LT: all([](T x, T y, bool) { return x < y; }); break;
        case LE: all([](T x, T y, bool) { return x <= y; }); break;
        case GT: all([](T x, T y, bool) { return x > y; }); break;
        case GE: all([](T x, T y, bool) { return x >= y; }); break;
        case LTU: all([](T x, T y, bool nan) { return nan || x < y; }); break;
        case LEU: all([](T x, T y, bool nan) { return nan || x <= y; }); break;
        case GTU: all([](T x, T y, bool nan) { return nan || x > y; }); break;
        case GEU: all([](T x, T y, bool nan) { return nan || x >= y; }); break;
        case EQU: all([](T x, T y, bool nan) { return nan || x == y; }); break;
        case NEU: all([](T x, T y, bool nan) { return nan || x != y; }); break;
        case NUM: all([](T, T, bool nan) { return !nan; }); break;
        case NOT_A_NUMBER: all([](T, T, bool nan) { return nan; }); break;
    }
    set_predicate(w, i.to[0], lanes, result);
}

static double float_value(Type type, uint64_t bits) {
    switch (type) {
        case F32: return (double)bits_as<float>((uint32_t)bits);
        case F64: return bits_as<double>(bits);
        case F16: return (double)half_to_float((uint16_t)bits);
        default: return (double)bf16_to_float((uint16_t)bits);
    }
}

static double rounded(double x, Round round) {
    switch (round) {
        case INTEGER_NEAREST: return nearbyint(x);
        case INTEGER_ZERO: return trunc(x);
        case INTEGER_DOWN: return floor(x);
        case INTEGER_UP: return ceil(x);
        default: return x;
    }
}

/* Out of range: the nearest value; NaN: 0, or the most negative number of 64 bits. */
static bool to_integer(Type type, double x, uint64_t *bits) {
    if (std::isnan(x)) *bits = size_of(type) == 8 ? 1ull << 63 : 0;
    else if (type == S32) *bits = (uint32_t)(int32_t)fmin(fmax(x, -2147483648.0), 2147483647.0);
    else if (type == U32) *bits = (uint32_t)fmin(fmax(x, 0), 4294967295.0);
    else if (type == S64) *bits = x >= 0x1p63 ? INT64_MAX : x < -0x1p63 ? 1ull << 63 : (uint64_t)(int64_t)x;
    else if (type == U64) *bits = x < 0 ? 0 : x >= 0x1p64 ? UINT64_MAX : (uint64_t)x;
    else return false;
    return true;
}

uint64_t Executor::convert(const Instruction &i, uint64_t bits) const {
    const Type from = i.from_type, to = i.type;
    if (is_float(from)) {
        double x = float_value(from, bits);
        if (i.flush && from == F32 && fabs(x) < 0x1p-126) x = copysign(0, x);
        x = rounded(x, i.round);
        if (i.saturate && is_float(to)) x = x > 0 ? fmin(x, 1) : 0; /* NaN becomes 0 */
        const bool narrows = from == F64 && to != F64 && is_float(to);
        if (narrows && (to != F32 || i.round == ZERO || i.round == DOWN || i.round == UP)) missing(i);
        if ((to == F16 || to == BF16) && i.round != NEAREST) missing(i);
        if (!is_float(to) && (i.round < INTEGER_NEAREST || i.round == NO_ROUND)) missing(i);
        switch (to) {
            case F64: return bits_as<uint64_t>(x);
            case F32: return bits_as<uint32_t>((float)x);
            case F16: return float_to_half((float)x);
            case BF16: return float_to_bf16((float)x);
            default: break;
        }
        if (!to_integer(to, x, &bits)) missing(i);
        return bits;
    }
    const int width = 8 * size_of(from);
    if (width < 64) {
        bits &= (1ull << width) - 1;
        if (is_signed(from) && bits >> (width - 1)) bits |= ~0ull << width;
    }
    if (!is_float(to)) {
        if (i.saturate) missing(i);
        return bits; /* set() keeps the low ones */
    }
    if (i.round != NEAREST || (to != F32 && to != F64)) missing(i);
    if (to == F64) return bits_as<uint64_t>(is_signed(from) ? (double)(int64_t)bits : (double)bits);
    return bits_as<uint32_t>(is_signed(from) ? (float)(int64_t)bits : (float)bits);
}

/* The first source fills the upper half. */
static uint32_t pack_halves(Type type, float high, float low) {
    const auto narrow = type == BF16X2 ? float_to_bf16 : float_to_half;
    return (uint32_t)narrow(high) << 16 | narrow(low);
}

void Executor::execute_move(Warp &w, const Instruction &i, uint32_t lanes) {
    switch (i.op) {
        case MOV:
            if (i.to[0].file == PREDICATE) set_predicate(w, i.to[0], lanes, predicate(w, i.from[0]));
            else if (i.to[0].file == REGISTER64) map1<uint64_t>(w, i, lanes, [](uint64_t x) { return x; });
            else map1<uint32_t>(w, i, lanes, [](uint32_t x) { return x; });
            break;
        case CVTA: map1<uint64_t>(w, i, lanes, [](uint64_t x) { return x; }); break;
        case MOV_PACK: {
            const int part = 8 * size_of(i.type) / (int)i.from.size();
            each(lanes, [&](int l) {
                uint64_t value = 0;
                for (size_t k = 0; k < i.from.size(); k++)
                    value |= (get(w, i.from[k], l) & ((1ull << part) - 1)) << (int)k * part;
                set(w, i.to[0], l, value);
            });
            break;
        }
        case MOV_UNPACK: {
            const int part = 8 * size_of(i.type) / (int)i.to.size();
            each(lanes, [&](int l) {
                const uint64_t value = get(w, i.from[0], l);
                for (size_t k = 0; k < i.to.size(); k++)
                    set(w, i.to[k], l, value >> (int)k * part & ((1ull << part) - 1));
            });
            break;
        }
        case SELP: {
            const uint32_t first = predicate(w, i.from[2]);
            each(lanes, [&](int l) { set(w, i.to[0], l, get(w, i.from[first >> l & 1 ? 0 : 1], l)); });
            break;
        }
        case CVT: each(lanes, [&](int l) { set(w, i.to[0], l, convert(i, get(w, i.from[0], l))); }); break;
        case CVT_PACK:
            each(lanes, [&](int l) {
                const float high = bits_as<float>(get32(w, i.from[0], l)), low = bits_as<float>(get32(w, i.from[1], l));
                set(w, i.to[0], l, pack_halves(i.type, high, low));
            });
            break;
        default: /* SETP */
            if (i.flush) missing(i);
            switch (i.type) {
                case U16:
                case B16: compare<uint16_t>(w, i, lanes); break;
                case S16: compare<int16_t>(w, i, lanes); break;
                case U32:
                case B32: compare<uint32_t>(w, i, lanes); break;
                case S32: compare<int32_t>(w, i, lanes); break;
                case U64:
                case B64: compare<uint64_t>(w, i, lanes); break;
                case S64: compare<int64_t>(w, i, lanes); break;
                case F32: compare<float>(w, i, lanes); break;
                case F64: compare<double>(w, i, lanes); break;
                default: missing(i);
            }
    }
}

} // namespace ptx
