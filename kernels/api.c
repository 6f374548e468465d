/* The public API (attention.h): checks every argument, then calls the backend's primitives.
 *
 * A backend whose reals are not float ("reference", float64) gets converted copies of the arguments.
 */
#include <math.h>
#include <stdlib.h>

#include "backend.h"
#include "mechanism.h"

enum { MAX_HEAD_DIM = 256 };

/* ---- devices ------------------------------------------------------------------------------------------------- */

int eab_device_open(const char *backend_name, int index, eab_device **device) {
    if (!device) return eab_fail(EAB_BAD_INPUT, "eab_device_open: device is NULL");
    *device = NULL;
    if (!backend_name) return eab_fail(EAB_BAD_INPUT, "eab_device_open: backend is NULL");
    const eab_backend *backend = eab_backend_from_name(backend_name);
    if (!backend)
        return eab_fail(EAB_NO_DEVICE, "backend \"%.40s\" is unknown; allowed: cpu, cuda, reference", backend_name);
    return eab_device_open_backend(backend, index, device);
}

int eab_device_open_backend(const eab_backend *backend, int index, eab_device **device) {
    *device = NULL;
    if (backend->not_built)
        return eab_fail(EAB_NO_DEVICE, "backend \"%s\" was not built: %s", backend->name, backend->not_built);
    const int count = backend->count();
    if (count == 0 && backend->absent)
        return eab_fail(EAB_NO_DEVICE, "backend \"%s\" has no device here: %s", backend->name, backend->absent());
    if (index < 0 || index >= count)
        return eab_fail(EAB_NO_DEVICE, "backend \"%s\" has no device %d; devices here: %d", backend->name, index,
                        count);
    eab_device *opened = calloc(1, sizeof *opened);
    if (!opened) return eab_fail(EAB_NO_MEMORY, "out of memory");
    opened->backend = backend;
    opened->index = index;
    const int status = backend->open(index, opened);
    if (status) {
        free(opened);
        return status;
    }
    *device = opened;
    return EAB_OK;
}

void eab_device_close(eab_device *device) {
    if (!device) return;
    device->backend->close(device);
    free(device);
}

int eab_device_set_stream(eab_device *device, void *stream) {
    if (!device) return eab_fail(EAB_BAD_INPUT, "eab_device_set_stream: device is NULL");
    return device->backend->set_stream ? device->backend->set_stream(device, stream) : EAB_OK;
}

int eab_device_synchronize(eab_device *device) {
    if (!device) return eab_fail(EAB_BAD_INPUT, "eab_device_synchronize: device is NULL");
    return device->backend->synchronize(device);
}

/* ---- arguments ----------------------------------------------------------------------------------------------- */

typedef struct {
    const char *name;
    int64_t bytes;
    const void *data;
    void *output; /* data of an output; NULL: an input */
} buffer;

enum { MAX_BUFFERS = 9 };

/* No buffer may be NULL; an output may overlap no other buffer. */
static int check_buffers(const char *call, const buffer *buffers, int count) {
    for (int i = 0; i < count; i++)
        if (!buffers[i].data) return eab_fail(EAB_BAD_INPUT, "%s: %s is NULL", call, buffers[i].name);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < i; j++) {
            if (!buffers[i].output && !buffers[j].output) continue;
            const uintptr_t a = (uintptr_t)buffers[i].data, b = (uintptr_t)buffers[j].data;
            if (a < b + (uintptr_t)buffers[j].bytes && b < a + (uintptr_t)buffers[i].bytes)
                return eab_fail(EAB_BAD_INPUT, "%s: %s overlaps %s", call, buffers[i].name, buffers[j].name);
        }
    return EAB_OK;
}

static int64_t bytes_per_real(int32_t dtype) { return dtype == EAB_F32 ? 4 : 2; }

