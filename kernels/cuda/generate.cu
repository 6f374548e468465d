/* Training data, drawn on the device: one thread writes one sequence, from (parts, seed, stream, index) alone
 * (tasks/parts.h, integers only), so that the tokens equal those of every other backend, bit for bit. The index is the
 * host's plus `batch` for each replay of the current recording (context.h).
 *
 * A thread draws its sequence into scratch memory, [context + 1] tokens and flags of determined tokens, and copies it
 * from there. Determined tokens are counted by integer atomics, whose order does not matter.
 *
 * Limit: latency. 16,384 threads for 512 members with batches of 32; each computes a Philox block of ten rounds for
 * every four tokens and writes 24 + 24 tokens. 2 MB of scratch and 3.1 MB of tokens stay in the second-level cache (at
 * most 2 us of an H200's memory). A token is about 40 integer instructions, 16 M in all, 0.5 us at full rate; but 512
 * warps on 132 multiprocessors hide no latency: an estimated 10 us. Tasks with many families take many registers, so
 * the launch bounds ask for one block a multiprocessor, and nothing spills. Not measured on a GPU yet.
 */
#include "fleet.h"
#include "operations.h"

namespace {

enum { THREADS = 64, FEED_THREADS = 256 };

/* eab_generate_args on the device. */
struct drawing {
    int32_t members, batch, context, only;
    const eab_level *levels;
    const uint8_t *held_out;
    const eab_parts *parts; /* or NULL */
    const uint32_t *seeds;
    uint32_t stream;
    uint64_t first_index, repeat_after;
    const int64_t *replays; /* or NULL */
    int32_t *tokens;        /* scratch: [members * batch][context + 1] */
    uint8_t *determined;    /* the same */
    int32_t *inputs, *targets;
    unsigned long long *counts;
};

__global__ void __launch_bounds__(THREADS, 1) draw(drawing d) {
    const int64_t sequence = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (sequence >= (int64_t)d.members * d.batch) return;
    const int64_t member = sequence / d.batch, length = d.context + 1, row = sequence * d.context;
    const uint64_t replayed = d.replays ? (uint64_t)*d.replays * (uint64_t)d.batch : 0;
    const uint64_t index =
        eab_repeated_index(d.first_index + (uint64_t)(sequence - member * d.batch) + replayed, d.repeat_after);
    int32_t *tokens = d.tokens + sequence * length;
    uint8_t *determined = d.determined + sequence * length;
    const eab_parts own = d.parts ? d.parts[member] : eab_parts{(int32_t)member, 1, -1};
    eab_parts_generate(d.levels, d.held_out, own, d.only > own.count ? 1 : d.only, d.seeds[member], d.stream, index,
                       (int32_t)length, tokens, determined);
    unsigned long long count = 0;
    for (int32_t t = 0; t < d.context; t++) {
        const int32_t next = tokens[t + 1];
        d.inputs[row + t] = tokens[t];
        d.targets[row + t] = determined[t + 1] ? next : -1 - next;
        count += determined[t + 1];
    }
    atomicAdd(&d.counts[member], count);
}

/* Writes predictions of determined tokens back as inputs, and counts those that change. */
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
    EAB_TRY(eab_cuda_keep_levels(device, args->levels, level_count, &levels));
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_HELD_OUT, args->held_out, level_count, &held_out));
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_PARTS, args->parts, n * sizeof(eab_parts), &parts));
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_SEEDS, args->seeds, n * sizeof(uint32_t), &seeds));
    EAB_TRY(eab_cuda_scratch(device, tokens * (sizeof(int32_t) + 1), &room));
    EAB_CUDA(cudaMemsetAsync(counts, 0, n * sizeof *counts, stream));
    drawing d = {};
    d.members = args->members;
    d.batch = args->batch;
    d.context = args->context;
    d.only = args->only;
    d.levels = (const eab_level *)levels;
    d.held_out = (const uint8_t *)held_out;
    d.parts = (const eab_parts *)parts;
    d.seeds = (const uint32_t *)seeds;
    d.stream = args->stream;
    d.first_index = args->first_index;
    d.repeat_after = args->repeat_after;
    d.replays = eab_cuda_replays(device);
    d.tokens = (int32_t *)room;
    d.determined = (uint8_t *)(d.tokens + tokens);
    d.inputs = inputs;
    d.targets = targets;
    d.counts = (unsigned long long *)counts;
    return EAB_LAUNCH(stream, draw, dim3((unsigned)eab_cuda_parts(sequences, THREADS)), dim3(THREADS), 0, d);
}

int eab_cuda_feed_back(eab_device *device, const eab_generate_args *args, const int32_t *targets,
                       const int32_t *predictions, int32_t *inputs, int64_t *changed) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const int64_t count = (int64_t)args->members * args->batch * args->context;
    EAB_CUDA(cudaMemsetAsync(changed, 0, sizeof *changed, stream));
    return EAB_LAUNCH(stream, feed, dim3((unsigned)eab_cuda_parts(count, FEED_THREADS)), dim3(FEED_THREADS), 0, count,
                      args->context, targets, predictions, inputs, (unsigned long long *)changed);
}
