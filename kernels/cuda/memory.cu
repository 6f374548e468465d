/* Memory of a CUDA device: allocations, scratch memory of operations, copies of host arrays. A training step zeroes one
 * [rows][d_model] (512 members of the quick ladder: 50 MB, 10 us on an H200) and copies nothing, unless the model has
 * no norms. */
#include "operations.h"
#include "own.h"

#include <stdlib.h>
#include <string.h>

namespace {

enum { SCRATCH_STEP = 1 << 20 };

/* Keeps memory until the device is closed, because recordings may still use it. Scratch memory doubles when it grows,
 * so all of it together is at most twice what is needed. */
int retire(eab_cuda_own *own, void *memory) {
    if (!memory) return EAB_OK;
    void **retired = (void **)realloc(own->retired, (size_t)(own->retired_count + 1) * sizeof *retired);
    if (!retired) return eab_fail(EAB_NO_MEMORY, "out of memory");
    own->retired = retired;
    own->retired[own->retired_count++] = memory;
    return EAB_OK;
}

int refuse_in_recording(const eab_cuda_own *own, const char *what) {
    if (!own->replays) return EAB_OK;
    return eab_fail(EAB_DEVICE_FAULT, "cuda: a recording would need to %s; its operations must run once before", what);
}

/* The copy of a level's text on the device, or NULL. */
const eab_text *find_text(const eab_cuda_own *own, const eab_level *level) {
    for (int i = 0; i < own->text_count; i++) {
        const eab_cuda_text *text = &own->texts[i];
        if (text->unit == level->option[EAB_TEXT_UNIT] && strcmp(text->sha256, level->text->sha256) == 0)
            return text->on_device;
    }
    return NULL;
}

int add_text(eab_device *device, const eab_level *level) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    const eab_text_tokens *host = eab_text_of(level);
    const size_t bytes = (size_t)host->count * sizeof *host->tokens;
    void *memory, *texts = realloc(own->texts, (size_t)(own->text_count + 1) * sizeof *own->texts);
    if (!texts) return eab_fail(EAB_NO_MEMORY, "out of memory");
    own->texts = (eab_cuda_text *)texts;
    const int status = eab_cuda_allocate(device, sizeof(eab_text) + bytes, &memory);
    if (status) return eab_fail_prefix(status, "%s: ", level->text->shown);
    eab_cuda_text *added = &own->texts[own->text_count];
    *added = {};
    memcpy(added->sha256, level->text->sha256, sizeof added->sha256);
    added->unit = level->option[EAB_TEXT_UNIT];
    added->on_device = (eab_text *)memory;
    eab_text copy = {};
    copy.unit[added->unit].count = host->count;
    copy.unit[added->unit].tokens = (const uint16_t *)(added->on_device + 1);
    EAB_TRY(eab_cuda_upload(device, added->on_device, &copy, sizeof copy));
    EAB_TRY(eab_cuda_upload(device, added->on_device + 1, host->tokens, bytes));
    own->text_count++;
    return EAB_OK;
}

/* Replaces the levels' texts by their copies on the device. */
int keep_texts(eab_device *device, eab_level *levels, size_t count) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    bool missing = false;
    for (size_t i = 0; i < count; i++) missing = missing || (levels[i].text && !find_text(own, &levels[i]));
    if (missing) EAB_TRY(refuse_in_recording(own, "upload a text"));
    while (missing && own->text_count) eab_cuda_release(device, own->texts[--own->text_count].on_device);
    for (size_t i = 0; i < count; i++) {
        if (!levels[i].text) continue;
        if (!find_text(own, &levels[i])) EAB_TRY(add_text(device, &levels[i]));
        levels[i].text = find_text(own, &levels[i]);
    }
    return EAB_OK;
}

} // namespace

