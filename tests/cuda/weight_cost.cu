/* The kernels whose instructions weight_cost.py counts. Each turns 64 products a thread into bf16 weights by another
 * method, with the layout of attention_flash_forward.h: two tiles of 16 rows by 64 columns a warp. `nothing` omits
 * the weights. */
#include "kernels/cuda/attention_flash_forward.h"

namespace {

typedef eab_flash_shape<64, 4, 2, 64, 64, 2> shape;

/* eab_flash_weigh without mask, bias and scale. */
template <typename Formula> struct as_built {
    static __device__ void weigh(float (&score)[2][8][4], eab_flash_state<shape> &state) {
        eab_flash_weights<Formula> weights = {};
        weights.scale = 1;
        weights.unit = eab_flash_log<Formula>::unit(1);
        eab_flash_weigh<eab_flash_bf16, Formula, shape>(score, state, weights, 0, false, false, 64);
    }
};

struct nothing {
    static __device__ void weigh(float (&)[2][8][4], eab_flash_state<shape> &) {}
};

template <typename Pair>
__device__ void weigh_pairs(float (&score)[2][8][4], eab_flash_state<shape> &state, Pair pair) {
#pragma unroll
    for (int tile = 0; tile < 2; tile++)
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i += 2) {
                float(&s)[4] = score[tile][n];
                pair(s[i], s[i + 1]);
                state.total[tile][i / 2] += s[i];
                state.total[tile][i / 2] += s[i + 1];
            }
}

/* x / a and y / b from 1 / (a b). The clamp is below EAB_SQUARE_LIMIT, so that a b does not overflow (README.md). */
struct two_by_one {
    static __device__ void weigh(float (&score)[2][8][4], eab_flash_state<shape> &state) {
        weigh_pairs(score, state, [](float &x, float &y) {
            const float square_x = eab_fast_min(x * x, 0x1p60f), square_y = eab_fast_min(y * y, 0x1p60f);
            const float a = 1 + square_x, b = 1 + square_y;
            const float both = eab_fast_reciprocal(a * b);
            x = fmaf(square_x * b, both, 0x1p-24f);
            y = fmaf(square_y * a, both, 0x1p-24f);
        });
    }
};

/* 1 / a by two Newton steps; the first guess is an integer subtraction of a's bits (errors: 12 %, 1.4 %, 0.02 %). */
struct newton {
    static __device__ float reciprocal(float a) {
        float r = __int_as_float(0x7EF311C3 - __float_as_int(a));
        r = r * fmaf(-a, r, 2.0f);
        return r * fmaf(-a, r, 2.0f);
    }
    static __device__ void weigh(float (&score)[2][8][4], eab_flash_state<shape> &state) {
        weigh_pairs(score, state, [](float &x, float &y) {
            const float square_x = eab_fast_min(x * x, 0x1p100f), square_y = eab_fast_min(y * y, 0x1p100f);
            x = fmaf(square_x, reciprocal(1 + square_x), 0x1p-24f);
            y = fmaf(square_y, reciprocal(1 + square_y), 0x1p-24f);
        });
    }
};

} // namespace

/* Reads products from memory and writes weights to memory, so that the compiler keeps all of the work. */
template <typename Way> __device__ void run(const float *products, uint32_t *weights, float *totals) {
    float score[2][8][4];
    eab_flash_state<shape> state = {};
#pragma unroll
    for (int i = 0; i < 64; i++) (&score[0][0][0])[i] = products[i * 128 + threadIdx.x];
    Way::weigh(score, state);
#pragma unroll
    for (int i = 0; i < 32; i++)
        weights[i * 128 + threadIdx.x] = eab_flash_bf16::pack((&score[0][0][0])[2 * i], (&score[0][0][0])[2 * i + 1]);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        totals[i * 128 + threadIdx.x] = (&state.total[0][0])[i];
        totals[(4 + i) * 128 + threadIdx.x] = (&state.top[0][0])[i];
    }
}

#define WAY(name, type)                                                       \
    extern "C" __global__ void __launch_bounds__(128)                         \
        way_##name(const float *products, uint32_t *weights, float *totals) { \
        run<type>(products, weights, totals);                                 \
    }
WAY(nothing, nothing)
WAY(dpa, as_built<eab_formula_dpa>)
WAY(ea_softmax, as_built<eab_formula_ea_softmax>)
WAY(ea, as_built<eab_formula_ea>)
WAY(ea_two_by_one, two_by_one)
WAY(ea_newton, newton)
