#include "buffers.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 37 }; /* reals before, between and after the members' parts; odd, so that alignment is tested too */
static const double guard_value = -12288.0;

static eab_random next_draws(eab_check_run *run) { return eab_random_at(7, 11, run->draws++, 0, 0); }

static double *guarded_values(eab_check_run *run, int32_t members, int64_t count, double scale) {
    const int64_t total = members * (count + GUARD) + GUARD;
    double *values = malloc((size_t)total * sizeof *values);
    if (!values) return NULL;
    eab_random random = next_draws(run);
    for (int64_t i = 0; i < total; i++) {
        const bool in_guard = i % (count + GUARD) < GUARD;
        double sum = 0; /* of four uniforms: near enough to normal, standard deviation 1 */
        for (int n = 0; n < 4; n++) sum += eab_random_word(&random) / 4294967296.0 - 0.5;
        values[i] = in_guard ? guard_value : isnan(scale) ? NAN : (double)(float)(scale * sum * sqrt(3.0));
    }
    return values;
}

eab_tensor eab_check_tensor(eab_check_run *run, int32_t members, int64_t count, double scale) {
    const eab_tensor none = {NULL, 0};
    if (run->status) return none;
    const eab_backend *backend = run->device->backend;
    const int64_t total = members * (count + GUARD) + GUARD;
    double *values = guarded_values(run, members, count, scale);
    if (!values || run->buffer_count == EAB_CHECK_MAX_BUFFERS) {
        free(values);
        run->status = eab_fail(EAB_NO_MEMORY, "no memory for a check of %lld reals", (long long)total);
        return none;
    }
    eab_check_buffer *buffer = &run->buffers[run->buffer_count++];
    *buffer = (eab_check_buffer){.count = count, .members = members};
    run->status = backend->allocate(run->device, (size_t)total * backend->real_bytes, &buffer->memory);
    if (!run->status) run->status = backend->write_reals(run->device, buffer->memory, values, total);
    free(values);
    if (run->status) return none;
    return (eab_tensor){(char *)buffer->memory + GUARD * backend->real_bytes, count + GUARD};
}

void *eab_check_upload(eab_check_run *run, const void *from, size_t bytes) {
    if (run->status) return NULL;
    const eab_backend *backend = run->device->backend;
    void *memory = NULL;
    if (run->plain_count == EAB_CHECK_MAX_BUFFERS)
        run->status = eab_fail(EAB_NO_MEMORY, "a check has too many buffers");
    if (!run->status) run->status = backend->allocate(run->device, bytes, &memory);
    if (run->status) return NULL;
    run->plain_memory[run->plain_count++] = memory;
    run->status = from ? backend->upload(run->device, memory, from, bytes) : backend->zero(run->device, memory, bytes);
    return memory;
}

int32_t eab_check_below(eab_check_run *run, int32_t bound) {
    eab_random random = next_draws(run);
    return eab_random_below(&random, bound);
}

static double *output_room(eab_check_run *run, int64_t count) {
    if (run->output_count + count > run->output_room) {
        const int64_t room = 2 * run->output_room + count;
        double *outputs = realloc(run->outputs, (size_t)room * sizeof *outputs);
        if (!outputs) {
            run->status = eab_fail(EAB_NO_MEMORY, "no memory for a check's outputs");
            return NULL;
        }
        run->outputs = outputs;
        run->output_room = room;
    }
    double *place = run->outputs + run->output_count;
    run->output_count += count;
    return place;
}

void eab_check_output(eab_check_run *run, eab_tensor tensor, int32_t members, int64_t count) {
    const eab_backend *backend = run->device->backend;
    for (int32_t member = 0; member < members && !run->status && tensor.data; member++) {
        double *place = output_room(run, count);
        const char *from = (const char *)tensor.data + member * tensor.stride * (int64_t)backend->real_bytes;
        if (place) run->status = backend->read_reals(run->device, place, from, count);
    }
}

void eab_check_output_number(eab_check_run *run, double number) {
    double *place = run->status ? NULL : output_room(run, 1);
    if (place) *place = number;
}

bool eab_check_guards_hold(eab_check_run *run) {
    const eab_backend *backend = run->device->backend;
    double found[GUARD];
    for (int32_t i = 0; i < run->buffer_count; i++) {
        const eab_check_buffer *buffer = &run->buffers[i];
        for (int32_t zone = 0; zone <= buffer->members; zone++) {
            const char *from =
                (const char *)buffer->memory + zone * (buffer->count + GUARD) * (int64_t)backend->real_bytes;
            if (backend->read_reals(run->device, found, from, GUARD)) return false;
            for (int j = 0; j < GUARD; j++)
                if (found[j] != guard_value) return false;
        }
    }
    return true;
}

void eab_check_release(eab_check_run *run) {
    for (int32_t i = 0; i < run->buffer_count; i++) run->device->backend->release(run->device, run->buffers[i].memory);
    for (int32_t i = 0; i < run->plain_count; i++) run->device->backend->release(run->device, run->plain_memory[i]);
    free(run->outputs);
    memset(run, 0, sizeof *run);
}
