/* A warp owns a row. It computes 32 pairs at a time, one a lane, then adds their vectors, of which each lane holds
 * every 32nd element. Inner loops are not unrolled: few rows run them, and more registers would slow down the test of
 * every row. */
#include "attention_formula.h" /* first: it configures mechanism.h */

#include "attention_nonfinite.h"

namespace {

/* ELEMENTS: of a lane; head_dim is at most 32 * ELEMENTS. FEW_KEYS: as EAB_FLASH_FEW_KEYS. */
enum { WARPS = 4, ELEMENTS = 8, FEW_KEYS = 16 };

const unsigned ALL = 0xffffffffu;

__device__ __forceinline__ float read(const float *x) { return *x; }
__device__ __forceinline__ float read(const __nv_bfloat16 *x) { return __bfloat162float(*x); }
__device__ __forceinline__ float read(const __half *x) { return __half2float(*x); }
__device__ __forceinline__ void write(float *x, float value) { *x = value; }
__device__ __forceinline__ void write(__nv_bfloat16 *x, float value) { *x = __float2bfloat16_rn(value); }
__device__ __forceinline__ void write(__half *x, float value) { *x = __float2half_rn(value); }

/* Element i of row `time` of a problem is data[time * step + i]. */
template <typename Real> struct rows {
    Real *data;
    int64_t member, batch, head, time;

    __device__ __forceinline__ rows at(int32_t m, int32_t b, int32_t h) const {
        return {data + m * member + b * batch + h * head, member, batch, head, time};
    }
    __device__ __forceinline__ Real *row(int32_t t) const { return data + t * time; }
};

template <typename Real> struct mend_args {
    int32_t batch, heads, context, head_dim;
    int64_t row_count;
    eab_cuda_scores scores;
    int32_t mechanism; /* of the first member, where `scores` has none: 16-bit calls have one member */
    float scale;
    rows<const Real> q, k, v;
    int64_t row_stat_member;
    rows<Real> result;          /* forward */
    rows<const Real> out, dout; /* backward */
    const float *row_stat;
    rows<Real> dq, dk, dv;
};

/* What one head's pairs need. */
template <typename Real> struct head_of {
    rows<const Real> q, k, v, out, dout;
    const float *row_stat;
    float scale, mix, slope;
    int32_t head_dim, lane;

    template <typename X, typename Y> __device__ __forceinline__ float dot(const X *x, const Y *y) const {
        float sum = 0;
#pragma unroll 1
        for (int32_t i = 0; i < head_dim; i++) sum = fmaf(read(x + i), read(y + i), sum);
        return sum;
    }
    __device__ __forceinline__ float log_bias(int32_t query, int32_t key) const {
        return -slope * (float)(query - key);
    }
    /* sum[...] += weight * row, each lane its elements. */
    template <typename X>
    __device__ __forceinline__ void add(float (&sum)[ELEMENTS], float weight, const X *row) const {
        for (int m = 0; m < ELEMENTS; m++)
            if (lane + 32 * m < head_dim) sum[m] = fmaf(weight, read(row + lane + 32 * m), sum[m]);
    }
    template <typename X> __device__ __forceinline__ bool is_finite(const X *row) const {
        float sum = 0; /* x * 0: 0, or NaN */
        for (int32_t i = lane; i < head_dim; i += 32) sum += read(row + i) * 0;
        return __all_sync(ALL, sum == 0);
    }
    /* Whether all sums are NaN: no further pair changes them. */
    __device__ __forceinline__ bool is_lost(const float (&sum)[ELEMENTS]) const {
        bool lost = true;
        for (int m = 0; m < ELEMENTS; m++) lost = lost && (lane + 32 * m >= head_dim || isnan(sum[m]));
        return __all_sync(ALL, lost);
    }
    template <typename X>
    __device__ __forceinline__ void store(X *row, const float (&sum)[ELEMENTS], float factor) const {
        for (int m = 0; m < ELEMENTS; m++)
            if (lane + 32 * m < head_dim) write(row + lane + 32 * m, sum[m] * factor);
    }
};

__device__ __forceinline__ float warp_sum(float x) {
    for (int offset = 16; offset; offset /= 2) x += __shfl_xor_sync(ALL, x, offset);
    return x;
}

/* ---- forward ---- */

/* row_stat is right: masked pairs do not reach it. */
template <typename Formula, typename Real>
__device__ void attend_row(const head_of<Real> &head, int32_t query, Real *out) {
    float sum[ELEMENTS] = {}, total = 0, top = -INFINITY; /* top: of the log-weights so far */
    for (int32_t first = 0; first <= query && !head.is_lost(sum); first += 32) {
        const int32_t key = first + head.lane, count = query + 1 - first < 32 ? query + 1 - first : 32;
        float weight = Formula::bounded ? 0 : -INFINITY;
        if (key <= query) {
            const float z = head.scale * head.dot(head.q.row(query), head.k.row(key));
            weight = Formula::bounded ? Formula::weight(z) * eab_fast_exp(head.log_bias(query, key))
                                      : Formula::log_weight(z, head.mix) + head.log_bias(query, key);
        }
        if (!Formula::bounded) {
            float highest = fmaxf(top, weight); /* ignores NaN, which stays in the weight */
            for (int offset = 16; offset; offset /= 2) highest = fmaxf(highest, __shfl_xor_sync(ALL, highest, offset));
            const float factor = highest > top ? eab_fast_exp(top - highest) : 1;
            total *= factor;
            for (int m = 0; m < ELEMENTS; m++) sum[m] *= factor;
            top = highest;
            weight = weight == -INFINITY ? 0 : eab_fast_exp(weight - top);
        }
        total += weight;
#pragma unroll 1
        for (int32_t i = 0; i < count; i++) head.add(sum, __shfl_sync(ALL, weight, i), head.v.row(first + i));
    }
    head.store(out, sum, 1 / warp_sum(total));
}

/* ---- backward ---- */

/* D of a query, as the 16-bit kernels compute it (attention_flash_backward.h). */
template <typename Formula, typename Real> __device__ float mean_dp(const head_of<Real> &head, int32_t query) {
    const Real *dout = head.dout.row(query);
    if (!Formula::bounded || query >= FEW_KEYS) return head.dot(dout, head.out.row(query));
    float sum = 0;
#pragma unroll 1
    for (int32_t key = 0; key <= query; key++) {
        const float z = head.scale * head.dot(head.q.row(query), head.k.row(key));
        sum = fmaf(Formula::weight(z) * eab_fast_exp(head.log_bias(query, key)), head.dot(dout, head.v.row(key)), sum);
    }
    return sum / head.row_stat[query];
}

/* A pair's a = w b / L and ds = a' (dp - D), each lane its own pair; 0 where the lane has none, and for the first
 * query, whose one key has all its weight. */
template <typename Formula, typename Real>
__device__ void differentiate(const head_of<Real> &head, int32_t query, int32_t key, bool here, float &a, float &ds) {
    a = ds = 0;
    if (!here) return;
    const Real *dout = head.dout.row(query);
    const float z = head.scale * head.dot(head.q.row(query), head.k.row(key));
    const float stat = head.row_stat[query];
    const float centred = query ? head.dot(dout, head.v.row(key)) - mean_dp<Formula>(head, query) : 0;
    if (Formula::bounded) {
        const float factor = eab_fast_exp(head.log_bias(query, key)) / stat;
        a = Formula::weight(z) * factor;
        ds = Formula::derivative(z) * factor * centred;
    } else {
        a = eab_fast_exp(eab_fast_min(Formula::log_weight(z, head.mix) - stat + head.log_bias(query, key), 0));
        ds = a * Formula::log_derivative(z, head.mix) * centred;
    }
}

template <typename Formula, typename Real>
__device__ void differentiate_query(const head_of<Real> &head, int32_t query, Real *dq) {
    float sum[ELEMENTS] = {}, a, ds;
    for (int32_t first = 0; first <= query && !head.is_lost(sum); first += 32) {
        const int32_t key = first + head.lane, count = query + 1 - first < 32 ? query + 1 - first : 32;
        differentiate<Formula>(head, query, key, key <= query, a, ds);
#pragma unroll 1
        for (int32_t i = 0; i < count; i++) head.add(sum, __shfl_sync(ALL, ds, i), head.k.row(first + i));
    }
    head.store(dq, sum, head.scale);
}

template <typename Formula, typename Real>
__device__ void differentiate_key(const head_of<Real> &head, int32_t key, int32_t context, Real *dk, Real *dv) {
    float key_sum[ELEMENTS] = {}, value_sum[ELEMENTS] = {}, a, ds;
    for (int32_t first = key; first < context && !(head.is_lost(key_sum) && head.is_lost(value_sum)); first += 32) {
        const int32_t query = first + head.lane, count = context - first < 32 ? context - first : 32;
        differentiate<Formula>(head, query, key, query < context, a, ds);
#pragma unroll 1
        for (int32_t i = 0; i < count; i++) {
            head.add(key_sum, __shfl_sync(ALL, ds, i), head.q.row(first + i));
            head.add(value_sum, __shfl_sync(ALL, a, i), head.dout.row(first + i));
        }
    }
    head.store(dk, key_sum, head.scale);
    head.store(dv, value_sum, 1);
}

/* ---- kernels ---- */

/* Calls visit(formula) for the mechanism's formula. */
template <typename Visit> __device__ __forceinline__ void with_formula(int32_t mechanism, Visit visit) {
    switch (eab_formula_of(mechanism)) {
#define EAB_CASE(formula) \
    case EAB_FORMULA_##formula: visit(eab_formula_##formula()); break;
        EAB_EXPONENTIAL_FORMULA_LIST(EAB_CASE)
        EAB_BOUNDED_FORMULA_LIST(EAB_CASE)
#undef EAB_CASE
        default: break;
    }
}

template <typename Real, bool BACKWARD>
__global__ __launch_bounds__(32 * WARPS, BACKWARD ? 4 : 5) void mend(mend_args<Real> args) {
    const int64_t index = (int64_t)blockIdx.x * WARPS + (int32_t)threadIdx.x / 32;
    if (index >= args.row_count) return; /* the same for all lanes of a warp */
    const int32_t time = (int32_t)(index % args.context);
    const int64_t problem = index / args.context; /* of all members */
    const int32_t in_member = (int32_t)(problem % ((int64_t)args.batch * args.heads));
    const int32_t member = (int32_t)(problem / ((int64_t)args.batch * args.heads));
    const int32_t batch = in_member / args.heads, h = in_member % args.heads;
    const int64_t first_stat = member * args.row_stat_member + (int64_t)in_member * args.context;
    const head_of<Real> head = {args.q.at(member, batch, h),
                                args.k.at(member, batch, h),
                                args.v.at(member, batch, h),
                                args.out.at(member, batch, h),
                                args.dout.at(member, batch, h),
                                args.row_stat + first_stat,
                                args.scores.scale ? args.scores.scale[member] : args.scale,
                                args.scores.mix ? args.scores.mix[member] : 0, /* no 16-bit kernel has mix */
                                args.scores.slopes ? args.scores.slopes[h] : 0,
                                args.head_dim,
                                (int32_t)threadIdx.x % 32};
    const int32_t mechanism = args.scores.mechanism ? args.scores.mechanism[member] : args.mechanism;
    if (!BACKWARD) {
        Real *const out = args.result.at(member, batch, h).row(time);
        if (!head.is_finite(out))
            with_formula(mechanism, [&](auto formula) { attend_row<decltype(formula)>(head, time, out); });
        return;
    }
    Real *const dq = args.dq.at(member, batch, h).row(time), *const dk = args.dk.at(member, batch, h).row(time);
    Real *const dv = args.dv.at(member, batch, h).row(time);
    if (!head.is_finite(dq))
        with_formula(mechanism, [&](auto formula) { differentiate_query<decltype(formula)>(head, time, dq); });
    if (!head.is_finite(dk) || !head.is_finite(dv))
        with_formula(mechanism,
                     [&](auto formula) { differentiate_key<decltype(formula)>(head, time, args.context, dk, dv); });
}

/* ---- host ---- */

template <typename Real> rows<const Real> in(const eab_attention_args *args, eab_const_tensor x) {
    return {(const Real *)x.data, x.stride, args->in_batch, args->in_head, args->in_time};
}
template <typename Real> rows<Real> in(const eab_attention_args *args, eab_tensor x) {
    return {(Real *)x.data, x.stride, args->in_batch, args->in_head, args->in_time};
}
template <typename Real> rows<const Real> out(const eab_attention_args *args, eab_const_tensor x) {
    return {(const Real *)x.data, x.stride, args->out_batch, args->out_head, args->out_time};
}

template <typename Real>
mend_args<Real> args_of(const eab_attention_args *args, const eab_cuda_scores *scores, eab_const_tensor q,
                        eab_const_tensor k, eab_const_tensor v, int64_t row_stat_member) {
    mend_args<Real> to = {};
    to.batch = args->batch;
    to.heads = args->heads;
    to.context = args->context;
    to.head_dim = args->head_dim;
    to.row_count = (int64_t)args->members * args->batch * args->heads * args->context;
    to.scores = *scores;
    to.mechanism = args->scores.mechanism[0];
    to.scale = args->scores.scale[0];
    to.q = in<Real>(args, q);
    to.k = in<Real>(args, k);
    to.v = in<Real>(args, v);
    to.row_stat_member = row_stat_member;
    return to;
}

template <typename Real, bool BACKWARD> int launch(cudaStream_t stream, const mend_args<Real> &args) {
    const int64_t blocks = (args.row_count + WARPS - 1) / WARPS;
    if (blocks > INT32_MAX)
        return eab_fail(EAB_UNSUPPORTED, "attention: %lld rows are too many", (long long)args.row_count);
    return EAB_LAUNCH(stream, (mend<Real, BACKWARD>), dim3((unsigned)blocks), dim3(32 * WARPS), 0, args);
}

template <typename Real>
int mend_forward(cudaStream_t stream, const eab_attention_args *args, const eab_cuda_scores *scores, eab_const_tensor q,
                 eab_const_tensor k, eab_const_tensor v, eab_tensor out) {
    mend_args<Real> to = args_of<Real>(args, scores, q, k, v, 0);
    to.result = {(Real *)out.data, out.stride, args->out_batch, args->out_head, args->out_time};
    return launch<Real, false>(stream, to);
}

template <typename Real>
int mend_backward(cudaStream_t stream, const eab_attention_args *args, const eab_cuda_scores *scores,
                  eab_const_tensor q, eab_const_tensor k, eab_const_tensor v, eab_const_tensor attended,
                  eab_const_tensor row_stat, eab_const_tensor dout, eab_tensor dq, eab_tensor dk, eab_tensor dv) {
    mend_args<Real> to = args_of<Real>(args, scores, q, k, v, row_stat.stride);
    to.out = out<Real>(args, attended);
    to.dout = out<Real>(args, dout);
    to.row_stat = (const float *)row_stat.data;
    to.dq = in<Real>(args, dq);
    to.dk = in<Real>(args, dk);
    to.dv = in<Real>(args, dv);
    return launch<Real, true>(stream, to);
}

} // namespace

