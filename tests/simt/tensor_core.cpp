/* Matrix instructions and asynchronous copies, with the fragment layouts of the PTX ISA
 * (kernels/cuda/tensor_core.h). */
#include "simt_tensor_core.h"

#include "runtime.h"

#include <string.h>

namespace simt {

static inline float value_of(uint32_t pair, unsigned half, bool is_bf16) {
    const unsigned short bits = static_cast<unsigned short>(pair >> (16 * half));
    return is_bf16 ? __bfloat162float({bits}) : __half2float({bits});
}

/* Products are exact in float64, as on the device; the sum is rounded once, where the device truncates a little on the
 * way. */
void complete_mma(runner &, fiber *lanes) {
    double a[16][16], b[16][8], d[16][8];
    for (unsigned lane = 0; lane < WARP; lane++) {
        const unsigned group = lane / 4, pair = lane % 4 * 2;
        const bool is_bf16 = lanes[lane].detail;
        const float *own_d = static_cast<const float *>(lanes[lane].operands[0]);
        const uint32_t *own_a = static_cast<const uint32_t *>(lanes[lane].operands[1]);
        const uint32_t *own_b = static_cast<const uint32_t *>(lanes[lane].operands[2]);
        for (unsigned i = 0; i < 4; i++)
            for (unsigned half = 0; half < 2; half++)
                a[group + i % 2 * 8][pair + i / 2 * 8 + half] = value_of(own_a[i], half, is_bf16);
        for (unsigned i = 0; i < 2; i++)
            for (unsigned half = 0; half < 2; half++) b[pair + i * 8 + half][group] = value_of(own_b[i], half, is_bf16);
        for (unsigned i = 0; i < 4; i++) d[group + i / 2 * 8][pair + i % 2] = own_d[i];
    }
    for (unsigned row = 0; row < 16; row++)
        for (unsigned k = 0; k < 16; k++)
            for (unsigned column = 0; column < 8; column++) d[row][column] += a[row][k] * b[k][column];
    for (unsigned lane = 0; lane < WARP; lane++) {
        float *own_d = static_cast<float *>(lanes[lane].operands[0]);
        for (unsigned i = 0; i < 4; i++) own_d[i] = static_cast<float>(d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
    }
}

/* A lane reads, of row lane / 4, the word with its two columns; transposed, one column of two rows. The race detector
 * sees each lane read just that (whole words), whichever lane passed the row's address. */
static bool load_matrix(fiber &f, const fiber *rows, bool transposed, uint32_t *result) {
    uint32_t halves[2];
    const unsigned pair = f.lane % 4 * 2, group = f.lane / 4;
    for (unsigned half = 0; half < 2; half++) {
        const unsigned row = transposed ? pair + half : group, column = transposed ? group : pair + half;
        const uintptr_t address = reinterpret_cast<uintptr_t>(rows[row].operands[1]) + column * 2;
        if ((transposed || !half) && !shared_access(f, address & ~uintptr_t(3), 4, access::read, f.at)) return false;
        unsigned short bits;
        memcpy(&bits, reinterpret_cast<const void *>(address), sizeof bits);
        halves[half] = bits;
    }
    *result = halves[0] | halves[1] << 16;
    return true;
}

void complete_ldmatrix(runner &r, fiber *lanes) {
    const unsigned matrices = static_cast<unsigned>(lanes[0].detail & 7);
    const bool transposed = lanes[0].detail & 8;
    for (unsigned lane = 0; lane < matrices * 8; lane++) {
        fiber &f = lanes[lane];
        const uintptr_t address = reinterpret_cast<uintptr_t>(f.operands[1]);
        if (!is_shared(r, address)) {
            finding(f, f.at, "ldmatrix from an address that is not in shared memory");
            return;
        }
        if (address & 15) {
            finding(f, f.at, "misaligned address: ldmatrix from an address that is no multiple of 16");
            return;
        }
    }
    uint32_t results[WARP][4];
    for (unsigned lane = 0; lane < WARP; lane++)
        for (unsigned m = 0; m < matrices; m++)
            if (!load_matrix(lanes[lane], lanes + 8 * m, transposed, &results[lane][m])) return;
    for (unsigned lane = 0; lane < WARP; lane++)
        memcpy(lanes[lane].operands[0], results[lane], matrices * sizeof(uint32_t));
}

} // namespace simt

using namespace simt;

void simt_mma(float *d, const uint32_t *a, const uint32_t *b, bool is_bf16, const char *file, int line) {
    fiber &f = *current;
    f.operands[0] = d;
    f.operands[1] = const_cast<uint32_t *>(a);
    f.operands[2] = const_cast<uint32_t *>(b);
    f.detail = is_bf16;
    wait_for_warp(operation::mma, ~0u, file, line);
}

void simt_ldmatrix(uint32_t *r, int matrices, bool transposed, const void *shared, const char *file, int line) {
    fiber &f = *current;
    f.operands[0] = r;
    f.operands[1] = const_cast<void *>(shared);
    f.detail = matrices | (transposed ? 8 : 0);
    wait_for_warp(operation::ldmatrix, ~0u, file, line);
}

/* ---- cp.async ---------------------------------------------------------------------------------------------------- */

void simt_cp_async(void *shared, const void *global, bool valid, const char *file, int line) {
    fiber &f = *current;
    const site at = {file, line, nullptr};
    const uintptr_t to = reinterpret_cast<uintptr_t>(shared), from = reinterpret_cast<uintptr_t>(global);
    if (!is_shared(*f.owner, to)) finding(f, at, "cp.async to an address that is not in shared memory");
    if (to & 15) finding(f, at, "misaligned address: cp.async to an address that is no multiple of 16");
    if (from & 15) finding(f, at, "misaligned address: cp.async from an address that is no multiple of 16");
    if (valid && !global_is_device(from)) finding(f, at, "cp.async from an address that is not in global memory");
    if (f.copy_count == MAX_COPIES)
        finding(f, at, "simt holds %u copies of a thread at most: is there no wait?", MAX_COPIES);
    if (valid) global_access(f, from, 16, access::read, at);
    shared_copy_begin(f, to, at);
    f.copies[f.copy_count++] = {to, valid ? global : nullptr, f.groups};
}

void simt_cp_async_commit() { current->groups++; }

void simt_cp_async_wait(int groups, const char *, int) {
    fiber &f = *current;
    unsigned done = 0;
    for (; done < f.copy_count && f.copies[done].group + static_cast<unsigned>(groups) < f.groups; done++) {
        const fiber::copy &copy = f.copies[done];
        void *const to = reinterpret_cast<void *>(copy.to);
        if (copy.from) __builtin_memcpy(to, __builtin_assume_aligned(copy.from, 16), 16);
        else __builtin_memset(to, 0, 16);
        shared_copy_end(f, copy.to);
    }
    for (unsigned i = done; i < f.copy_count; i++) f.copies[i - done] = f.copies[i];
    f.copy_count -= done;
}
