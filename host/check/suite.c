#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "buffers.h"
#include "error_ratio.h"
#include "kernels/mechanism.h"

static const eab_check_shape shapes[] = {
    /* members, batch, context, d_model, heads, mlp_ratio, vocab, mechanism, slopes */
    {2, 3, 24, 32, 4, 4, 8, 0, true},   {1, 1, 1, 1, 1, 1, 2, 0, false},     {2, 2, 3, 6, 2, 1, 3, 0, true},
    {2, 1, 17, 17, 1, 2, 17, 0, false}, {1, 2, 63, 20, 2, 1, 5, 0, true},    {1, 1, 64, 64, 1, 1, 64, 0, false},
    {1, 1, 65, 130, 2, 1, 31, 0, true}, {1, 1, 127, 48, 3, 1, 16, 0, false}, {1, 1, 128, 64, 2, 1, 33, 0, true},
    {2, 1, 129, 66, 6, 1, 7, 0, false}, {1, 1, 257, 256, 1, 1, 9, 0, true},  {5, 2, 9, 12, 3, 2, 6, 0, true},
};

/* The shapes of eab_check_some: aligned; narrow; larger than a tile, with a head_dim above 64. */
static const bool is_some[sizeof shapes / sizeof *shapes] = {[0] = true, [2] = true, [6] = true};

static const eab_check_operation *const tables[] = {eab_check_tasks, eab_check_products, eab_check_layers,
                                                    eab_check_training, eab_check_attention};

const eab_check_operation *eab_check_operation_at(int index) {
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        for (const eab_check_operation *operation = tables[i]; operation->name; operation++)
            if (index-- == 0) return operation;
    return NULL;
}

const eab_check_operation *eab_check_operation_from_name(const char *name) {
    const eab_check_operation *operation;
    for (int i = 0; (operation = eab_check_operation_at(i)); i++)
        if (strcmp(operation->name, name) == 0) return operation;
    return NULL;
}

/* ---- one operation on one shape --------------------------------------------------------------------------------- */

static void compare(const eab_check_run *tested, const eab_check_run *plain, const eab_check_run *reference,
                    eab_check_result *result) {
    const bool is_double = tested->device->backend->real_bytes == sizeof(double);
    const double roundoff = reference->roundoff > 0 ? reference->roundoff : is_double ? 0x1p-53 : 0x1p-24;
    eab_error_sums sums = {0};
    for (int64_t i = 0; i < reference->output_count; i++)
        eab_error_add(&sums, tested->outputs[i], plain->outputs[i], reference->outputs[i], 0);
    const double norm = sums.terms > 0 ? sqrt(sums.terms) : 1;
    sums.terms = fmax(sums.terms, reference->terms_squared);
    result->error_ratio = eab_error_ratio(&sums, roundoff);
    result->error = sqrt(sums.error) / norm;
    result->plain_error = sqrt(sums.plain) / norm;
    result->passed = result->error_ratio <= result->bound; /* false for NaN */
    if (!result->passed) snprintf(result->reason, sizeof result->reason, "error_ratio over its bound");
}

int eab_check_run_operation(eab_device *device, const eab_check_operation *operation, const eab_check_shape *shape,
                            eab_check_result *result) {
    enum { REFERENCE, PLAIN, TESTED, RUNS };
    eab_check_run runs[RUNS] = {[TESTED].device = device};
    *result = (eab_check_result){.bound = operation->gradient ? EAB_BOUND_GRADIENT : EAB_BOUND_FORWARD};
    int status = eab_device_open_backend(&eab_backend_plain, 0, &runs[PLAIN].device);
    if (!status) status = eab_device_open_backend(eab_backend_from_name("reference"), 0, &runs[REFERENCE].device);
    for (int i = 0; i < RUNS && !status; i++) {
        runs[i].operation = operation;
        runs[i].members = shape->members;
        operation->run(&runs[i], shape);
        status = runs[i].status;
    }
    if (!status) {
        compare(&runs[TESTED], &runs[PLAIN], &runs[REFERENCE], result);
        if (!eab_check_guards_hold(&runs[TESTED])) {
            result->passed = false;
            snprintf(result->reason, sizeof result->reason, "wrote outside its buffers");
        }
    }
    for (int i = 0; i < RUNS; i++) {
        eab_check_release(&runs[i]);
        if (i != TESTED) eab_device_close(runs[i].device);
    }
    return status;
}

/* ---- all operations on all shapes ------------------------------------------------------------------------------- */

/* An operation that cannot be run has failed, with the reason. After a fault the device may be unusable, so it is
 * opened again. */
static int check_shape(eab_device **device, const eab_check_operation *operation, const eab_check_shape *shape,
                       eab_check_result *result) {
    const int status = eab_check_run_operation(*device, operation, shape, result);
    result->ran = !status;
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

static bool is_supported(const eab_device *device, const eab_check_operation *operation, int32_t mechanism) {
    const eab_attention attention = {
        .batch = 1, .heads = 1, .context = 1, .head_dim = 1, .mechanism = mechanism, .dtype = operation->form};
    return eab_backend_has_precision(device->backend, operation->precision) &&
           (!operation->half ||
            (device->backend->attention_half_forward && !device->backend->supports(device, &attention)));
}

/* On every shape, and with every mechanism of the backend where the operation depends on it. */
static int check_operation(eab_device **device, const eab_check_operation *operation, bool some,
                           eab_check_reporter *report, void *context, int *failed) {
    const int32_t mechanisms = operation->by_mechanism ? EAB_MECHANISM_COUNT : 1;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        if ((some && !is_some[i]) || (operation->applies && !operation->applies(&shapes[i]))) continue;
        for (int32_t mechanism = 0; mechanism < mechanisms; mechanism++) {
            eab_check_shape shape = shapes[i];
            eab_check_result result;
            shape.mechanism = mechanism;
            if (!is_supported(*device, operation, mechanism)) continue;
            const int status = check_shape(device, operation, &shape, &result);
            *failed += !result.passed;
            report(context, operation, &shape, &result);
            if (status) return status;
        }
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

static int check(eab_device **device, const char *names, bool some, eab_check_reporter *report, void *context,
                 int *failed) {
    *failed = 0;
    const eab_check_operation *operation;
    for (int i = 0; (operation = eab_check_operation_at(i)); i++)
        if (is_named(names, operation->name))
            EAB_TRY(check_operation(device, operation, some, report, context, failed));
    return EAB_OK;
}

int eab_check_all(eab_device **device, const char *names, eab_check_reporter *report, void *context, int *failed) {
    return check(device, names, false, report, context, failed);
}

int eab_check_some(eab_device **device, eab_check_reporter *report, void *context, int *failed) {
    return check(device, NULL, true, report, context, failed);
}
