/* Attention through the public interface (kernels/attention.h) on device pointers, against sums in float64 that are
 * written here from the formulas and share no code with the project.
 *
 *   attention_ref dtype,mechanism,batch,heads,context,head_dim,causal,slopes[,spread of q and k]...
 *
 * Prints for each result the relative error by norm and by the largest element, and a checksum of all; BAD and exit
 * code 1 where the error by norm is too large. REF_ROUNDED_OUT=1: the reference's backward takes the kernels' rounded
 * out, as the kernels do. */
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <cuda_runtime_api.h>

#include "float16.h"
#include "kernels/attention.h"

namespace {

typedef std::vector<double> Values;

struct Case {
    int dtype;
    std::string mechanism;
    int batch, heads, context, head_dim, causal, sloped;
    double spread = 1;

    size_t rows() const { return (size_t)batch * (size_t)heads * (size_t)context; }
    size_t count() const { return rows() * (size_t)head_dim; }
    size_t element_bytes() const { return dtype == EAB_F32 ? 4 : 2; }
    /* Scores of any size give finite results, but rounding or subnormal gradients decide which. */
    bool only_finite() const { return spread > 100 || spread < 1e-10; }
    bool exponential() const {
        return mechanism == "dpa" || mechanism == "ea-softmax" || mechanism.rfind("mix-", 0) == 0;
    }
    double scale() const {
        const bool scaled = exponential() || mechanism == "ea-scaled" || mechanism == "sigmoid";
        return scaled ? (double)(1 / sqrtf((float)head_dim)) : 1;
    }
};

/* xorshift, then Box and Muller: the same numbers everywhere. */
double uniform() {
    static uint64_t state = 88172645463325252ull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) * 0x1p-53;
}
double normal() { return sqrt(-2 * log(uniform() + 1e-300)) * cos(6.283185307179586 * uniform()); }

void check(int status, const char *what) {
    if (!status) return;
    fprintf(stderr, "attention_ref: %s: %s\n", what, eab_last_error());
    exit(2);
}
void check_cuda(cudaError_t error, const char *what) {
    if (!error) return;
    fprintf(stderr, "attention_ref: %s: CUDA error %d\n", what, (int)error);
    exit(2);
}

/* Elements of the case's dtype, and as float64. */
void store(const Case &c, float value, char *at) {
    const uint16_t bits = c.dtype == EAB_BF16 ? ptx::float_to_bf16(value) : ptx::float_to_half(value);
    if (c.dtype == EAB_F32) memcpy(at, &value, sizeof value);
    else memcpy(at, &bits, sizeof bits);
}
double load(const Case &c, const char *at) {
    float value;
    uint16_t bits;
    memcpy(&bits, at, sizeof bits);
    if (c.dtype == EAB_F32) memcpy(&value, at, sizeof value);
    else value = c.dtype == EAB_BF16 ? ptx::bf16_to_float(bits) : ptx::half_to_float(bits);
    return (double)value;
}

struct Tensor {
    void *device = nullptr;
    Values values;

    Tensor(size_t bytes) { check_cuda(cudaMalloc(&device, bytes), "malloc"); }
    ~Tensor() { cudaFree(device); }
    Tensor(const Tensor &) = delete;
};

void fill(const Case &c, double spread, Tensor *tensor) {
    std::vector<char> bytes(c.count() * c.element_bytes());
    for (size_t i = 0; i < c.count(); i++) {
        char *const at = &bytes[i * c.element_bytes()];
        store(c, (float)(spread * normal()), at);
        tensor->values.push_back(load(c, at));
    }
    check_cuda(cudaMemcpyAsync(tensor->device, bytes.data(), bytes.size(), cudaMemcpyHostToDevice, 0), "upload");
    check_cuda(cudaStreamSynchronize(0), "upload");
}

Values fetch(const Case &c, const Tensor &tensor) {
    std::vector<char> bytes(c.count() * c.element_bytes());
    check_cuda(cudaMemcpyAsync(bytes.data(), tensor.device, bytes.size(), cudaMemcpyDeviceToHost, 0), "download");
    Values values;
    for (size_t i = 0; i < c.count(); i++) values.push_back(load(c, &bytes[i * c.element_bytes()]));
    return values;
}

struct Reference {
    Values out, stat, dq, dk, dv;
    Values dq_terms, dk_terms; /* sums of their terms' sizes: the gradients themselves may cancel to 0 */
};

