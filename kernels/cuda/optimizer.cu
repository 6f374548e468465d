/* Clipping by the global norm of each member's gradient, then AdamW or SGD; the gradient becomes 0.
 *
 *   norm^2 = sum of g^2; f = clip / norm where norm > clip > 0, else 1
 *   AdamW: m = beta1 m + (1 - beta1) f g, v = beta2 v + (1 - beta2) (f g)^2,
 *          w -= rate decay w + rate (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + 1e-8), t = step + 1
 *   SGD:   m = momentum m + f g, w -= rate decay w + rate m;   rate: kernels/schedule.h, at this step
 *
 * Tiling: a block sums the squares of PART gradients in float64 (a thread takes every 256th; a tree in a fixed order
 * adds them). One thread a member adds the parts in order and computes the step's factors, in float64 as on the CPU.
 * Then one thread updates each parameter. The step is the host's number plus the replays of the current recording
 * (context.h), so that a graph advances by itself. If the vocabulary is padded, the zeros shift the parts' limits: the
 * norm may differ from the unpadded one in the last bits of a float64.
 *
 * Limit: device memory. 512 members of the quick ladder (13,700 parameters each, 28 MB in all): the norm reads 28 MB,
 * AdamW reads and writes w, m, v and g, 226 MB: 53 us of an H200's memory (docs/cuda.md). A parameter: 36 bytes and
 * about 20 FLOPs, 0.14 GFLOP in all, 2 us; 2 of them in float64, which an H200 does at half the rate and a GeForce at
 * 1/64 (0.2 ms on 40 multiprocessors). Not measured on a GPU yet.
 */
#include "fleet.h"
#include "operations.h"

namespace {

enum { THREADS = 256, PART = 4096 };

struct step_factors {
    float factor; /* of the gradient: clipping */
    float rate, decay, beta1, beta2, correction1, correction2, momentum;
    float fresh1, fresh2; /* 1 - beta, computed in float64 */
    int32_t adamw;
};

__global__ void __launch_bounds__(THREADS)
    square_parts(int32_t members, int64_t count, int32_t parts, eab_tensor gradients, double *squares) {
    EAB_SHARED(double, sums, THREADS);
    const int64_t first = (int64_t)blockIdx.x * PART, end = first + PART < count ? first + PART : count;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y) {
        const float *g = eab_member(gradients, member);
        double sum = 0;
        for (int64_t i = first + threadIdx.x; i < end; i += THREADS) sum += (double)g[i] * (double)g[i];
        sums[threadIdx.x] = sum;
        __syncthreads();
        for (unsigned half = THREADS / 2; half > 0; half /= 2) {
            if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
            __syncthreads();
        }
        /* no barrier: after the tree's last one each thread accesses its own sum only */
        if (threadIdx.x == 0) squares[member * parts + blockIdx.x] = sums[0];
    }
}

__global__ void __launch_bounds__(32)
    find_factors(int32_t members, int32_t parts, const double *squares, const eab_optimizer *optimizers, int64_t step,
                 const int64_t *replays, step_factors *factors) {
    const int64_t member = (int64_t)blockIdx.x * 32 + threadIdx.x;
    if (member >= members) return;
    const eab_optimizer *optimizer = &optimizers[member];
    const int64_t now = step + (replays ? *replays : 0);
    const double rate = eab_learning_rate(optimizer, now), t = (double)(now + 1);
    step_factors f;
    f.factor = 1;
    f.rate = (float)rate;
    f.decay = (float)(rate * optimizer->weight_decay);
    f.beta1 = (float)optimizer->beta1;
    f.beta2 = (float)optimizer->beta2;
    f.correction1 = (float)(1 / (1 - pow(optimizer->beta1, t)));
    f.correction2 = (float)(1 / (1 - pow(optimizer->beta2, t)));
    f.momentum = (float)optimizer->momentum;
    f.fresh1 = (float)(1 - optimizer->beta1);
    f.fresh2 = (float)(1 - optimizer->beta2);
    f.adamw = optimizer->kind == EAB_OPTIMIZER_ADAMW;
    if (optimizer->clip > 0) {
        double sum = 0;
        for (int32_t part = 0; part < parts; part++) sum += squares[member * parts + part];
        const double norm = sqrt(sum);
        if (norm > optimizer->clip) f.factor = (float)(optimizer->clip / norm);
    }
    factors[member] = f;
}

