#include "attention_fleet.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "kernels/reference/attention.h"
int eab_plain_attention_forward(const eab_attention_args *, int32_t, const float *, const float *, const float *,
                                float *, float *);
int eab_plain_attention_backward(const eab_attention_args *, int32_t, const float *, const float *, const float *,
                                 const float *, float *, float *, float *);
}

typedef std::vector<double> reals;
typedef std::vector<float> floats;

enum { Q, K, V, OUT, DOUT, DQ, DK, DV, TENSORS };

/* One member's tensors as [batch][heads][context][head_dim]; the reference's own arguments are of this layout too. */
typedef struct {
    reals tensor[TENSORS], row_stat;
} solution;

static eab_attention_args compact_args(const attention_fleet_case &spec, const int32_t *mechanism, const float *scale,
                                       const float *slopes) {
    eab_attention_args args = {};
    args.members = 1;
    args.batch = spec.batch;
    args.heads = spec.heads;
    args.context = spec.context;
    args.head_dim = spec.head_dim;
    args.causal = spec.causal;
    args.scores.mechanism = mechanism;
    args.scores.scale = scale;
    args.slopes = spec.sloped ? slopes : NULL;
    args.in_time = args.out_time = spec.head_dim;
    args.in_head = args.out_head = (int64_t)spec.context * spec.head_dim;
    args.in_batch = args.out_batch = args.in_head * spec.heads;
    return args;
}

static uint32_t random_word(uint64_t *state) { /* splitmix64 */
    uint64_t x = *state += 0x9E3779B97F4A7C15u;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    x = (x ^ x >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)((x ^ x >> 31) >> 32);
}

static double random_normal(uint64_t *state) {
    double sum = 0;
    for (int i = 0; i < 4; i++) sum += random_word(state) / 4294967296.0 - 0.5;
    return sum * sqrt(3.0);
}

/* Rounded to nearest, ties to even, as a value of the dtype. */
static double rounded(double x, int32_t dtype) {
    if (dtype == EAB_F32) return (double)(float)x;
    if (dtype == EAB_F16) return (double)__half2float(__float2half_rn((float)x));
    return (double)__bfloat162float(__float2bfloat16_rn((float)x));
}

static double unit_roundoff(int32_t dtype) { return dtype == EAB_F32 ? 0x1p-24 : dtype == EAB_F16 ? 0x1p-11 : 0x1p-8; }

/* ---- plain, 16 bits: every matrix is rounded when it is stored, sums and functions are in float32 or better ------ */