/* The weight of a score z and its derivative by z; of the exponential mechanisms, of the weight's logarithm. */
void weigh(const std::string &mechanism, double z, double *w, double *dw) {
    const double eps = 0x1p-24, square = z * z, quartic = square * square;
    if (mechanism == "dpa") *w = z, *dw = 1;
    else if (mechanism == "ea-softmax") *w = square, *dw = 2 * z;
    else if (mechanism == "square") *w = square + eps, *dw = 2 * z;
    else if (mechanism == "ea-quartic")
        *w = quartic / (1 + quartic) + eps, *dw = 4 * z * square / ((1 + quartic) * (1 + quartic));
    else if (mechanism == "sigmoid") *w = 1 / (1 + exp(-z)) + eps, *dw = 1 / ((1 + exp(-z)) * (1 + exp(z)));
    else if (mechanism == "ea-parallel" && z <= 0) *w = eps, *dw = 0;
    else if (mechanism.rfind("mix-", 0) == 0) {
        const double t = (double)std::stof(mechanism.substr(4)), top = std::max(z, 0.0); /* against overflow */
        double ea, slope;
        weigh("ea", z, &ea, &slope);
        const double of_dpa = (1 - t) * exp(z - top), of_ea = t * exp(-top);
        *w = top + log(of_dpa + of_ea * ea), *dw = (of_dpa + of_ea * slope) / (of_dpa + of_ea * ea);
    } else *w = square / (1 + square) + eps, *dw = 2 * z / ((1 + square) * (1 + square));
}

/* The same of a score s, with the position's bias, before the exponential and the division by the row's sum. */
void weigh(const Case &c, double s, double bias, double *w, double *dw) {
    weigh(c.mechanism, c.scale() * s, w, dw);
    if (c.exponential()) *w += bias;
    else *w *= exp(bias), *dw *= exp(bias);
    *dw *= c.scale();
}

double dot(const Values &a, size_t i, const Values &b, size_t j, size_t d) {
    double sum = 0;
    for (size_t e = 0; e < d; e++) sum += a[i * d + e] * b[j * d + e];
    return sum;
}

double dot_of_sizes(const Values &a, size_t i, const Values &b, size_t j, size_t d) {
    double sum = 0;
    for (size_t e = 0; e < d; e++) sum += fabs(a[i * d + e] * b[j * d + e]);
    return sum;
}

/* One row of queries: `first` is the row of the first key. */
void reference_row(const Case &c, const Values &q, const Values &k, const Values &v, const Values &dout,
                   const Values *rounded_out, size_t first, size_t i, double slope, Reference *r) {
    const size_t d = (size_t)c.head_dim, row = first + i, keys = c.causal ? i + 1 : (size_t)c.context;
    Values w(keys), dw(keys);
    double top = -INFINITY, sum = 0;
    for (size_t j = 0; j < keys; j++) {
        weigh(c, dot(q, row, k, first + j, d), -slope * fabs((double)i - (double)j), &w[j], &dw[j]);
        top = fmax(top, w[j]);
    }
    for (size_t j = 0; j < keys; j++) {
        if (c.exponential()) {
            w[j] = exp(w[j] - top);
            dw[j] *= w[j];
        }
        sum += w[j];
    }
    r->stat[row] = c.exponential() ? top + log(sum) : sum;
    for (size_t j = 0; j < keys; j++)
        for (size_t e = 0; e < d; e++) r->out[row * d + e] += w[j] / sum * v[(first + j) * d + e];
    const Values &out = rounded_out ? *rounded_out : r->out;
    const double mean = dot(dout, row, out, row, d), mean_of_sizes = dot_of_sizes(dout, row, out, row, d);
    for (size_t j = 0; j < keys; j++) {
        const size_t column = first + j;
        const double ds = dw[j] / sum * (dot(dout, row, v, column, d) - mean);
        const double size = fabs(dw[j] / sum) * (dot_of_sizes(dout, row, v, column, d) + mean_of_sizes);
        for (size_t e = 0; e < d; e++) {
            r->dq_terms[row * d + e] += size * fabs(k[column * d + e]);
            r->dk_terms[column * d + e] += size * fabs(q[row * d + e]);
            r->dv[column * d + e] += w[j] / sum * dout[row * d + e];
            r->dq[row * d + e] += ds * k[column * d + e];
            r->dk[column * d + e] += ds * q[row * d + e];
        }
    }
}

/* Prints the errors; returns the one relative to the norm of `sizes`. */
double compare(const char *name, const Values &x, const Values &y, const Values &sizes) {
    double difference = 0, norm = 1e-300, largest = 0, size = 1e-300;
    for (size_t i = 0; i < y.size(); i++) {
        difference += (x[i] - y[i]) * (x[i] - y[i]);
        norm += sizes[i] * sizes[i];
        largest = fmax(largest, fabs(x[i] - y[i]));
        size = fmax(size, fabs(y[i]));
    }
    const double relative = sqrt(difference / norm);
    printf(" %s %.2e/%.2e", name, relative, largest / size);
    return std::isnan(relative) ? INFINITY : relative;
}

bool all_finite(const Values &values) {
    for (const double value : values)
        if (!std::isfinite(value)) return false;
    return true;
}

