/* The tensor cores' instructions, which a whole warp executes. */
#include <cmath>

#include "banks.h"
#include "executor.h"

namespace ptx {

static float half_of(uint32_t word, int which, Type type) {
    const uint16_t bits = (uint16_t)(which ? word >> 16 : word);
    return type == BF16 ? bf16_to_float(bits) : half_to_float(bits);
}

/* d = a b + c. Fragments by PTX ISA, "Matrix fragments for mma.m16n8k16 with floating point type": with group =
 * lane / 4 and pair = 2 (lane % 4), a lane has columns pair and pair + 1 of rows group and group + 8. The sums are
 * exact to 53 bits and rounded once; a tensor core's rounding is not documented. */
void Executor::multiply_matrices(Warp &w, const Instruction &i, uint32_t lanes) {
    if (lanes != ALL_LANES) return; /* schedule.cpp has reported it */
    float a[16][16], b[16][8], d[16][8];
    for (int lane = 0; lane < 32; lane++) {
        const int group = lane / 4, pair = lane % 4 * 2;
        for (int e = 0; e < 8; e++) { /* register 0: rows group, 1: rows group + 8, 2 and 3: columns pair + 8 */
            const int row = group + (e / 2 % 2 ? 8 : 0), column = pair + e % 2 + (e < 4 ? 0 : 8);
            a[row][column] = half_of(get32(w, i.from[(size_t)(e / 2)], lane), e % 2, i.from_type);
        }
        for (int e = 0; e < 4; e++) {
            const int row = pair + e % 2 + (e < 2 ? 0 : 8);
            b[row][group] = half_of(get32(w, i.from[(size_t)(4 + e / 2)], lane), e % 2, i.from_type);
        }
        for (int e = 0; e < 4; e++)
            d[group + (e < 2 ? 0 : 8)][pair + e % 2] = bits_as<float>(get32(w, i.from[(size_t)(6 + e)], lane));
    }
    for (int row = 0; row < 16; row++) {
        double sum[8];
        for (int n = 0; n < 8; n++) sum[n] = (double)d[row][n];
        for (int k = 0; k < 16; k++)
            for (int n = 0; n < 8; n++) sum[n] += (double)a[row][k] * (double)b[k][n];
        for (int n = 0; n < 8; n++) {
            d[row][n] = (float)sum[n];
            if (set_by.truncate_sums && fabs((double)d[row][n]) > fabs(sum[n])) d[row][n] = nextafterf(d[row][n], 0);
        }
    }
    for (int lane = 0; lane < 32; lane++)
        for (int e = 0; e < 4; e++)
            set(w, i.to[(size_t)e], lane, bits_as<uint32_t>(d[lane / 4 + (e < 2 ? 0 : 8)][lane % 4 * 2 + e % 2]));
}

/* Lane l passes the address of row l % 8 of matrix l / 8, 8 values. A lane receives the values at row lane / 4, columns
 * 2 (lane % 4) and one more; transposed: at these two rows, column lane / 4. */
void Executor::load_matrices(Warp &w, const Instruction &i, uint32_t lanes) {
    if (lanes != ALL_LANES) return;
    uint64_t addresses[32] = {};
    for (int l = 0; l < 8 * i.width; l++) {
        addresses[l] = get(w, i.from[0], l) + (uint64_t)i.offset;
        if (!shared_fits(i, addresses[l], 16, w, l)) return;
        read_shared(i, addresses[l], 16, w, -1);
    }
    const auto value = [&](int matrix, int row, int column) {
        uint16_t bits;
        memcpy(&bits, &shared[addresses[matrix * 8 + row] + (uint64_t)column * 2], 2);
        return (uint32_t)bits;
    };
    for (int matrix = 0; matrix < i.width; matrix++)
        for (int lane = 0; lane < 32; lane++) {
            const int one = lane / 4, pair = lane % 4 * 2;
            const uint32_t low = i.transpose ? value(matrix, pair, one) : value(matrix, one, pair);
            const uint32_t high = i.transpose ? value(matrix, pair + 1, one) : value(matrix, one, pair + 1);
            set(w, i.to[(size_t)matrix], lane, low | high << 16);
        }
    const uint32_t with_address = i.width == 4 ? ALL_LANES : (1u << 8 * i.width) - 1;
    if (set_by.count_banks) count_shared(f, i, addresses, with_address, 16, 8);
}

} // namespace ptx