static int check_attention(const char *call, const eab_device *device, const eab_attention *attention,
                           int64_t *elements, int64_t *rows) {
    if (!device) return eab_fail(EAB_BAD_INPUT, "%s: device is NULL", call);
    if (!attention) return eab_fail(EAB_BAD_INPUT, "%s: attention is NULL", call);
    const eab_attention *a = attention;
    const struct {
        const char *name;
        int32_t value, largest;
    } sizes[] = {{"batch", a->batch, INT32_MAX},
                 {"heads", a->heads, INT32_MAX},
                 {"context", a->context, INT32_MAX},
                 {"head_dim", a->head_dim, MAX_HEAD_DIM}};
    int64_t total = 1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sizes[i].value < 1 || sizes[i].value > sizes[i].largest)
            return eab_fail(EAB_BAD_INPUT, "%s: %s = %d; allowed: 1..%d", call, sizes[i].name, (int)sizes[i].value,
                            (int)sizes[i].largest);
        if (__builtin_mul_overflow(total, (int64_t)sizes[i].value, &total) || total > INT64_MAX / 64)
            return eab_fail(EAB_BAD_INPUT, "%s: batch * heads * context * head_dim = %d * %d * %d * %d is too large",
                            call, (int)a->batch, (int)a->heads, (int)a->context, (int)a->head_dim);
    }
    if (!eab_mechanism_name(a->mechanism))
        return eab_fail(EAB_BAD_INPUT, "%s: mechanism = %d; allowed: 0..%d (eab_mechanism_from_name)", call,
                        (int)a->mechanism, EAB_MECHANISM_COUNT - 1);
    if (a->dtype != EAB_F32 && a->dtype != EAB_BF16 && a->dtype != EAB_F16)
        return eab_fail(EAB_BAD_INPUT, "%s: dtype = %d; allowed: EAB_F32, EAB_BF16, EAB_F16", call, (int)a->dtype);
    if (a->causal != 0 && a->causal != 1)
        return eab_fail(EAB_BAD_INPUT, "%s: causal = %d; allowed: 0, 1", call, (int)a->causal);
    if (!isfinite(a->scale) || a->scale < 0)
        return eab_fail(EAB_BAD_INPUT, "%s: scale = %g; allowed: finite, above 0, or 0 for the mechanism's default",
                        call, (double)a->scale);
    if (a->mechanism == EAB_MECHANISM_mix && !(a->mix >= EAB_MIX_LEAST && a->mix <= EAB_MIX_MOST))
        return eab_fail(EAB_BAD_INPUT, "%s: mix = %g; allowed: %g..%g", call, (double)a->mix, (double)EAB_MIX_LEAST,
                        (double)EAB_MIX_MOST);
    for (int32_t head = 0; a->slopes && head < a->heads; head++)
        if (!isfinite(a->slopes[head]) || a->slopes[head] < 0)
            return eab_fail(EAB_BAD_INPUT, "%s: slopes[%d] = %g; allowed: finite, at least 0", call, (int)head,
                            (double)a->slopes[head]);
    const char *unsupported = device->backend->supports(device, a);
    if (unsupported) return eab_fail(EAB_UNSUPPORTED, "%s: %s: %s", call, device->backend->name, unsupported);
    *elements = total;
    *rows = total / a->head_dim;
    return EAB_OK;
}

eab_attention_args eab_attention_args_of(const eab_attention *a, const float *scale) {
    const int64_t in_time = a->head_dim, in_head = in_time * a->context, in_batch = in_head * a->heads;
    return (eab_attention_args){.members = 1,
                                .batch = a->batch,
                                .heads = a->heads,
                                .context = a->context,
                                .head_dim = a->head_dim,
                                .causal = a->causal != 0,
                                .standalone = true,
                                .scores = {.mechanism = &a->mechanism, .scale = scale, .mix = &a->mix},
                                .slopes = a->slopes,
                                .in_batch = in_batch,
                                .in_head = in_head,
                                .in_time = in_time,
                                .out_batch = in_batch,
                                .out_head = in_head,
                                .out_time = in_time};
}

static float scale_of(const eab_attention *a) {
    return a->scale > 0 ? a->scale : eab_mechanism_default_scale(a->mechanism, a->head_dim);
}

/* ---- operands in the backend's type -------------------------------------------------------------------------- */

typedef struct {
    eab_device *device;
    const buffer *buffers;
    int count;
    void *copies[MAX_BUFFERS]; /* NULL where the backend takes the caller's pointer */
    double *staging;
} operands;

static void operands_close(operands *o) {
    for (int i = 0; i < o->count; i++)
        if (o->copies[i]) o->device->backend->release(o->device, o->copies[i]);
    free(o->staging);
}

static int64_t reals(const buffer *b) { return b->bytes / (int64_t)sizeof(float); }

static int operands_convert(operands *o, int64_t elements) {
    const eab_backend *backend = o->device->backend;
    o->staging = malloc((size_t)elements * sizeof *o->staging);
    if (!o->staging) return eab_fail(EAB_NO_MEMORY, "out of memory: %lld reals", (long long)elements);
    for (int i = 0; i < o->count; i++) {
        const int64_t count = reals(&o->buffers[i]);
        EAB_TRY(backend->allocate(o->device, (size_t)count * backend->real_bytes, &o->copies[i]));
        if (o->buffers[i].output) continue;
        for (int64_t j = 0; j < count; j++) o->staging[j] = (double)((const float *)o->buffers[i].data)[j];
        EAB_TRY(backend->write_reals(o->device, o->copies[i], o->staging, count));
    }
    return EAB_OK;
}