int eab_cuda_attention_mend(cudaStream_t stream, int32_t dtype, const eab_attention_args *args,
                            const eab_cuda_scores *scores, eab_const_tensor q, eab_const_tensor k, eab_const_tensor v,
                            eab_tensor out) {
    if (!args->standalone || !args->causal) return EAB_OK;
    const auto mend_it = dtype == EAB_F32    ? mend_forward<float>
                         : dtype == EAB_BF16 ? mend_forward<__nv_bfloat16>
                                             : mend_forward<__half>;
    return mend_it(stream, args, scores, q, k, v, out);
}

int eab_cuda_attention_mend_backward(cudaStream_t stream, int32_t dtype, const eab_attention_args *args,
                                     const eab_cuda_scores *scores, eab_const_tensor q, eab_const_tensor k,
                                     eab_const_tensor v, eab_const_tensor out, eab_const_tensor row_stat,
                                     eab_const_tensor dout, eab_tensor dq, eab_tensor dk, eab_tensor dv) {
    if (!args->standalone || !args->causal) return EAB_OK;
    const auto mend_it = dtype == EAB_F32    ? mend_backward<float>
                         : dtype == EAB_BF16 ? mend_backward<__nv_bfloat16>
                                             : mend_backward<__half>;
    return mend_it(stream, args, scores, q, k, v, out, row_stat, dout, dq, dk, dv);
}