int eab_cuda_allocate(eab_device *device, size_t bytes, void **memory) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    *memory = NULL;
    if (own->block_count == own->block_room) {
        const int room = 2 * own->block_room + 16;
        eab_cuda_block *blocks = (eab_cuda_block *)realloc(own->blocks, (size_t)room * sizeof *blocks);
        if (!blocks) return eab_fail(EAB_NO_MEMORY, "out of memory");
        own->blocks = blocks;
        own->block_room = room;
    }
    eab_cuda_stream(device);
    const cudaError_t error = cudaMalloc(memory, bytes ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError();
        return eab_fail(EAB_NO_MEMORY, "device %d is out of memory: %zu bytes requested, %zu already allocated",
                        own->index, bytes, device->bytes);
    }
    if (error != cudaSuccess) return eab_cuda_status(error, "cudaMalloc", __FILE__, __LINE__);
    own->blocks[own->block_count++] = {*memory, bytes};
    device->bytes += bytes;
    if (device->bytes > device->peak_bytes) device->peak_bytes = device->bytes;
    return EAB_OK;
}

void eab_cuda_release(eab_device *device, void *memory) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    for (int i = own->block_count - 1; i >= 0 && memory; i--) {
        if (own->blocks[i].memory != memory) continue;
        device->bytes -= own->blocks[i].bytes;
        own->blocks[i] = own->blocks[--own->block_count];
        if (!eab_cuda_is_current(own)) return; /* freed with its context */
        cudaStreamSynchronize(eab_cuda_stream(device));
        cudaFree(memory);
        cudaGetLastError();
        return;
    }
}

int eab_cuda_zero(eab_device *device, void *memory, size_t bytes) {
    if (bytes) EAB_CUDA(cudaMemsetAsync(memory, 0, bytes, eab_cuda_stream(device)));
    return EAB_OK;
}

int eab_cuda_copy_bytes(eab_device *device, void *to, const void *from, size_t bytes) {
    if (bytes) EAB_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, eab_cuda_stream(device)));
    return EAB_OK;
}

/* Whether one call can handle all members: pitches are at most 2^31 - 1 bytes (cudaDeviceProp.memPitch). */
static bool fits_pitch(int32_t members, eab_tensor x, size_t bytes) {
    const size_t pitch = (size_t)x.stride * sizeof(float);
    return members > 1 && pitch >= bytes && pitch <= INT32_MAX;
}

static char *member_at(eab_tensor x, int32_t member) {
    return (char *)x.data + (int64_t)member * x.stride * (int64_t)sizeof(float);
}

int eab_cuda_zero_members(eab_device *device, int32_t members, int64_t count, eab_tensor x) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const size_t bytes = (size_t)count * sizeof(float);
    if (fits_pitch(members, x, bytes)) {
        EAB_CUDA(cudaMemset2DAsync(x.data, (size_t)x.stride * sizeof(float), 0, bytes, (size_t)members, stream));
        return EAB_OK;
    }
    for (int32_t member = 0; member < members; member++)
        EAB_CUDA(cudaMemsetAsync(member_at(x, member), 0, bytes, stream));
    return EAB_OK;
}

int eab_cuda_copy_members(eab_device *device, int32_t members, int64_t count, eab_tensor from, eab_tensor to) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const size_t bytes = (size_t)count * sizeof(float);
    if (fits_pitch(members, from, bytes) && fits_pitch(members, to, bytes)) {
        EAB_CUDA(cudaMemcpy2DAsync(to.data, (size_t)to.stride * sizeof(float), from.data,
                                   (size_t)from.stride * sizeof(float), bytes, (size_t)members,
                                   cudaMemcpyDeviceToDevice, stream));
        return EAB_OK;
    }
    for (int32_t member = 0; member < members; member++)
        EAB_CUDA(
            cudaMemcpyAsync(member_at(to, member), member_at(from, member), bytes, cudaMemcpyDeviceToDevice, stream));
    return EAB_OK;
}

int eab_cuda_upload(eab_device *device, void *to, const void *host, size_t bytes) {
    const cudaStream_t stream = eab_cuda_stream(device);
    EAB_TRY(refuse_in_recording(eab_cuda_own_of(device), "upload"));
    EAB_CUDA(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, stream));
    return eab_cuda_synchronize(device); /* the caller may reuse its array */
}

