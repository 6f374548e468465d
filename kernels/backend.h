/* The table of operations that a backend offers, for a fleet of models.
 *
 * A fleet is `members` independent models of one shape, trained in lockstep; every operation works on all of them. Two
 * levels: *blocks* are the parts of a transformer (attention block, MLP block, head); *primitives* are the operations
 * inside a block. A backend fills in the primitives, its own fused form of a block where it has one, and the generic
 * composition (kernels/generic/blocks.c) for the others.
 *
 * Operations are asynchronous on the device's stream: their results may be read after synchronize(), and a later call
 * may return their error. They return 0 or an eab_status. Host arrays passed in (`const` pointers said to be on the
 * host) may be reused when the call returns.
 *
 * Reals are stored in the backend's own type, `real_bytes` each: float on "cpu" and "cuda", double on "reference".
 */
#ifndef EAB_KERNELS_BACKEND_H
#define EAB_KERNELS_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../tasks/parts.h"
#include "attention.h"
#include "schedule.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Reals of a fleet on a device: member p's begin at data + p * stride elements. data NULL: the model has none. */
typedef struct {
    void *data;
    int64_t stride;
} eab_tensor;

/* The same, read only: attention's inputs, which belong to callers of the public API. */
typedef struct {
    const void *data;
    int64_t stride;
} eab_const_tensor;

static inline eab_const_tensor eab_const(eab_tensor tensor) {
    const eab_const_tensor read_only = {tensor.data, tensor.stride};
    return read_only;
}

typedef enum { EAB_NORM_LAYER, EAB_NORM_NONE } eab_norm;
typedef enum { EAB_ACTIVATION_RELU, EAB_ACTIVATION_GELU } eab_activation; /* gelu: the tanh form (as in GPT-2) */

/* How the inputs of matrix products are rounded. Inputs, sums and results are stored in the backend's own type; weights
 * have a float32 master copy. FLOAT32: not rounded. TF32: may be cut to 10 bits after the leading one. BF16: rounded to
 * the nearest of 8 bits, ties to even. */
typedef enum { EAB_PRECISION_FLOAT32, EAB_PRECISION_TF32, EAB_PRECISION_BF16 } eab_precision;

/* Inverted dropout of a residual stream: an element is dropped, to 0, with `probability`; the others are divided by
 * 1 - probability. The draws: dropout.h. */
typedef struct {
    double probability;    /* 0 < probability < 1, of all members */
    const uint32_t *seeds; /* [members] on the host */
    uint64_t first_index;  /* sequence i of the batch has index first_index + i, as in eab_generate_args */
    uint32_t place;        /* 0: the embedding; 1, 2: the attention and MLP branch of the first layer; 3, 4, ... */
    eab_tensor scratch;    /* [rows][d_model]: a branch before it is added */
} eab_dropout;

/* The shape that all members of a fleet share; rows = batch * context. */
typedef struct {
    int32_t members, batch, context, d_model, heads, mlp_dim, vocab; /* vocab: the widest of the fleet */
    eab_norm norm;
    eab_activation activation;
    bool qk_norm;               /* RMS norm of each head's q and k, before the rotation */
    eab_tensor rope;            /* [context][head_dim / 2][2]: cos, sin; stride 0; data NULL: no rotation */
    const float *slopes;        /* [heads] on the host, or NULL: no position bias */
    eab_precision precision;    /* of the blocks' products; attention's own are in the backend's type */
    const eab_dropout *dropout; /* of the branches' outputs; NULL: none */
} eab_shape;

/* The score function of each member; all [members] on the host; scale is never 0 here. mix: of mechanism mix; others
 * ignore it. */
typedef struct {
    const int32_t *mechanism;
    const float *scale, *mix;
} eab_scores;

/* ---- primitives ---------------------------------------------------------------------------------------------- */

/* What a product does to each element before storing it; only on backends with gemm_finishes. relu: c < 0 becomes 0.
 * relu_slope: c becomes 0 where other <= 0. times: c *= other. gelu: c becomes gelu(c); its slope gelu'(c) is
 * written to other. */
