#include "buffers.h"

#include <glib.h>
#include <math.h>

#include "base/half.h"
#include "base/system.h"
#include "tasks/philox.h"

/* Random numbers are drawn once, into a pool, and copied from random places in it: drawing gigabytes would take
 * longer than the measurement. */
enum { POOL = 1 << 20, ALIGNMENT = 256, MAX_SETS = 1 << 16, PIECE = 1 << 18 };
static const uint32_t POOL_SEED = 20240718;
static const double MEMORY_SHARE = 0.8; /* of the free memory */

size_t eab_dtype_bytes(int32_t dtype) { return dtype == EAB_F32 ? sizeof(float) : sizeof(uint16_t); }

/* ---- memory ----------------------------------------------------------------------------------------------------- */

void *eab_bench_buffer(const eab_bench_buffers *buffers, int32_t set, int32_t tensor) {
    return buffers->memory + (size_t)set * buffers->set_bytes + buffers->offsets[tensor];
}

void eab_bench_set_of(const eab_bench_buffers *buffers, int32_t set, void **tensors) {
    for (int32_t i = 0; i < buffers->tensor_count; i++) tensors[i] = eab_bench_buffer(buffers, set, i);
}

/* ---- random numbers --------------------------------------------------------------------------------------------- */

/* Uniform in +-sqrt(3); no absolute value below 1/1024. */
static const float *pool(void) {
    static float values[POOL];
    if (values[0] != 0) return values;
    eab_random random = eab_random_at(POOL_SEED, 0, 0, 0, 0);
    for (int i = 0; i < POOL; i++) {
        const float share = (float)(eab_random_word(&random) >> 8) * 0x1p-23f - 1; /* -1 .. 1 */
        values[i] = fabsf(share) < 0x1p-10f ? 0x1p-10f : share * 1.7320508f;
    }
    return values;
}

/* Where in the pool a piece of a tensor begins. */
static size_t place_in_pool(int32_t set, int32_t tensor, int64_t piece, size_t length) {
    eab_random random = eab_random_at(POOL_SEED, 1, (uint32_t)set, (uint32_t)tensor, (uint32_t)piece);
    return (size_t)eab_random_below(&random, (int32_t)(POOL - length + 1));
}

int eab_bench_refill(const eab_bench_buffers *buffers, int32_t set, int32_t tensor) {
    const eab_bench_tensor *t = &buffers->tensors[tensor];
    const size_t bytes = eab_dtype_bytes(t->dtype);
    char *to = eab_bench_buffer(buffers, set, tensor);
    void *piece = g_malloc(PIECE * sizeof(float)); /* in the tensor's dtype, at most as wide as a float */
    int status = EAB_OK;
    for (int64_t done = 0, number = 0; done < t->count && !status; done += PIECE, number++) {
        const size_t length = (size_t)MIN(t->count - done, (int64_t)PIECE);
        const float *from = pool() + place_in_pool(set, tensor, number, length);
        for (size_t i = 0; i < length; i++) {
            const float value = from[i] * (float)t->magnitude;
            if (t->dtype == EAB_F32) ((float *)piece)[i] = value;
            else ((uint16_t *)piece)[i] = eab_half_encode(value, t->dtype);
        }
        status = buffers->device->backend->upload(buffers->device, to + (size_t)done * bytes, piece, length * bytes);
    }
    g_free(piece);
    return status;
}

static int fill(const eab_bench_buffers *buffers) {
    const eab_backend *backend = buffers->device->backend;
    EAB_TRY(backend->zero(buffers->device, buffers->memory, (size_t)buffers->sets * buffers->set_bytes));
    for (int32_t set = 0; set < buffers->sets; set++)
        for (int32_t i = 0; i < buffers->tensor_count; i++)
            if (buffers->tensors[i].input) EAB_TRY(eab_bench_refill(buffers, set, i));
    return EAB_OK;
}

/* ---- opening, closing, reading ---------------------------------------------------------------------------------- */

/* Bytes that can still be allocated on the device; 0 if unknown. */
static double free_bytes_of(eab_device *device) {
    size_t bytes;
    int64_t threads;
    if (!device->backend->capacity) return eab_system_free_bytes();
    return device->backend->capacity(device, &bytes, &threads) ? 0 : (double)bytes;
}

int eab_bench_buffers_open(eab_bench_buffers *buffers, eab_device *device, const eab_bench_tensor *tensors,
                           int32_t count, size_t rotate_bytes) {
    double bytes = 0;
    *buffers = (eab_bench_buffers){.device = device, .tensor_count = count};
    for (int32_t i = 0; i < count; i++) {
        buffers->tensors[i] = tensors[i];
        buffers->offsets[i] = (size_t)fmin(bytes, 0x1p62);
        bytes += ceil((double)tensors[i].count * (double)eab_dtype_bytes(tensors[i].dtype) / ALIGNMENT) * ALIGNMENT;
    }
    buffers->set_bytes = (size_t)fmin(bytes, 0x1p62);
    buffers->sets = (int32_t)fmax(2, fmin(MAX_SETS, ceil((double)rotate_bytes / bytes)));
    const double all = bytes * buffers->sets, free_bytes = free_bytes_of(device);
    if (all > 0x1p62 || (free_bytes > 0 && all > MEMORY_SHARE * free_bytes))
        return eab_fail(EAB_NO_MEMORY, "%.3g GB of operands and results, where %.3g GB are free", all / 1e9,
                        free_bytes / 1e9);
    EAB_TRY(device->backend->allocate(device, (size_t)all, (void **)&buffers->memory));
    return fill(buffers);
}

void eab_bench_buffers_close(eab_bench_buffers *buffers) {
    if (buffers->memory) buffers->device->backend->release(buffers->device, buffers->memory);
    buffers->memory = NULL;
}

int eab_bench_read(const eab_bench_buffers *buffers, int32_t tensor, int64_t first, int64_t count, double *to) {
    const int32_t dtype = buffers->tensors[tensor].dtype;
    const size_t bytes = eab_dtype_bytes(dtype);
    const char *from = (const char *)eab_bench_buffer(buffers, 0, tensor) + (size_t)first * bytes;
    void *raw = g_try_malloc((gsize)count * bytes);
    if (!raw) return eab_fail(EAB_NO_MEMORY, "no memory to check %" G_GINT64_FORMAT " numbers", (gint64)count);
    const int status = buffers->device->backend->download(buffers->device, raw, from, (size_t)count * bytes);
    for (int64_t i = 0; i < count && !status; i++)
        to[i] = dtype == EAB_F32 ? (double)((float *)raw)[i] : eab_half_decode(((uint16_t *)raw)[i], dtype);
    g_free(raw);
    return status;
}