int eab_cuda_download(eab_device *device, void *host, const void *from, size_t bytes) {
    const cudaStream_t stream = eab_cuda_stream(device);
    EAB_TRY(refuse_in_recording(eab_cuda_own_of(device), "download"));
    EAB_CUDA(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream));
    return eab_cuda_synchronize(device);
}

int eab_cuda_write_reals(eab_device *device, void *to, const double *host, int64_t count) {
    float *values = (float *)malloc((size_t)count * sizeof *values + 1);
    if (!values) return eab_fail(EAB_NO_MEMORY, "no memory for %lld reals", (long long)count);
    for (int64_t i = 0; i < count; i++) values[i] = (float)host[i];
    const int status = eab_cuda_upload(device, to, values, (size_t)count * sizeof *values);
    free(values);
    return status;
}

int eab_cuda_read_reals(eab_device *device, double *host, const void *from, int64_t count) {
    float *values = (float *)malloc((size_t)count * sizeof *values + 1);
    if (!values) return eab_fail(EAB_NO_MEMORY, "no memory for %lld reals", (long long)count);
    const int status = eab_cuda_download(device, values, from, (size_t)count * sizeof *values);
    for (int64_t i = 0; i < count && !status; i++) host[i] = (double)values[i];
    free(values);
    return status;
}

int eab_cuda_scratch(eab_device *device, size_t bytes, void **memory) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    if (bytes > own->scratch.bytes) {
        size_t room = 2 * own->scratch.bytes;
        if (room < bytes) room = (bytes + SCRATCH_STEP - 1) / SCRATCH_STEP * SCRATCH_STEP;
        EAB_TRY(refuse_in_recording(own, "grow its scratch memory"));
        EAB_TRY(retire(own, own->scratch.memory));
        own->scratch = {NULL, 0};
        eab_cuda_stream(device);
        EAB_CUDA(cudaMalloc(&own->scratch.memory, room));
        own->scratch.bytes = room;
    }
    *memory = own->scratch.memory;
    return EAB_OK;
}

int eab_cuda_keep(eab_device *device, eab_cuda_kept array, const void *host, size_t bytes, const void **on_device) {
    eab_cuda_own *own = eab_cuda_own_of(device);
    eab_cuda_copy *copy = &own->kept[array];
    *on_device = NULL;
    if (!host) return EAB_OK;
    /* After members left, the array is usually a prefix of the earlier one. */
    if (copy->bytes < bytes || memcmp(copy->host, host, bytes) != 0) {
        EAB_TRY(refuse_in_recording(own, "upload an array"));
        if (copy->room < bytes) {
            void *larger = realloc(copy->host, bytes);
            if (!larger) return eab_fail(EAB_NO_MEMORY, "out of memory");
            copy->host = larger;
            EAB_TRY(retire(own, copy->on_device));
            copy->on_device = NULL;
            copy->room = copy->bytes = 0;
            eab_cuda_stream(device);
            EAB_CUDA(cudaMalloc(&copy->on_device, bytes));
            copy->room = bytes;
        }
        copy->bytes = 0; /* unknown if the upload fails */
        EAB_TRY(eab_cuda_upload(device, copy->on_device, host, bytes));
        memcpy(copy->host, host, bytes);
        copy->bytes = bytes;
    }
    *on_device = copy->on_device;
    return EAB_OK;
}

int eab_cuda_keep_levels(eab_device *device, const eab_level *host, size_t count, const void **on_device) {
    const size_t bytes = count * sizeof *host;
    eab_level *levels = (eab_level *)malloc(bytes);
    if (!levels) return eab_fail(EAB_NO_MEMORY, "out of memory");
    memcpy(levels, host, bytes);
    int status = keep_texts(device, levels, count);
    if (!status) status = eab_cuda_keep(device, EAB_CUDA_LEVELS, levels, bytes, on_device);
    free(levels);
    return status;
}