template <int WIDTH>
__global__ void __launch_bounds__(THREADS)
    update(int32_t members, int64_t count, int64_t decayed, const step_factors *factors, eab_tensor weights,
           eab_tensor gradients, eab_tensor moments1, eab_tensor moments2) {
    typedef eab_pack<WIDTH> pack;
    const int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t member = blockIdx.y; member < members; member += gridDim.y) {
        const step_factors f = factors[member];
        pack *w = (pack *)eab_member(weights, member), *g = (pack *)eab_member(gradients, member);
        pack *m = (pack *)eab_member(moments1, member), *v = (pack *)eab_member(moments2, member);
        for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < count / WIDTH; i += step) {
            pack weight = w[i], gradient = g[i], first = m[i], second;
            if (f.adamw) second = v[i];
#pragma unroll
            for (int j = 0; j < WIDTH; j++) {
                const float slope = gradient.value[j] * f.factor, old = weight.value[j];
                const float decay = i * WIDTH + j < decayed ? f.decay : 0;
                if (f.adamw) {
                    const float mean = f.beta1 * first.value[j] + f.fresh1 * slope;
                    const float square = f.beta2 * second.value[j] + f.fresh2 * slope * slope;
                    first.value[j] = mean;
                    second.value[j] = square;
                    weight.value[j] =
                        old - (decay * old + f.rate * (mean * f.correction1) / (sqrtf(square * f.correction2) + 1e-8f));
                } else {
                    first.value[j] = f.momentum * first.value[j] + slope;
                    weight.value[j] = old - (decay * old + f.rate * first.value[j]);
                }
                gradient.value[j] = 0;
            }
            w[i] = weight;
            g[i] = gradient;
            m[i] = first;
            if (f.adamw) v[i] = second;
        }
    }
}

} // namespace

int eab_cuda_optimizer_step(eab_device *device, const eab_optimizer_args *args) {
    const cudaStream_t stream = eab_cuda_stream(device);
    const size_t n = (size_t)args->members;
    const int32_t parts = (int32_t)eab_cuda_parts(args->count, PART);
    const size_t factors_at = (n * (size_t)parts * sizeof(double) + 255) / 256 * 256;
    const void *optimizers = nullptr;
    void *scratch = nullptr;
    EAB_TRY(eab_cuda_keep(device, EAB_CUDA_OPTIMIZERS, args->optimizers, n * sizeof(eab_optimizer), &optimizers));
    EAB_TRY(eab_cuda_scratch(device, factors_at + n * sizeof(step_factors), &scratch));
    double *squares = (double *)scratch;
    step_factors *factors = (step_factors *)((char *)scratch + factors_at);

    const unsigned grid_members = eab_cuda_grid_members(args->members);
    EAB_TRY(EAB_LAUNCH(stream, square_parts, dim3((unsigned)parts, grid_members), dim3(THREADS), 0, args->members,
                       args->count, parts, args->gradients, squares));
    EAB_TRY(EAB_LAUNCH(stream, find_factors, dim3((unsigned)eab_cuda_parts(args->members, 32)), dim3(32), 0,
                       args->members, parts, (const double *)squares, (const eab_optimizer *)optimizers, args->step,
                       eab_cuda_replays(device), factors));
    bool packed = true;
    const eab_tensor tensors[] = {args->weights, args->gradients, args->moment1, args->moment2};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        packed = packed && (!tensors[i].data || eab_cuda_aligned(tensors[i], args->count));
    const dim3 grid(eab_cuda_grid(packed ? args->count / 4 : args->count, THREADS), grid_members);
    return packed
               ? EAB_LAUNCH(stream, (update<4>), grid, dim3(THREADS), 0, args->members, args->count, args->decayed,
                            (const step_factors *)factors, args->weights, args->gradients, args->moment1, args->moment2)
               : EAB_LAUNCH(stream, (update<1>), grid, dim3(THREADS), 0, args->members, args->count, args->decayed,
                            (const step_factors *)factors, args->weights, args->gradients, args->moment1,
                            args->moment2);
}
