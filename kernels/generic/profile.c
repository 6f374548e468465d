/* The timing table of operations (profile.h). TIMED defines a wrapper for each operation. */
#include "profile.h"
#include "../clock.h"

#include <stdlib.h>

typedef struct {
    eab_backend timed; /* device->backend while attached */
    const eab_backend *inner;
    eab_profile profile;
    eab_profile_phase phase;
    bool waits;       /* the device is asynchronous: wait for each operation */
    double started_s; /* of the profile */
    double inside_s;  /* spent in operations that the running one has called */
} timing_table;

typedef struct {
    double started_s, inside_s;
} time_span;

static timing_table *timing_of(const eab_device *device) { return device->profile; }

static time_span begin(timing_table *timing) {
    const time_span span = {eab_now_s(), timing->inside_s};
    timing->inside_s = 0;
    return span;
}

static int end(eab_device *device, eab_profile_operation operation, double flop, time_span span, int status) {
    timing_table *timing = timing_of(device);
    if (timing->waits && !status) status = timing->inner->synchronize(device);
    const double seconds = eab_now_s() - span.started_s;
    eab_profile_row *row = &timing->profile.rows[timing->phase][operation];
    row->calls++;
    row->seconds += seconds - timing->inside_s;
    row->flop += flop;
    timing->inside_s = span.inside_s + seconds;
    return status;
}

static double gemm_flop(const eab_gemm *args) { return 2.0 * args->members * args->m * args->n * args->k; }

/* `per_pair` times head_dim for each allowed pair of query and key. */
static double attention_flop(const eab_attention_args *args, double per_pair) {
    const double keys = args->causal ? (args->context + 1) / 2.0 : args->context;
    return per_pair * args->head_dim * args->members * args->batch * args->heads * args->context * keys;
}

