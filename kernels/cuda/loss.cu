/* Cross-entropy of a fleet: losses, predictions, tallies, and the gradient in place of the logits, in one pass.
 *
 *   loss = log(sum over v of exp(z_v)) - z_target, with the maximum subtracted first
 *   dz = (softmax(z) - onehot(target)) / counts, over the member's own vocabulary
 *   Rows without a target have no loss; columns past the member's vocabulary get 0.
 *
 * Tiling: a block takes a sequence, a group of LANES lanes (8, 16 or 32, by the vocabulary) a row. A lane reads its
 * logits once if the vocabulary has at most 32 entries; if it has more, it reads them again from the first-level cache.
 * A sequence's losses and counts are added lane by lane, in a fixed order, to a partial tally. A second kernel adds a
 * member's partial tallies in order. No atomics: the same bits each run. Losses are summed in float64, as on the CPU.
 *
 * Limit: device memory. 512 members of the quick ladder ([768][16] logits each): 25 MB read, 25 MB written, 11 us on an
 * H200 (docs/cuda.md). A logit: 8 bytes, about 6 FLOPs and one MUFU, 6.3 million, 1.5 us. A row: one log in float64.
 * Not measured on a GPU yet.
 */
#include "fleet.h"
#include "operations.h"

namespace {

enum { THREADS = 128 };

struct loss_problem {
    int32_t members, batch, context, vocab;
    const int32_t *member_vocab, *targets;
    int64_t targets_stride;
    eab_tensor logits;
    int32_t *predictions;
    const int64_t *counts;
    eab_tally *partial; /* [members][batch] */
};

/* Keeps the larger of two (value, index) pairs; on a tie, the one with the smaller index. */
__device__ void take_larger(float *value, int32_t *index, float other_value, int32_t other_index) {
    if (other_value > *value || (other_value == *value && other_index < *index)) {
        *value = other_value;
        *index = other_index;
    }
}

/* A row that a group of lanes reduces. own: entries of the member's vocabulary, or 0 for a row past the end. */
struct row_logits {
    float *logits;
    int32_t own, lane;
    float mine, mine_exp; /* of the lane's first entry: the logit, exp(logit - maximum) */
    float maximum, sum;   /* sum: of exp(logit - maximum) over the row */
    int32_t best;
};

/* Fills in the maximum, its index and the sum. */
template <int LANES> __device__ void reduce_row(row_logits *row) {
    row->mine = row->lane < row->own ? row->logits[row->lane] : -INFINITY;
    float maximum = row->mine;
    int32_t best = row->lane;
    for (int32_t i = row->lane + LANES; i < row->own; i += LANES) take_larger(&maximum, &best, row->logits[i], i);
#pragma unroll
    for (int offset = LANES / 2; offset > 0; offset /= 2) {
        const float other = __shfl_xor_sync(0xFFFFFFFFu, maximum, offset, 32);
        const int32_t other_best = __shfl_xor_sync(0xFFFFFFFFu, best, offset, 32);
        take_larger(&maximum, &best, other, other_best);
    }
    row->mine_exp = row->lane < row->own ? expf(row->mine - maximum) : 0;
    float sum = row->mine_exp;
    for (int32_t i = row->lane + LANES; i < row->own; i += LANES) sum += expf(row->logits[i] - maximum);
    row->sum = eab_lanes_sum<LANES>(sum);
    row->maximum = maximum;
    row->best = best;
}

/* Replaces the logits by their gradient. `share`: 1 / the member's counts. */
template <int LANES>
__device__ void write_gradient(const row_logits &row, int32_t columns, int32_t target, float share) {
    const float factor = target >= 0 ? share / row.sum : 0;
    for (int32_t i = row.lane; i < columns; i += LANES) {
        const float weight = i >= row.own ? 0 : i == row.lane ? row.mine_exp : expf(row.logits[i] - row.maximum);
        row.logits[i] = target < 0 || i >= row.own ? 0 : weight * factor - (i == target ? share : 0);
    }
}

/* Eight blocks a multiprocessor leave 64 registers a thread. Without the bound, ptxas spills to fit more blocks. */
template <int LANES> __global__ void __launch_bounds__(THREADS, 8) rows_loss(loss_problem p) {
    enum { GROUPS = THREADS / LANES };
    EAB_SHARED(double, losses, GROUPS);
    EAB_SHARED(int32_t, asked_rows, GROUPS);
    EAB_SHARED(int32_t, right_rows, GROUPS);
    const int32_t lane = (int32_t)threadIdx.x % LANES, group = (int32_t)threadIdx.x / LANES;
    const int64_t sequence = blockIdx.x;
    for (int64_t member = blockIdx.y; member < p.members; member += gridDim.y) {
        const float share = p.counts ? 1.0f / (float)p.counts[member] : 0;
        double loss = 0;
        int32_t asked = 0, right = 0;
        for (int32_t first = 0; first < p.context; first += GROUPS) { /* the same iterations for all lanes of a warp */
            const int32_t t = first + group;
            const bool inside = t < p.context;
            const int64_t at = sequence * p.context + (inside ? t : 0);
            const int32_t target = p.targets[member * p.targets_stride + at];
            row_logits row;
            row.logits = eab_member(p.logits, member) + at * p.vocab;
            row.own = inside ? p.member_vocab[member] : 0;
            row.lane = lane;
            reduce_row<LANES>(&row);
            if (inside && lane == 0) {
                if (p.predictions) p.predictions[member * p.targets_stride + at] = row.best;
                if (target >= 0) {
                    asked++;
                    right += row.best == target;
                    loss += (double)(row.maximum - row.logits[target]) + log((double)row.sum);
                }
            }
            __syncwarp(); /* lane 0 has read the target's logit */
            if (inside && p.counts) write_gradient<LANES>(row, p.vocab, target, share);
        }
        if (lane == 0) {
            losses[group] = loss;
            asked_rows[group] = asked;
            right_rows[group] = right;
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int other = 1; other < GROUPS; other++) {
                loss += losses[other];
                asked += asked_rows[other];
                right += right_rows[other];
            }
            p.partial[member * p.batch + sequence] = {loss, asked, right, asked > 0, asked > 0 && right == asked};
        }
        __syncthreads();
    }
}

