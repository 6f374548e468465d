/* The product of a stand-in for cuBLAS (cublas.c), by cuBLAS's manual: matrices by columns. */
#include <cmath>
#include <cstring>

#include "cublas_product.h"
#include "findings.h"
#include "float16.h"
#include "runtime.h"

namespace ptx {

namespace {

enum { SUCCESS = 0, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 }; /* cublasStatus_t */
enum { FLOAT32 = 0, BFLOAT16 = 14 };                                                /* cudaDataType */

size_t bytes_of(int type) { return type == FLOAT32 ? 4 : 2; }

/* An operand's element; NaN, with a finding, where it cannot be read. */
float element(const ptx_matrix &matrix, long long index, bool truncate) {
    const size_t bytes = bytes_of(matrix.type);
    const char *const at = (const char *)matrix.data + index * (long long)bytes;
    if (!device_range(at, bytes, "read by cuBLAS")) return NAN;
    if (!device_memory().written((uint64_t)at, bytes)) finding("uninitialized", nullptr, 0, "an operand of cuBLAS");
    uint32_t bits = 0;
    memcpy(&bits, device_memory().bytes_at((uint64_t)at), bytes);
    if (matrix.type == BFLOAT16) return bf16_to_float((uint16_t)bits);
    return bits_as<float>(truncate ? bits & 0xFFFFE000u : bits); /* TF32: 10 bits after the leading one */
}

long long place(const ptx_matrix &matrix, int batch, int row, int column) {
    const long long inside =
        matrix.transpose ? (long long)row * matrix.ld + column : (long long)column * matrix.ld + row;
    return batch * matrix.stride + inside;
}

cudaError_t multiply(const ptx_product &p) {
    for (int batch = 0; batch < p.batches; batch++)
        for (int column = 0; column < p.n; column++)
            for (int row = 0; row < p.m; row++) {
                double sum = 0;
                for (int j = 0; j < p.k; j++)
                    sum += (double)element(p.a, place(p.a, batch, row, j), p.tf32) *
                           (double)element(p.b, place(p.b, batch, j, column), p.tf32);
                const long long index = place(p.c, batch, row, column);
                char *const to = (char *)p.c.data + 4 * index;
                if (!device_range(to, 4, "write by cuBLAS")) return cudaErrorIllegalAddress;
                float value = p.alpha * (float)sum;
                if (p.beta != 0) value += p.beta * element(p.c, index, false);
                device_memory().upload((uint64_t)to, &value, sizeof value);
            }
    return cudaSuccess;
}

} // namespace
} // namespace ptx

using namespace ptx;

extern "C" int ptx_blas_product(void *stream, const ptx_product *product) {
    PTX_LOCK();
    const ptx_product p = *product;
    const int a_rows = p.a.transpose ? p.k : p.m, b_rows = p.b.transpose ? p.n : p.k;
    if (p.m < 0 || p.n < 0 || p.k < 0 || p.batches < 0 || p.a.ld < (a_rows > 1 ? a_rows : 1) ||
        p.b.ld < (b_rows > 1 ? b_rows : 1) || p.c.ld < (p.m > 1 ? p.m : 1)) {
        finding("cuBLAS", nullptr, 0, "m %d, n %d, k %d, leading dimensions %d, %d, %d", p.m, p.n, p.k, p.a.ld, p.b.ld,
                p.c.ld);
        return INVALID_VALUE;
    }
    if (p.c.type != FLOAT32 || p.a.type != p.b.type || (p.a.type != FLOAT32 && p.a.type != BFLOAT16))
        return NOT_SUPPORTED;
    return enqueue(stream_of((cudaStream_t)stream), [p] { return multiply(p); }) ? EXECUTION_FAILED : SUCCESS;
}
