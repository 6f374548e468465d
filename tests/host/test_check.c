/* `eabench check` as a test: every operation of the cpu backend against float64, at the SIMD level that EAB_ISA
 * names. */
#include <criterion/criterion.h>
#include <math.h>

#include "host/check/buffers.h"
#include "host/check/suite.h"
#include "kernels/mechanism.h"

static void expect_passed(void *context, const eab_check_operation *operation, const eab_check_shape *shape,
                          const eab_check_result *result) {
    ++*(int *)context;
    cr_expect(result->passed, "%s, %s, context %d, d_model %d: ratio %.2f over %g (%s)", operation->name,
              eab_mechanism_name(shape->mechanism), shape->context, shape->d_model, result->error_ratio, result->bound,
              result->reason);
}

Test(check, cpu_meets_every_bound) {
    eab_device *device;
    int failed, checks = 0;
    cr_assert_eq(eab_device_open("cpu", 0, &device), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(eab_check_all(&device, NULL, expect_passed, &checks, &failed), EAB_OK, "%s", eab_last_error());
    cr_expect_eq(failed, 0);
    cr_expect_gt(checks, 200);
    eab_device_close(device);
}

/* The checks must find errors: three kinds of wrong operation. */
static bool is_tested_device(const eab_check_run *run) { return run->device->backend == eab_backend_from_name("cpu"); }

static void slightly_wrong(eab_check_run *run, const eab_check_shape *shape) {
    (void)shape;
    eab_check_output_number(run, is_tested_device(run) ? 1 + 1e-6 : 1);
}

static void leaves_poison(eab_check_run *run, const eab_check_shape *shape) {
    (void)shape;
    const eab_tensor out = eab_check_tensor(run, 5, is_tested_device(run) ? NAN : 0);
    eab_check_output(run, out);
}

static void writes_outside(eab_check_run *run, const eab_check_shape *shape) {
    (void)shape;
    const eab_tensor out = eab_check_tensor(run, 5, 0);
    if (is_tested_device(run)) ((float *)out.data)[5] = 1;
    eab_check_output(run, out);
}

static void is_right(eab_check_run *run, const eab_check_shape *shape) {
    (void)shape;
    eab_check_output_number(run, 1);
}

Test(check, notices_what_is_wrong) {
    const eab_check_shape shape = {.members = 2};
    const eab_check_operation right = {.name = "right", .run = is_right};
    const eab_check_operation wrong[] = {{.name = "slightly wrong", .run = slightly_wrong},
                                         {.name = "leaves poison", .run = leaves_poison},
                                         {.name = "writes outside", .run = writes_outside}};
    eab_check_result result;
    eab_device *device;
    cr_assert_eq(eab_device_open("cpu", 0, &device), EAB_OK, "%s", eab_last_error());
    cr_assert_eq(eab_check_run_operation(device, &right, &shape, &result), EAB_OK);
    cr_expect(result.passed);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(eab_check_run_operation(device, &wrong[i], &shape, &result), EAB_OK);
        cr_expect_not(result.passed, "%s went unnoticed", wrong[i].name);
    }
    eab_device_close(device);
}
