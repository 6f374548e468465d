#include "suite.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "buffers.h"
#include "kernels/mechanism.h"

static const eab_check_shape shapes[] = {
    /* members, batch, context, d_model, heads, mlp_ratio, vocab */
    {2, 3, 24, 32, 4, 4, 8, 0, true},   {1, 1, 1, 1, 1, 1, 2, 0, false},     {2, 2, 3, 6, 2, 1, 3, 0, true},
    {2, 1, 17, 17, 1, 2, 17, 0, false}, {1, 2, 63, 20, 2, 1, 5, 0, true},    {1, 1, 64, 64, 1, 1, 64, 0, false},
    {1, 1, 65, 130, 2, 1, 31, 0, true}, {1, 1, 127, 48, 3, 1, 16, 0, false}, {1, 1, 128, 64, 2, 1, 33, 0, true},
    {2, 1, 129, 66, 6, 1, 7, 0, false}, {1, 1, 257, 256, 1, 1, 9, 0, true},  {5, 2, 9, 12, 3, 2, 6, 0, true},
};

static double unit_roundoff(const eab_device *device) {
    return device->backend->real_bytes == sizeof(double) ? 0x1p-53 : 0x1p-24;
}

/* The 2-norms of x - y and of y over what two runs wrote. */
static void compare(const eab_check_run *x, const eab_check_run *y, double *difference, double *norm) {
    double squares = 0, size = 0;
    for (int64_t i = 0; i < y->output_count; i++) {
        squares += (x->outputs[i] - y->outputs[i]) * (x->outputs[i] - y->outputs[i]);
        size += y->outputs[i] * y->outputs[i];
    }
    *difference = sqrt(squares);
    *norm = sqrt(size);
}

static void judge(const eab_check_run *tested, const eab_check_run *plain, const eab_check_run *reference,
                  double roundoff, eab_check_result *result) {
    double error, plain_error, norm;
    compare(plain, reference, &plain_error, &norm);
    compare(tested, reference, &error, &norm);
    const double terms = fmax(norm, sqrt(reference->terms_squared));
    const double yardstick = fmax(plain_error, roundoff * terms);
    result->error_ratio = error == 0 ? 0 : error / yardstick;
    result->error = norm > 0 ? error / norm : error;
    result->plain_error = norm > 0 ? plain_error / norm : plain_error;
    result->passed = result->error_ratio <= result->bound; /* false for NaN */
}

int eab_check_run_operation(eab_device *device, const eab_check_operation *operation, const eab_check_shape *shape,
                            eab_check_result *result) {
    eab_device *plain_device = NULL, *reference_device = NULL;
    *result = (eab_check_result){.bound = operation->gradient ? 3 : 2};
    int status = eab_device_open_backend(&eab_backend_plain, 0, &plain_device);
    if (!status) status = eab_device_open_backend(eab_backend_from_name("reference"), 0, &reference_device);
    eab_check_run tested = {.device = device}, plain = {.device = plain_device},
                  reference = {.device = reference_device};
    if (!status) status = operation->run(&reference, shape);
    if (!status) status = operation->run(&plain, shape);
    if (!status) status = operation->run(&tested, shape);
    if (!status) {
        judge(&tested, &plain, &reference, reference.roundoff > 0 ? reference.roundoff : unit_roundoff(device), result);
        if (!result->passed) snprintf(result->reason, sizeof result->reason, "error_ratio over its bound");
        if (!eab_check_guards_hold(&tested)) {
            result->passed = false;
            snprintf(result->reason, sizeof result->reason, "wrote outside its buffers");
        }
    }
    eab_check_release(&tested);
    if (plain_device) eab_check_release(&plain);
    if (reference_device) eab_check_release(&reference);
    eab_device_close(plain_device);
    eab_device_close(reference_device);
    return status;
}

typedef void reporter(void *context, const eab_check_operation *, const eab_check_shape *, const eab_check_result *);

/* What could not be run is a miss, and tells why. After a fault the device is opened anew, as it may be good for nothing else. */
static int check_shape(eab_device **device, const eab_check_operation *operation, const eab_check_shape *shape,
                       eab_check_result *result) {
    const int status = eab_check_run_operation(*device, operation, shape, result);
    if (!status) return EAB_OK;
    result->passed = false;
    snprintf(result->reason, sizeof result->reason, "%s", eab_last_error());
    if (status != EAB_DEVICE_FAULT) return EAB_OK;
    const char *const name = (*device)->backend->name;
    const int index = (*device)->index;
    eab_device_close(*device);
    *device = NULL;
    return eab_device_open(name, index, device);
}

/* On every shape, by every mechanism where it has some. */
static int check_operation(eab_device **device, const eab_check_operation *operation, reporter *report, void *context,
                           int *failed) {
    if (!eab_backend_has_precision((*device)->backend, operation->precision)) return EAB_OK;
    for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++)
        for (int32_t mechanism = 0; mechanism < (operation->by_mechanism ? EAB_MECHANISM_COUNT : 1); mechanism++) {
            eab_check_shape shape = shapes[j];
            eab_check_result result;
            shape.mechanism = mechanism;
            const int status = check_shape(device, operation, &shape, &result);
            *failed += !result.passed;
            report(context, operation, &shape, &result);
            if (status) return status;
        }
    return EAB_OK;
}

/* Whether `name` is one of `names`, between commas; NULL: all are. */
static bool is_named(const char *names, const char *name) {
    if (!names) return true;
    const size_t length = strlen(name);
    for (const char *word = names; word; word = strchr(word, ',') ? strchr(word, ',') + 1 : NULL)
        if (strncmp(word, name, length) == 0 && (word[length] == ',' || !word[length])) return true;
    return false;
}

int eab_check_all(eab_device **device, const char *names, reporter *report, void *context, int *failed) {
    *failed = 0;
    const eab_check_operation *operation;
    for (int i = 0; (operation = eab_check_operation_at(i)); i++)
        if (is_named(names, operation->name)) EAB_TRY(check_operation(device, operation, report, context, failed));
    const bool half = (*device)->backend->attention_half_forward != NULL;
    for (int i = 0; half && (operation = eab_check_half_operation_at(i)); i++)
        if (is_named(names, operation->name)) EAB_TRY(check_operation(device, operation, report, context, failed));
    return EAB_OK;
}