typedef enum { EAB_FINISH_NONE, EAB_FINISH_RELU, EAB_FINISH_RELU_SLOPE, EAB_FINISH_TIMES, EAB_FINISH_GELU } eab_finish;

/* c = op(a) op(b) (+ c if accumulate) (+ bias, one per column), finished; row-major. op(a): [m][k], op(b): [k][n], c:
 * [m][n]. lda, ldb, ldc: elements between the rows as stored. transpose_a: a is stored as [k][m]; transpose_b: b as
 * [n][k]. */
typedef struct {
    int32_t members, m, n, k, lda, ldb, ldc;
    bool transpose_a, transpose_b, accumulate;
    eab_tensor a, b, c, bias; /* bias [n], or data NULL */
    eab_finish finish;
    eab_tensor other;        /* of finish: [m][n], its rows ldc elements apart */
    eab_precision precision; /* of a and b; one that the backend has */
} eab_gemm;

/* y = (x - mean) * inv_std * gain + bias over the last dimension; epsilon 1e-5 is added to the variance. */
typedef struct {
    int32_t members, rows, width;
    eab_tensor gain, bias;          /* [width]; bias.data NULL: none */
    eab_tensor normalized, inv_std; /* saved: (x - mean) * inv_std [rows][width], inv_std [rows] */
} eab_norm_args;

/* RMS norm of each head's q and k inside qkv [rows][3 heads head_dim]: unit = x * inv_rms, with inv_rms =
 * 1 / sqrt(mean(x^2) + 1e-5) over the head's head_dim reals; x becomes unit * gain. Query-key normalisation: Henry et
 * al., arXiv 2010.04245, and Dehghani et al., arXiv 2302.05442, here without a mean and a bias. All heads of a layer
 * share a gain. */
typedef struct {
    int32_t members, rows, heads, head_dim;
    eab_tensor q_gain, k_gain; /* [head_dim] */
    eab_tensor unit, inv_rms;  /* saved: [rows][2 heads head_dim] and [rows][2 heads]; q's heads, then k's */
} eab_qk_norm_args;

/* Attention over strided heads: element (batch b, head h, time t, i) of q, k, v, dq, dk, dv lies at
 * b * in_batch + h * in_head + t * in_time + i, of out and dout at the same with out_*.
 * row_stat: float on every backend but "reference" (double): [batch][heads][context]. */
typedef struct {
    int32_t members, batch, heads, context, head_dim;
    bool causal;
    bool standalone; /* not in a model: operands may be outside the caches; last bits may depend on batch * heads */
    eab_scores scores;
    const float *slopes;
    int64_t in_batch, in_head, in_time, out_batch, out_head, out_time;
} eab_attention_args;

/* The sequences to draw for a batch of a fleet. */
typedef struct {
    int32_t members, batch, context;
    const eab_level *levels; /* on the host: the parts of all members */
    const uint8_t *held_out; /* of each level, on the host: 1 where it holds sequences out */
    const eab_parts *parts;  /* [members] on the host; NULL: member i has the one level i, without a task token */
    int32_t only;            /* 0: the parts in turn; n: only each member's n-th part (from 1), or its first where it
                                has fewer */
    const uint32_t *seeds;   /* [members] on the host */
    uint32_t stream;         /* EAB_STREAM_... */
    uint64_t first_index;    /* sequence i of the batch has index first_index + i, */
    uint64_t repeat_after;   /* modulo repeat_after, if that isn't 0 */
} eab_generate_args;

EAB_HOST_DEVICE static inline uint64_t eab_repeated_index(uint64_t index, uint64_t repeat_after) {
    return repeat_after ? index % repeat_after : index;
}

static inline eab_parts eab_generate_parts(const eab_generate_args *args, int32_t member) {
    const eab_parts plain = {member, 1, -1};
    return args->parts ? args->parts[member] : plain;
}

/* Counts of the loss, summed over calls until zeroed; one per member, on the device. */
typedef struct {
    double loss_nats;        /* sum over determined tokens of -log p(target) */
    int64_t tokens;          /* determined tokens */
    int64_t tokens_right;    /* of them: the target has the largest logit (the first one on a tie) */
    int64_t sequences;       /* sequences with at least one determined token */
    int64_t sequences_right; /* of them: every determined token is right */
} eab_tally;