static void plain_16(const attention_fleet_case &spec, int32_t mechanism, double scale, const float *slopes,
                     const solution &in, solution &plain) {
    const int32_t dtype = spec.dtype, d = spec.head_dim, n = spec.context;
    const bool bounded = eab_formula_of(mechanism) == EAB_FORMULA_ea,
               squared = eab_formula_of(mechanism) == EAB_FORMULA_ea_softmax;
    reals a((size_t)n), derivative((size_t)n), dp((size_t)n);
    reals gradient[3];
    for (int i = 0; i < 3; i++) gradient[i].assign(in.tensor[Q].size(), 0);
    for (int64_t problem = 0; problem < (int64_t)spec.batch * spec.heads; problem++) {
        const double slope = spec.sloped ? (double)slopes[problem % spec.heads] : 0;
        const int64_t start = problem * n * d;
        const double *q = &in.tensor[Q][(size_t)start], *k = &in.tensor[K][(size_t)start],
                     *v = &in.tensor[V][(size_t)start];
        const double *dout = &in.tensor[DOUT][(size_t)start];
        for (int32_t i = 0; i < n; i++) {
            const int32_t keys = spec.causal ? i + 1 : n;
            double top = -INFINITY, sum = 0, mean = 0;
            for (int32_t j = 0; j < keys; j++) {
                double dot = 0;
                for (int32_t e = 0; e < d; e++) dot += q[i * d + e] * k[j * d + e];
                const double z = rounded(scale * dot, dtype), square = fmin(z * z, 0x1p100),
                             log_bias = -slope * abs(i - j);
                if (bounded) {
                    a[(size_t)j] = (square / (1 + square) + 0x1p-24) * exp(log_bias);
                    derivative[(size_t)j] = 2 * z / ((1 + square) * (1 + square)) * exp(log_bias);
                } else {
                    a[(size_t)j] = (squared ? square : z) + log_bias;
                    derivative[(size_t)j] = squared ? 2 * z : 1;
                    top = fmax(top, a[(size_t)j]);
                }
            }
            for (int32_t j = 0; j < keys; j++) {
                if (!bounded) a[(size_t)j] = exp(a[(size_t)j] - top);
                sum += a[(size_t)j];
            }
            for (int32_t j = 0; j < keys; j++) {
                derivative[(size_t)j] *= bounded ? 1 / sum : a[(size_t)j] / sum;
                a[(size_t)j] = rounded(a[(size_t)j] / sum, dtype);
            }
            for (int32_t e = 0; e < d; e++) {
                double out = 0;
                for (int32_t j = 0; j < keys; j++) out += a[(size_t)j] * v[j * d + e];
                plain.tensor[OUT][(size_t)(start + i * d + e)] = rounded(out, dtype);
                mean += rounded(out, dtype) * dout[i * d + e];
            }
            for (int32_t j = 0; j < keys; j++) {
                double dot = 0;
                for (int32_t e = 0; e < d; e++) dot += dout[i * d + e] * v[j * d + e];
                const double dz = rounded(derivative[(size_t)j] * (rounded(dot, dtype) - mean) * scale, dtype);
                for (int32_t e = 0; e < d; e++) {
                    gradient[0][(size_t)(start + i * d + e)] += dz * k[j * d + e];
                    gradient[1][(size_t)(start + j * d + e)] += dz * q[i * d + e];
                    gradient[2][(size_t)(start + j * d + e)] += a[(size_t)j] * dout[i * d + e];
                }
            }
        }
    }
    for (int i = 0; i < 3; i++)
        for (size_t e = 0; e < gradient[i].size(); e++) plain.tensor[DQ + i][e] = rounded(gradient[i][e], dtype);
}

static void plain_32(const eab_attention_args *args, const solution &in, solution &plain) {
    floats tensor[TENSORS], row_stat(in.row_stat.size());
    for (int i = 0; i < TENSORS; i++) tensor[i].assign(in.tensor[i].begin(), in.tensor[i].end());
    eab_plain_attention_forward(args, 0, tensor[Q].data(), tensor[K].data(), tensor[V].data(), tensor[OUT].data(),
                                row_stat.data());
    eab_plain_attention_backward(args, 0, tensor[Q].data(), tensor[K].data(), tensor[V].data(), tensor[DOUT].data(),
                                 tensor[DQ].data(), tensor[DK].data(), tensor[DV].data());
    for (int i = 0; i < TENSORS; i++) plain.tensor[i].assign(tensor[i].begin(), tensor[i].end());
}

/* ---- device memory ----------------------------------------------------------------------------------------------- */

/* Poison that no arithmetic produces; what is not a result must still hold it afterwards. */
static const uint32_t poison = 0x7FA5C3E1u;

typedef struct {
    std::vector<unsigned char> host;
    void *device;
} mirrored;

static mirrored mirrored_new(size_t bytes) {
    mirrored memory;
    memory.host.resize(bytes);
    for (size_t i = 0; i < bytes; i++) memory.host[i] = (unsigned char)(poison >> 8 * (i % 4));
    cr_assert(cudaMalloc(&memory.device, bytes) == cudaSuccess);
    return memory;
}
static void push(const mirrored &memory) {
    cr_assert(cudaMemcpy(memory.device, memory.host.data(), memory.host.size(), cudaMemcpyHostToDevice) == cudaSuccess);
}
static void pull(mirrored &memory) {
    cr_assert(cudaMemcpy(memory.host.data(), memory.device, memory.host.size(), cudaMemcpyDeviceToHost) == cudaSuccess);
    cudaFree(memory.device);
}