/* FNV-1a of the values' bits: a checksum. */
uint64_t hashed(uint64_t hash, const Values &values) {
    for (const double value : values) {
        uint64_t bits;
        memcpy(&bits, &value, sizeof bits);
        hash = (hash ^ bits) * 1099511628211u;
    }
    return hash;
}

bool run(eab_device *device, const Case &c) {
    const size_t bytes = c.count() * c.element_bytes();
    Tensor q(bytes), k(bytes), v(bytes), dout(bytes), out(bytes), dq(bytes), dk(bytes), dv(bytes), stat(c.rows() * 4);
    fill(c, c.spread, &q);
    fill(c, c.spread, &k);
    fill(c, 1, &v);
    fill(c, 1, &dout);
    std::vector<float> slopes;
    for (int h = 0; h < c.heads; h++) slopes.push_back((float)pow(2, -1.0 - h));
    eab_attention at = {};
    at.batch = c.batch;
    at.heads = c.heads;
    at.context = c.context;
    at.head_dim = c.head_dim;
    const bool is_mix = c.mechanism.rfind("mix-", 0) == 0;
    at.mechanism = eab_mechanism_from_name(is_mix ? "mix" : c.mechanism.c_str());
    at.mix = is_mix ? std::stof(c.mechanism.substr(4)) : 0;
    at.dtype = c.dtype;
    at.causal = c.causal;
    at.slopes = c.sloped ? slopes.data() : nullptr;
    float *const stats = (float *)stat.device;
    check(eab_attention_forward(device, &at, q.device, k.device, v.device, out.device, stats), "forward");
    check(eab_attention_backward(device, &at, q.device, k.device, v.device, out.device, stats, dout.device, dq.device,
                                 dk.device, dv.device),
          "backward");
    check(eab_device_synchronize(device), "synchronize");
    std::vector<float> found_stat(c.rows());
    check_cuda(cudaMemcpyAsync(found_stat.data(), stats, c.rows() * 4, cudaMemcpyDeviceToHost, 0), "download");

    Reference r = {Values(c.count()), Values(c.rows()),  Values(c.count()), Values(c.count()),
                   Values(c.count()), Values(c.count()), Values(c.count())};
    const Values found_out = fetch(c, out);
    const Values *const rounded_out = getenv("REF_ROUNDED_OUT") ? &found_out : nullptr;
    for (size_t first = 0; first < c.rows(); first += (size_t)c.context)
        for (size_t i = 0; i < (size_t)c.context; i++) {
            const size_t head = first / (size_t)c.context % (size_t)c.heads;
            reference_row(c, q.values, k.values, v.values, dout.values, rounded_out, first, i,
                          c.sloped ? (double)slopes[head] : 0, &r);
        }
    const Values found[] = {found_out, Values(found_stat.begin(), found_stat.end()), fetch(c, dq), fetch(c, dk),
                            fetch(c, dv)};
    const Values *const expected[] = {&r.out, &r.stat, &r.dq, &r.dk, &r.dv};
    const Values *const sizes[] = {&r.out, &r.stat, &r.dq_terms, &r.dk_terms, &r.dv};
    const char *const names[] = {"out", "stat", "dq", "dk", "dv"};
    double worst = 0;
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < 5; i++) {
        const double error = c.only_finite() ? (all_finite(found[i]) ? 0 : INFINITY)
                                             : compare(names[i], found[i], *expected[i], *sizes[i]);
        worst = fmax(worst, error);
        hash = hashed(hash, found[i]);
    }
    const double allowed = c.dtype == EAB_F32 ? 2e-6 : c.dtype == EAB_BF16 ? 1e-2 : 1.5e-3;
    printf(" %016llx%s\n", (unsigned long long)hash, worst < allowed ? "" : "  BAD");
    return worst < allowed;
}

bool parse(const char *text, Case *c) {
    char dtype[16], mechanism[32];
    if (sscanf(text, "%15[^,],%31[^,],%d,%d,%d,%d,%d,%d,%lf", dtype, mechanism, &c->batch, &c->heads, &c->context,
               &c->head_dim, &c->causal, &c->sloped, &c->spread) < 8)
        return false;
    const std::string name = dtype;
    c->dtype = name == "f32" ? EAB_F32 : name == "bf16" ? EAB_BF16 : EAB_F16;
    c->mechanism = mechanism;
    return name == "f32" || name == "bf16" || name == "f16";
}

} // namespace

int main(int count, char **arguments) {
    eab_device *device;
    check(eab_device_open("cuda", 0, &device), "open");
    bool good = true;
    for (int a = 1; a < count; a++) {
        Case c;
        if (!parse(arguments[a], &c)) {
            fprintf(stderr, "attention_ref: '%s' is no case\n", arguments[a]);
            return 3;
        }
        printf("%-34s", arguments[a]);
        good = run(device, c) && good;
        fflush(stdout);
    }
    eab_device_close(device);
    return !good;
}