/* Cross-entropy. Rows with a negative target do not count. Logits at or past the member's own vocabulary are masked:
 * probability 0, gradient 0. */
typedef struct {
    int32_t members, batch, context, vocab;
    const int32_t *member_vocab; /* [members] on the host */
    const int32_t *targets;      /* device [members][batch][context]; negative: not determined */
    int64_t targets_stride;      /* elements between members, of targets and predictions */
    eab_tensor logits;           /* [batch * context][vocab] */
    eab_tally *tally;            /* device [members], added to */
    int32_t *predictions;        /* device, as targets: the largest logit's index; or NULL */
    const int64_t *counts;       /* device [members]: determined tokens of the whole batch; NULL: forward only.
                                    Otherwise logits become d(mean loss)/d(logits), the mean over counts[member]. */
} eab_loss_args;

/* A part of a member's parameters: a matrix, or a vector with one row. */
typedef struct {
    int64_t offset;
    int32_t rows, columns;
    bool vocab_columns; /* the columns are the vocabulary: those from the member's own on are padding */
} eab_extent;

/* Clips by the global norm of each member's gradient, does one optimizer step, and zeroes the gradients. Elements from
 * `decayed` on (gains and biases) have no weight decay. The CPU sums the norm extent by extent without padding,
 * so that it does not depend on the fleet's vocabulary. CUDA sums in fixed parts: the last bits of a float64 may
 * differ. */
typedef struct {
    int32_t members;
    int64_t count, decayed;
    const eab_extent *extents; /* on the host: they cover [0, count) */
    int32_t extent_count;
    eab_tensor weights, gradients, moment1, moment2; /* [count]; moment2.data NULL for sgd */
    const eab_optimizer *optimizers;                 /* [members] on the host: schedule.h */
    const int32_t *member_vocab;                     /* [members] on the host; read for extents with vocab_columns */
    int64_t step;                                    /* 0 for the first */
} eab_optimizer_args;

/* ---- blocks -------------------------------------------------------------------------------------------------- */

typedef struct {
    eab_tensor token;    /* [vocab][d_model] */
    eab_tensor position; /* [context][d_model]; data NULL: none */
} eab_embedding;         /* weights, or their gradients; token gradients data NULL: not trained (one-hot) */

typedef struct {
    eab_tensor norm_gain, norm_bias;         /* [d_model] */
    eab_tensor qkv, qkv_bias, out, out_bias; /* [d_model][3 d_model], [3 d_model], [d_model][d_model], [d_model] */
    eab_tensor q_gain, k_gain;               /* [head_dim], with qk_norm */
} eab_attention_weights;

typedef struct {
    eab_tensor norm_gain, norm_bias;         /* [d_model] */
    eab_tensor up, up_bias, down, down_bias; /* [d_model][mlp_dim], [mlp_dim], [mlp_dim][d_model], [d_model] */
} eab_mlp_weights;

typedef struct {
    eab_tensor norm_gain, norm_bias; /* [d_model] */
    eab_tensor out, out_bias;        /* [d_model][vocab], [vocab] */
} eab_head_weights;

/* What the forward pass saves for the backward pass; every tensor is [rows][...]. */
typedef struct {
    eab_tensor normalized, inv_std, input; /* [d_model], one, [d_model]: the norm's, and its output */
    eab_tensor qkv, attended;              /* [3 d_model], [d_model]; q and k normalised and rotated */
    eab_tensor qk_unit, qk_inv_rms;        /* [2 d_model], [2 heads], with qk_norm */
    eab_tensor row_stat;                   /* [batch][heads][context] */
} eab_attention_saved;

typedef struct {
    eab_tensor normalized, inv_std, input;
    eab_tensor before, hidden; /* [mlp_dim] before and after the activation; before.data NULL for relu; with
                                  gemm_finishes `before` holds the activation's slopes */
} eab_mlp_saved;

