/* Kernels without bugs: right answers under several schedules, no findings; the matrix instructions against float64. */
#include <algorithm>
#include <chrono>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

#include "runtime.h"
#include "samples.h"

template <typename T> static T *upload(const std::vector<T> &values) {
    void *memory = nullptr;
    cr_assert_eq(cudaMalloc(&memory, values.size() * sizeof(T)), cudaSuccess);
    cr_assert_eq(cudaMemcpy(memory, values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), cudaSuccess);
    return static_cast<T *>(memory);
}

template <typename T> static std::vector<T> download(const T *memory, size_t count) {
    std::vector<T> values(count);
    cr_assert_eq(cudaMemcpy(values.data(), memory, count * sizeof(T), cudaMemcpyDeviceToHost), cudaSuccess);
    return values;
}

static std::vector<float> count_up(size_t count) {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; i++) values[i] = static_cast<float>(i % 1000);
    return values;
}

static void seeded(int seed) { setenv("EAB_SIMT_SEED", std::to_string(seed).c_str(), 1); }

#define RUNS(call) cr_assert_eq(call, EAB_OK, "%s", eab_last_error())

Test(samples, add) {
    for (const int count : {1, 127, 128, 1000}) {
        seeded(count);
        const std::vector<float> x = count_up(static_cast<size_t>(count));
        float *const sum = upload(x);
        RUNS(sample_add(nullptr, upload(x), upload(x), sum, count));
        const std::vector<float> result = download(sum, x.size());
        for (size_t i = 0; i < x.size(); i++) cr_assert_eq(result[i], 2 * x[i]);
    }
}

Test(samples, block_sum) {
    for (int seed = 1; seed <= 5; seed++) {
        seeded(seed);
        float *const sums = upload(std::vector<float>(3));
        RUNS(sample_block_sum(nullptr, upload(count_up(3 * 500)), sums, 3, 500));
        const std::vector<float> result = download(sums, 3);
        cr_assert_eq(result[0], 499 * 500 / 2);
        cr_assert_eq(result[1], 499 * 500 / 2 + 500 * 500);
        cr_assert_eq(result[2], 499 * 500 / 2);
    }
}

Test(samples, transpose) {
    for (int seed = 1; seed <= 3; seed++) {
        seeded(seed);
        const size_t rows = 45, columns = 70;
        const std::vector<float> x = count_up(rows * columns);
        float *const y = upload(std::vector<float>(rows * columns));
        RUNS(sample_transpose(nullptr, upload(x), y, rows, columns));
        const std::vector<float> result = download(y, rows * columns);
        for (size_t i = 0; i < rows; i++)
            for (size_t j = 0; j < columns; j++) cr_assert_eq(result[j * rows + i], x[i * columns + j]);
    }
}

Test(samples, warp_scan) {
    std::vector<int> x(100);
    for (size_t i = 0; i < x.size(); i++) x[i] = static_cast<int>(i * i % 7);
    for (int seed = 1; seed <= 3; seed++) {
        seeded(seed);
        int *const sums = upload(std::vector<int>(100));
        RUNS(sample_warp_scan(nullptr, upload(x), sums, 100));
        const std::vector<int> result = download(sums, 100);
        for (size_t i = 0, sum = 0; i < 100; i++) {
            sum = i % 32 ? sum + static_cast<size_t>(x[i]) : static_cast<size_t>(x[i]);
            cr_assert_eq(result[i], static_cast<int>(sum));
        }
    }
}

Test(samples, histogram) {
    seeded(1);
    std::vector<int> x(1000), expected(10);
    for (size_t i = 0; i < x.size(); i++) expected[static_cast<size_t>(x[i] = static_cast<int>(i * i % 10))]++;
    int *const counts = upload(std::vector<int>(10));
    RUNS(sample_histogram(nullptr, upload(x), counts, 1000, 10));
    cr_assert(download(counts, 10) == expected);
}

Test(samples, async_copy) {
    for (int seed = 1; seed <= 5; seed++) {
        seeded(seed);
        const std::vector<float> x = count_up(1000); /* the fourth tile is ragged */
        float *const y = upload(std::vector<float>(1024, 7));
        RUNS(sample_async_copy(nullptr, upload(x), y, 1000));
        const std::vector<float> result = download(y, 1024);
        for (size_t i = 0; i < 1024; i++) cr_assert_eq(result[i], i < 1000 ? x[i] : 0);
    }
}

/* Random 16-bit operands; what they hold is exact in float64. */
static void check_product(bool is_bf16, bool transposed) {
    const size_t k = 48;
    std::vector<uint16_t> a(16 * k), b(8 * k);
    std::vector<double> exact_a(16 * k), exact_b(8 * k);
    srand(is_bf16 ? 3 : 4);
    const auto draw = [&](uint16_t *bits, double *exact) {
        const float value = static_cast<float>(rand()) / static_cast<float>(RAND_MAX) * 2 - 1;
        *bits = is_bf16 ? __float2bfloat16(value).x : __float2half(value).x;
        *exact = is_bf16 ? __bfloat162float({*bits}) : __half2float({*bits});
    };
    for (size_t i = 0; i < a.size(); i++) draw(&a[i], &exact_a[i]);
    for (size_t i = 0; i < b.size(); i++) draw(&b[i], &exact_b[i]);
    float *const c = upload(std::vector<float>(16 * 8));
    if (transposed) RUNS(sample_product_transposed(nullptr, upload(a), upload(b), c, static_cast<int>(k), is_bf16));
    else RUNS(sample_product(nullptr, upload(a), upload(b), c, static_cast<int>(k), is_bf16));
    const std::vector<float> result = download(c, 16 * 8);
    for (size_t row = 0; row < 16; row++)
        for (size_t column = 0; column < 8; column++) {
            double sum = 0;
            for (size_t i = 0; i < k; i++)
                sum += exact_a[row * k + i] * exact_b[transposed ? i * 8 + column : column * k + i];
            cr_assert_float_eq(result[row * 8 + column], sum, 1e-5, "row %zu, column %zu", row, column);
        }
}
Test(samples, product_bf16) { check_product(true, false); }
Test(samples, product_f16) { check_product(false, false); }
Test(samples, product_bf16_transposed) { check_product(true, true); }
Test(samples, product_f16_transposed) { check_product(false, true); }

/* Not a bound that a loaded machine would miss: docs/simt.md has the figures. */
Test(samples, speed) {
    float *const out = upload(std::vector<float>(8 * 1024));
    for (const int threads : {64, 256, 1024})
        for (const bool shuffled : {false, true}) {
            const auto start = std::chrono::steady_clock::now();
            RUNS(shuffled ? sample_shuffles(nullptr, out, 8, threads, 500)
                          : sample_barriers(nullptr, out, 8, threads, 500));
            const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
            const double rate = static_cast<double>(simt_last_steps()) / seconds * 1e-6;
            fprintf(stderr, "%s, blocks of %d threads: %.1f million thread steps per second\n",
                    shuffled ? "shuffles" : "shared memory and barriers", threads, rate);
            cr_assert_gt(rate, 0.5);
        }
}
