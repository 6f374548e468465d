/* Logic, shifts, bytes and fields of bits. */
#include "executor.h"

namespace ptx {

void Executor::logic(Warp &w, const Instruction &i, uint32_t lanes) {
    if (i.type == PRED) {
        const uint32_t a = predicate(w, i.from[0]), b = i.op == NOT ? 0 : predicate(w, i.from[1]);
        const uint32_t result = i.op == AND ? a & b : i.op == OR ? a | b : i.op == XOR ? a ^ b : ~a;
        set_predicate(w, i.to[0], lanes, result);
        return;
    }
    switch (i.op) {
        case AND: unsigned2(w, i, lanes, [](auto x, auto y) { return x & y; }); break;
        case OR: unsigned2(w, i, lanes, [](auto x, auto y) { return x | y; }); break;
        case XOR: unsigned2(w, i, lanes, [](auto x, auto y) { return x ^ y; }); break;
        default: /* NOT */ unsigned1(w, i, lanes, [](auto x) { return ~x; });
    }
}

/* Bytes of the eight of b:a that the digits of the selector name; the highest bit of a digit copies the byte's sign. */
static uint32_t permute(uint32_t a, uint32_t b, uint32_t selector) {
    const uint64_t both = (uint64_t)b << 32 | a;
    uint32_t result = 0;
    for (int k = 0; k < 4; k++) {
        const uint32_t digit = selector >> 4 * k & 15;
        uint32_t byte = (uint32_t)(both >> 8 * (digit & 7)) & 255;
        if (digit & 8) byte = byte & 128 ? 255 : 0;
        result |= byte << 8 * k;
    }
    return result;
}

/* Any function of three bits, by its table. */
static uint32_t by_table(uint32_t a, uint32_t b, uint32_t c, int64_t table) {
    uint32_t result = 0;
    for (int k = 0; k < 8; k++)
        if (table >> k & 1) result |= (k & 4 ? a : ~a) & (k & 2 ? b : ~b) & (k & 1 ? c : ~c);
    return result;
}

static uint64_t low_bits(uint32_t count) { return count >= 64 ? ~0ull : (1ull << count) - 1; }

/* bfi a, b, position, length: a's low bits into b. bfe a, position, length: bits of a, zero-extended. */
void Executor::bit_field(Warp &w, const Instruction &i, uint32_t lanes) {
    const uint32_t width = (uint32_t)(8 * size_of(i.type));
    const bool insert = i.op == BFI;
    if (!insert && is_signed(i.type)) missing(i);
    each(lanes, [&](int l) {
        const size_t first = insert ? 2 : 1; /* the operand that has the position */
        const uint32_t position = get32(w, i.from[first], l) & 255, length = get32(w, i.from[first + 1], l) & 255;
        const uint64_t a = get(w, i.from[0], l), b = insert ? get(w, i.from[1], l) : 0;
        if (position >= width) set(w, i.to[0], l, b);
        else if (!insert) set(w, i.to[0], l, a >> position & low_bits(length));
        else {
            const uint64_t mask = low_bits(length) << position;
            set(w, i.to[0], l, (b & ~mask) | (a << position & mask));
        }
    });
}

void Executor::execute_bits(Warp &w, const Instruction &i, uint32_t lanes) {
    const uint32_t width = (uint32_t)(8 * size_of(i.type));
    const auto result = [&](auto function) { each(lanes, [&](int l) { set(w, i.to[0], l, function(l)); }); };
    switch (i.op) {
        case AND:
        case OR:
        case XOR:
        case NOT: logic(w, i, lanes); break;
        case SHL:
            result([&](int l) {
                const uint32_t by = get32(w, i.from[1], l);
                if (by >= width) finding("shift", &f, i.line, "by %u of %u bits", by, width);
                return by >= width ? 0 : get(w, i.from[0], l) << by;
            });
            break;
        case SHR:
            result([&](int l) {
                const uint32_t by = get32(w, i.from[1], l);
                if (by >= width) finding("shift", &f, i.line, "by %u of %u bits", by, width);
                uint64_t x = get(w, i.from[0], l);
                if (!is_signed(i.type)) return by >= width ? 0 : x >> by;
                if (width < 64 && x >> (width - 1) & 1) x |= ~0ull << width;
                return (uint64_t)((int64_t)x >> (by >= width ? width - 1 : by));
            });
            break;
        case PRMT:
            result(
                [&](int l) { return permute(get32(w, i.from[0], l), get32(w, i.from[1], l), get32(w, i.from[2], l)); });
            break;
        case BFI:
        case BFE: bit_field(w, i, lanes); break;
        case BFIND: /* the highest bit that is set; with .shiftamt, how far to shift it to the top */
            if (i.type != U32) missing(i);
            result([&](int l) {
                const uint32_t a = get32(w, i.from[0], l), above = a ? (uint32_t)__builtin_clz(a) : 0;
                return !a ? ALL_LANES : i.shift_amount ? above : 31 - above;
            });
            break;
        case BREV:
            if (i.type != B32) missing(i);
            result([&](int l) {
                const uint32_t a = get32(w, i.from[0], l);
                uint32_t reversed = 0;
                for (int k = 0; k < 32; k++) reversed |= (a >> k & 1) << (31 - k);
                return reversed;
            });
            break;
        case CLZ:
            result([&](int l) {
                const uint64_t a = get(w, i.from[0], l);
                return a ? (uint32_t)__builtin_clzll(a) - (64 - width) : width;
            });
            break;
        case POPC: result([&](int l) { return __builtin_popcountll(get(w, i.from[0], l)); }); break;
        case LOP3:
            result([&](int l) {
                return by_table(get32(w, i.from[0], l), get32(w, i.from[1], l), get32(w, i.from[2], l), i.offset);
            });
            break;
        default: /* SHF, of the 64 bits of b:a */
            result([&](int l) {
                const uint64_t both = (uint64_t)get32(w, i.from[1], l) << 32 | get32(w, i.from[0], l);
                const uint32_t n = get32(w, i.from[2], l), by = !i.clamp ? n & 31 : n > 32 ? 32 : n;
                return (uint32_t)(i.left ? both << by >> 32 : both >> by);
            });
    }
}

} // namespace ptx
