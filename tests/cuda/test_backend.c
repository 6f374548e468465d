/* Products through cuBLAS (the emulator's stand-in) in tf32, and the messages where a device cannot be used. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/backend.h"
#include "kernels/cuda/operations.h"

/* c = a b of one member, with inputs rounded as the replacement for cuBLAS rounds them. */
static void multiply(eab_precision precision, int32_t m, int32_t n, int32_t k, const float *a, const float *b,
                     float *c) {
    eab_device *device;
    void *on_device[3];
    const size_t bytes[] = {(size_t)(m * k) * 4, (size_t)(k * n) * 4, (size_t)(m * n) * 4};
    const float *const from[] = {a, b};
    setenv("EAB_CUDA_PRODUCT", "cublas", 1);
    cr_assert_eq(eab_device_open("cuda", 0, &device), 0, "%s", eab_last_error());
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
