/* Everything but products and attention: one table of functions per SIMD level. Each works on one member of a fleet. */
#ifndef EAB_KERNELS_CPU_ELEMENTWISE_H
#define EAB_KERNELS_CPU_ELEMENTWISE_H

#include "../backend.h"

typedef struct {
    void (*norm_forward)(const eab_norm_args *args, int32_t member, const float *x, float *y);
    void (*norm_backward)(const eab_norm_args *args, int32_t member, const float *dy, float *dx, float *dgain,
                          float *dbias);
    void (*qk_norm_forward)(const eab_qk_norm_args *args, int32_t member, float *qkv);
    void (*qk_norm_backward)(const eab_qk_norm_args *args, int32_t member, float *dqkv, float *dq_gain, float *dk_gain);
    void (*relu_forward)(int64_t count, const float *x, float *y);
    void (*relu_backward)(int64_t count, const float *x, float *dy);
    void (*gelu_forward)(int64_t count, const float *x, float *y);
    void (*gelu_backward)(int64_t count, const float *x, float *dy);
    void (*add)(int64_t count, const float *x, float *y);
    void (*dropout)(const eab_shape *shape, int32_t member, const float *x, float *y, bool add);
    void (*column_sum)(int32_t rows, int32_t width, const float *x, float *sums);
    void (*rotate)(const eab_shape *shape, const float *table, float *qkv, bool inverse);
    void (*embed_forward)(const eab_shape *shape, const float *token, const float *position, const int32_t *tokens,
                          float *x);
    void (*embed_backward)(const eab_shape *shape, const int32_t *tokens, const float *dx, float *token,
                           float *position);
    void (*loss)(const eab_loss_args *args, int32_t member);
    void (*optimizer_step)(const eab_optimizer_args *args, int32_t member);
} eab_cpu_elementwise;

/* One member's data; NULL if the tensor has none. */
static inline float *eab_cpu_member(eab_tensor tensor, int32_t member) {
    return tensor.data ? (float *)tensor.data + member * tensor.stride : NULL;
}

static inline const float *eab_cpu_read(eab_const_tensor tensor, int32_t member) {
    return tensor.data ? (const float *)tensor.data + member * tensor.stride : NULL;
}

#endif
