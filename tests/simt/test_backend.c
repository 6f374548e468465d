/* The CUDA backend's own kernels, run by simt, against the float64 reference: what `eabench check` runs on a GPU. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/check.h"

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
