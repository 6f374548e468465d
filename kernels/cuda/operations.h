/* The CUDA backend's operations; backend.h describes those of the same names. Each group has its .cu file. */
#ifndef EAB_KERNELS_CUDA_OPERATIONS_H
#define EAB_KERNELS_CUDA_OPERATIONS_H

#include "../backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* context.cu */
int eab_cuda_count(void);
const char *eab_cuda_absent(void);
int eab_cuda_open(int index, eab_device *device);
void eab_cuda_close(eab_device *device);
void eab_cuda_describe(const eab_device *device, char *text, size_t size);
int eab_cuda_set_stream(eab_device *device, void *stream);
void eab_cuda_sync_every_kernel(eab_device *device);
int eab_cuda_synchronize(eab_device *device);
int eab_cuda_capacity(eab_device *device, size_t *free_bytes, int64_t *resident_threads);
/* EAB_NO_DEVICE, for a device of compute capability major.minor that a build for `built` ("80 90a") has no code for.
 * The line has the command that rebuilds, or says that the device is too old. */
int eab_cuda_refuse_architecture(int index, const char *name, int major, int minor, const char *built);

/* memory.cu */
int eab_cuda_allocate(eab_device *, size_t bytes, void **memory);
void eab_cuda_release(eab_device *, void *memory);
int eab_cuda_zero(eab_device *, void *memory, size_t bytes);
int eab_cuda_copy_bytes(eab_device *, void *to, const void *from, size_t bytes);
int eab_cuda_zero_members(eab_device *, int32_t members, int64_t count, eab_tensor x);
int eab_cuda_copy_members(eab_device *, int32_t members, int64_t count, eab_tensor from, eab_tensor to);
int eab_cuda_upload(eab_device *, void *to, const void *host, size_t bytes);
int eab_cuda_download(eab_device *, void *host, const void *from, size_t bytes);
int eab_cuda_write_reals(eab_device *, void *to, const double *host, int64_t count);
int eab_cuda_read_reals(eab_device *, double *host, const void *from, int64_t count);

/* recording.cu */
bool eab_cuda_records(const eab_device *);
int eab_cuda_record_begin(eab_device *);
int eab_cuda_record_end(eab_device *, void **recording);
int eab_cuda_replay(eab_device *, void *recording);
void eab_cuda_forget(eab_device *, void *recording);

/* events.cu */
int eab_cuda_event_create(eab_device *, void **event);
void eab_cuda_event_free(eab_device *, void *event);
int eab_cuda_event_record(eab_device *, void *event);
int eab_cuda_event_elapsed_s(eab_device *, void *from, void *to, double *seconds);

/* burn.cu */
int eab_cuda_burn(eab_device *, int32_t dtype, double flop, double *done);

/* attention_entries.cu */
int eab_cuda_model_attention_forward(eab_device *, const eab_attention_args *, eab_const_tensor q, eab_const_tensor k,
                                     eab_const_tensor v, eab_tensor out, eab_tensor row_stat);
int eab_cuda_model_attention_backward(eab_device *, const eab_attention_args *, eab_const_tensor q, eab_const_tensor k,
                                      eab_const_tensor v, eab_const_tensor out, eab_const_tensor row_stat,
                                      eab_const_tensor dout, eab_tensor dq, eab_tensor dk, eab_tensor dv);
int eab_cuda_half_forward(eab_device *, const eab_attention *, const void *q, const void *k, const void *v, void *out,
                          float *row_stat);
int eab_cuda_half_backward(eab_device *, const eab_attention *, const void *q, const void *k, const void *v,
                           const void *out, const float *row_stat, const void *dout, void *dq, void *dk, void *dv);
const char *eab_cuda_supports(const eab_device *, const eab_attention *);

/* scores_unfused.cu */
int eab_cuda_scores_forward(eab_device *, const eab_attention_args *, eab_tensor scores, eab_tensor weights);
int eab_cuda_scores_backward(eab_device *, const eab_attention_args *, eab_tensor scores, eab_tensor weights,
                             eab_tensor dweights);

/* gemm.cu */
int eab_cuda_gemm(eab_device *, const eab_gemm *);

/* norm.cu */
int eab_cuda_norm_forward(eab_device *, const eab_norm_args *, eab_tensor x, eab_tensor y);
int eab_cuda_norm_backward(eab_device *, const eab_norm_args *, eab_tensor dy, eab_tensor dx, eab_tensor dgain,
                           eab_tensor dbias);

/* qk_norm.cu */
int eab_cuda_qk_norm_forward(eab_device *, const eab_qk_norm_args *, eab_tensor qkv);
int eab_cuda_qk_norm_backward(eab_device *, const eab_qk_norm_args *, eab_tensor dqkv, eab_tensor dq_gain,
                              eab_tensor dk_gain);

/* elementwise.cu */
int eab_cuda_activation_forward(eab_device *, eab_activation, int32_t members, int64_t count, eab_tensor x,
                                eab_tensor y);
int eab_cuda_activation_backward(eab_device *, eab_activation, int32_t members, int64_t count, eab_tensor x,
                                 eab_tensor dy);
int eab_cuda_add(eab_device *, int32_t members, int64_t count, eab_tensor x, eab_tensor y);
int eab_cuda_dropout(eab_device *, const eab_shape *, eab_tensor x, eab_tensor y, bool add);
int eab_cuda_column_sum(eab_device *, int32_t members, int32_t rows, int32_t width, eab_tensor x, eab_tensor sums);
int eab_cuda_rotate(eab_device *, const eab_shape *, eab_tensor qkv, bool inverse);

/* embedding.cu */
int eab_cuda_embed_forward(eab_device *, const eab_shape *, const eab_embedding *weights, const int32_t *tokens,
                           int64_t tokens_stride, eab_tensor x);
int eab_cuda_embed_backward(eab_device *, const eab_shape *, const eab_embedding *gradients, const int32_t *tokens,
                            int64_t tokens_stride, eab_tensor dx);

/* loss.cu */
int eab_cuda_loss(eab_device *, const eab_loss_args *);

/* optimizer.cu */
int eab_cuda_optimizer_step(eab_device *, const eab_optimizer_args *);

/* generate.cu */
int eab_cuda_generate(eab_device *, const eab_generate_args *, int32_t *inputs, int32_t *targets, int64_t *counts);
int eab_cuda_feed_back(eab_device *, const eab_generate_args *, const int32_t *targets, const int32_t *predictions,
                       int32_t *inputs, int64_t *changed);

#ifdef __cplusplus
}
#endif

#endif
