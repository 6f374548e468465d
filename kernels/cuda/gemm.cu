/* Matrix products of a fleet, one launch for all members: c = f(op(a) op(b) (+ c) (+ bias)), in float32 or with inputs
 * of fewer bits.
 *
 * Two implementations. cuBLAS (blas.cu), strided-batched over the members, computes large products; bias and finish are
 * then one more pass over c. Our own product below computes small ones (k <= OWN_MAX_K) that have a bias or a finish,
 * so that c is touched once, and all of them if there is no cuBLAS. EAB_CUDA_PRODUCT=own or cublas forces one, for
 * measurements.
 *
 * Own product: a block of 256 threads computes a TILE_M x TILE_N part of c, 4 x 4 elements a thread, from tiles of 16
 * along k in shared memory (k first, so that a thread reads its 4 rows and its 4 columns as 16 bytes each). The next
 * tiles are loaded into registers while the current ones are multiplied: 16 multiply-adds for 2 shared loads. Sums run
 * along k in order: the same bits each run, whatever the fleet.
 *
 * Precisions. tf32 is cuBLAS's; our own product then uses float32, which is allowed. bf16: one kernel rounds both
 * operands into scratch memory, 16 bytes a thread, and cuBLAS multiplies them on the tensor cores with sums in float32;
 * our own product rounds what it stores to shared memory. An element of an operand then costs 4 + 2 + 2 bytes, against
 * 4 in float32, so bf16 pays for large products only: a 4096^3 product takes 0.14 ms at 989 TFLOP/s, against 2.1 ms at
 * 67, and rounding its operands (134 MB read, 67 MB written) 0.05 ms; a product of 768 x 32 x 128 is limited by memory
 * either way.
 *
 * 512 members of the quick ladder (768 rows, d_model 32, mlp_dim 128, vocabulary 16). The six forward products are
 * 768 x (32 x 96 + 32 x 32 + 2 x 32 x 128 + 32 x 16) x 2 = 19.7 MFLOP a member, 10 GFLOP in all, 30 GFLOP with the
 * backward pass: 0.45 ms at an H200's peak (docs/cuda.md has the other times). The largest one, up, reads 50 MB and
 * writes 201 MB, 54 us with its weights, and does 3.2 GFLOP, 48 us: memory and FMA units are about equally busy, so c
 * should not be touched twice (separate bias and activation would move 600 MB more, 126 us). An element of c: 4 (k / n
 * + 1) bytes and 2 k FLOPs, so memory is the limit up to k = 28 (1 + k / n). Not measured on a GPU yet; OWN_MAX_K is an
 * estimate.
 */
#include "activation.h"
#include "blas.h"
#include "fleet.h"
#include "operations.h"

#include <stdlib.h>
#include <string.h>

namespace {

enum { THREADS = 256, TILE_K = 16, OWN_MAX_K = 128 };

struct product {
    int32_t members, m, n, k, lda, ldb, ldc, tiles_n;
    bool accumulate;
    bool packed;  /* c, bias and other are aligned for accesses of 16 bytes */
    bool to_bf16; /* a and b are rounded */
    eab_tensor a, b, c, bias, other;
    eab_finish finish;
};

/* Applies p.finish to a value of c; `other` points to the same element of p.other. */
__device__ float finish(const product &p, float value, float *other) {
    switch (p.finish) {
        case EAB_FINISH_RELU: return value < 0 ? 0 : value;
        case EAB_FINISH_RELU_SLOPE: return *other > 0 ? value : 0;
        case EAB_FINISH_TIMES: return value * *other;
        case EAB_FINISH_GELU: *other = eab_cuda_gelu_derivative(value); return eab_cuda_gelu(value);
        default: return value;
    }
}

/* Loads a thread's COUNT elements of a TILE x TILE_K tile of an operand stored [tile][k], or [k][tile] if ACROSS; zeros
 * outside. Neighbouring threads read neighbouring elements. `from`: the thread's first element; `rows`, `depths`: how
 * far the operand extends from there. */
template <int TILE, int COUNT, bool ACROSS>
__device__ void fetch(const float *from, int32_t stored, int32_t rows, int32_t depths, float (&values)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        const bool inside =
            ACROSS ? rows > 0 && i * (THREADS / TILE) < depths : i * (THREADS / TILE_K) < rows && depths > 0;
        values[i] = inside ? from[(int64_t)stored * (i * (ACROSS ? THREADS / TILE : THREADS / TILE_K))] : 0;
    }
}