static void put(unsigned char *at, double x, int32_t dtype) {
    if (dtype == EAB_F32) {
        const float value = (float)x;
        memcpy(at, &value, sizeof value);
    } else if (dtype == EAB_F16) {
        const __half value = __float2half_rn((float)x);
        memcpy(at, &value, sizeof value);
    } else {
        const __nv_bfloat16 value = __float2bfloat16_rn((float)x);
        memcpy(at, &value, sizeof value);
    }
}

static double get(const unsigned char *at, int32_t dtype) {
    if (dtype == EAB_F32) {
        float value;
        memcpy(&value, at, sizeof value);
        return (double)value;
    }
    if (dtype == EAB_F16) {
        __half value;
        memcpy(&value, at, sizeof value);
        return (double)__half2float(value);
    }
    __nv_bfloat16 value;
    memcpy(&value, at, sizeof value);
    return (double)__bfloat162float(value);
}

/* Which of the buffers a tensor lies in, and where: q, k, v share one, dq, dk, dv another. */
enum { BUFFER_IN, BUFFER_OUT, BUFFER_DOUT, BUFFER_DIN, BUFFERS };
static const int buffer_of[TENSORS] = {BUFFER_IN,   BUFFER_IN,  BUFFER_IN,  BUFFER_OUT,
                                       BUFFER_DOUT, BUFFER_DIN, BUFFER_DIN, BUFFER_DIN};

typedef struct {
    attention_fleet_case spec;
    eab_attention_args args;             /* strides */
    int64_t part, in_member, out_member; /* elements from q to k to v, and from member to member */
    size_t bytes;                        /* of an element */
} placement;

static placement place(const attention_fleet_case &spec) {
    placement to = {};
    const int64_t width = (int64_t)spec.heads * spec.head_dim, all = spec.context * width * spec.batch;
    to.spec = spec;
    eab_attention_args &args = to.args;
    args = compact_args(spec, NULL, NULL, NULL);
    args.members = spec.members;
    to.bytes = spec.dtype == EAB_F32 ? 4 : 2;
    to.part = all;
    to.in_member = 3 * all;
    to.out_member = all;
    if (spec.dtype == EAB_F32) {
        to.part = width;
        args.in_time = 3 * width + spec.gap;
        args.out_time = width + spec.gap;
        args.in_head = args.out_head = spec.head_dim;
        args.in_batch = spec.context * args.in_time;
        args.out_batch = spec.context * args.out_time;
        to.in_member = spec.batch * args.in_batch + 8 * spec.gap;
        to.out_member = spec.batch * args.out_batch + 8 * spec.gap;
    }
    return to;
}

static int64_t offset(const placement &to, int tensor, int64_t member, int64_t batch, int64_t head, int64_t time) {
    const bool in = buffer_of[tensor] == BUFFER_IN || buffer_of[tensor] == BUFFER_DIN;
    const int64_t part = !in ? 0 : (tensor >= DQ ? tensor - DQ : tensor) * to.part;
    return in ? member * to.in_member + part + batch * to.args.in_batch + head * to.args.in_head +
                    time * to.args.in_time
              : member * to.out_member + batch * to.args.out_batch + head * to.args.out_head + time * to.args.out_time;
}

/* Calls visit(place in the buffer, place in the compact tensor) for every element of a member's tensor. */
template <typename Visit> static void for_each_element(const placement &to, int tensor, int64_t member, Visit visit) {
    size_t compact = 0;
    for (int32_t batch = 0; batch < to.spec.batch; batch++)
        for (int32_t head = 0; head < to.spec.heads; head++)
            for (int32_t time = 0; time < to.spec.context; time++)
                for (int32_t i = 0; i < to.spec.head_dim; i++)
                    visit((size_t)(offset(to, tensor, member, batch, head, time) + i) * to.bytes, compact++);
}