static int operands_open(operands *o, eab_device *device, const buffer *buffers, int count, int64_t elements) {
    *o = (operands){.device = device, .buffers = buffers, .count = count};
    if (device->backend->real_bytes == sizeof(float)) return EAB_OK;
    const int status = operands_convert(o, elements);
    if (status) operands_close(o);
    return status;
}

static eab_const_tensor input(const operands *o, int i) {
    return (eab_const_tensor){.data = o->copies[i] ? o->copies[i] : o->buffers[i].data};
}

static eab_tensor output(const operands *o, int i) {
    return (eab_tensor){.data = o->copies[i] ? o->copies[i] : o->buffers[i].output};
}

/* Converts outputs that were computed in copies into the caller's buffers. */
static int operands_collect(operands *o) {
    for (int i = 0; i < o->count; i++) {
        float *to = o->buffers[i].output;
        if (!to || !o->copies[i]) continue;
        const int64_t count = reals(&o->buffers[i]);
        EAB_TRY(o->device->backend->read_reals(o->device, o->staging, o->copies[i], count));
        for (int64_t j = 0; j < count; j++) to[j] = (float)o->staging[j];
    }
    return EAB_OK;
}

/* ---- attention ----------------------------------------------------------------------------------------------- */

int eab_attention_forward(eab_device *device, const eab_attention *attention, const void *q, const void *k,
                          const void *v, void *out, float *row_stat) {
    static const char call[] = "eab_attention_forward";
    int64_t elements, rows;
    EAB_TRY(check_attention(call, device, attention, &elements, &rows));
    const int64_t bytes = elements * bytes_per_real(attention->dtype);
    const buffer buffers[] = {{"q", bytes, q, NULL},
                              {"k", bytes, k, NULL},
                              {"v", bytes, v, NULL},
                              {"out", bytes, out, out},
                              {"row_stat", rows * (int64_t)sizeof(float), row_stat, row_stat}};
    const int count = row_stat ? 5 : 4;
    EAB_TRY(check_buffers(call, buffers, count));

    if (attention->dtype != EAB_F32)
        return device->backend->attention_half_forward(device, attention, q, k, v, out, row_stat);
    const float scale = scale_of(attention);
    const eab_attention_args args = eab_attention_args_of(attention, &scale);
    operands o;
    EAB_TRY(operands_open(&o, device, buffers, count, elements));
    int status = device->backend->attention_forward(device, &args, input(&o, 0), input(&o, 1), input(&o, 2),
                                                    output(&o, 3), output(&o, 4));
    if (!status) status = operands_collect(&o);
    operands_close(&o);
    return status;
}

int eab_attention_backward(eab_device *device, const eab_attention *attention, const void *q, const void *k,
                           const void *v, const void *out, const float *row_stat, const void *dout, void *dq, void *dk,
                           void *dv) {
    static const char call[] = "eab_attention_backward";
    int64_t elements, rows;
    EAB_TRY(check_attention(call, device, attention, &elements, &rows));
    const int64_t bytes = elements * bytes_per_real(attention->dtype);
    const buffer buffers[] = {{"q", bytes, q, NULL},
                              {"k", bytes, k, NULL},
                              {"v", bytes, v, NULL},
                              {"out", bytes, out, NULL},
                              {"row_stat", rows * (int64_t)sizeof(float), row_stat, NULL},
                              {"dout", bytes, dout, NULL},
                              {"dq", bytes, dq, dq},
                              {"dk", bytes, dk, dk},
                              {"dv", bytes, dv, dv}};
    const int count = sizeof buffers / sizeof *buffers;
    EAB_TRY(check_buffers(call, buffers, count));

    if (attention->dtype != EAB_F32)
        return device->backend->attention_half_backward(device, attention, q, k, v, out, row_stat, dout, dq, dk, dv);
    const float scale = scale_of(attention);
    const eab_attention_args args = eab_attention_args_of(attention, &scale);
    operands o;
    EAB_TRY(operands_open(&o, device, buffers, count, elements));
    int status =
        device->backend->attention_backward(device, &args, input(&o, 0), input(&o, 1), input(&o, 2), input(&o, 3),
                                            input(&o, 4), input(&o, 5), output(&o, 6), output(&o, 7), output(&o, 8));
    if (!status) status = operands_collect(&o);
    operands_close(&o);
    return status;
}