typedef struct {
    eab_tensor normalized, inv_std, input;
    eab_tensor logits; /* [vocab]; their gradient after eab_loss_args */
} eab_head_saved;

typedef struct eab_bench_table eab_bench_table;

typedef struct eab_backend {
    const char *name;
    const char *dtype; /* of its reals, as in the tables: "float32", "float64" */
    size_t real_bytes;
    unsigned precisions;       /* 1u << eab_precision for each that gemm has beside FLOAT32 */
    const char *not_built;     /* NULL, or why this backend is only listed, for eab_last_error */
    int64_t micro_batch_bytes; /* a member's activations at a time, so that they stay in a cache; 0: the whole batch */

    /* Devices. describe: one line, for example the processor's name and the SIMD level. */
    int (*count)(void);
    int (*open)(int index, eab_device *device);
    void (*close)(eab_device *device);
    void (*describe)(const eab_device *device, char *text, size_t size);
    int (*set_stream)(eab_device *device, void *stream); /* optional */
    /* Optional: from now on every kernel is waited for and nothing is recorded, so that a failing kernel is named. */
    void (*sync_every_kernel)(eab_device *device);

    /* Memory: aligned to 64 bytes, contents undefined. Sizes are bytes, but counts of reals for write_ and
     * read_reals. */
    int (*allocate)(eab_device *, size_t bytes, void **memory);
    void (*release)(eab_device *, void *memory);
    int (*zero)(eab_device *, void *memory, size_t bytes);
    int (*copy)(eab_device *, void *to, const void *from, size_t bytes); /* on the device */
    int (*upload)(eab_device *, void *to, const void *host, size_t bytes);
    int (*download)(eab_device *, void *host, const void *from, size_t bytes);      /* synchronizes */
    int (*write_reals)(eab_device *, void *to, const double *host, int64_t count);  /* rounds to the device's type */
    int (*read_reals)(eab_device *, double *host, const void *from, int64_t count); /* synchronizes */
    int (*synchronize)(eab_device *);

    /* Primitives. */
    int (*gemm)(eab_device *, const eab_gemm *);
    int (*norm_forward)(eab_device *, const eab_norm_args *, eab_tensor x, eab_tensor y);
    /* dx += the gradient through the norm; gradients of gain and bias are added to. dy is [rows][width]. */
    int (*norm_backward)(eab_device *, const eab_norm_args *, eab_tensor dy, eab_tensor dx, eab_tensor dgain,
                         eab_tensor dbias);
    /* In place: q and k of qkv are normalised, v is not changed. */
    int (*qk_norm_forward)(eab_device *, const eab_qk_norm_args *, eab_tensor qkv);
    /* In place: the gradient with respect to the normalised q and k becomes that with respect to q and k; gradients of
     * the gains are added to. */
    int (*qk_norm_backward)(eab_device *, const eab_qk_norm_args *, eab_tensor dqkv, eab_tensor dq_gain,
                            eab_tensor dk_gain);
    /* y = f(x), [count]; y may be x. */
    int (*activation_forward)(eab_device *, eab_activation, int32_t members, int64_t count, eab_tensor x, eab_tensor y);
    /* dy *= f'(x), in place; for relu x may be the output. */
    int (*activation_backward)(eab_device *, eab_activation, int32_t members, int64_t count, eab_tensor x,
                               eab_tensor dy);
    /* Optional: gemm applies eab_gemm's finish. The generic MLP block then needs no pass for the activation, and saves
     * gelu's slopes instead of its inputs. */
    bool gemm_finishes;
    /* y[count] += x[count] */
    int (*add)(eab_device *, int32_t members, int64_t count, eab_tensor x, eab_tensor y);
    /* y = x, or y += x with `add`, after shape->dropout, of [batch * context][d_model]; y may be x without `add`. The
     * gradient is the same function. */
    int (*dropout)(eab_device *, const eab_shape *, eab_tensor x, eab_tensor y, bool add);
    /* sums[width] += the sum of x's rows, [rows][width] */
    int (*column_sum)(eab_device *, int32_t members, int32_t rows, int32_t width, eab_tensor x, eab_tensor sums);
    /* Rotary position embedding of q and k inside qkv [batch * context][3 d_model]: pairs (i, i + head_dim / 2) are
     * rotated by shape->rope, or back if `inverse`. */
    int (*rotate)(eab_device *, const eab_shape *, eab_tensor qkv, bool inverse);
    int (*attention_forward)(eab_device *, const eab_attention_args *, eab_const_tensor q, eab_const_tensor k,
                             eab_const_tensor v, eab_tensor out, eab_tensor row_stat);
    int (*attention_backward)(eab_device *, const eab_attention_args *, eab_const_tensor q, eab_const_tensor k,
                              eab_const_tensor v, eab_const_tensor out, eab_const_tensor row_stat,
                              eab_const_tensor dout, eab_tensor dq, eab_tensor dk, eab_tensor dv);
    /* x[row] = token[tokens[row]] + position[row's time]; tokens: device [members][batch][context] */
    int (*embed_forward)(eab_device *, const eab_shape *, const eab_embedding *weights, const int32_t *tokens,
                         int64_t tokens_stride, eab_tensor x);
    int (*embed_backward)(eab_device *, const eab_shape *, const eab_embedding *gradients, const int32_t *tokens,
                          int64_t tokens_stride, eab_tensor dx);
    int (*loss)(eab_device *, const eab_loss_args *);
    int (*optimizer_step)(eab_device *, const eab_optimizer_args *);
    /* inputs, targets: device [members][batch][context]; targets[t] is token t + 1 if it is determined, else
     * -1 - token; counts: device [members], the determined tokens. */
    int (*generate)(eab_device *, const eab_generate_args *, int32_t *inputs, int32_t *targets, int64_t *counts);
    /* For rollouts: inputs[t + 1] = predictions[t] where targets[t] is determined and t + 1 < context; *changed
     * (device): how many inputs changed. */
    int (*feed_back)(eab_device *, const eab_generate_args *, const int32_t *targets, const int32_t *predictions,
                     int32_t *inputs, int64_t *changed);

    /* Blocks; scratch: device, eab_scratch_reals(shape) reals a member. The residual additions change x in place.
     * Gradients of weights are added to. dx: in, the gradient of the block's output; out, that of its input. */
    int (*attention_block_forward)(eab_device *, const eab_shape *, const eab_scores *, const eab_attention_weights *,
                                   eab_tensor x, const eab_attention_saved *);
    int (*attention_block_backward)(eab_device *, const eab_shape *, const eab_scores *,
                                    const eab_attention_weights *weights, const eab_attention_weights *gradients,
                                    const eab_attention_saved *, eab_tensor dx, eab_tensor scratch);
    int (*mlp_block_forward)(eab_device *, const eab_shape *, const eab_mlp_weights *, eab_tensor x,
                             const eab_mlp_saved *);
    int (*mlp_block_backward)(eab_device *, const eab_shape *, const eab_mlp_weights *weights,
                              const eab_mlp_weights *gradients, const eab_mlp_saved *, eab_tensor dx,
                              eab_tensor scratch);
    /* The final norm and the output map, without the loss. dx is written, not added to. */
    int (*head_forward)(eab_device *, const eab_shape *, const eab_head_weights *, eab_tensor x,
                        const eab_head_saved *);
    int (*head_backward)(eab_device *, const eab_shape *, const eab_head_weights *weights,
                         const eab_head_weights *gradients, const eab_head_saved *, eab_tensor dx, eab_tensor scratch);

    /* Optional: many members at once; NULL: zero() and copy() for each. */
    int (*zero_members)(eab_device *, int32_t members, int64_t count, eab_tensor x);
    int (*copy_members)(eab_device *, int32_t members, int64_t count, eab_tensor from, eab_tensor to);

    /* Optional: a training step as one recording (a CUDA graph). Between record_begin and record_end operations are
     * recorded and not run; allocate, upload and anything that synchronizes are not allowed. The same operations must
     * have run once before, so that their copies of host arrays are on the device. Each replay runs all of them; in
     * replay n = 0, 1, ... optimizer_step works at step + n, generate and dropout at first_index + n * batch (generate
     * then modulo repeat_after). record_end also ends a recording that failed; forget frees one, NULL is fine. records:
     * whether this device can record. */
    bool (*records)(const eab_device *);
    int (*record_begin)(eab_device *);
    int (*record_end)(eab_device *, void **recording);
    int (*replay)(eab_device *, void *recording);
    void (*forget)(eab_device *, void *recording);

    /* Optional, for the size of fleets: bytes that can still be allocated, and threads that the device runs at a
     * time. */
    int (*capacity)(eab_device *, size_t *free_bytes, int64_t *resident_threads);

    /* Optional: why count() is 0: one static line, for example "no NVIDIA driver is installed". */
    const char *(*absent)(void);

    /* Optional: the public calls in bf16 and fp16, contiguous; pointers on the device. */
    int (*attention_half_forward)(eab_device *, const eab_attention *, const void *q, const void *k, const void *v,
                                  void *out, float *row_stat);
    int (*attention_half_backward)(eab_device *, const eab_attention *, const void *q, const void *k, const void *v,
                                   const void *out, const float *row_stat, const void *dout, void *dq, void *dk,
                                   void *dv);

    /* NULL if this backend can compute it, else why not (one static line). */
    const char *(*supports)(const eab_device *, const eab_attention *);

    const eab_bench_table *bench; /* optional: bench.h */
} eab_backend;