std::string attention_fleet_name(const attention_fleet_case &spec) {
    char text[200];
    snprintf(text, sizeof text, "%s.. members %d batch %d heads %d context %d head_dim %d dtype %d gap %d size %g%s%s",
             eab_mechanism_name(spec.mechanism), spec.members, spec.batch, spec.heads, spec.context, spec.head_dim,
             spec.dtype, spec.gap, spec.size, spec.causal ? " causal" : "", spec.sloped ? " sloped" : "");
    return text;
}

static uint64_t hashed(uint64_t hash, const std::vector<unsigned char> &bytes) {
    for (size_t i = 0; i < bytes.size(); i++) hash = (hash ^ bytes[i]) * 0x100000001B3u;
    return hash;
}

static bool contiguous_calls(const attention_fleet_case &spec, int32_t mechanism, const float *slopes,
                             const float *device_slopes, char *const at[TENSORS], float *row_stat) {
    eab_attention attention = {};
    attention.batch = spec.batch;
    attention.heads = spec.heads;
    attention.context = spec.context;
    attention.head_dim = spec.head_dim;
    attention.mechanism = mechanism;
    attention.dtype = spec.dtype;
    attention.causal = spec.causal;
    attention.slopes = spec.sloped ? slopes : NULL;
    const char *reason = eab_cuda_flash_supports(&attention);
    cr_assert(!reason, "%s", reason);
    if (eab_cuda_flash_forward(NULL, &attention, device_slopes, at[Q], at[K], at[V], at[OUT], row_stat)) return false;
    if (spec.without_backward) return true;
    void *scratch = NULL;
    const int64_t scratch_floats = eab_cuda_flash_scratch_floats(&attention);
    if (scratch_floats) cr_assert(cudaMalloc(&scratch, (size_t)scratch_floats * sizeof(float)) == cudaSuccess);
    const int status = eab_cuda_flash_backward(NULL, &attention, device_slopes, at[Q], at[K], at[V], at[OUT], row_stat,
                                               at[DOUT], at[DQ], at[DK], at[DV], static_cast<float *>(scratch));
    if (scratch) cudaFree(scratch);
    return !status;
}