/* Stores what fetch loaded to shared memory, [k][tile]. */
template <int TILE, int COUNT, bool ACROSS>
__device__ void put(float *tile, const float (&values)[COUNT], bool to_bf16) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        const int32_t place = (int32_t)threadIdx.x + i * THREADS;
        const int32_t row = ACROSS ? place % TILE : place / TILE_K, depth = ACROSS ? place / TILE : place % TILE_K;
        tile[depth * (TILE + 4) + row] = to_bf16 ? __bfloat162float(__float2bfloat16_rn(values[i])) : values[i];
    }
}

/* Finishes and stores four elements of a row of c. */
__device__ void store(const product &p, int64_t member, int32_t row, int32_t column, const float *sums) {
    float *c = eab_member(p.c, member) + (int64_t)row * p.ldc + column;
    const float *bias = eab_member(p.bias, member);
    float *other = eab_member(p.other, member);
    if (other) other += (int64_t)row * p.ldc + column;
    if (bias) bias += column;
    if (p.packed && column + 4 <= p.n) {
        const eab_pack<4> sum = *(const eab_pack<4> *)sums;
        eab_pack<4> value, added = {}, shift = {}, aside = {};
        if (p.accumulate) added = *(const eab_pack<4> *)c;
        if (bias) shift = *(const eab_pack<4> *)bias;
        if (p.finish == EAB_FINISH_RELU_SLOPE || p.finish == EAB_FINISH_TIMES) aside = *(const eab_pack<4> *)other;
#pragma unroll
        for (int j = 0; j < 4; j++)
            value.value[j] = finish(p, sum.value[j] + added.value[j] + shift.value[j], &aside.value[j]);
        *(eab_pack<4> *)c = value;
        if (p.finish == EAB_FINISH_GELU) *(eab_pack<4> *)other = aside;
        return;
    }
#pragma unroll 1
    for (int j = 0; j < 4; j++) {
        if (column + j >= p.n) continue;
        const float value = sums[j] + (p.accumulate ? c[j] : 0) + (bias ? bias[j] : 0);
        c[j] = finish(p, value, other ? other + j : nullptr);
    }
}

/* sums += the product of the tiles, for the thread's 4 rows from own_m on and 4 columns from own_n on. */
template <int TILE_M, int TILE_N>
__device__ void multiply_tiles(const float *tile_a, const float *tile_b, int32_t own_m, int32_t own_n,
                               float (&sums)[4][4]) {
#pragma unroll
    for (int depth = 0; depth < TILE_K; depth++) {
        const eab_pack<4> x = *(const eab_pack<4> *)&tile_a[depth * (TILE_M + 4) + own_m];
        const eab_pack<4> y = *(const eab_pack<4> *)&tile_b[depth * (TILE_N + 4) + own_n];
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++) sums[i][j] += x.value[i] * y.value[j];
    }
}

/* Stores the block's part of c through shared memory: whole rows are written, and the loop need not be unrolled to keep
 * sums in registers. */
template <int TILE_M, int TILE_N>
__device__ void store_tile(const product &p, int64_t member, int32_t first_m, int32_t first_n, int32_t own_m,
                           int32_t own_n, const float (&sums)[4][4], float *tile_c) {
    enum { ACROSS = TILE_N / 4 };
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) tile_c[(own_m + i) * (TILE_N + 4) + own_n + j] = sums[i][j];
    __syncthreads();
#pragma unroll 1
    for (int32_t place = (int32_t)threadIdx.x; place < TILE_M * ACROSS; place += THREADS) {
        const int32_t row = place / ACROSS, column = place % ACROSS * 4;
        if (first_m + row < p.m && first_n + column < p.n)
            store(p, member, first_m + row, first_n + column, &tile_c[row * (TILE_N + 4) + column]);
    }
}

