#include "buffers.h"

#include <math.h>
#include <stdlib.h>

/* Reals before, between and after the members' parts; odd, so that unaligned data is tested too. */
enum { GUARD = 37 };
static const double guard_value = -12288.0;

static eab_random next_draws(eab_check_run *run) { return eab_random_at(7, 11, run->draws++, 0, 0); }

double eab_check_normal(eab_random *random) {
    double sum = 0;
    for (int n = 0; n < 4; n++) sum += eab_random_word(random) / 4294967296.0 - 0.5;
    return sum * sqrt(3.0);
}

static double *guarded_values(eab_check_run *run, int64_t total, int64_t count, double scale) {
    double *values = malloc((size_t)total * sizeof *values);
    if (!values) return NULL;
    eab_random random = next_draws(run);
    for (int64_t i = 0; i < total; i++) {
        const bool in_guard = i % (count + GUARD) < GUARD;
        const double normal = eab_check_normal(&random);
        values[i] = in_guard ? guard_value : isnan(scale) ? NAN : (double)(float)(scale * normal);
    }
    return values;
}

/* Device memory that eab_check_release frees; NULL after a failure. */
static void *allocate(eab_check_run *run, size_t bytes, int64_t count) {
    eab_check_buffer *buffer = &run->buffers[run->buffer_count];
    if (!run->status && run->buffer_count == EAB_CHECK_MAX_BUFFERS)
        run->status = eab_fail(EAB_NO_MEMORY, "a check has more than %d buffers", EAB_CHECK_MAX_BUFFERS);
    if (run->status) return NULL;
    *buffer = (eab_check_buffer){.count = count};
    run->status = run->device->backend->allocate(run->device, bytes, &buffer->memory);
    if (run->status) return NULL;
    run->buffer_count++;
    return buffer->memory;
}

eab_tensor eab_check_tensor(eab_check_run *run, int64_t count, double scale) {
    const size_t real_bytes = run->device->backend->real_bytes;
    const int64_t total = run->members * (count + GUARD) + GUARD;
    char *memory = allocate(run, (size_t)total * real_bytes, count);
    double *values = memory ? guarded_values(run, total, count, scale) : NULL;
    if (memory && !values) run->status = eab_fail(EAB_NO_MEMORY, "no memory for %lld reals", (long long)total);
    EAB_CHECK_CALL(write_reals, memory, values, total);
    free(values);
    return run->status ? (eab_tensor){NULL, 0} : (eab_tensor){memory + GUARD * real_bytes, count + GUARD};
}

void *eab_check_upload(eab_check_run *run, const void *from, size_t bytes) {
    void *memory = allocate(run, bytes, 0);
    if (from) EAB_CHECK_CALL(upload, memory, from, bytes);
    else EAB_CHECK_CALL(zero, memory, bytes);
    return run->status ? NULL : memory;
}

int32_t *eab_check_random_tokens(eab_check_run *run, int64_t count, int32_t vocab, bool some_free) {
    int32_t tokens[EAB_CHECK_MAX_TOKENS];
    if (count > EAB_CHECK_MAX_TOKENS) return NULL;
    for (int64_t i = 0; i < count; i++) {
        eab_random random = next_draws(run);
        tokens[i] = eab_random_below(&random, vocab);
        if (some_free && i % 3 == 1) tokens[i] = -1 - tokens[i];
    }
    return eab_check_upload(run, tokens, (size_t)count * sizeof *tokens);
}

/* Where the next `count` outputs go. */
static double *grow_outputs(eab_check_run *run, int64_t count) {
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

void eab_check_output_reals(eab_check_run *run, const void *from, int64_t count) {
    double *place = run->status ? NULL : grow_outputs(run, count);
    if (place) EAB_CHECK_CALL(read_reals, place, from, count);
}

void eab_check_output(eab_check_run *run, eab_tensor tensor) {
    const char *from = tensor.data;
    for (int32_t member = 0; from && member < run->members; member++) {
        eab_check_output_reals(run, from, tensor.stride - GUARD); /* as eab_check_tensor made it */
        from += tensor.stride * (int64_t)run->device->backend->real_bytes;
    }
}

void eab_check_output_number(eab_check_run *run, double number) {
    double *place = run->status ? NULL : grow_outputs(run, 1);
    if (place) *place = number;
}

bool eab_check_guards_hold(eab_check_run *run) {
    const eab_backend *backend = run->device->backend;
    double found[GUARD];
    for (int32_t i = 0; i < run->buffer_count; i++) {
        const eab_check_buffer *buffer = &run->buffers[i];
        for (int32_t zone = 0; buffer->count && zone <= run->members; zone++) {
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
    free(run->outputs);
}