attention_fleet_errors attention_fleet_run(const attention_fleet_case &spec, uint32_t seed, uint64_t *bits) {
    attention_fleet_errors errors = {};
    const placement to = place(spec);
    const size_t members = (size_t)spec.members, rows = (size_t)spec.batch * (size_t)spec.heads * (size_t)spec.context;
    const size_t elements = rows * (size_t)spec.head_dim;
    std::vector<int32_t> mechanism(members);
    floats scale(members), slopes((size_t)spec.heads);
    std::vector<solution> exact(members), plain(members), terms(members);
    uint64_t state = seed;
    for (size_t i = 0; i < slopes.size(); i++) slopes[i] = ldexpf(1, -2 * (int)(i % 4) - 1) * 1.1f;

    mirrored buffers[BUFFERS], stat = mirrored_new((members * rows + members) * sizeof(float));
    for (int i = 0; i < BUFFERS; i++)
        buffers[i] = mirrored_new(members * (size_t)(i == BUFFER_IN || i == BUFFER_DIN ? to.in_member : to.out_member) *
                                  to.bytes);
    for (size_t member = 0; member < members; member++) {
        mechanism[member] = (spec.mechanism + (int32_t)member) % EAB_MECHANISM_COUNT;
        scale[member] = eab_mechanism_default_scale(mechanism[member], spec.head_dim);
        solution &solved = exact[member];
        for (int i = 0; i < TENSORS; i++) solved.tensor[i].resize(elements);
        solved.row_stat.resize(rows);
        for (int i = 0; i < TENSORS; i++)
            if (i == DOUT || i <= V) {
                for (size_t e = 0; e < elements; e++)
                    solved.tensor[i][e] =
                        rounded((spec.only_finite && i > K ? 1 : spec.size) * random_normal(&state), spec.dtype);
                for_each_element(to, i, (int64_t)member, [&](size_t at, size_t compact) {
                    put(&buffers[buffer_of[i]].host[at], solved.tensor[i][compact], spec.dtype);
                });
            }
        plain[member] = terms[member] = solved;
        reals *t = solved.tensor;
        const eab_attention_args args = compact_args(spec, &mechanism[member], &scale[member], slopes.data());
        reals sizes(t[V]);
        for (size_t e = 0; e < elements; e++) sizes[e] = fabs(sizes[e]);
        eab_reference_attention_forward(&args, 0, t[Q].data(), t[K].data(), sizes.data(),
                                        terms[member].tensor[OUT].data(), NULL);
        eab_reference_attention_forward(&args, 0, t[Q].data(), t[K].data(), t[V].data(), t[OUT].data(),
                                        solved.row_stat.data());
        eab_reference_attention_backward(&args, 0, t[Q].data(), t[K].data(), t[V].data(), t[DOUT].data(), t[DQ].data(),
                                         t[DK].data(), t[DV].data());
        eab_reference_attention_terms(&args, 0, t[Q].data(), t[K].data(), t[V].data(), t[DOUT].data(),
                                      terms[member].tensor[DQ].data(), terms[member].tensor[DK].data(),
                                      terms[member].tensor[DV].data());
        if (spec.dtype == EAB_F32) plain_32(&args, solved, plain[member]);
        else plain_16(spec, mechanism[member], (double)scale[member], slopes.data(), solved, plain[member]);
    }
    for (int i = 0; i < BUFFERS; i++) push(buffers[i]);
    push(stat);
    int32_t *device_mechanism;
    float *device_scale, *device_slopes;
    cudaMalloc(&device_mechanism, members * sizeof(int32_t));
    cudaMalloc(&device_scale, members * sizeof(float));
    cudaMalloc(&device_slopes, slopes.size() * sizeof(float));
    cudaMemcpy(device_mechanism, mechanism.data(), members * sizeof(int32_t), cudaMemcpyHostToDevice);
    cudaMemcpy(device_scale, scale.data(), members * sizeof(float), cudaMemcpyHostToDevice);
    cudaMemcpy(device_slopes, slopes.data(), slopes.size() * sizeof(float), cudaMemcpyHostToDevice);

    bool done = true;
    if (spec.dtype == EAB_F32) {
        eab_tensor tensor[TENSORS];
        for (int i = 0; i < TENSORS; i++) {
            const bool in = buffer_of[i] == BUFFER_IN || buffer_of[i] == BUFFER_DIN;
            tensor[i].data =
                static_cast<char *>(buffers[buffer_of[i]].device) + offset(to, i, 0, 0, 0, 0) * (int64_t)to.bytes;
            tensor[i].stride = in ? to.in_member : to.out_member;
        }
        const eab_tensor row_stat = {stat.device, (int64_t)rows + 1};
        eab_cuda_scores scores = {device_mechanism, device_scale, spec.sloped ? device_slopes : NULL};
        const eab_const_tensor q = eab_const(tensor[Q]), k = eab_const(tensor[K]), v = eab_const(tensor[V]);
        done = !eab_cuda_attention_forward(NULL, &to.args, &scores, q, k, v, tensor[OUT], row_stat);
        if (done && !spec.without_backward)
            done = !eab_cuda_attention_backward(NULL, &to.args, &scores, q, k, v, eab_const(tensor[OUT]),
                                                eab_const(row_stat), eab_const(tensor[DOUT]), tensor[DQ], tensor[DK],
                                                tensor[DV]);
    } else {
        for (size_t member = 0; member < members && done; member++) {
            char *at[TENSORS];
            for (int i = 0; i < TENSORS; i++)
                at[i] = static_cast<char *>(buffers[buffer_of[i]].device) +
                        offset(to, i, (int64_t)member, 0, 0, 0) * (int64_t)to.bytes;
            done = contiguous_calls(spec, mechanism[member], slopes.data(), device_slopes, at,
                                    static_cast<float *>(stat.device) + member * (rows + 1));
        }
    }
    if (done) done = cudaDeviceSynchronize() == cudaSuccess;
    if (!done) fprintf(stderr, "%s: %s\n", attention_fleet_name(spec).c_str(), eab_last_error());
    cudaFree(device_mechanism);
    cudaFree(device_scale);
    cudaFree(device_slopes);
    for (int i = 0; i < BUFFERS; i++) pull(buffers[i]);
    pull(stat);
    if (bits)
        *bits = hashed(hashed(hashed(14695981039346656037u, buffers[BUFFER_OUT].host), buffers[BUFFER_DIN].host),
                       stat.host);

    static const int tested[4] = {OUT, DQ, DK, DV};
    for (size_t member = 0; member < members && done; member++)
        for (int i = 0; i < 4; i++) {
            if (i && spec.without_backward) continue;
            double error = 0, plain_error = 0, term = 0;
            const reals &want = exact[member].tensor[tested[i]], &other = plain[member].tensor[tested[i]];
            const reals &size = terms[member].tensor[tested[i]];
            std::vector<unsigned char> &host = buffers[buffer_of[tested[i]]].host;
            for_each_element(to, tested[i], (int64_t)member, [&](size_t at, size_t compact) {
                const double value = get(&host[at], spec.dtype);
                if (spec.only_finite) {
                    if (!isfinite(value)) error = INFINITY;
                } else error += isfinite(value) ? (value - want[compact]) * (value - want[compact]) : INFINITY;
                plain_error += (other[compact] - want[compact]) * (other[compact] - want[compact]);
                term += size[compact] * size[compact];
                for (size_t byte = 0; byte < to.bytes; byte++)
                    host[at + byte] = (unsigned char)(poison >> 8 * ((at + byte) % 4));
            });
            const double ratio =
                spec.only_finite
                    ? error
                    : sqrt(error) / fmax(fmax(sqrt(plain_error), unit_roundoff(spec.dtype) * sqrt(term)), 1e-300);
            errors.ratio[i] = fmax(errors.ratio[i], ratio);
        }
    for (size_t member = 0; member < members && done; member++)
        for (size_t row = 0; row < rows; row++) {
            const double value = get(&stat.host[(member * (rows + 1) + row) * sizeof(float)], EAB_F32);
            const double want = exact[member].row_stat[row], slack = spec.dtype == EAB_F32 ? 1e-5 : 1e-4;
            if (spec.only_finite ? isnan(value)
                                 : !(fabs(value - want) <=
                                     slack * (fabs(want) + 1) * (1 + spec.size * spec.size * spec.head_dim * 0.1))) {
                fprintf(stderr, "%s: row_stat[%zu] = %.9g, not %.9g\n", attention_fleet_name(spec).c_str(), row, value,
                        want);
                done = false;
                break;
            }
        }
    for (int i = BUFFER_OUT; i < BUFFERS && done; i += 2) /* out and dq, dk, dv: what is not a result is as it was */
        for (size_t at = 0; at < buffers[i].host.size(); at++)
            if (buffers[i].host[at] != (unsigned char)(poison >> 8 * (at % 4))) {
                fprintf(stderr, "%s: wrote between the rows of buffer %d\n", attention_fleet_name(spec).c_str(), i);
                done = false;
                break;
            }
    for (int i = 0; i < 4 && !done; i++) errors.ratio[i] = INFINITY;
    return errors;
}

void attention_fleet_check(const attention_fleet_case &spec, uint32_t seed) {
    static const char *const names[4] = {"out", "dq", "dk", "dv"};
    const attention_fleet_errors errors = attention_fleet_run(spec, seed, NULL);
    if (getenv("EAB_TEST_VERBOSE"))
        printf("%-100s %5.2f %5.2f %5.2f %5.2f\n", attention_fleet_name(spec).c_str(), errors.ratio[0], errors.ratio[1],
               errors.ratio[2], errors.ratio[3]);
    for (int i = 0; i < 4; i++)
        cr_expect(errors.ratio[i] <= (i ? 3 : 2), "%s: %s has error ratio %.2f", attention_fleet_name(spec).c_str(),
                  names[i], errors.ratio[i]);
}
