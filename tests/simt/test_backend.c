/* The CUDA backend's own kernels, run by simt, against the float64 reference: what `eabench check` runs on a GPU. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/check/suite.h"
#include "kernels/cuda/operations.h"

static void report(void *context, const eab_check_operation *operation, const eab_check_shape *shape,
                   const eab_check_result *result) {
    int *reported = context;
    ++*reported;
    if (result->passed) return;
    fprintf(stderr,
            "%s: members %d, batch %d, context %d, d_model %d, heads %d, vocab %d, mechanism %d: error_ratio %g, %s\n",
            operation->name, shape->members, shape->batch, shape->context, shape->d_model, shape->heads, shape->vocab,
            shape->mechanism, result->error_ratio, result->reason);
}

static void check_under_seed(const char *seed) {
    eab_device *device = NULL;
    int failed = -1, reported = 0;
    setenv("EAB_SIMT_SEED", seed, 1);
    cr_assert_eq(eab_device_open("simt", 0, &device), 0, "%s", eab_last_error());
    cr_assert_eq(eab_check_all(&device, NULL, report, &reported, &failed), 0, "%s", eab_last_error());
    cr_assert_eq(failed, 0, "%d of %d checks failed", failed, reported);
    cr_assert_gt(reported, 0);
    eab_device_close(device);
}

Test(backend, every_operation_agrees_with_the_reference, .timeout = 500) { check_under_seed("1"); }
Test(backend, so_does_the_way_through_cublas, .timeout = 500) {
    setenv("EAB_CUDA_PRODUCT", "cublas", 1);
    check_under_seed("3");
}
Test(backend, under_another_schedule_too, .timeout = 500) { check_under_seed("2"); }

/* One operation that fails is one miss: the others, on a device that was opened anew, are checked as ever. */
Test(backend, a_check_outlives_a_fault, .timeout = 200) {
    eab_device *device = NULL;
    int failed = -1, reported = 0;
    setenv("EAB_CUDA_FAULT_AFTER", "6", 1);
    cr_assert_eq(eab_device_open("simt", 0, &device), 0, "%s", eab_last_error());
    cr_assert_eq(eab_check_all(&device, "norm,loss", report, &reported, &failed), 0, "%s", eab_last_error());
    cr_expect_eq(failed, 1);
    cr_expect_gt(reported, 20);
    eab_device_close(device);
}

/* c = a b of one member, with inputs rounded as the replacement for cuBLAS rounds them. */
static void multiply(eab_precision precision, int32_t m, int32_t n, int32_t k, const float *a, const float *b,
                     float *c) {
    eab_device *device;
    void *on_device[3];
    const size_t bytes[] = {(size_t)(m * k) * 4, (size_t)(k * n) * 4, (size_t)(m * n) * 4};
    const float *const from[] = {a, b};
    setenv("EAB_CUDA_PRODUCT", "cublas", 1);
    cr_assert_eq(eab_device_open("simt", 0, &device), 0, "%s", eab_last_error());
    for (int i = 0; i < 3; i++) cr_assert_eq(device->backend->allocate(device, bytes[i], &on_device[i]), 0);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(device->backend->upload(device, on_device[i], from[i], bytes[i]), 0, "%s", eab_last_error());
    const eab_gemm gemm = {.members = 1,
                           .m = m,
                           .n = n,
                           .k = k,
                           .lda = k,
                           .ldb = n,
                           .ldc = n,
                           .a = {on_device[0], m * k},
                           .b = {on_device[1], k * n},
                           .c = {on_device[2], m * n},
                           .precision = precision};
    cr_assert_eq(device->backend->gemm(device, &gemm), 0, "%s", eab_last_error());
    cr_assert_eq(device->backend->download(device, c, on_device[2], bytes[2]), 0, "%s", eab_last_error());
    for (int i = 0; i < 3; i++) device->backend->release(device, on_device[i]);
    eab_device_close(device);
}

/* tf32 keeps 10 bits of each input: an element is off by (2 * 2^-10 + 2^-20 + k 2^-24) of the sum of its terms' sizes
 * at most, and by more than float32 would be. */
Test(backend, tf32_keeps_ten_bits, .timeout = 60) {
    enum { M = 7, N = 5, K = 33 };
    float a[M * K], b[K * N], cut[M * N], exact[M * N];
    uint32_t state = 1;
    for (int i = 0; i < M * K + K * N; i++) {
        state = state * 1664525u + 1013904223u;
        *(i < M * K ? &a[i] : &b[i - M * K]) = (float)(state >> 8) * 0x1p-23f - 1;
    }
    multiply(EAB_PRECISION_TF32, M, N, K, a, b, cut);
    multiply(EAB_PRECISION_FLOAT32, M, N, K, a, b, exact);
    double worst = 0;
    for (int i = 0; i < M * N; i++) {
        double sum = 0, sizes = 0;
        for (int k = 0; k < K; k++) {
            const double term = (double)a[i / N * K + k] * (double)b[k * N + i % N];
            sum += term;
            sizes += fabs(term);
        }
        cr_expect_leq(fabs((double)exact[i] - sum), K * 0x1p-24 * sizes);
        cr_expect_leq(fabs((double)cut[i] - sum), (0x1p-9 + 0x1p-20 + K * 0x1p-24) * sizes);
        worst = fmax(worst, fabs((double)cut[i] - sum) / sizes);
    }
    cr_expect_gt(worst, K * 0x1p-24);

    const float fine[] = {1 + 0x1p-10f, 1 + 0x1p-11f}, one = 1;
    multiply(EAB_PRECISION_TF32, 2, 1, 1, fine, &one, cut);
    cr_expect(!(cut[0] < fine[0]) && !(cut[0] > fine[0]), "the tenth bit is kept: %.9g", (double)cut[0]);
    cr_expect(!(cut[1] < 1) && !(cut[1] > 1), "the eleventh is cut: %.9g", (double)cut[1]);
}

Test(backend, a_device_without_code_is_told_how_to_rebuild) {
    cr_assert_eq(eab_cuda_refuse_architecture(1, "Some GPU", 9, 0, "80 86 120"), EAB_NO_DEVICE);
    cr_expect_str_eq(eab_last_error(),
                     "device 1 (Some GPU) has compute capability 9.0, this build has code for 80 86 120; "
                     "rebuild: cmake -B build -DCMAKE_CUDA_ARCHITECTURES=90a-real && cmake --build "
                     "build");
    cr_assert_eq(eab_cuda_refuse_architecture(0, "Some GPU", 12, 1, "90a"), EAB_NO_DEVICE);
    cr_expect(strstr(eab_last_error(), "code for 90a; ") && strstr(eab_last_error(), "=121-real "), "%s",
              eab_last_error());
}

Test(backend, a_device_too_old_for_any_build_is_told_so) {
    cr_assert_eq(eab_cuda_refuse_architecture(0, "Some GPU", 7, 0, "80 86 89 90a 100 120"), EAB_NO_DEVICE);
    cr_expect_str_eq(eab_last_error(), "device 0 (Some GPU) has compute capability 7.0; 8.0 or newer is allowed");
}