struct eab_device {
    const eab_backend *backend;
    int index;
    void *own;                /* the backend's */
    void *profile;            /* generic/profile.c's; NULL: not profiled */
    size_t bytes, peak_bytes; /* allocated now, and the most since the device was opened */
};

/* The reference's code in float32: the plain implementation in the denominator of error_ratio. Not listed. */
extern const eab_backend eab_backend_plain;

/* Whether a backend's products have this precision. */
static inline bool eab_backend_has_precision(const eab_backend *backend, eab_precision precision) {
    return precision == EAB_PRECISION_FLOAT32 || (backend->precisions >> precision & 1) != 0;
}

/* `attention` as a fleet of one, with contiguous tensors; it and `scale` must outlive the result. */
eab_attention_args eab_attention_args_of(const eab_attention *attention, const float *scale);

/* As eab_device_open, of a backend instead of its name. */
int eab_device_open_backend(const eab_backend *backend, int index, eab_device **device);

/* Backend 0, 1, ..., including those that were not built; NULL past the last. */
const eab_backend *eab_backend_at(int index);

/* The backend called `name`, or NULL. */
const eab_backend *eab_backend_from_name(const char *name);

/* Reals of scratch that the blocks of `shape` need per member. */
int64_t eab_scratch_reals(const eab_shape *shape);