template <int TILE_M, int TILE_N, bool TRANSPOSE_A, bool TRANSPOSE_B>
__global__ void __launch_bounds__(THREADS, 2) multiply(product p) {
    enum { COUNT_A = TILE_M * TILE_K / THREADS, COUNT_B = TILE_N * TILE_K / THREADS, ACROSS = TILE_N / 4 };
    static_assert(TILE_M / 4 * ACROSS == THREADS, "4 x 4 elements a thread");
    EAB_SHARED(float, tile_a, TILE_K *(TILE_M + 4));
    EAB_SHARED(float, tile_b, TILE_K *(TILE_N + 4));
    EAB_SHARED(float, tile_c, TILE_M *(TILE_N + 4));
    const int32_t first_m = (int32_t)(blockIdx.x / (unsigned)p.tiles_n) * TILE_M;
    const int32_t first_n = (int32_t)(blockIdx.x % (unsigned)p.tiles_n) * TILE_N;
    const int32_t thread = (int32_t)threadIdx.x;
    /* of the first element that the thread loads */
    const int32_t row_a = first_m + (TRANSPOSE_A ? thread % TILE_M : thread / TILE_K);
    const int32_t row_b = first_n + (TRANSPOSE_B ? thread / TILE_K : thread % TILE_N);
    const int32_t depth_a = TRANSPOSE_A ? thread / TILE_M : thread % TILE_K;
    const int32_t depth_b = TRANSPOSE_B ? thread % TILE_K : thread / TILE_N;
    const int32_t own_m = thread / ACROSS * 4, own_n = thread % ACROSS * 4; /* of the part of c that it computes */
    for (int64_t member = blockIdx.y; member < p.members; member += gridDim.y) {
        const float *a = eab_member(p.a, member) +
                         (TRANSPOSE_A ? (int64_t)depth_a * p.lda + row_a : (int64_t)row_a * p.lda + depth_a);
        const float *b = eab_member(p.b, member) +
                         (TRANSPOSE_B ? (int64_t)row_b * p.ldb + depth_b : (int64_t)depth_b * p.ldb + row_b);
        float sums[4][4] = {}, next_a[COUNT_A], next_b[COUNT_B];
        fetch<TILE_M, COUNT_A, TRANSPOSE_A>(a, p.lda, p.m - row_a, p.k - depth_a, next_a);
        fetch<TILE_N, COUNT_B, !TRANSPOSE_B>(b, p.ldb, p.n - row_b, p.k - depth_b, next_b);
#pragma unroll 1
        for (int32_t first_k = 0; first_k < p.k; first_k += TILE_K) {
            put<TILE_M, COUNT_A, TRANSPOSE_A>(tile_a, next_a, p.to_bf16);
            put<TILE_N, COUNT_B, !TRANSPOSE_B>(tile_b, next_b, p.to_bf16);
            __syncthreads();
            const int32_t left = p.k - first_k - TILE_K;
            if (left > 0) {
                a += TRANSPOSE_A ? (int64_t)TILE_K * p.lda : TILE_K;
                b += TRANSPOSE_B ? TILE_K : (int64_t)TILE_K * p.ldb;
                fetch<TILE_M, COUNT_A, TRANSPOSE_A>(a, p.lda, p.m - row_a, left - depth_a, next_a);
                fetch<TILE_N, COUNT_B, !TRANSPOSE_B>(b, p.ldb, p.n - row_b, left - depth_b, next_b);
            }
            multiply_tiles<TILE_M, TILE_N>(tile_a, tile_b, own_m, own_n, sums);
            __syncthreads();
        }
        store_tile<TILE_M, TILE_N>(p, member, first_m, first_n, own_m, own_n, sums, tile_c);
        /* no barrier: the next member's loop over k has one before tile_c is written again */
    }
}

/* An operand to round to bf16: `rows` rows of `columns` elements, ld apart, become zero-padded rows of 8 * packs. */
struct operand {
    eab_tensor from;
    int32_t rows, columns, ld, packs;
    uint16_t *to;
};

/* A thread rounds 8 neighbouring elements at a time. */
__device__ void round_operand(const operand &own, int64_t member) {
    const int64_t step = (int64_t)gridDim.x * THREADS, count = (int64_t)own.rows * own.packs;
    const float *from_all = eab_member(own.from, member);
    uint16_t *to_all = own.to + member * count * 8;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
        const int64_t row = i / own.packs;
        const int32_t first = (int32_t)(i - row * own.packs) * 8;
        const float *from = from_all + row * own.ld + first;
        uint32_t words[4];
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const float low = first + 2 * j < own.columns ? from[2 * j] : 0;
            const float high = first + 2 * j + 1 < own.columns ? from[2 * j + 1] : 0;
            const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
            memcpy(&words[j], &pair, sizeof pair);
        }
        *reinterpret_cast<uint4 *>(to_all + 8 * i) = make_uint4(words[0], words[1], words[2], words[3]);
    }
}

/* Rounds both operands of a product to nearest. */
__global__ void __launch_bounds__(THREADS) round_operands(int32_t members, operand a, operand b) {
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y) {
        round_operand(a, member);
        round_operand(b, member);
    }
}

/* Adds the bias and applies the finish, in place, after cuBLAS. */
__global__ void __launch_bounds__(THREADS) finish_rows(product p) {
    const int64_t step = (int64_t)gridDim.x * THREADS, count = (int64_t)p.m * p.n;
    for (int64_t member = blockIdx.y; member < p.members; member += gridDim.y) {
        const float *bias = eab_member(p.bias, member);
        float *c = eab_member(p.c, member), *other = eab_member(p.other, member);
        for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count; i += step) {
            const int64_t row = i / p.n, column = i - row * p.n, place = row * p.ldc + column;
            c[place] = finish(p, c[place] + (bias ? bias[column] : 0), other ? other + place : nullptr);
        }
    }
}