/* The operation `name`, with its parameters after the device as they are declared and as they are passed on. */
#define DECLARED(...) __VA_ARGS__
#define PASSED(...) __VA_ARGS__
#define TIMED(name, flop, declared, passed)                                                                 \
    static int name(eab_device *device, declared) {                                                         \
        const time_span span = begin(timing_of(device));                                                    \
        return end(device, EAB_PROFILE_##name, flop, span, timing_of(device)->inner->name(device, passed)); \
    }

TIMED(gemm, gemm_flop(args), DECLARED(const eab_gemm *args), PASSED(args))
TIMED(norm_forward, 0, DECLARED(const eab_norm_args *args, eab_tensor x, eab_tensor y), PASSED(args, x, y))
TIMED(norm_backward, 0,
      DECLARED(const eab_norm_args *args, eab_tensor dy, eab_tensor dx, eab_tensor dgain, eab_tensor dbias),
      PASSED(args, dy, dx, dgain, dbias))
TIMED(qk_norm_forward, 0, DECLARED(const eab_qk_norm_args *args, eab_tensor qkv), PASSED(args, qkv))
TIMED(qk_norm_backward, 0,
      DECLARED(const eab_qk_norm_args *args, eab_tensor dqkv, eab_tensor dq_gain, eab_tensor dk_gain),
      PASSED(args, dqkv, dq_gain, dk_gain))
TIMED(activation_forward, 0,
      DECLARED(eab_activation activation, int32_t members, int64_t count, eab_tensor x, eab_tensor y),
      PASSED(activation, members, count, x, y))
TIMED(activation_backward, 0,
      DECLARED(eab_activation activation, int32_t members, int64_t count, eab_tensor x, eab_tensor dy),
      PASSED(activation, members, count, x, dy))
TIMED(add, 0, DECLARED(int32_t members, int64_t count, eab_tensor x, eab_tensor y), PASSED(members, count, x, y))
TIMED(dropout, 0, DECLARED(const eab_shape *shape, eab_tensor x, eab_tensor y, bool add), PASSED(shape, x, y, add))
TIMED(column_sum, 0, DECLARED(int32_t members, int32_t rows, int32_t width, eab_tensor x, eab_tensor sums),
      PASSED(members, rows, width, x, sums))
TIMED(rotate, 0, DECLARED(const eab_shape *shape, eab_tensor qkv, bool inverse), PASSED(shape, qkv, inverse))
TIMED(attention_forward, attention_flop(args, 4),
      DECLARED(const eab_attention_args *args, eab_const_tensor q, eab_const_tensor k, eab_const_tensor v,
               eab_tensor out, eab_tensor row_stat),
      PASSED(args, q, k, v, out, row_stat))
TIMED(attention_backward, attention_flop(args, 10),
      DECLARED(const eab_attention_args *args, eab_const_tensor q, eab_const_tensor k, eab_const_tensor v,
               eab_const_tensor out, eab_const_tensor row_stat, eab_const_tensor dout, eab_tensor dq, eab_tensor dk,
               eab_tensor dv),
      PASSED(args, q, k, v, out, row_stat, dout, dq, dk, dv))
TIMED(embed_forward, 0,
      DECLARED(const eab_shape *shape, const eab_embedding *weights, const int32_t *tokens, int64_t stride,
               eab_tensor x),
      PASSED(shape, weights, tokens, stride, x))
TIMED(embed_backward, 0,
      DECLARED(const eab_shape *shape, const eab_embedding *gradients, const int32_t *tokens, int64_t stride,
               eab_tensor dx),
      PASSED(shape, gradients, tokens, stride, dx))
TIMED(loss, 0, DECLARED(const eab_loss_args *args), PASSED(args))
TIMED(optimizer_step, 0, DECLARED(const eab_optimizer_args *args), PASSED(args))
TIMED(attention_block_forward, 0,
      DECLARED(const eab_shape *shape, const eab_scores *scores, const eab_attention_weights *weights, eab_tensor x,
               const eab_attention_saved *saved),
      PASSED(shape, scores, weights, x, saved))
TIMED(attention_block_backward, 0,
      DECLARED(const eab_shape *shape, const eab_scores *scores, const eab_attention_weights *weights,
               const eab_attention_weights *gradients, const eab_attention_saved *saved, eab_tensor dx,
               eab_tensor scratch),
      PASSED(shape, scores, weights, gradients, saved, dx, scratch))
TIMED(mlp_block_forward, 0,
      DECLARED(const eab_shape *shape, const eab_mlp_weights *weights, eab_tensor x, const eab_mlp_saved *saved),
      PASSED(shape, weights, x, saved))
TIMED(mlp_block_backward, 0,
      DECLARED(const eab_shape *shape, const eab_mlp_weights *weights, const eab_mlp_weights *gradients,
               const eab_mlp_saved *saved, eab_tensor dx, eab_tensor scratch),
      PASSED(shape, weights, gradients, saved, dx, scratch))
TIMED(head_forward, 0,
      DECLARED(const eab_shape *shape, const eab_head_weights *weights, eab_tensor x, const eab_head_saved *saved),
      PASSED(shape, weights, x, saved))
TIMED(head_backward, 0,
      DECLARED(const eab_shape *shape, const eab_head_weights *weights, const eab_head_weights *gradients,
               const eab_head_saved *saved, eab_tensor dx, eab_tensor scratch),
      PASSED(shape, weights, gradients, saved, dx, scratch))
TIMED(feed_back, 0,
      DECLARED(const eab_generate_args *args, const int32_t *targets, const int32_t *predictions, int32_t *inputs,
               int64_t *changed),
      PASSED(args, targets, predictions, inputs, changed))
TIMED(zero, 0, DECLARED(void *memory, size_t bytes), PASSED(memory, bytes))
TIMED(copy, 0, DECLARED(void *to, const void *from, size_t bytes), PASSED(to, from, bytes))
TIMED(upload, 0, DECLARED(void *to, const void *host, size_t bytes), PASSED(to, host, bytes))
TIMED(download, 0, DECLARED(void *host, const void *from, size_t bytes), PASSED(host, from, bytes))

/* The stream that is drawn from is the phase of all operations up to the next draw. */
static int generate(eab_device *device, const eab_generate_args *args, int32_t *inputs, int32_t *targets,
                    int64_t *counts) {
    timing_table *timing = timing_of(device);
    timing->phase = args->stream == EAB_STREAM_TRAINING ? EAB_PROFILE_TRAINING : EAB_PROFILE_EVALUATION;
    const time_span span = begin(timing);
    return end(device, EAB_PROFILE_generate, 0, span, timing->inner->generate(device, args, inputs, targets, counts));
}

const char *eab_profile_name(eab_profile_operation operation) {
    static const char *const names[] = {
#define NAME(name) #name,
        EAB_PROFILE_LIST(NAME)
#undef NAME
    };
    return names[operation];
}

int eab_profile_attach(eab_device *device) {
    timing_table *timing = calloc(1, sizeof *timing);
    if (!timing) return eab_fail(EAB_NO_MEMORY, "no memory for a profile");
    timing->inner = device->backend;
    timing->timed = *device->backend;
    timing->waits = device->backend->records != NULL;
    timing->timed.records = NULL;      /* a replay would count as one operation */
    timing->timed.zero_members = NULL; /* zero() and copy() are timed instead */
    timing->timed.copy_members = NULL;
#define REPLACE(name) \
    if (timing->timed.name) timing->timed.name = name;
    EAB_PROFILE_LIST(REPLACE)
#undef REPLACE
    timing->started_s = eab_now_s();
    device->profile = timing;
    device->backend = &timing->timed;
    return EAB_OK;
}

static void add_row(eab_profile_row *sum, const eab_profile_row *row) {
    sum->calls += row->calls;
    sum->seconds += row->seconds;
    sum->flop += row->flop;
}

void eab_profile_add(eab_profile *sum, const eab_profile *profile) {
    for (int phase = 0; phase < EAB_PROFILE_PHASES; phase++)
        for (int i = 0; i < EAB_PROFILE_ROWS; i++) add_row(&sum->rows[phase][i], &profile->rows[phase][i]);
    add_row(&sum->checkpoints, &profile->checkpoints);
    sum->seconds += profile->seconds;
}

void eab_profile_detach(eab_device *device, eab_profile *profile) {
    timing_table *timing = timing_of(device);
    if (!timing) return;
    timing->profile.seconds = eab_now_s() - timing->started_s;
    eab_profile_add(profile, &timing->profile);
    device->backend = timing->inner;
    device->profile = NULL;
    free(timing);
}
