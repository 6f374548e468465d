/* RMS norm of each head's q and k of a fleet, in place inside qkv, forward and backward, in float32.
 *
 *   unit = x inv_rms, inv_rms = 1 / sqrt(mean(x^2) + 1e-5), y = unit gain
 *   with g = dy gain: dx = inv_rms (g - unit mean(g unit)); dgain += sum over rows and heads of dy unit
 *
 * Tiling: a group of LANES lanes holds a head in registers, PER_LANE reals a lane, so a warp processes 32 / LANES heads
 * at a time. q and k are the grid's z, because their gains differ. Backward, a block takes a part of the heads. Each
 * lane adds its columns' share of dgain in a register, the groups' sums are added in a fixed order, and a second kernel
 * adds the parts: no atomics.
 *
 * Limit: device memory. 512 members of the quick ladder (768 rows, d_model 32, 4 heads): q and k are 100 MB of qkv.
 * Forward reads them and writes them and `unit`, 300 MB, 63 us on an H200 (docs/cuda.md); backward reads dqkv and
 * `unit` and writes dqkv, the same. A real of q and k: 12 bytes and about 6 FLOPs, 0.15 GFLOP, 2 us. Not measured on a
 * GPU yet.
 */
#include "fleet.h"
#include "operations.h"

namespace {

enum { THREADS = 256, PART_HEADS = 1024, MAX_HEAD_DIM = 256 };

/* A head's index in qkv, and in unit and inv_rms. `place`: its index in q (part 0) or k (part 1), row by row. */
__device__ static inline int64_t place_in_qkv(int64_t place, int32_t heads, int32_t part) {
    return (place / heads * 3 + part) * heads + place % heads;
}
__device__ static inline int64_t place_kept(int64_t place, int32_t heads, int32_t part) {
    return (place / heads * 2 + part) * heads + place % heads;
}

template <int LANES, int PER_LANE>
__global__ void __launch_bounds__(THREADS, 4)
    forward(int32_t members, int64_t places, int32_t heads, int32_t head_dim, eab_tensor q_gain, eab_tensor k_gain,
            eab_tensor qkv_all, eab_tensor unit_all, eab_tensor inv_rms_all) {
    const int32_t lane = (int32_t)(threadIdx.x % LANES), group = (int32_t)(threadIdx.x / LANES);
    const int32_t part = (int32_t)blockIdx.z;
    const int64_t step = (int64_t)gridDim.x * (THREADS / LANES);
    const float share = 1.0f / (float)head_dim;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y) {
        const float *gain = eab_member(part ? k_gain : q_gain, member);
        float *inv_rms = eab_member(inv_rms_all, member);
        /* the same iterations for the whole block, because all lanes of a warp take part in its sums */
        for (int64_t first = (int64_t)blockIdx.x * (THREADS / LANES); first < places; first += step) {
            const int64_t place = first + group;
            const bool here = place < places;
            const int64_t kept = place_kept(place, heads, part);
            float *x = eab_member(qkv_all, member) + place_in_qkv(place, heads, part) * head_dim;
            float *unit = eab_member(unit_all, member) + kept * head_dim;
            float value[PER_LANE], squares = 0;
#pragma unroll
            for (int i = 0; i < PER_LANE; i++) {
                const int32_t column = lane + LANES * i;
                value[i] = here && column < head_dim ? x[column] : 0;
                squares += value[i] * value[i];
            }
            const float scale = 1 / sqrtf(eab_lanes_sum<LANES>(squares) * share + 1e-5f);
            if (!here) continue;
            if (lane == 0) inv_rms[kept] = scale;
#pragma unroll
            for (int i = 0; i < PER_LANE; i++) {
                const int32_t column = lane + LANES * i;
                if (column >= head_dim) continue;
                const float one = value[i] * scale;
                unit[column] = one;
                x[column] = one * gain[column];
            }
        }
    }
}

/* partial: [2][parts][head_dim] a member, of the q and the k gain. */
template <int LANES, int PER_LANE>
__global__ void __launch_bounds__(THREADS, 4)
    backward(int32_t members, int64_t places, int32_t heads, int32_t head_dim, eab_tensor q_gain, eab_tensor k_gain,
             eab_tensor unit_all, eab_tensor inv_rms_all, eab_tensor dqkv_all, eab_tensor partial_all) {
    EAB_SHARED(float, sums, THREADS);
    const int32_t lane = (int32_t)(threadIdx.x % LANES), group = (int32_t)(threadIdx.x / LANES);
    const int32_t part = (int32_t)blockIdx.z;
    const int64_t begin = (int64_t)blockIdx.x * PART_HEADS;
    const int64_t end = begin + PART_HEADS < places ? begin + PART_HEADS : places;
    const float share = 1.0f / (float)head_dim;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y) {
        const float *gain = eab_member(part ? k_gain : q_gain, member), *inv_rms = eab_member(inv_rms_all, member);
        float dgain[PER_LANE];
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) dgain[i] = 0;
        for (int64_t first = begin; first < end; first += THREADS / LANES) {
            const int64_t place = first + group;
            const bool here = place < end;
            const int64_t kept = place_kept(place, heads, part);
            const float *unit = eab_member(unit_all, member) + kept * head_dim;
            float *dx = eab_member(dqkv_all, member) + place_in_qkv(place, heads, part) * head_dim;
            float scaled[PER_LANE], own[PER_LANE], dot = 0;
#pragma unroll
            for (int i = 0; i < PER_LANE; i++) {
                const int32_t column = lane + LANES * i;
                const bool inside = here && column < head_dim;
                const float dy = inside ? dx[column] : 0;
                own[i] = inside ? unit[column] : 0;
                scaled[i] = inside ? dy * gain[column] : 0;
                dot += scaled[i] * own[i];
                dgain[i] += dy * own[i];
            }
            const float mean = eab_lanes_sum<LANES>(dot) * share;
            if (!here) continue;
            const float scale = inv_rms[kept];
#pragma unroll
            for (int i = 0; i < PER_LANE; i++) {
                const int32_t column = lane + LANES * i;
                if (column < head_dim) dx[column] = scale * (scaled[i] - own[i] * mean);
            }
        }
        float *partial = eab_member(partial_all, member) + ((int64_t)part * gridDim.x + blockIdx.x) * head_dim;