/* The generic blocks, for backends without fused ones (kernels/generic/blocks.c). */
int eab_generic_attention_block_forward(eab_device *, const eab_shape *, const eab_scores *,
                                        const eab_attention_weights *, eab_tensor x, const eab_attention_saved *);
int eab_generic_attention_block_backward(eab_device *, const eab_shape *, const eab_scores *,
                                         const eab_attention_weights *weights, const eab_attention_weights *gradients,
                                         const eab_attention_saved *, eab_tensor dx, eab_tensor scratch);
int eab_generic_mlp_block_forward(eab_device *, const eab_shape *, const eab_mlp_weights *, eab_tensor x,
                                  const eab_mlp_saved *);
int eab_generic_mlp_block_backward(eab_device *, const eab_shape *, const eab_mlp_weights *weights,
                                   const eab_mlp_weights *gradients, const eab_mlp_saved *, eab_tensor dx,
                                   eab_tensor scratch);
int eab_generic_head_forward(eab_device *, const eab_shape *, const eab_head_weights *, eab_tensor x,
                             const eab_head_saved *);
int eab_generic_head_backward(eab_device *, const eab_shape *, const eab_head_weights *weights,
                              const eab_head_weights *gradients, const eab_head_saved *, eab_tensor dx,
                              eab_tensor scratch);

#ifdef __cplusplus
}
#endif

#endif
