/* Arithmetic of integers. */
#include "executor.h"

namespace ptx {

/* add.cc, addc, sub.cc, subc, mad.cc, madc: the carry of a subtraction is a borrow. */
void Executor::add_with_carry(Warp &w, const Instruction &i, uint32_t lanes) {
    if (size_of(i.type) != 4) missing(i);
    each(lanes, [&](int l) {
        const uint64_t carry = i.carry_in ? w.carry >> l & 1 : 0;
        const uint64_t a = get32(w, i.from[0], l), b = get32(w, i.from[1], l);
        uint64_t result;
        if (i.op == ADD) result = a + b + carry;
        else if (i.op == SUB) result = a - b - carry;
        else if (i.op == MAD_LO) result = (uint64_t)(uint32_t)(a * b) + get32(w, i.from[2], l) + carry;
        else result = (a * b >> 32) + get32(w, i.from[2], l) + carry;
        if (i.carry_out) w.carry = (w.carry & ~(1u << l)) | (uint32_t)(result >> 32 & 1) << l;
        set(w, i.to[0], l, result);
    });
}

void Executor::multiply_high(Warp &w, const Instruction &i, uint32_t lanes) {
    switch (i.type) {
        case U32: map2<uint32_t>(w, i, lanes, [](uint32_t x, uint32_t y) { return (uint64_t)x * y >> 32; }); break;
        case S32: map2<int32_t>(w, i, lanes, [](int32_t x, int32_t y) { return (int64_t)x * y >> 32; }); break;
        case U64:
            map2<uint64_t>(w, i, lanes, [](uint64_t x, uint64_t y) { return (unsigned __int128)x * y >> 64; });
            break;
        case S64: map2<int64_t>(w, i, lanes, [](int64_t x, int64_t y) { return (__int128)x * y >> 64; }); break;
        default: missing(i);
    }
}

void Executor::divide(Warp &w, const Instruction &i, uint32_t lanes) {
    const bool remainder = i.op == REM;
    const auto by = [&](auto x, auto y) {
        if (y == 0) {
            finding("division by zero", &f, i.line, "of integers");
            return x;
        }
        return (decltype(x))(remainder ? x % y : x / y);
    };
    integers2(w, i, lanes, by);
}

void Executor::execute_integer(Warp &w, const Instruction &i, uint32_t lanes) {
    if (i.carry_in || i.carry_out) {
        add_with_carry(w, i, lanes);
        return;
    }
    switch (i.op) {
        case ADD: unsigned2(w, i, lanes, [](auto x, auto y) { return x + y; }); break;
        case SUB: unsigned2(w, i, lanes, [](auto x, auto y) { return x - y; }); break;
        case MUL_LO: unsigned2(w, i, lanes, [](auto x, auto y) { return (uint64_t)x * y; }); break;
        case MUL_HI: multiply_high(w, i, lanes); break;
        case MUL_WIDE:
            each(lanes, [&](int l) {
                const uint64_t x = get(w, i.from[0], l), y = get(w, i.from[1], l);
                switch (i.type) {
                    case S32: set(w, i.to[0], l, (uint64_t)((int64_t)(int32_t)x * (int32_t)y)); break;
                    case U32: set(w, i.to[0], l, (uint64_t)(uint32_t)x * (uint32_t)y); break;
                    case S16: set(w, i.to[0], l, (uint32_t)((int16_t)x * (int16_t)y)); break;
                    case U16: set(w, i.to[0], l, (uint32_t)(uint16_t)x * (uint16_t)y); break;
                    default: missing(i);
                }
            });
            break;
        case MAD_LO:
            if (size_of(i.type) == 8) map3<uint64_t>(w, i, lanes, [](auto x, auto y, auto z) { return x * y + z; });
            else if (size_of(i.type) == 4)
                map3<uint32_t>(w, i, lanes, [](auto x, auto y, auto z) { return x * y + z; });
            else missing(i);
            break;
        case MAD_HI:
            if (i.type != U32) missing(i);
            map3<uint32_t>(w, i, lanes, [](uint64_t x, uint64_t y, uint64_t z) { return (x * y >> 32) + z; });
            break;
        case DIV:
        case REM: divide(w, i, lanes); break;
        case MIN: integers2(w, i, lanes, [](auto x, auto y) { return x < y ? x : y; }); break;
        case MAX: integers2(w, i, lanes, [](auto x, auto y) { return x > y ? x : y; }); break;
        case ABS:
            if (i.type != S32) missing(i);
            map1<uint32_t>(w, i, lanes, [](uint32_t x) { return x >> 31 ? 0 - x : x; });
            break;
        default: /* NEG */ unsigned1(w, i, lanes, [](auto x) { return 0 - x; });
    }
}

} // namespace ptx