#pragma unroll
        for (int i = 0; i < PER_LANE; i++) {
            sums[threadIdx.x] = dgain[i];
            __syncthreads();
            const int32_t column = lane + LANES * i;
            if (group == 0 && column < head_dim) {
                float total = 0;
                for (int other = 0; other < THREADS / LANES; other++) total += sums[other * LANES + lane];
                partial[column] = total;
            }
            __syncthreads();
        }
    }
}

/* Adds the parts' sums to dq_gain and dk_gain, in order. */
__global__ void __launch_bounds__(THREADS) add_parts(int32_t members, int32_t parts, int32_t head_dim,
                                                     eab_tensor partial_all, eab_tensor dq_gain, eab_tensor dk_gain) {
    const int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= (int64_t)members * 2 * head_dim) return;
    const int64_t member = i / (2 * head_dim);
    const int32_t part = (int32_t)(i / head_dim % 2), column = (int32_t)(i % head_dim);
    const float *partial = eab_member(partial_all, member) + (int64_t)part * parts * head_dim + column;
    float sum = 0;
    for (int32_t other = 0; other < parts; other++) sum += partial[(int64_t)other * head_dim];
    eab_member(part ? dk_gain : dq_gain, member)[column] += sum;
}

int64_t places_of(const eab_qk_norm_args *args) { return (int64_t)args->rows * args->heads; }

template <int LANES, int PER_LANE>
int launch_forward(cudaStream_t stream, const eab_qk_norm_args *args, eab_tensor qkv) {
    const dim3 grid(eab_cuda_grid(places_of(args), THREADS / LANES), eab_cuda_grid_members(args->members), 2);
    return EAB_LAUNCH(stream, (forward<LANES, PER_LANE>), grid, dim3(THREADS), 0, args->members, places_of(args),
                      args->heads, args->head_dim, args->q_gain, args->k_gain, qkv, args->unit, args->inv_rms);
}

template <int LANES, int PER_LANE>
int launch_backward(cudaStream_t stream, const eab_qk_norm_args *args, eab_tensor dqkv, eab_tensor partial) {
    const dim3 grid((unsigned)eab_cuda_parts(places_of(args), PART_HEADS), eab_cuda_grid_members(args->members), 2);
    return EAB_LAUNCH(stream, (backward<LANES, PER_LANE>), grid, dim3(THREADS), 0, args->members, places_of(args),
                      args->heads, args->head_dim, args->q_gain, args->k_gain, args->unit, args->inv_rms, dqkv,
                      partial);
}

int refuse(int32_t head_dim) {
    return eab_fail(EAB_UNSUPPORTED, "cuda: a norm over heads of %d is too wide; allowed: 1..%d", (int)head_dim,
                    (int)MAX_HEAD_DIM);
}

} // namespace

int eab_cuda_qk_norm_forward(eab_device *device, const eab_qk_norm_args *args, eab_tensor qkv) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const int32_t head_dim = args->head_dim;
    if (head_dim > MAX_HEAD_DIM) return refuse(head_dim);
    if (head_dim <= 8) return launch_forward<8, 1>(stream, args, qkv);
    if (head_dim <= 16) return launch_forward<16, 1>(stream, args, qkv);
    if (head_dim <= 32) return launch_forward<32, 1>(stream, args, qkv);
    if (head_dim <= 64) return launch_forward<32, 2>(stream, args, qkv);
    return head_dim <= 128 ? launch_forward<32, 4>(stream, args, qkv) : launch_forward<32, 8>(stream, args, qkv);
}

int eab_cuda_qk_norm_backward(eab_device *device, const eab_qk_norm_args *args, eab_tensor dqkv, eab_tensor dq_gain,
                              eab_tensor dk_gain) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const int32_t head_dim = args->head_dim, parts = (int32_t)eab_cuda_parts(places_of(args), PART_HEADS);
    eab_tensor partial = {nullptr, (int64_t)2 * parts * head_dim};
    if (head_dim > MAX_HEAD_DIM) return refuse(head_dim);
    EAB_TRY(eab_cuda_scratch(device, (size_t)args->members * (size_t)partial.stride * sizeof(float), &partial.data));
    EAB_TRY(head_dim <= 8     ? (launch_backward<8, 1>(stream, args, dqkv, partial))
            : head_dim <= 16  ? (launch_backward<16, 1>(stream, args, dqkv, partial))
            : head_dim <= 32  ? (launch_backward<32, 1>(stream, args, dqkv, partial))
            : head_dim <= 64  ? (launch_backward<32, 2>(stream, args, dqkv, partial))
            : head_dim <= 128 ? (launch_backward<32, 4>(stream, args, dqkv, partial))
                              : (launch_backward<32, 8>(stream, args, dqkv, partial)));
    const dim3 grid((unsigned)eab_cuda_parts((int64_t)args->members * 2 * head_dim, THREADS));
    return EAB_LAUNCH(stream, add_parts, grid, dim3(THREADS), 0, args->members, parts, head_dim, partial, dq_gain,
                      dk_gain);
}
