/* The score part of unfused attention, between its two products, for comparison with the fused kernels. The formulas
 * are those of kernels/cpu/scores_unfused.c. A block processes a row of scores. Forward, it reads the scores once, and
 * writes and reads the row of weights up to three times (log-weights, exponentials, division by the sum), which stay in
 * the caches. Backward, it reads the row once for the sum and once for the gradient.
 *
 * Limit: memory. A score: 8 bytes forward (24 if the row does not stay in a cache), 16 backward, and about 8
 * instructions with one MUFU. Context 2,048, 16 heads: 67 M scores, 0.5 GB, 112 us forward on an H200 (docs/cuda.md),
 * 224 us backward; MUFU 16 us. Not measured on a GPU yet.
 */
#include "attention_formula.h"

#include "context.h"
#include "operations.h"

namespace {

enum { THREADS = 256, WARPS = THREADS / 32 };

/* The block's sum, or maximum, in every thread. `room`: WARPS floats. */
template <bool maximum> __device__ float over_block(float value, float *room) {
    for (int distance = 16; distance > 0; distance /= 2) {
        const float other = __shfl_xor_sync(0xFFFFFFFFu, value, distance);
        value = maximum ? fmaxf(value, other) : value + other;
    }
    __syncthreads(); /* the previous call may still read room */
    if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = value;
    __syncthreads();
    value = room[0];
    for (int warp = 1; warp < WARPS; warp++) value = maximum ? fmaxf(value, room[warp]) : value + room[warp];
    return value;
}

struct row_shape {
    int32_t heads, context;
    bool causal;
    float scale, mix;
    const float *slopes; /* on the device, or NULL */
};

__device__ float log_bias(const row_shape &shape, int32_t head, int32_t time, int32_t key) {
    return shape.slopes ? -shape.slopes[head] * (float)(time > key ? time - key : key - time) : 0.0f;
}

template <typename formula>
__global__ void __launch_bounds__(THREADS) forward_rows(row_shape shape, const float *scores, float *weights) {
    EAB_SHARED(float, room, WARPS);
    const int64_t row = blockIdx.x;
    const int32_t time = (int32_t)(row % shape.context), head = (int32_t)(row / shape.context % shape.heads);
    const int32_t keys = shape.causal ? time + 1 : shape.context;
    const float *from = scores + row * shape.context;
    float *to = weights + row * shape.context;
    float largest = -INFINITY, sum = 0;
    for (int32_t key = (int32_t)threadIdx.x; key < keys; key += THREADS) {
        const float z = shape.scale * from[key], bias = log_bias(shape, head, time, key);
        const float x =
            formula::bounded ? formula::weight(z) * eab_fast_exp(bias) : formula::log_weight(z, shape.mix) + bias;
        to[key] = x;
        largest = fmaxf(largest, x);
        sum += formula::bounded ? x : 0.0f;
    }
    if (!formula::bounded) {
        largest = over_block<true>(largest, room);
        for (int32_t key = (int32_t)threadIdx.x; key < keys; key += THREADS) {
            const float x = eab_fast_exp(to[key] - largest);
            to[key] = x;
            sum += x;
        }
    }
    const float factor = 1.0f / over_block<false>(sum, room);
    for (int32_t key = (int32_t)threadIdx.x; key < shape.context; key += THREADS)
        to[key] = key < keys ? to[key] * factor : 0.0f;
}

template <typename formula>
__global__ void __launch_bounds__(THREADS)
    backward_rows(row_shape shape, const float *scores, const float *weights, float *dweights) {
    EAB_SHARED(float, room, WARPS);
    const int64_t row = blockIdx.x;
    const int32_t time = (int32_t)(row % shape.context);
    const int32_t keys = shape.causal ? time + 1 : shape.context;
    const float *z_row = scores + row * shape.context, *a_row = weights + row * shape.context;
    float *to = dweights + row * shape.context;
    float sum = 0;
    for (int32_t key = (int32_t)threadIdx.x; key < keys; key += THREADS) sum += a_row[key] * to[key];
    const float mean = over_block<false>(sum, room);
    for (int32_t key = (int32_t)threadIdx.x; key < shape.context; key += THREADS) {
        float gradient = 0;
        if (key < keys) {
            const float z = shape.scale * z_row[key];
            const float slope =
                formula::bounded ? formula::derivative(z) / formula::weight(z) : formula::log_derivative(z, shape.mix);
            gradient = shape.scale * a_row[key] * slope * (to[key] - mean);
        }
        to[key] = gradient;
    }
}

int prepare(eab_device *device, const eab_attention_args *args, row_shape *shape, int64_t *rows) {
    const void *slopes = nullptr;
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_SLOPES, args->slopes, (size_t)args->heads * sizeof(float), &slopes));
    *shape = {args->heads, args->context, args->causal, args->scores.scale[0], args->scores.mix[0],
              (const float *)slopes};
    *rows = (int64_t)args->batch * args->heads * args->context;
    return *rows > INT32_MAX ? eab_fail(EAB_UNSUPPORTED, "more than 2^31 rows of scores") : (int)EAB_OK;
}

} // namespace

int eab_cuda_scores_forward(eab_device *device, const eab_attention_args *args, eab_tensor scores, eab_tensor weights) {
    row_shape shape;
    int64_t rows;
    EAB_TRY(prepare(device, args, &shape, &rows));
    const cudaStream_t stream = eab_cuda_stream(device);
    switch (eab_formula_of(args->scores.mechanism[0])) {
#define FORWARD_CASE(formula)                                                                                    \
    case EAB_FORMULA_##formula:                                                                                  \
        return EAB_LAUNCH(stream, (forward_rows<eab_formula_##formula>), dim3((unsigned)rows), dim3(THREADS), 0, \
                          shape, (const float *)scores.data, (float *)weights.data);
        EAB_EXPONENTIAL_FORMULA_LIST(FORWARD_CASE)
        EAB_BOUNDED_FORMULA_LIST(FORWARD_CASE)
#undef FORWARD_CASE
        case EAB_FORMULA_COUNT: break;
    }
    return eab_fail(EAB_BAD_INPUT, "mechanism %d is unknown", (int)args->scores.mechanism[0]);
}

int eab_cuda_scores_backward(eab_device *device, const eab_attention_args *args, eab_tensor scores, eab_tensor weights,
                             eab_tensor dweights) {
    row_shape shape;
    int64_t rows;
    EAB_TRY(prepare(device, args, &shape, &rows));
    const cudaStream_t stream = eab_cuda_stream(device);
    /* dpa's slope is 1 for every score, so any row will do. */
    const void *const z = args->scores.mechanism[0] == EAB_MECHANISM_dpa ? weights.data : scores.data;
    switch (eab_formula_of(args->scores.mechanism[0])) {
#define BACKWARD_CASE(formula)                                                                                    \
    case EAB_FORMULA_##formula:                                                                                   \
        return EAB_LAUNCH(stream, (backward_rows<eab_formula_##formula>), dim3((unsigned)rows), dim3(THREADS), 0, \
                          shape, (const float *)z, (const float *)weights.data, (float *)dweights.data);
        EAB_EXPONENTIAL_FORMULA_LIST(BACKWARD_CASE)
        EAB_BOUNDED_FORMULA_LIST(BACKWARD_CASE)
#undef BACKWARD_CASE
        case EAB_FORMULA_COUNT: break;
    }
    return eab_fail(EAB_BAD_INPUT, "mechanism %d is unknown", (int)args->scores.mechanism[0]);
}