/* A warp a member: lane i adds sequences i, i + 32, ...; then the lanes' sums are added in a fixed order. */
__global__ void __launch_bounds__(THREADS)
    add_tallies(int32_t members, int32_t batch, const eab_tally *partial, eab_tally *tallies) {
    const int32_t lane = (int32_t)threadIdx.x % 32;
    const int64_t member = (int64_t)blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    double loss = 0;
    int64_t tokens = 0, tokens_right = 0, sequences = 0, sequences_right = 0;
    for (int32_t i = lane; member < members && i < batch; i += 32) {
        const eab_tally *own = &partial[member * batch + i];
        loss += own->loss_nats;
        tokens += own->tokens;
        tokens_right += own->tokens_right;
        sequences += own->sequences;
        sequences_right += own->sequences_right;
    }
    for (int offset = 16; offset > 0; offset /= 2) {
        loss += __shfl_xor_sync(0xFFFFFFFFu, loss, offset, 32);
        tokens += __shfl_xor_sync(0xFFFFFFFFu, tokens, offset, 32);
        tokens_right += __shfl_xor_sync(0xFFFFFFFFu, tokens_right, offset, 32);
        sequences += __shfl_xor_sync(0xFFFFFFFFu, sequences, offset, 32);
        sequences_right += __shfl_xor_sync(0xFFFFFFFFu, sequences_right, offset, 32);
    }
    if (member >= members || lane != 0) return;
    eab_tally *tally = &tallies[member];
    tally->loss_nats += loss;
    tally->tokens += tokens;
    tally->tokens_right += tokens_right;
    tally->sequences += sequences;
    tally->sequences_right += sequences_right;
}

} // namespace

int eab_cuda_loss(eab_device *device, const eab_loss_args *args) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const size_t n = (size_t)args->members;
    const void *member_vocab = nullptr;
    void *partial = nullptr;
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_VOCABULARIES, args->member_vocab, n * sizeof(int32_t), &member_vocab));
    EAB_TRY(eab_cuda_scratch(device, n * (size_t)args->batch * sizeof(eab_tally), &partial));
    const loss_problem problem = {
        args->members,       args->batch,          args->context, args->vocab,       (const int32_t *)member_vocab,
        args->targets,       args->targets_stride, args->logits,  args->predictions, args->counts,
        (eab_tally *)partial};
    const dim3 grid((unsigned)args->batch, eab_cuda_grid_members(args->members)), block(THREADS);
    EAB_TRY(args->vocab <= 8    ? EAB_LAUNCH(stream, (rows_loss<8>), grid, block, 0, problem)
            : args->vocab <= 16 ? EAB_LAUNCH(stream, (rows_loss<16>), grid, block, 0, problem)
                                : EAB_LAUNCH(stream, (rows_loss<32>), grid, block, 0, problem));
    const dim3 tally_grid((unsigned)eab_cuda_parts(args->members, THREADS / 32));
    return EAB_LAUNCH(stream, add_tallies, tally_grid, block, 0, args->members, args->batch, (const eab_tally *)partial,
                      args->tally);
}
