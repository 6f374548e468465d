/* The CUDA backend's own kernels, run by simt, against the float64 reference: what `eabench check` runs on a GPU. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/check.h"
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
    cr_assert_eq(eab_check_all(device, report, &reported, &failed), 0, "%s", eab_last_error());
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
