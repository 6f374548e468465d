#include "host_device.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64, HUGE_PAGE = 2 << 20, STACK_LENGTH = 1024 };

/* Before every allocation, in its own cache line: release needs the size. */
typedef union {
    size_t bytes;
    char line[ALIGNMENT];
} allocation;

int eab_host_count(void) { return 1; }

int eab_host_allocate(eab_device *device, size_t bytes, void **memory) {
    *memory = NULL;
    if (bytes > SIZE_MAX / 2)
        return eab_fail(EAB_NO_MEMORY, "an allocation of %zu bytes is larger than any memory", bytes);
    /* Pages of 2 MiB save walks of the page table, which are slow in virtual machines. */
    const bool huge = bytes >= 2 * (size_t)HUGE_PAGE;
    const size_t alignment = huge ? HUGE_PAGE : ALIGNMENT;
    const size_t rounded = (bytes + sizeof(allocation) + alignment - 1) / alignment * alignment;
    allocation *block = aligned_alloc(alignment, rounded);
    if (!block) return eab_fail(EAB_NO_MEMORY, "out of memory: %zu bytes asked for", bytes);
#ifdef MADV_HUGEPAGE
    if (huge) madvise(block, rounded, MADV_HUGEPAGE);
#endif
    block->bytes = bytes;
    device->bytes += bytes;
    if (device->bytes > device->peak_bytes) device->peak_bytes = device->bytes;
    *memory = block + 1;
    return EAB_OK;
}

void eab_host_release(eab_device *device, void *memory) {
    if (!memory) return;
    allocation *block = (allocation *)memory - 1;
    device->bytes -= block->bytes;
    free(block);
}

int eab_host_zero(eab_device *device, void *memory, size_t bytes) {
    (void)device;
    if (bytes) memset(memory, 0, bytes);
    return EAB_OK;
}

int eab_host_copy(eab_device *device, void *to, const void *from, size_t bytes) {
    (void)device;
    if (bytes) memcpy(to, from, bytes);
    return EAB_OK;
}

int eab_host_synchronize(eab_device *device) {
    (void)device;
    return EAB_OK;
}

int eab_host_generate(eab_device *device, const eab_generate_args *args, int32_t *inputs, int32_t *targets,
                      int64_t *counts) {
    (void)device;
    const int32_t context = args->context, length = context + 1;
    int32_t token_room[STACK_LENGTH];
    uint8_t determined_room[STACK_LENGTH];
    int32_t *tokens = token_room;
    uint8_t *determined = determined_room;
    if (length > STACK_LENGTH) {
        tokens = malloc((size_t)length * sizeof *tokens);
        determined = malloc((size_t)length);
    }
    int status = tokens && determined ? EAB_OK : eab_fail(EAB_NO_MEMORY, "no memory for a sequence of %d", length);
    for (int32_t member = 0; member < args->members && !status; member++) {
        const eab_parts parts = eab_generate_parts(args, member);
        const int32_t only = args->only > parts.count ? 1 : args->only;
        int64_t count = 0;
        for (int32_t i = 0; i < args->batch; i++) {
            eab_parts_generate(args->levels, args->held_out, parts, only, args->seeds[member], args->stream,
                               eab_repeated_index(args->first_index + (uint64_t)i, args->repeat_after), length, tokens,
                               determined);
            const int64_t row = ((int64_t)member * args->batch + i) * context;
            for (int32_t t = 0; t < context; t++) {
                inputs[row + t] = tokens[t];
                targets[row + t] = determined[t + 1] ? tokens[t + 1] : -1 - tokens[t + 1];
                count += determined[t + 1];
            }
        }
        counts[member] = count;
    }
    if (tokens != token_room) free(tokens);
    if (determined != determined_room) free(determined);
    return status;
}

int eab_host_feed_back(eab_device *device, const eab_generate_args *args, const int32_t *targets,
                       const int32_t *predictions, int32_t *inputs, int64_t *changed) {
    (void)device;
    *changed = 0;
    for (int64_t sequence = 0; sequence < (int64_t)args->members * args->batch; sequence++) {
        const int64_t row = sequence * args->context;
        for (int32_t t = 0; t + 1 < args->context; t++) {
            if (targets[row + t] < 0 || inputs[row + t + 1] == predictions[row + t]) continue;
            inputs[row + t + 1] = predictions[row + t];
            ++*changed;
        }
    }
    return EAB_OK;
}