template <int TILE_M, int TILE_N> int launch(cudaStream_t stream, const eab_gemm *gemm, product p) {
    p.tiles_n = (p.n + TILE_N - 1) / TILE_N;
    const dim3 grid((unsigned)eab_cuda_parts(p.m, TILE_M) * (unsigned)p.tiles_n, eab_cuda_grid_members(p.members));
    const dim3 block(THREADS);
    if (gemm->transpose_a)
        return gemm->transpose_b ? EAB_LAUNCH(stream, (multiply<TILE_M, TILE_N, true, true>), grid, block, 0, p)
                                 : EAB_LAUNCH(stream, (multiply<TILE_M, TILE_N, true, false>), grid, block, 0, p);
    return gemm->transpose_b ? EAB_LAUNCH(stream, (multiply<TILE_M, TILE_N, false, true>), grid, block, 0, p)
                             : EAB_LAUNCH(stream, (multiply<TILE_M, TILE_N, false, false>), grid, block, 0, p);
}

/* Whether our own product computes this one. `finishes`: it has a bias or a finish. */
bool use_own(const eab_device *device, const product *p, eab_precision precision, bool finishes) {
    if (!eab_cuda_blas_of(device)) return true;
    const char *product = getenv("EAB_CUDA_PRODUCT");
    if (product && strcmp(product, "cublas") == 0) return false;
    return finishes && p->k <= OWN_MAX_K && precision == EAB_PRECISION_FLOAT32;
}

operand operand_of(eab_tensor from, int32_t rows, int32_t columns, int32_t ld) {
    return {from, rows, columns, ld, (columns + 7) / 8, nullptr};
}

/* Replaces a product's operands by bf16 copies in scratch memory. */
int round_to_bf16(eab_device *device, eab_gemm *gemm) {
    operand a = gemm->transpose_a ? operand_of(gemm->a, gemm->k, gemm->m, gemm->lda)
                                  : operand_of(gemm->a, gemm->m, gemm->k, gemm->lda);
    operand b = gemm->transpose_b ? operand_of(gemm->b, gemm->n, gemm->k, gemm->ldb)
                                  : operand_of(gemm->b, gemm->k, gemm->n, gemm->ldb);
    const int64_t packs_a = (int64_t)a.rows * a.packs, packs_b = (int64_t)b.rows * b.packs;
    void *room = nullptr;
    EAB_TRY(eab_cuda_scratch(device, (size_t)gemm->members * (size_t)(packs_a + packs_b) * 16, &room));
    a.to = (uint16_t *)room;
    b.to = a.to + gemm->members * packs_a * 8;
    const dim3 grid(eab_cuda_grid(packs_a > packs_b ? packs_a : packs_b, THREADS),
                    eab_cuda_grid_members(gemm->members));
    EAB_TRY(EAB_LAUNCH(eab_cuda_stream(device), round_operands, grid, dim3(THREADS), 0, gemm->members, a, b));
    gemm->a = {a.to, packs_a * 8};
    gemm->b = {b.to, packs_b * 8};
    gemm->lda = a.packs * 8;
    gemm->ldb = b.packs * 8;
    return EAB_OK;
}

} // namespace

int eab_cuda_gemm(eab_device *device, const eab_gemm *gemm) {
    const cudaStream_t stream = eab_cuda_stream(device);
    product p = {};
    p.members = gemm->members;
    p.m = gemm->m;
    p.n = gemm->n;
    p.k = gemm->k;
    p.lda = gemm->lda;
    p.ldb = gemm->ldb;
    p.ldc = gemm->ldc;
    p.accumulate = gemm->accumulate;
    p.to_bf16 = gemm->precision == EAB_PRECISION_BF16;
    p.a = gemm->a;
    p.b = gemm->b;
    p.c = gemm->c;
    p.bias = gemm->bias;
    p.other = gemm->other;
    p.finish = gemm->finish;
    p.packed = eab_cuda_aligned(p.c, p.ldc) && (!p.bias.data || eab_cuda_aligned(p.bias, 0)) &&
               (!p.other.data || eab_cuda_aligned(p.other, p.ldc));
    const bool finishes = p.bias.data || p.finish != EAB_FINISH_NONE;
    if (use_own(device, &p, gemm->precision, finishes))
        return p.n <= 32 ? launch<128, 32>(stream, gemm, p) : launch<64, 64>(stream, gemm, p);
    eab_gemm given = *gemm;
    if (p.to_bf16) EAB_TRY(round_to_bf16(device, &given));
    EAB_TRY(eab_cuda_blas_product(eab_cuda_blas_of(device), &given));
    if (!finishes) return EAB_OK;
    const dim3 grid(eab_cuda_grid((int64_t)p.m * p.n, THREADS), eab_cuda_grid_members(p.members));
    return EAB_LAUNCH(stream, finish_rows, grid, dim3(THREADS), 0, p);
}
