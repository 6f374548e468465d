/* Training data, made where it is used: one thread writes one sequence, from (parts, seed, stream, index) alone
 * (tasks/parts.h, integers only), so that the tokens are those of every other backend, bit for bit. The index is the host's
 * plus `batch` for each replay of the recording at work (context.h).
 *
 * A thread's sequence is drawn into scratch memory of its own, [context + 1] tokens and their marks, and copied from there;
 * determined tokens are counted by integer atomics, whose order does not matter.
 *
 * Limited by latency: 16,384 threads for 512 members with batches of 32, each drawing a Philox block of ten rounds for four
 * tokens and writing 24 + 24 of them. 2 MB of scratch and 3.1 MB of tokens stay in the second-level cache (at most 2 us of an H200's memory); a token is
 * about 40 integer instructions, 16 M, 0.5 us at full rate, but 512 warps on 132 multiprocessors hide no latency: an estimated 10 us.
 * Many families take many registers: one block a multiprocessor is asked for, so that none spills. No GPU figure has been
 * measured yet.
 */
#include "fleet.h"
#include "operations.h"

namespace {

enum { THREADS = 64, FEED_THREADS = 256 };

__global__ void __launch_bounds__(THREADS, 1)
    draw(int32_t members, int32_t batch, int32_t context, const eab_level *levels, const uint8_t *held_out,
         const eab_parts *parts, int32_t only, const uint32_t *seeds, uint32_t stream, uint64_t first_index,
         const int64_t *replays, int32_t *tokens_room, uint8_t *determined_room, int32_t *inputs, int32_t *targets,
         unsigned long long *counts) {
    const int64_t sequence = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (sequence >= (int64_t)members * batch) return;
    const int64_t member = sequence / batch, length = context + 1, row = sequence * context;
    const uint64_t index =
        first_index + (uint64_t)(sequence - member * batch) + (replays ? (uint64_t)*replays * (uint64_t)batch : 0);
    int32_t *tokens = tokens_room + sequence * length;
    uint8_t *determined = determined_room + sequence * length;
    const eab_parts own = parts ? parts[member] : eab_parts{(int32_t)member, 1, -1};
    eab_parts_generate(levels, held_out, own, only > own.count ? 1 : only, seeds[member], stream, index,
                       (int32_t)length, tokens, determined);
    unsigned long long count = 0;
    for (int32_t t = 0; t < context; t++) {
        const int32_t next = tokens[t + 1];
        inputs[row + t] = tokens[t];
        targets[row + t] = determined[t + 1] ? next : -1 - next;
        count += determined[t + 1];
    }
    atomicAdd(&counts[member], count);
}

__global__ void __launch_bounds__(FEED_THREADS)
    feed(int64_t count, int32_t context, const int32_t *targets, const int32_t *predictions, int32_t *inputs,
         unsigned long long *changed) {
    const int64_t i = (int64_t)blockIdx.x * FEED_THREADS + threadIdx.x;
    bool differs = i < count && i % context + 1 < context && targets[i] >= 0;
    if (differs) {
        const int32_t prediction = predictions[i];
        differs = inputs[i + 1] != prediction;
        if (differs) inputs[i + 1] = prediction;
    }
    const int found = __syncthreads_count(differs);
    if (threadIdx.x == 0 && found) atomicAdd(changed, (unsigned long long)found);
}

} // namespace

int eab_cuda_generate(eab_device *device, const eab_generate_args *args, int32_t *inputs, int32_t *targets,
                      int64_t *counts) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const size_t n = (size_t)args->members;
    const int64_t sequences = (int64_t)args->members * args->batch;
    const size_t tokens = (size_t)sequences * ((size_t)args->context + 1);
    size_t level_count = 0;
    for (int32_t member = 0; member < args->members; member++) {
        const eab_parts parts = eab_generate_parts(args, member);
        const size_t end = (size_t)parts.first + (size_t)parts.count;
        if (end > level_count) level_count = end;
    }
    const void *levels = nullptr, *held_out = nullptr, *parts = nullptr, *seeds = nullptr;
    void *room = nullptr;
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_LEVELS, args->levels, level_count * sizeof(eab_level), &levels));
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_HELD_OUT, args->held_out, level_count, &held_out));
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_PARTS, args->parts, n * sizeof(eab_parts), &parts));
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_SEEDS, args->seeds, n * sizeof(uint32_t), &seeds));
    EAB_TRY(eab_cuda_scratch(device, tokens * (sizeof(int32_t) + 1), &room));
    EAB_CUDA(cudaMemsetAsync(counts, 0, n * sizeof *counts, stream));
    return EAB_LAUNCH(stream, draw, dim3((unsigned)eab_cuda_parts(sequences, THREADS)), dim3(THREADS), 0, args->members,
                      args->batch, args->context, (const eab_level *)levels, (const uint8_t *)held_out,
                      (const eab_parts *)parts, args->only, (const uint32_t *)seeds, args->stream, args->first_index,
                      eab_cuda_replays(device), (int32_t *)room, (uint8_t *)room + tokens * sizeof(int32_t), inputs,
                      targets, (unsigned long long *)counts);
}

int eab_cuda_feed_back(eab_device *device, const eab_generate_args *args, const int32_t *targets,
                       const int32_t *predictions, int32_t *inputs, int64_t *changed) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const int64_t count = (int64_t)args->members * args->batch * args->context;
    EAB_CUDA(cudaMemsetAsync(changed, 0, sizeof *changed, stream));
    return EAB_LAUNCH(stream, feed, dim3((unsigned)eab_cuda_parts(count, FEED_THREADS)), dim3(FEED_THREADS), 0, count,
                      args->context, targets, predictions, inputs, (unsigned long long *)changed);
}
